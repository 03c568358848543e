"""Eight hours of a service's life in twenty minutes: python -m loadtests.soak"""
