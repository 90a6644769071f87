"""Formats of dates and times, because Django's lack the time zone or are too long for tables."""
