"""What client and server agree on: pure code, no I/O."""
