"""When the user of a sign-in last authenticated, and whether a client requests it again.

A browser that is sent to authenticate returns with `asked`, a signed value: the time, and a fingerprint of
the request. The session also stores the time for each client, so that a client cannot avoid it by repeating
the request without `prompt`.
"""

from __future__ import annotations

import hashlib
import time
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from django.core import signing
from django.urls import reverse

from accounts.models import User
from accounts.models.upstream import Upstream
from accounts.requests import Request, SignedInRequest
from openid.models import Client
from openid.protocol.authorization import AuthorizationRequest
from openid.protocol.parameters import Parameters

ASKED = "ikd_asked"
SALT = "openid proof asked"
ASKED_FOR = 900
"""Seconds that a browser has to come back."""

PENDING = "openid_proof_asked"
CLIENTS_LIMIT = 20


def proven_at(request: SignedInRequest) -> float:
    """Return when the user last authenticated in this sign-in. Unix time."""
    began = request.sign_in.started_at.timestamp()
    records = get_authentication_records(request, request.user)
    return max([began, *(float(each.get("at", 0)) for each in records)])


def is_fresh(
    request: SignedInRequest, client: Client, asked: AuthorizationRequest, parameters: Parameters
) -> bool:
    """Return whether the last authentication is recent enough for the request, or came after the question."""
    at = proven_at(request)
    pending = request.session.get(PENDING, {}).get(str(client.pk), 0.0)
    if at < pending:
        return False
    since = _asked_at(parameters)
    if since is not None and at >= since:
        return True
    if "login" in asked.prompts:
        return False
    return asked.max_age is None or time.time() - at < asked.max_age


def ask(request: Request, client: Client, parameters: Parameters) -> str:
    """Record that the user is asked to authenticate now. Return the URL to return to afterwards."""
    now = time.time()
    if request.user.is_authenticated:
        pending = {**request.session.get(PENDING, {}), str(client.pk): now}
        request.session[PENDING] = dict(list(pending.items())[-CLIENTS_LIMIT:])
    values = {name: text for name, text in parameters.values.items() if name != ASKED}
    values[ASKED] = signing.dumps([now, _fingerprint(parameters)], salt=SALT)
    return f"{reverse('openid_authorize')}?{urlencode(values)}"


def forget(request: SignedInRequest, client: Client) -> None:
    """Delete the record of the question, because the client has its answer."""
    pending = request.session.get(PENDING, {})
    if pending.pop(str(client.pk), None) is not None:
        request.session[PENDING] = pending


def page_of(user: User) -> str:
    """Return the page on which a user authenticates again; "" if the user has no method for it."""
    if get_reauthentication_flows(user):
        return str(get_adapter().get_reauthentication_methods(user)[0]["url"])
    if Upstream.objects.filter(enabled=True, identities__user=user).exists():
        return reverse("upstream_confirm")
    return ""


def _asked_at(parameters: Parameters) -> float | None:
    try:
        at, fingerprint = signing.loads(parameters.get(ASKED), salt=SALT, max_age=ASKED_FOR)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return float(at) if fingerprint == _fingerprint(parameters) else None


def _fingerprint(parameters: Parameters) -> str:
    pairs = sorted((name, text) for name, text in parameters.values.items() if name != ASKED)
    return hashlib.sha256(urlencode(pairs).encode()).hexdigest()
