"""Models are replaced again and again under load: python -m loadtests swap."""
