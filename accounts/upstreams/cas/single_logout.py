"""Single logout: a CAS server ends the sign-in that a ticket began."""

from __future__ import annotations

import logging
import time

from django.core.cache import cache
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables

from accounts.models import Upstream, UpstreamSession
from accounts.upstreams.cas.flow import TICKET_KNOWN_FOR, cache_key, digest, ticket_ended_by
from accounts.upstreams.errors import ProviderError
from accounts.upstreams.logout_requests import end_sessions, mark_ended, parameter_of
from authgate.peer import client_address

log = logging.getLogger("ikd.security")

LARGEST_LOGOUT = 16 * 1024
"""Bytes of a logout request."""


@sensitive_variables()
def single_logout(request: HttpRequest) -> HttpResponse:
    """End the sign-ins that used the ticket in a logout request (CAS Protocol 3.0.3, section 2.3.3).

    The ticket proves that the request comes from the server, because only the server and the portal know it.
    The response is the same for every request.
    """
    try:
        ticket = ticket_ended_by(
            parameter_of(request, "logoutRequest", largest=LARGEST_LOGOUT, encoding="utf-8")
        )
    except ProviderError:
        ticket = None
    if ticket is not None:
        try:
            _end(ticket, request.GET.get("upstream", ""), client_address(request))
        except DatabaseError:
            log.exception("a single logout could not be written")
            return HttpResponse(status=503)
    return HttpResponse(status=200)


def _end(ticket: str, slug: str, address: str | None) -> None:
    """End the sign-ins that used a ticket, and mark the ticket as ended for a pending sign-in.

    Mark only tickets that a sign-in has used. Otherwise an attacker could fill the cache.
    """
    found = digest(ticket)
    servers = Upstream.objects.filter(kind=Upstream.Kind.CAS).values_list("pk", "slug")
    # Compare in Python: a text with NUL would be an error in PostgreSQL.
    ids = [key for key, name in servers if slug in ("", name)]
    for id in ids:
        if _is_used(id, found):
            mark_ended(id, {"ticket": found}, time.time())
    sessions = UpstreamSession.objects.filter(upstream__in=ids, ticket_digest=found)
    end_sessions(sessions, "single logout by the provider", address)


def _is_used(upstream_id: int, ticket_digest: str) -> bool:
    """Return whether a ticket was used recently. If so, refuse it for TICKET_KNOWN_FOR from now."""
    try:
        return cache.touch(cache_key(upstream_id, ticket_digest), TICKET_KNOWN_FOR)
    except Exception:
        log.warning("the cache cannot be reached: a sign-in that is on its way may outlive its single logout")
        return False
