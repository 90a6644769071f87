"""Connections that time out if the server keeps them open but does not answer.

Neither `statement_timeout` nor TCP notices a backend that was stopped: its kernel still acknowledges. A lock
that is never released, a storage that hangs and a pooler without a free connection look the same.
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
    """Every statement, commit and rollback passes `wait`."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        seconds = database_timeout.limit()
        if timeout is not None or seconds is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.errors._WaitTimeout:
            # The answer may still come, and would be taken for the answer to the next question.
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
