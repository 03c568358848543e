"""The code itself: its syntax, its imports, the calls that a run makes."""
