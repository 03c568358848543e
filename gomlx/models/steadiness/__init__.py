"""The proof that a model gives the same answer to the same row each time."""
