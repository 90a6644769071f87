"""Exports the configuration in the database as a file. Equal configurations produce equal bytes.

The file leaves out secrets, users, permissions, pictures, grants that answered requests, and groups that
providers created.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group

from accounts.models import ClaimMapping, GroupMapping, Upstream
from authgate.models import Rule
from ikd_portal.configuration_file.document import APPLICATION, CLIENT, GROUP, PROVIDER, VERSION
from ikd_portal.configuration_file.schema import Shape, Value, fields_of
from ikd_portal.configuration_file.state import KEYS, queryset_of, state_of
from ikd_portal.configuration_file.writer import Comment, written
from openid.models import Client

HEAD = "# Configuration of ikD Portal. Secrets are not in it. Apply it with: manage.py apply FILE\n"


def exported() -> str:
    """Return the configuration as YAML. Applying it to the same database changes nothing."""
    return HEAD + written(values())


def values() -> dict[str, Value]:
    """Return the configuration as values, in the order of the file."""
    clients: dict[int, list[Client]] = {}
    for client in _in_order(CLIENT):
        clients.setdefault(client.application_id, []).append(client)
    return {
        "version": int(VERSION),
        "groups": {group.name: state_of(GROUP, group) for group in _in_order(GROUP)},
        "identity_providers": {each.slug: _provider(each) for each in _in_order(PROVIDER)},
        "applications": {
            each.name: _application(each, clients.get(each.pk, [])) for each in _in_order(APPLICATION)
        },
    }


def _in_order(kind: str) -> list[Any]:
    """Return the objects of a kind by name. Python sorts them, because databases sort texts differently."""
    rows = queryset_of(kind)
    if rows.model is Group:
        rows = rows.filter(upstream_group=None)
    return sorted(rows, key=lambda row: str(getattr(row, KEYS[kind])))


def _application(application: Any, clients: list[Client]) -> dict[str, Value]:
    state = state_of(APPLICATION, application)
    state["rules"] = [_without_defaults(Rule, rule, ("path", "who")) for rule in state["rules"]]
    if clients:
        state["clients"] = {client.client_id: _client(client) for client in clients}
    return state


def _client(client: Client) -> dict[str, Value]:
    state = state_of(CLIENT, client)
    if client.secrets.exists():
        state["#"] = Comment("secrets: in the database only. To set them: [{environment: PORTAL_SECRET_…}]")
    return state


def _provider(upstream: Upstream) -> dict[str, Value]:
    state = state_of(PROVIDER, upstream)
    for name, model in (("claim_mappings", ClaimMapping), ("group_mappings", GroupMapping)):
        state[name] = [_without_defaults(model, row, ("field", "group")) for row in state[name]]
    if upstream.client_secret:
        place = "{environment: PORTAL_SECRET_…}"
        state["#"] = Comment(f"client_secret: in the database only. To set it: {place}")
    return state


def _without_defaults(model: Any, row: dict[str, Value], always: tuple[str, ...]) -> dict[str, Value]:
    """Return a row without values that equal the default of an absent key."""
    return {
        name: row[name]
        for name, each in fields_of(model).items()
        if name in always or row[name] != each.default or each.shape is Shape.GROUP
    }
