"""Random requests, right and wrong, which every way to the service answers alike."""
