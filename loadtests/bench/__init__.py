"""The table of `make bench`: what is measured, its goals, its results."""
