"""How a client reaches hosts and the shared tier, all of it on one event loop."""
