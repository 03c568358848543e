"""How the rows of concurrent requests join runs."""
