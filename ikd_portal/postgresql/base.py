"""Connections with a timeout for a server that keeps them open but does not answer.

Neither `statement_timeout` nor TCP notices a stopped backend, because its kernel still acknowledges packets.
The same happens with a lock that is never released, with a hung storage, and with a pooler that has no free
connection.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg.abc import RV, PQGen

from authgate.worker import database_timeout
from ikd_portal.postgresql import turns
from ikd_portal.postgresql.operations import OPERATORS, DatabaseOperations


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection with a timeout. Every statement, commit and rollback goes through `wait`."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        seconds = database_timeout.limit()
        if timeout is not None or seconds is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.errors._WaitTimeout:
            # The answer may still arrive. The next query would take it for its own answer.
            self.close()
            raise psycopg.OperationalError(f"the database has not answered for {seconds:g} seconds") from None


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations
    operators = {**base.DatabaseWrapper.operators, **OPERATORS}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        with turns.turn():
            connection = super().get_new_connection(conn_params)
        connection.__class__ = ImpatientConnection
        return connection
