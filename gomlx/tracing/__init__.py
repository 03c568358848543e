"""Traces of requests, for OpenTelemetry: what is recorded, and how it is exported."""
