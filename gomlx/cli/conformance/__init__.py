"""gomlx conformance: the command, and its table."""
