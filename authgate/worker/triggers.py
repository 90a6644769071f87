"""Database triggers that write the change feed.

They write a row in each transaction that removes or changes access. They also run for `QuerySet.update`,
cascades and raw SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from authgate.database_triggers import installed

TABLE = "authgate_change"


@dataclass(frozen=True, slots=True)
class Watched:
    """A table on which access depends: the kind of entry to forget, and its key.

    `key` is SQL with `{row}` for OLD or NEW; NULL means all entries of that kind. An UPDATE counts only if it
    sets one of `columns`. `inserts` is False if a new row removes no access. `when` is SQL over OLD, and only
    for tables without `inserts`.
    """

    table: str
    kind: str
    key: str
    columns: tuple[str, ...] = ()
    inserts: bool = True
    when: str = ""


_RULE = "(SELECT application_id FROM authgate_rule WHERE id = {row}.rule_id)"
_SIGN_IN = "(SELECT sign_in_id FROM openid_grant WHERE id = {row}.grant_id)"
_OWNER = "(SELECT user_id FROM accounts_apitoken WHERE id = {row}.apitoken_id)"
WATCHED = (
    Watched(
        "authgate_signin",
        "sign_in",
        "{row}.id",
        (
            "ended_at",
            "expires_at",
            "idle_timeout",
            "user_id",
            "methods",
            "second_factor_at",
            "passkey_at",
            "remembered_device",
        ),
        inserts=False,
    ),
    Watched("authgate_gatesession", "sign_in", "{row}.sign_in_id", inserts=False),
    Watched(
        "accounts_user",
        "user",
        "{row}.id",
        ("is_active", "is_staff", "is_superuser", "username", "email", "display_name", "uuid", "password"),
        inserts=False,
    ),
    Watched("accounts_user_groups", "user", "{row}.user_id"),
    Watched("account_emailaddress", "user", "{row}.user_id"),
    Watched(
        "accounts_apitoken",
        "user",
        "{row}.user_id",
        ("user_id", "token_digest", "expires_at", "ended_at"),
        inserts=False,
    ),
    Watched("accounts_apitoken_applications", "user", _OWNER),
    Watched("accounts_identity", "user", "{row}.user_id", ("upstream_id", "subject", "user_id")),
    Watched(
        "accounts_upstream",
        "user",
        "NULL",
        (
            "enabled",
            "kind",
            "issuer",
            "client_id",
            "trusted_for_machines",
            "machine_audience",
            "second_factor_values",
        ),
    ),
    Watched("mfa_authenticator", "user", "{row}.user_id", ("user_id", "type")),
    Watched(
        "accounts_upstreamsession",
        "sign_in",
        "{row}.sign_in_id",
        ("access_token", "id_token", "expires_at", "sign_in_id"),
        inserts=False,
    ),
    Watched("auth_group", "user", "NULL", inserts=False),
    Watched("accounts_strictgroup", "user", "NULL"),
    Watched("authgate_application", "application", "{row}.id"),
    Watched("authgate_signingkey", "application", "NULL"),
    Watched("authgate_origin", "application", "{row}.application_id"),
    Watched("authgate_rule", "application", "{row}.application_id"),
    Watched("authgate_rule_groups", "application", _RULE),
    Watched("authgate_rule_users", "application", _RULE),
    Watched("authgate_application_named_groups", "application", "{row}.application_id"),
    Watched("authgate_application_owners", "application", "{row}.application_id"),
    Watched("authgate_application_owner_groups", "application", "{row}.application_id"),
    Watched("openid_client", "client", "{row}.id", inserts=False),
    Watched("openid_clientsecret", "client", "{row}.client_id"),
    Watched("openid_providerkey", "client", "NULL"),
    Watched("openid_grant", "sign_in", "{row}.sign_in_id", inserts=False),
    Watched(
        "openid_token",
        "sign_in",
        _SIGN_IN,
        ("grant_id", "kind", "digest", "scopes", "expires_at"),
        inserts=False,
        when="OLD.kind = 'access' AND OLD.expires_at > CURRENT_TIMESTAMP",
    ),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """A change of another table that ends sign-ins. The triggers of sign-ins then write the feed.

    `which` is SQL that selects the ids of those sign-ins.
    """

    table: str
    event: str
    which: str
    when: str = ""

    @property
    def name(self) -> str:
        return f"ikd_{self.table}_ends_{self.event.split()[0].lower()}"


_SESSIONS = "SELECT sign_in_id FROM accounts_upstreamsession WHERE upstream_id = "
ENDINGS = (
    Ending("accounts_upstreamsession", "DELETE", "OLD.sign_in_id"),
    Ending("accounts_identity", "DELETE", f"{_SESSIONS}OLD.upstream_id AND subject = OLD.subject"),
    Ending(
        "accounts_identity",
        "UPDATE OF upstream_id, subject, user_id",
        f"{_SESSIONS}OLD.upstream_id AND subject = OLD.subject",
    ),
    Ending(
        "accounts_user",
        "UPDATE OF is_active",
        "SELECT id FROM authgate_signin WHERE user_id = NEW.id",
        when="NOT NEW.is_active",
    ),
    Ending("accounts_upstream", "UPDATE OF enabled", f"{_SESSIONS}NEW.id", when="NOT NEW.enabled"),
)


def install(using: str = "default") -> None:
    """Recreate every trigger, and make every worker forget its memory.

    If SQLite rebuilds a table in a migration, the table loses its triggers, and later changes are not in the
    feed.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        if not tables.issuperset({TABLE, *(watched.table for watched in (*WATCHED, *ENDINGS))}):
            return
        for watched in WATCHED:
            for statement in _statements(connection, watched):
                cursor.execute(statement)
        for ending in ENDINGS:
            for statement in _ending(connection.vendor, ending):
                cursor.execute(statement)
    forget_everything(using)


def forget_everything(using: str = "default") -> None:
    """Make every worker forget its memory when this transaction commits."""
    connection = connections[using]
    with connection.cursor() as cursor:
        for kind in ("user", "application"):
            now = _now(connection)
            cursor.execute(f"INSERT INTO {TABLE} (kind, transaction_id) VALUES (%s, {now})", [kind])  # noqa: S608


def drop_before_migration(using: str, plan: Sequence[tuple[object, bool]]) -> None:
    """Drop the triggers before a migration that they would block.

    SQLite cannot rename a table that another table's trigger names. A backwards migration drops the feed's
    table first.
    """
    connection = connections[using]
    if not any(backwards or connection.vendor == "sqlite" for _, backwards in plan):
        return
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for watched in WATCHED:
            for name in trigger_names(watched, connection.vendor) if watched.table in tables else ():
                on = f" ON {watched.table}" if connection.vendor == "postgresql" else ""
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on}")
        for ending in ENDINGS:
            if ending.table in tables:
                on = f" ON {ending.table}" if connection.vendor == "postgresql" else ""
                cursor.execute(f"DROP TRIGGER IF EXISTS {ending.name}{on}")


def _now(connection: BaseDatabaseWrapper) -> str:
    """Return SQL for `transaction_id`. On SQLite it is random, so that another history has no equal row."""
    return "pg_current_xact_id()::text::bigint" if connection.vendor == "postgresql" else "random()"


def missing(using: str = "default") -> set[str]:
    """Return the names of triggers that the database lacks. An empty set means that the feed is complete."""
    vendor = connections[using].vendor
    wanted = {name for watched in WATCHED for name in trigger_names(watched, vendor)}
    wanted |= {ending.name for ending in ENDINGS}
    return wanted - installed(using)


def trigger_names(watched: Watched, vendor: str = "") -> list[str]:
    events = ["insert"] * watched.inserts + ["update", "delete"]
    if vendor == "postgresql":
        events.append("truncate")
    return [f"ikd_{watched.table}_{event}" for event in events]


def _statements(connection: BaseDatabaseWrapper, watched: Watched) -> list[str]:
    if connection.vendor == "postgresql":
        return _for_postgresql(watched)
    if connection.vendor == "sqlite":
        return _for_sqlite(watched)
    raise NotImplementedError(f"the change feed needs SQLite or PostgreSQL, not {connection.vendor}")


def _events(watched: Watched) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return for each trigger its event, the event's SQL, and the rows that it reports (OLD, NEW)."""
    update = f"UPDATE OF {', '.join(watched.columns)}" if watched.columns else "UPDATE"
    events: list[tuple[str, str, tuple[str, ...]]] = [
        ("update", update, ("OLD", "NEW")),
        ("delete", "DELETE", ("OLD",)),
    ]
    return [("insert", "INSERT", ("NEW",)), *events] if watched.inserts else events


def _for_sqlite(watched: Watched) -> list[str]:
    statements = []
    for event, sql, rows in _events(watched):
        name = f"ikd_{watched.table}_{event}"
        inserts = "".join(
            f"INSERT INTO {TABLE} (kind, key, transaction_id) "  # noqa: S608
            f"VALUES ('{watched.kind}', {watched.key.format(row=row)}, random()); "
            for row in rows
        )
        statements.append(f"DROP TRIGGER IF EXISTS {name}")
        when = f"WHEN ({watched.when}) " if watched.when else ""
        statements.append(
            f"CREATE TRIGGER {name} AFTER {sql} ON {watched.table} FOR EACH ROW {when}BEGIN {inserts}END"
        )
    return statements


def _for_postgresql(watched: Watched) -> list[str]:
    statements = []
    for event, sql, rows in [*_events(watched), ("truncate", "TRUNCATE", ())]:
        name = f"ikd_{watched.table}_{event}"
        keys = [watched.key.format(row=row) for row in rows] or ["NULL"]
        inserts = " ".join(
            f"INSERT INTO {TABLE} (kind, key, transaction_id) "  # noqa: S608
            f"VALUES ('{watched.kind}', {key}, pg_current_xact_id()::text::bigint);"
            for key in keys
        )
        each = "STATEMENT" if event == "truncate" else "ROW"
        when = f" WHEN ({watched.when})" if watched.when and each == "ROW" else ""
        body = f"BEGIN {inserts} RETURN NULL; END"
        statements += [
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $ikd$ {body} $ikd$",
            f"CREATE OR REPLACE TRIGGER {name} AFTER {sql} ON {watched.table} "
            f"FOR EACH {each}{when} EXECUTE FUNCTION {name}()",
        ]
    return statements


def _ending(vendor: str, ending: Ending) -> list[str]:
    now = "now()" if vendor == "postgresql" else "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    update = (
        f"UPDATE authgate_signin SET ended_at = {now}, session_digest = NULL "  # noqa: S608
        f"WHERE ended_at IS NULL AND id IN ({ending.which});"
    )
    when = f"WHEN ({ending.when}) " if ending.when else ""
    trigger = f"TRIGGER {ending.name} AFTER {ending.event} ON {ending.table} FOR EACH ROW {when}"
    if vendor == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {ending.name}", f"CREATE {trigger}BEGIN {update} END"]
    return [
        f"CREATE OR REPLACE FUNCTION {ending.name}() RETURNS trigger LANGUAGE plpgsql "
        f"AS $ikd$ BEGIN {update} RETURN NULL; END $ikd$",
        f"CREATE OR REPLACE {trigger}EXECUTE FUNCTION {ending.name}()",
    ]
