"""Single logout: a CAS server ends the sign-in that a ticket began."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qs

from django.core.cache import cache
from django.db import DatabaseError, transaction
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables

from accounts.models import Upstream, UpstreamSession
from accounts.upstreams.cas.flow import TICKET_KNOWN_FOR, cache_key, digest, ticket_ended_by
from authgate.audit import record
from authgate.models import SignIn
from authgate.peer import client_address
from authgate.sign_ins import end_sign_ins

log = logging.getLogger("ikd.security")

LARGEST_LOGOUT = 16 * 1024
"""Octets of a logout request."""


@sensitive_variables()
def single_logout(request: HttpRequest) -> HttpResponse:
    """End the sign-ins that came by the ticket in a logout request (CAS Protocol 3.0.3, section 2.3.3).

    The ticket is what proves that the server asks: nobody else has it, and without it nothing ends. The
    answer is the same whatever was sent and whatever ended.
    """
    ticket = _ticket_sent(request)
    if ticket is not None:
        try:
            _end(ticket, request.GET.get("upstream", ""), client_address(request))
        except DatabaseError:
            log.exception("a single logout could not be written")
            return HttpResponse(status=503)
    return HttpResponse(status=200)


@sensitive_variables()
def _ticket_sent(request: HttpRequest) -> str | None:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if request.content_type != "application/x-www-form-urlencoded" or not length.isdecimal():
        return None
    if int(length) > LARGEST_LOGOUT:
        return None
    try:
        form = parse_qs(request.read(LARGEST_LOGOUT).decode(), max_num_fields=10)
    except (ValueError, OSError):
        return None
    sent = form.get("logoutRequest", [])
    return ticket_ended_by(sent[0]) if len(sent) == 1 else None


def _end(ticket: str, slug: str, address: str | None) -> None:
    found = digest(ticket)
    servers = Upstream.objects.filter(kind=Upstream.Kind.CAS, **({"slug": slug} if slug else {}))
    ids = list(servers.values_list("pk", flat=True))
    for id in ids:
        _mark_ended(id, found)
    sessions = UpstreamSession.objects.filter(upstream__in=ids, ticket_digest=found, sign_in__ended_at=None)
    for session in sessions.select_related("upstream", "sign_in__user"):
        # Found first, so that a request that ends nothing is not kept waiting as one that does.
        with transaction.atomic():
            if end_sign_ins(SignIn.objects.filter(pk=session.sign_in_id)):
                record(
                    "sign_out",
                    subject=session.sign_in.user.username,
                    reason="single logout by the provider",
                    address=address,
                    details={"upstream": session.upstream.slug},
                )


def _mark_ended(upstream_id: int, ticket_digest: str) -> None:
    """Remember the end of a ticket that was taken and has brought no sign-in yet.

    Between the two there may be the question for a second factor. Tickets that nobody took are not
    remembered: strangers could fill the cache with them.
    """
    key = cache_key(upstream_id, ticket_digest)
    try:
        if cache.get(key) is not None:
            cache.set(key, "ended", TICKET_KNOWN_FOR)
    except Exception:
        log.warning("the cache cannot be reached: a sign-in that is on its way may outlive its single logout")


@receiver(post_save, sender=UpstreamSession, dispatch_uid="end what ended before it began")
def end_late_arrival(instance: UpstreamSession, created: bool, **kwargs: Any) -> None:
    """End a sign-in whose ticket was ended while it was on its way."""
    if created and instance.ticket_digest:
        transaction.on_commit(lambda: _end_if_marked(instance))


def _end_if_marked(session: UpstreamSession) -> None:
    try:
        ended = cache.get(cache_key(session.upstream_id, session.ticket_digest)) == "ended"
    except Exception:
        ended = True
    if ended:
        end_sign_ins(SignIn.objects.filter(pk=session.sign_in_id))
