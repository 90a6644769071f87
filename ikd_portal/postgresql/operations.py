"""Names compared without their letter case: the same way on PostgreSQL as on SQLite."""

from __future__ import annotations

from django.db.backends.postgresql import operations

OPERATORS = {"iexact": '= LOWER((%s)::text COLLATE "C")'}
"""What stands before and around the value of a lookup."""


class DatabaseOperations(operations.DatabaseOperations):
    """`iexact` ignores the case of ASCII letters only, as it does on SQLite.

    Django compares in capitals, where "m\u0131ke@example.com" is "mike@example.com": the mailbox of one user
    would be the address of another.
    """

    def lookup_cast(self, lookup_type: str, internal_type: str | None = None) -> str:
        if lookup_type != "iexact":
            return super().lookup_cast(lookup_type, internal_type)
        return 'LOWER({} COLLATE "C")'.format(super().lookup_cast("contains", internal_type))
