"""What admitted requests of one client cost the others: python -m loadtests.blocking"""
