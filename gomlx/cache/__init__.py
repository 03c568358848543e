"""The tiers of the cache: bytes to bytes, without knowledge of models."""
