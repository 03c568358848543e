"""Transports over real connections, one file for each version of HTTP."""
