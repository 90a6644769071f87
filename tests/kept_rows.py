"""The rows of a PostgreSQL database at one moment. Restoring them is faster than emptying or copying it."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
SEQUENCES = """
SELECT oid::regclass::text, pg_sequence_last_value(oid) FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
"""
HAS_ROWS = "EXISTS (TABLE {table})"
HAS_OTHER_ROWS = (
    "EXISTS ((TABLE {table} EXCEPT ALL TABLE {kept}) UNION ALL (TABLE {kept} EXCEPT ALL TABLE {table}))"
)


class KeptRows:
    """Copies of the tables that have rows, in a schema of the same database.

    `restore` compares tables with their copies to find what was written since. It restores sequences, too.
    The connection commits each statement, and fires no triggers.
    """

    def __init__(self, url: str, schema: str = "kept", patience: str = "30s") -> None:
        self._schema = schema
        self.connection = psycopg.connect(
            url, autocommit=True, options=f"-c lock_timeout={patience} -c session_replication_role=replica"
        )
        tables = [name for (name,) in self.read(TABLES)]
        self._filled = set(self._those(dict.fromkeys(tables, HAS_ROWS)))
        self.connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        for table in self._filled:
            self._execute("CREATE TABLE {kept} AS TABLE {table}", table)
        self._is_written = {table: HAS_OTHER_ROWS if table in self._filled else HAS_ROWS for table in tables}
        self._sequences = dict(self.read(SEQUENCES))

    def restore(self) -> None:
        for table in self._those(self._is_written):
            self._execute("DELETE FROM {table}", table)
            if table in self._filled:
                self._execute("INSERT INTO {table} TABLE {kept}", table)
        for name, last in self.read(SEQUENCES):
            if last != (first := self._sequences[name]):
                self.connection.execute("SELECT setval(%s, %s, %s)", (name, first or 1, first is not None))

    def read(self, query: str | sql.Composed) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def close(self) -> None:
        self.connection.close()

    def _those(self, conditions: dict[str, str]) -> list[str]:
        """Return the tables that meet a condition, with one query."""
        cases = [
            self._about(f"CASE WHEN {condition} THEN {{name}} END", table)
            for table, condition in conditions.items()
        ]
        query = sql.SQL("SELECT array_remove(ARRAY[{}], NULL)").format(sql.SQL(", ").join(cases))
        return list(self.read(query)[0][0])

    def _execute(self, statement: str, table: str) -> None:
        self.connection.execute(self._about(statement, table))

    def _about(self, text: str, table: str) -> sql.Composed:
        """Return SQL with a table for {table}, its copy for {kept}, and its name as a text for {name}."""
        kept = sql.Identifier(self._schema, table)
        return sql.SQL(text).format(table=sql.Identifier(table), kept=kept, name=sql.Literal(table))
