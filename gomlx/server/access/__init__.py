"""Who may do what: clients that predict, and admins who see details."""
