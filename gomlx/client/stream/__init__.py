"""Rows in, answers out, in order: batches of what is not known locally."""
