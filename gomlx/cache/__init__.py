"""Bytes to bytes: the tiers of the cache, which know no models."""
