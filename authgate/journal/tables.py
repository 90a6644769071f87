"""The tables in the journal, and their columns.

Each column is named, so that no secret enters the journal with a new column. A test compares the names with
the models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NUMBER, TEXT, TRUTH, MOMENT, UUID = "number", "text", "truth", "moment", "uuid"

ENTRIES = "authgate_journalentry"
CONTEXT = "authgate_journalcontext"
GAPS = "authgate_journalgap"


@dataclass(frozen=True, slots=True)
class Table:
    """A table in the journal: its columns with their kinds, and the objects that its rows concern.

    `person`, `group` and `application` are SQL with `{row}` for OLD or NEW, or NULL. `left_out` contains
    columns that the journal must not or need not contain.
    """

    name: str
    columns: Mapping[str, str]
    person: str = "NULL"
    group: str = "NULL"
    application: str = "NULL"
    key: str = "id"
    left_out: frozenset[str] = field(default=frozenset())


def _pair(
    name: str, one: str, other: str, *, person: str = "NULL", group: str = "NULL", application: str = "NULL"
) -> Table:
    return Table(name, {"id": NUMBER, one: NUMBER, other: NUMBER}, person, group, application)


_PERSON, _GROUP, _APPLICATION = "{row}.user_id", "{row}.group_id", "{row}.application_id"
_OF_RULE = "(SELECT r.application_id FROM authgate_rule r WHERE r.id = {row}.rule_id)"

TABLES = (
    Table(
        "accounts_user",
        {
            "id": NUMBER,
            "uuid": UUID,
            "username": TEXT,
            "display_name": TEXT,
            "email": TEXT,
            "is_active": TRUTH,
            "is_staff": TRUTH,
            "is_superuser": TRUTH,
            "date_joined": MOMENT,
            "locked_at": MOMENT,
            "locked_down_at": MOMENT,
        },
        person="{row}.id",
        left_out=frozenset(
            ("password", "last_login", "language", "unlock_address", "skeleton", "skeleton_copy")
        ),
    ),
    Table(
        "account_emailaddress",
        {"id": NUMBER, "user_id": NUMBER, "email": TEXT, "verified": TRUTH, "primary": TRUTH},
        person=_PERSON,
    ),
    Table("auth_group", {"id": NUMBER, "name": TEXT}, group="{row}.id"),
    Table("accounts_strictgroup", {"group_id": NUMBER}, group=_GROUP, key="group_id"),
    _pair("auth_group_permissions", "group_id", "permission_id", group=_GROUP),
    Table(
        "accounts_user_groups",
        {"id": NUMBER, "user_id": NUMBER, "group_id": NUMBER, "ends_at": MOMENT},
        person=_PERSON,
        group=_GROUP,
    ),
    _pair("accounts_user_user_permissions", "user_id", "permission_id", person=_PERSON),
    Table(
        "authgate_application",
        {
            "id": NUMBER,
            "name": TEXT,
            "description": TEXT,
            "created_at": MOMENT,
            "enabled": TRUTH,
            "locked_down_at": MOMENT,
            "launch_url": TEXT,
            "in_launcher": TRUTH,
            "category": TEXT,
            "without_https": TRUTH,
            "user_header": TEXT,
            "remote_headers": TRUTH,
            "forwarded_user_header": TRUTH,
            "identity_jwt": TRUTH,
            "username_header": TRUTH,
            "access_token": TRUTH,  # whether the application receives it
            "id_token": TRUTH,
            "challenges": TEXT,
            "refusal_text": TEXT,
            "maintenance": TRUTH,
            "maintenance_text": TEXT,
            "maintenance_minutes": NUMBER,
            "backend": TEXT,
        },
        application="{row}.id",
        left_out=frozenset(("backend",)),  # only the doctor reads this column
    ),
    _pair(
        "authgate_application_named_groups",
        "application_id",
        "group_id",
        application=_APPLICATION,
        group=_GROUP,
    ),
    _pair(
        "authgate_application_owners", "application_id", "user_id", application=_APPLICATION, person=_PERSON
    ),
    _pair(
        "authgate_application_owner_groups",
        "application_id",
        "group_id",
        application=_APPLICATION,
        group=_GROUP,
    ),
    Table(
        "authgate_origin",
        {"id": NUMBER, "application_id": NUMBER, "value": TEXT},
        application=_APPLICATION,
    ),
    Table(
        "authgate_rule",
        {
            "id": NUMBER,
            "application_id": NUMBER,
            "path": TEXT,
            "exact": TRUTH,
            "methods": TEXT,
            "networks": TEXT,
            "who": TEXT,
            "second_factor": TRUTH,
            "factor_minutes": NUMBER,
            "passkey": TRUTH,
            "expires_at": MOMENT,
            "only_watch": TRUTH,
            "note": TEXT,
        },
        application=_APPLICATION,
    ),
    _pair("authgate_rule_groups", "rule_id", "group_id", application=_OF_RULE, group=_GROUP),
    _pair("authgate_rule_users", "rule_id", "user_id", application=_OF_RULE, person=_PERSON),
)
"""The tables in an order for creating rows: each table comes after those to which it refers."""

BY_NAME = {table.name: table for table in TABLES}
