"""Runs of a model in a process of its own, which is confined and restarted alone."""
