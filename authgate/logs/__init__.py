"""Log lines on standard error: one JSON object each, or text for terminals.

gunicorn's master uses this package too, so it imports neither Django nor settings.
"""
