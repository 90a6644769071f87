"""A copy of the process's own database in memory, which brings it back faster than emptying every table."""

from __future__ import annotations

import sqlite3

from django.db import connection


class DatabaseCopy:
    """What the database holds at a moment. `restore` brings all of it back, with the counters of its keys."""

    def __init__(self) -> None:
        connection.ensure_connection()
        self._copy = sqlite3.connect(":memory:", check_same_thread=False)
        connection.connection.backup(self._copy)

    def restore(self) -> None:
        self._copy.backup(connection.connection)

    def close(self) -> None:
        self._copy.close()
