"""One worker process, in the order in which a request meets it."""
