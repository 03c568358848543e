"""X-Request-Id: the name by which a request is found again in logs and traces."""
