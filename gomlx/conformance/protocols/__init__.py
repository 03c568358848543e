"""The protocols that the suite speaks, each in a file."""
