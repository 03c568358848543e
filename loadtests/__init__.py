"""What gomlx costs under load, beside others, measured on this machine.

`python -m loadtests --help` lists what there is.
"""
