"""Dates and times of all pages, where those of Django lack the time zone or are too long for a table."""
