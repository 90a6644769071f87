"""The search over everything: each kind of row that the administrator may view. One query each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django import forms
from django.contrib.auth.models import Group as DjangoGroup
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.models import Upstream, User
from authgate.event_words import label_of
from authgate.models import Application, AuditEvent, Origin, Rule
from openid.models import Client

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

SHOWN = 8
LONGEST = 200


class SearchForm(forms.Form):
    """The search text. The form refuses what a database cannot compare, such as NUL."""

    q = forms.CharField(label=_("Search"), max_length=LONGEST)


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found: its name, its URL, and a note that distinguishes it from others."""

    name: str
    url: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Hits:
    """The found rows of one kind. `more` is the URL of the full list, or ""."""

    title: _StrPromise
    hits: tuple[Hit, ...]
    more: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of row: the permissions to view it, and how to find and show its rows."""

    title: _StrPromise
    permissions: tuple[str, ...]
    find: Callable[[str], QuerySet[Any]]
    show: Callable[[Any], Hit]
    list_url: str = ""


def search(request: HttpRequest, text: str) -> list[Hits]:
    """Return the found rows in the order of `KINDS`. At most one query for each kind."""
    found = []
    for kind in KINDS:
        if not all(request.user.has_perm(permission) for permission in kind.permissions):
            continue
        rows = list(kind.find(text)[: SHOWN + 1])
        if rows:
            more = _list(kind, text) if len(rows) > SHOWN else ""
            found.append(Hits(kind.title, tuple(map(kind.show, rows[:SHOWN])), more))
    return found


def _list(kind: Kind, text: str) -> str:
    return f"{reverse(kind.list_url)}?{urlencode({'q': text})}" if kind.list_url else ""


def _in(text: str, *fields: str) -> Q:
    """Return the condition that one of the fields contains the text, in any letter case."""
    found = Q()
    for field in fields:
        found |= Q(**{f"{field}__icontains": text})
    return found


def _page(name: str, key: int) -> str:
    return reverse(f"admin:{name}_change", args=[key])


def _facts(parts: Iterable[object]) -> str:
    return " · ".join(str(part) for part in parts if part)


def _users(text: str) -> QuerySet[User]:
    return User.objects.filter(_in(text, "username", "display_name", "email")).order_by("username")


def _groups(text: str) -> QuerySet[DjangoGroup]:
    return DjangoGroup.objects.filter(_in(text, "name")).order_by("name")


def _applications(text: str) -> QuerySet[Application]:
    return Application.objects.filter(_in(text, "name", "description", "category"))


def _origins(text: str) -> QuerySet[Origin]:
    return Origin.objects.filter(_in(text, "value")).select_related("application")


def _rules(text: str) -> QuerySet[Rule]:
    found = Rule.objects.filter(_in(text, "path", "note", "networks")).select_related("application")
    return found.order_by("application__name", "path", "pk")


def _providers(text: str) -> QuerySet[Upstream]:
    return Upstream.objects.filter(_in(text, "name", "slug", "issuer")).order_by("name")


def _clients(text: str) -> QuerySet[Client]:
    found = Client.objects.filter(_in(text, "client_id", "redirect_uris", "application__name"))
    return found.select_related("application").order_by("application__name", "pk")


def _decisions(text: str) -> QuerySet[AuditEvent]:
    """Return the events with a decision id, which is indexed. A partial id finds nothing."""
    return AuditEvent.objects.filter(decision_id=text.lower()).exclude(decision_id="")


def _shown_event(event: AuditEvent) -> Hit:
    facts = _facts((event.actor or event.subject, event.application))
    url = _page("authgate_auditevent", event.pk)
    return Hit(f"{event.decision_id}: {label_of(event.kind)}", url, facts)


KINDS: tuple[Kind, ...] = (
    Kind(
        _("Decisions"),
        ("authgate.view_auditevent",),
        _decisions,
        _shown_event,
        "admin:authgate_auditevent_changelist",
    ),
    Kind(
        _("Users"),
        ("accounts.view_user",),
        _users,
        lambda user: Hit(
            user.username, _page("accounts_user", user.pk), _facts((user.display_name, user.email))
        ),
        "admin:accounts_user_changelist",
    ),
    Kind(
        _("Groups"),
        ("accounts.view_group",),
        _groups,
        lambda group: Hit(group.name, _page("accounts_group", group.pk)),
        "admin:accounts_group_changelist",
    ),
    Kind(
        _("Applications"),
        ("authgate.view_application",),
        _applications,
        lambda each: Hit(
            each.name, _page("authgate_application", each.pk), _facts((each.category, each.description))
        ),
        "admin:authgate_application_changelist",
    ),
    Kind(
        _("Origins"),
        ("authgate.view_application", "authgate.view_origin"),
        _origins,
        lambda each: Hit(
            each.value, _page("authgate_application", each.application_id), each.application.name
        ),
        "admin:authgate_application_changelist",
    ),
    Kind(
        _("Rules"),
        ("authgate.view_application", "authgate.view_rule"),
        _rules,
        lambda each: Hit(
            f"{each.application}: {each.path}",
            f"{_page('authgate_application', each.application_id)}#rules-group",
            _facts((each.get_who_display(), each.note)),
        ),
    ),
    Kind(
        _("Providers"),
        ("accounts.view_upstream",),
        _providers,
        lambda each: Hit(each.name, _page("accounts_upstream", each.pk), each.issuer),
        "admin:accounts_upstream_changelist",
    ),
    Kind(
        _("OpenID Connect clients"),
        ("authgate.view_application", "openid.view_client"),
        _clients,
        lambda each: Hit(
            each.client_id, _page("authgate_application", each.application_id), each.application.name
        ),
        "admin:openid_client_changelist",
    ),
)
"""The kinds that are searched, in the order of the page."""
