"""The databases of the tests' own servers: SQLite files, or databases on the run's PostgreSQL."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.string import TextLoader

from tests import pattern

RUN_ON = "TESTS_ON_POSTGRESQL"
"""The variable with the URL of the run's PostgreSQL, without a database. If it is not set, SQLite is used."""

in_tables = pytest.mark.usefixtures("caches_in_tables")
"""Marks tests that read the tables of codes and limits, or set the clock. On Redis, neither is possible."""

TEMPLATE = "pattern"
"""The name of the migrated database on PostgreSQL."""


def url_in(folder: Path) -> str:
    """Return the URL of the database that belongs to a server's folder."""
    if server := os.environ.get(RUN_ON):
        return f"{server}/own_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
    return f"sqlite:///{folder / 'ikd.sqlite3'}"


def environment_in(folder: Path, portal_url: str) -> dict[str, str]:
    """Return the environment of programs that share the folder and the database of a server."""
    own = {"IKD_VAR": str(folder), "DATABASE_URL": url_in(folder), "IKD_PORTAL_URL": portal_url}
    return pattern.portals_environment() | own


def create_database_in(folder: Path) -> str:
    """Create the migrated database of a folder, and return its URL."""
    url = url_in(folder)
    if url.startswith("sqlite:"):
        shutil.copy(pattern.pattern(), url.removeprefix("sqlite:///"))
        return url
    with psycopg.connect(f"{os.environ[RUN_ON]}/postgres", autocommit=True) as connection:
        name = url.rpartition("/")[2]
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
    return url


@contextmanager
def sign_ins_blocked(url: str) -> Iterator[None]:
    """Hold a lock that blocks sign-ins: the write lock of SQLite, or the table of users on PostgreSQL."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE accounts_user IN ACCESS EXCLUSIVE MODE")
            yield


def rows_in(folder: Path, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement with `?` for each parameter, and return its rows. Addresses are texts."""
    url = url_in(folder)
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as database, database:
            return database.execute(query, parameters).fetchall()
    with psycopg.connect(url) as connection:
        connection.adapters.register_loader("inet", TextLoader)
        found = connection.execute(query.replace("?", "%s").encode(), parameters or None)
        return found.fetchall() if found.description else []
