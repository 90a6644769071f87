"""The project: settings, URLs and the server."""

__version__ = "0.9.0"
"""Semantic Versioning 2.0.0; CHANGELOG.md says what changed in each version."""
