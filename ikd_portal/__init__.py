"""The project package: settings, URLs and the server."""

__version__ = "0.9.0"
"""Semantic Versioning 2.0.0. CHANGELOG.md lists the changes of each version."""
