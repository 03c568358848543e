"""Micro-benchmarks of single parts: python -m loadtests.parts.NAME."""
