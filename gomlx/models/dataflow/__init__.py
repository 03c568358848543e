"""The dataflow of a graph: what a tensor is computed from, and what from it."""
