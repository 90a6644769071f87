"""Measures the cost of a check, and compares it with the minimum and with other systems (`make bench`)."""
