"""Deletes what has ended, in small batches, in one process at a time, and never in a check."""
