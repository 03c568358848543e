"""What workers count and measure, from the hot path to Prometheus."""
