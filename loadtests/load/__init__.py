"""Generators of load, and the models and services that it is sent to."""
