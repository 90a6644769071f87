"""Case-insensitive comparison of names, the same on PostgreSQL as on SQLite."""

from __future__ import annotations

from django.db.backends.postgresql import operations

OPERATORS = {"iexact": '= LOWER((%s)::text COLLATE "C")'}
"""The SQL operator and the expression around the value of a lookup."""


class DatabaseOperations(operations.DatabaseOperations):
    r"""Make `iexact` ignore the case of ASCII letters only, as on SQLite.

    Django compares in capitals, where "m\u0131ke@example.com" equals "mike@example.com". Then one user's
    mailbox would match another user's address.
    """

    def lookup_cast(self, lookup_type: str, internal_type: str | None = None) -> str:
        if lookup_type != "iexact":
            return super().lookup_cast(lookup_type, internal_type)
        return 'LOWER({} COLLATE "C")'.format(super().lookup_cast("contains", internal_type))
