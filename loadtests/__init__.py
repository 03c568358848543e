"""The cost of gomlx under load, beside other servers, measured on this machine.

    bench   the table of `make bench`: what is measured, its goals, its results
    parts   micro-benchmarks of single parts
    load    generators of load, and the models and services that they load
    code    measures of the code itself, for the programs shape and paths

The other files are programs of their own. `python -m loadtests --help` lists all.
"""
