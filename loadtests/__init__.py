"""The cost of gomlx under load, beside other servers, measured on this machine.

    bench   the table of `make bench`: what is measured, its goals, its results
    faults  every kind of fault under load: is each answer right, and does all recover?
    l1      L1 alone: what it costs, what it keeps, and what it survives
    parts   micro-benchmarks of single parts
    load    generators of load, and the models and services that they load
    conformance  `gomlx conformance` against gomlx and other servers
    code    measures of the code itself, for the programs shape and paths

The other files are programs of their own. `python -m loadtests --help` lists all.
"""
