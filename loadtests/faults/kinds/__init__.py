"""The kinds of faults, a module a family: each has a tuple FAULTS."""
