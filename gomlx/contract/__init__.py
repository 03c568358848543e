"""What client and server agree on: pure code, no I/O.

signature   request body → checked rows          (tensor, dtypes: one input or output;
            arrays: a large one in pieces)
dictionary  checked row → canonical row → key    (canonical: one input; key; packing)
answer      a row's outputs → bytes, and back to validated outputs (output: one)
document    all of it as one JSON document, for clients
halving     rows that failed together, in two parts
"""
