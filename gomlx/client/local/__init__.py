"""What a client knows without asking a host: its model's versions, and kept answers."""
