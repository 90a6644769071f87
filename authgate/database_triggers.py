"""The search for triggers that a database has."""

from __future__ import annotations

from django.db import connections


def installed(using: str = "default") -> set[str]:
    """Return the names of the enabled triggers of a database. One query."""
    connection = connections[using]
    query = (
        "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')"
        if connection.vendor == "postgresql"
        else "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        return {row[0] for row in cursor.fetchall()}
