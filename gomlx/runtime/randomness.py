"""Randomness of our own: for jitter, and for choosing among hosts.

An application that calls `random.seed(1)` in each of its processes must not make all of
them wait equally long and choose the same host.
"""

import os
from random import Random

RANDOM = Random()

if hasattr(os, "register_at_fork"):  # not on Windows
    # Else the children of a fork would draw the same numbers.
    os.register_at_fork(after_in_child=RANDOM.seed)
