"""The state of the database, as values of the file. Export, plan and drift all compare these."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import Model, Prefetch, QuerySet

from accounts.models import AccessRequest, ClaimMapping, GroupMapping, Upstream
from authgate.models import Application, Rule
from ikd_portal.configuration_file.document import APPLICATION, CLIENT, GROUP, PROVIDER
from ikd_portal.configuration_file.schema import Value, fields_of
from openid.models import Client

MODELS: dict[str, type[Model]] = {
    GROUP: Group,
    APPLICATION: Application,
    CLIENT: Client,
    PROVIDER: Upstream,
}
KEYS = {GROUP: "name", APPLICATION: "name", CLIENT: "client_id", PROVIDER: "slug"}
"""The model field that is the object's name in the file."""

State = dict[str, Value]


def rows_of_file() -> QuerySet[Rule]:
    """Return the rules that belong in a file. A grant that answered an access request does not."""
    granted = AccessRequest.objects.filter(grant__isnull=False).values("grant")
    return Rule.objects.exclude(pk__in=granted).prefetch_related("groups", "users")


def queryset_of(kind: str) -> QuerySet[Any]:
    """Return the objects of a kind, with everything that `state_of` needs."""
    if kind == GROUP:
        return Group.objects.select_related("strict_group")
    if kind == APPLICATION:
        rules = Prefetch("rules", queryset=rows_of_file(), to_attr="rules_of_file")
        named = ("named_groups", "owners", "owner_groups", "origins")
        return Application.objects.prefetch_related(*named, rules)
    if kind == CLIENT:
        return Client.objects.select_related("application")
    groups = Prefetch("group_mappings", queryset=GroupMapping.objects.select_related("group"))
    return Upstream.objects.prefetch_related("claim_mappings", groups)


def state_of(kind: str, row: Any) -> State:
    """Return the values of an object from `queryset_of`, without secrets."""
    if kind == GROUP:
        return {"second_factor": hasattr(row, "strict_group")}
    state = {name: field.of(row) for name, field in fields_of(MODELS[kind]).items()}
    if kind == APPLICATION:
        state["origins"] = sorted(origin.value for origin in row.origins.all())
        state["rules"] = in_order(row_values(Rule, rule) for rule in row.rules_of_file)
    elif kind == PROVIDER:
        for name, model in (("claim_mappings", ClaimMapping), ("group_mappings", GroupMapping)):
            state[name] = in_order(row_values(model, each) for each in getattr(row, name).all())
    return state


def row_values(model: type[Model], row: Model) -> State:
    """Return the values of a rule or a mapping."""
    return {name: field.of(row) for name, field in fields_of(model).items()}


def in_order(rows: Iterable[State]) -> list[State]:
    """Return rows in an order that depends only on their values."""
    return sorted(rows, key=order_of)


def order_of(row: State) -> tuple[str, str]:
    return str(row.get("path", "")), json.dumps(row, sort_keys=True)
