"""What users see of every kind of fault: python -m loadtests.faults"""
