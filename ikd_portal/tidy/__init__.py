"""Deletes expired rows in small batches, in one process at a time, and never during a check."""
