"""Generators of load, and the models and services that they load."""
