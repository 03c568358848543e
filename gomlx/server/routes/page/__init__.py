"""The page for people who would rather look, and the statistics that it reads."""
