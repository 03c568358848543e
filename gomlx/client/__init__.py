"""What other programs ask a service with; it keeps answers so that it need not ask."""
