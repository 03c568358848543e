"""What runs: staging, loading and running versions of models."""
