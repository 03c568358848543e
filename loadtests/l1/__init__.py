"""L1 alone: what it costs, what it keeps, and what it survives."""
