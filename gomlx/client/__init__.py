"""The client: requests predictions of a service, and keeps the answers."""
