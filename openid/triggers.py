"""Database triggers that end grants with their sign-ins and queue notifications to clients.

On PostgreSQL, other triggers wake the process that sends notifications (`authgate/worker/write_watch.py`).

Triggers also run for raw SQL, cascades and `QuerySet.update`. No look-up relies on them: tokens of an ended
sign-in are refused anyway. The queued notifications only end the client's own session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connections

from authgate.database_triggers import installed
from authgate.worker.write_watch import CHANNEL

TABLES = {"authgate_signin", "authgate_change", "openid_grant", "openid_client", "openid_logoutdelivery"}
ENDS = "OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Trigger:
    """The SQL of a trigger. `{now}` in `action` is the current time. `vendor` is "" for every database."""

    name: str
    table: str
    event: str
    when: str
    action: str
    vendor: str = ""


_TELL = (
    "INSERT INTO openid_logoutdelivery "
    "(uri, audience, subject, sid, allow_private, created_at, due_at, tries, answer) "
    "SELECT c.backchannel_logout_uri, c.client_id, OLD.subject, OLD.sid, c.allow_private, "
    "{now}, {now}, 0, '' "
    "FROM openid_client c WHERE c.id = OLD.client_id AND c.backchannel_logout_uri <> '' "
    "ON CONFLICT DO NOTHING;"
)
_NOTIFY = f"PERFORM pg_notify('{CHANNEL}', '');"
TRIGGERS = (
    Trigger(
        "openid_sign_in_ends",
        "authgate_signin",
        "UPDATE OF ended_at",
        ENDS,
        "UPDATE openid_grant SET ended_at = {now} WHERE sign_in_id = NEW.id AND ended_at IS NULL;",
    ),
    Trigger("openid_grant_ends", "openid_grant", "UPDATE OF ended_at", ENDS, _TELL),
    Trigger(
        "openid_grant_goes", "openid_grant", "DELETE", "OLD.ended_at IS NULL AND NOT OLD.superseded", _TELL
    ),
    Trigger("openid_delivery_waits", "openid_logoutdelivery", "INSERT", "TRUE", _NOTIFY, "postgresql"),
    Trigger(
        "openid_access_changes",
        "authgate_change",
        "INSERT",
        "NEW.kind IN ('user', 'application')",
        _NOTIFY,
        "postgresql",
    ),
)


def install(using: str = "default") -> None:
    """Create every trigger again. SQLite drops the triggers of a table that a migration rebuilds."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if not TABLES.issubset(connection.introspection.table_names(cursor)):
            return
        for trigger in _triggers(connection.vendor):
            for statement in _statements(connection.vendor, trigger):
                cursor.execute(statement)


def drop_before_migration(using: str, plan: Sequence[tuple[object, bool]]) -> None:
    """Drop the triggers before a migration if they would make it fail."""
    connection = connections[using]
    if not any(backwards or connection.vendor == "sqlite" for _, backwards in plan):
        return
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for trigger in _triggers(connection.vendor):
            if trigger.table in tables:
                cursor.execute(_drop(connection.vendor, trigger))


def missing(using: str = "default") -> set[str]:
    """Return the names of triggers that the database lacks."""
    return {trigger.name for trigger in _triggers(connections[using].vendor)} - installed(using)


def _triggers(vendor: str) -> list[Trigger]:
    return [trigger for trigger in TRIGGERS if trigger.vendor in ("", vendor)]


def _drop(vendor: str, trigger: Trigger) -> str:
    on = f" ON {trigger.table}" if vendor == "postgresql" else ""
    return f"DROP TRIGGER IF EXISTS {trigger.name}{on}"


def _statements(vendor: str, trigger: Trigger) -> list[str]:
    now = "now()" if vendor == "postgresql" else "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    action = trigger.action.format(now=now)
    head = (
        f"TRIGGER {trigger.name} AFTER {trigger.event} ON {trigger.table} FOR EACH ROW WHEN ({trigger.when})"
    )
    if vendor == "sqlite":
        return [_drop(vendor, trigger), f"CREATE {head} BEGIN {action} END"]
    return [
        f"CREATE OR REPLACE FUNCTION {trigger.name}() RETURNS trigger LANGUAGE plpgsql "
        f"AS $openid$ BEGIN {action} RETURN NULL; END $openid$",
        f"CREATE OR REPLACE {head} EXECUTE FUNCTION {trigger.name}()",
    ]
