"""gomlx conformance, run against gomlx and other servers: results/conformance.md."""
