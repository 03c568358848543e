"""What answers the requests of a worker: the handlers of its routes, its listeners."""
