"""Requests whose steps are recorded for a trace: which, and what they do."""
