"""The account page about applications that sign the user in by OpenID Connect."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Exists, Max, Min, OuterRef, Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.models import User
from accounts.own_events import record_own
from accounts.requests import SignedInRequest, login_required
from authgate.admin.audited import is_row_id
from authgate.decision.rules import Application, Subject
from authgate.sign_ins import note_revocation
from authgate.worker import loader
from openid.claims import claims_of
from openid.models import Client, Consent, Grant
from openid.protocol.authorization import SCOPES

PAGE = 20
GROUPS_SHOWN = 20
"""Group names shown for each application. An ellipsis replaces the rest."""


@dataclass(frozen=True, slots=True)
class OwnClient:
    """A client as its user sees it. `told` are names and values of the claims that the client receives."""

    client: Client
    scopes: tuple[str, ...]
    since: datetime
    used: datetime | None
    told: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Access:
    """The sum of a user's grants and consent at one client."""

    scopes: set[str] = field(default_factory=set)
    times: list[datetime] = field(default_factory=list)
    uses: list[datetime] = field(default_factory=list)


@never_cache
@login_required
@require_safe
def own_clients(request: SignedInRequest) -> HttpResponse:
    """Show the clients that have a grant or a consent of the user. The number of queries is constant."""
    page = Paginator(_clients_of(request.user), PAGE).get_page(request.GET.get("page"))
    rows = _rows(request, list(page))
    return render(request, "openid/own_clients.html", {"page": page, "clients": rows})


@never_cache
@login_required
@require_POST
def end_own_client(request: SignedInRequest, pk: int) -> HttpResponse:
    """End a client's access to the user's data. Answers 404 if the client has no access."""
    mine = _clients_of(request.user).filter(pk=pk) if is_row_id(str(pk)) else Client.objects.none()
    client = mine.first()
    if client is None:
        raise Http404
    with transaction.atomic():
        ended = end_client(request.user, client)
        details = {"client": client.client_id, "application": client.application.name, "grants": ended}
        record_own("openid_access_ended", request, request.user, details)
    text = gettext("%(application)s no longer has access. If the portal can notify it, its session ends too.")
    messages.success(request, text % {"application": client.application.name})
    return redirect("own_clients")


def end_client(user: User, client: Client) -> int:
    """End a user's grants at a client and delete the consent. Return how many grants ended.

    Call it in a transaction. The tokens end in it, and database triggers queue the client's logout token.
    """
    note_revocation()
    Consent.objects.filter(user=user, client=client).delete()
    return _live_grants(user).filter(client=client).update(ended_at=timezone.now())


def _live_grants(user: User) -> QuerySet[Grant]:
    return Grant.objects.filter(sign_in__user=user, ended_at=None, superseded=False)


def _valid_grants(user: User) -> QuerySet[Grant]:
    """Return the valid grants. Grants of an expired sign-in are left out, even before the sweep ends them."""
    is_over = Q(offline=False, sign_in__expires_at__lte=timezone.now())
    return _live_grants(user).filter(sign_in__ended_at=None).exclude(is_over)


def _clients_of(user: User) -> QuerySet[Client]:
    granted = _valid_grants(user).filter(client=OuterRef("pk"))
    agreed = Consent.objects.filter(user=user, client=OuterRef("pk"))
    found = Client.objects.filter(Exists(granted) | Exists(agreed)).select_related("application")
    return found.order_by("application__name", "client_id")


def _rows(request: SignedInRequest, clients: list[Client]) -> list[OwnClient]:
    subject = loader.subject_of(request.user, request.sign_in)
    compiled = loader.load_compiled({client.application_id for client in clients})
    applications = {application.id: application for application, _ in compiled}
    accesses = _accesses(request.user, clients)
    return [
        _row(client, accesses[client.pk], subject, applications.get(client.application_id))
        for client in clients
        if client.pk in accesses
    ]


def _accesses(user: User, clients: list[Client]) -> dict[int, _Access]:
    """Return what each client has. Two queries."""
    found: dict[int, _Access] = {}
    grants = _valid_grants(user).filter(client__in=clients).order_by()
    times = (Min("created_at"), Max("created_at"), Max("tokens__taken_at"))
    rows: Iterable[Any] = grants.values_list("client__pk", "scopes").annotate(*times)
    for pk, scopes, first, last, taken in rows:
        access = found.setdefault(pk, _Access())
        access.scopes.update(scopes.split())
        access.times.append(first)
        access.uses += [last, *([taken] if taken else [])]
    consents = Consent.objects.filter(user=user, client__in=clients)
    for pk, scopes, given_at in consents.values_list("client__pk", "scopes", "given_at"):
        access = found.setdefault(pk, _Access())
        access.scopes.update(scopes.split())
        access.times.append(given_at)
    return found


def _row(client: Client, access: _Access, subject: Subject, application: Application | None) -> OwnClient:
    scopes = tuple(scope for scope in SCOPES if scope in access.scopes)
    claims = claims_of(subject, scopes, application)
    told = tuple((name, _shown(value)) for name, value in claims.items())
    return OwnClient(client, scopes, min(access.times), max(access.uses, default=None), told)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value[:GROUPS_SHOWN]) + (" …" if len(value) > GROUPS_SHOWN else "")
    return json.dumps(value) if isinstance(value, bool) else str(value)
