"""CAS 2 and 3 (Apereo CAS Protocol Specification 3.0.3): service tickets and their validation.

The portal accepts a ticket once, for the exact service URL it was issued for, and never through a CAS proxy.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.models import Upstream, UpstreamSession
from accounts.upstreams.attempts import Attempt, AttemptSecrets, Purpose
from accounts.upstreams.claim_texts import identifier, is_identifier, optional_identifier
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.findings import Finding, Level, reason_text
from accounts.upstreams.http_client import fetch
from accounts.upstreams.linking import Assertion

LONGEST_TICKET = 512
MOST_VALUES = 1000
"""Attribute values of one person."""

TICKET_KNOWN_FOR = 3600
"""Seconds for which the portal itself refuses a used ticket. Servers forget tickets within minutes."""

_CAS = "{http://www.yale.edu/tp/cas}"
_SAML_PROTOCOL = "{urn:oasis:names:tc:SAML:2.0:protocol}"
_TICKET = re.compile(r"[A-Za-z0-9._~-]+")
_SPACE = " \t\r\n"

SERVICE_REFUSED = frozenset(("INVALID_SERVICE", "UNAUTHORIZED_SERVICE", "UNAUTHORIZED_SERVICE_PROXY"))
KNOWN_FAILURES = SERVICE_REFUSED | {
    "INVALID_REQUEST",
    "INVALID_TICKET",
    "INVALID_TICKET_SPEC",
    "INVALID_PROXY_CALLBACK",
    "INTERNAL_ERROR",
}
"""Codes of section 2.5.3, and of Apereo's server. Other texts may contain the ticket, so events omit them."""


@dataclass(frozen=True, slots=True)
class Person:
    """The user to whom a ticket belongs. Each attribute has a list of one or more values."""

    user: str
    attributes: Mapping[str, list[str]]


class TicketRefused(ProviderError):
    """The CAS server refused the ticket. `code` is one of KNOWN_FAILURES, or ""."""

    def __init__(self, code: str) -> None:
        page = ErrorPage.UNAVAILABLE if code == "INTERNAL_ERROR" else ErrorPage.BROKEN
        if code in ("INVALID_TICKET", "INVALID_TICKET_SPEC"):
            page = ErrorPage.STALE
        # Servers may store only the newest ticket. If several tabs come back, only one ticket is valid.
        was_replaced = code == "INVALID_TICKET"
        reason = f"the provider refused the ticket ({code or 'no known reason'})"
        super().__init__(reason, page, is_retryable=was_replaced)
        self.code = code


# ---- requests of the browser ------------------------------------------------------------------------------


def service_address() -> str:
    """Return the portal's URL to register at a server, from its configured origin."""
    return f"{settings.IKD_PORTAL_ORIGIN}{reverse('sso_login')}"


def service_url(upstream: Upstream, state: str) -> str:
    """Return the service URL for which the server issues a ticket. Each attempt has its own."""
    return f"{service_address()}?{urlencode({'upstream': upstream.slug, 'state': state})}"


def login_url(upstream: Upstream, state: str, own: AttemptSecrets, purpose: Purpose) -> str:
    """Return the URL of the server's sign-in page (section 2.1).

    For a confirmation of the user's identity, let the server ask for credentials again.
    """
    parameters = {"service": service_url(upstream, state)}
    if purpose is Purpose.CONFIRM:
        parameters["renew"] = "true"
    return f"{_server(upstream)}/login?{urlencode(parameters)}"


def redeem_ticket(
    request: HttpRequest, upstream: Upstream, attempt: Attempt, own: AttemptSecrets
) -> Assertion:
    """Return the server's assertion for the ticket in a request. Raises ProviderError."""
    if any(len(request.GET.getlist(name)) > 1 for name in ("ticket", "state", "upstream")):
        raise ProviderError("the answer has a parameter twice")
    ticket = parse_ticket(request.GET.get("ticket", ""), upstream.ticket_prefix)
    _mark_used(ticket, upstream)
    service = service_url(upstream, request.GET.get("state", ""))
    person = validate_ticket(upstream, service, ticket, renew=attempt.purpose is Purpose.CONFIRM)
    return assertion_of(person, ticket)


def digest(ticket: str) -> str:
    """Return the digest that the database stores. An attacker who reads it cannot end a sign-in."""
    return hashlib.sha256(ticket.encode()).hexdigest()


def cache_key(upstream_id: int, ticket_digest: str) -> str:
    return f"cas-ticket:{upstream_id}:{ticket_digest}"


def _mark_used(ticket: str, upstream: Upstream) -> None:
    """Mark a ticket as used, before the portal asks the server.

    Raises ProviderError if it was used before, and the cache's own errors.
    """
    found = digest(ticket)
    if UpstreamSession.objects.filter(upstream=upstream, ticket_digest=found).exists():
        raise ProviderError("the ticket was used already", ErrorPage.STALE)
    if not cache.add(cache_key(upstream.pk, found), "taken", TICKET_KNOWN_FOR):
        raise ProviderError("the ticket was used already", ErrorPage.STALE)


def assertion_of(person: Person, ticket: str) -> Assertion:
    """Return the assertion about a person.

    A claim is a text if the attribute has one value, and a list if it has several.
    """
    found = person.attributes
    claims: dict[str, Any] = {
        name: values[0] if len(values) == 1 else values for name, values in found.items()
    }
    claims.setdefault("preferred_username", person.user)
    # CAS has no attribute for a verified address. The administrator lists the domains that the server
    # verifies. Only if a server sends another value is the address not verified.
    claims["email_verified"] = found.get("email_verified", ["true"]) in (["true"], ["True"], ["1"])
    return Assertion(
        subject=person.user,
        claims=claims,
        ticket_digest=digest(ticket),
        methods=tuple(
            identifier(method, "authenticationMethod", 100)
            for method in found.get("authenticationMethod", [])[:20]
        ),
        context=optional_identifier(next(iter(found.get("authnContextClass", [])), ""), "authnContextClass"),
    )


# ---- tickets and their validation -------------------------------------------------------------------------


def parse_ticket(ticket: str, prefix: str) -> str:
    """Return a ticket that has the form of a service ticket (section 3.1). Raises ProviderError otherwise."""
    if not ticket:
        raise ProviderError("the provider sent the browser back without a ticket", ErrorPage.REFUSED)
    if len(ticket) > LONGEST_TICKET or not _TICKET.fullmatch(ticket):
        raise ProviderError("the ticket has a form that no ticket has", ErrorPage.STALE)
    if not ticket.startswith(prefix) or ticket.startswith(("PT-", "PGT-", "PGTIOU-", "TGC-", "TGT-")):
        raise ProviderError("the ticket is none of this provider's service tickets", ErrorPage.STALE)
    return ticket


def validate_ticket(upstream: Upstream, service: str, ticket: str, *, renew: bool = False) -> Person:
    """Ask the server about a ticket, and return its person (sections 2.5 and 2.8).

    Raises TicketRefused if the server refuses the ticket, and ProviderError for any other error.
    """
    path = "p3/serviceValidate" if upstream.cas_version == Upstream.CasVersion.THREE else "serviceValidate"
    parameters = {"service": service, "ticket": ticket, **({"renew": "true"} if renew else {})}
    url = f"{_server(upstream)}/{path}?{urlencode(parameters)}"
    answer = fetch(url, allow_private=upstream.allow_private)
    if answer.status != 200:
        raise ProviderError(
            f"the ticket's validation was answered with status {answer.status}", answer.error_page
        )
    return parse_person(answer.body)


def parse_person(body: bytes) -> Person:
    """Return the person in a validation response. Raises TicketRefused for a refusal, else ProviderError."""
    root = _parsed(body)
    if root is None or root.tag != f"{_CAS}serviceResponse":
        raise ProviderError("the provider's answer is no CAS answer")
    verdicts = list(root)
    if len(verdicts) != 1:
        raise ProviderError("the provider's answer has more than one verdict, or none")
    verdict = verdicts[0]
    if verdict.tag == f"{_CAS}authenticationFailure":
        code = verdict.get("code", "")
        raise TicketRefused(code if code in KNOWN_FAILURES else "")
    if verdict.tag != f"{_CAS}authenticationSuccess":
        raise ProviderError("the provider's answer has a verdict that CAS does not know")
    if next(verdict.iter(f"{_CAS}proxies"), None) is not None:
        raise ProviderError("the ticket came by a proxy, which is not accepted", ErrorPage.REFUSED)
    return Person(_user(verdict), _attributes(verdict))


def _user(verdict: Element) -> str:
    """Return the only `cas:user` directly below the verdict. An attribute may also be named `user`."""
    users = verdict.findall(f"{_CAS}user")
    user = (users[0].text or "").strip(_SPACE) if len(users) == 1 and not len(users[0]) else ""
    if not is_identifier(user):
        raise ProviderError("the provider's answer names no user, or more than one")
    return user


def _attributes(verdict: Element) -> dict[str, list[str]]:
    """Return the attributes directly below `cas:attributes`, except those with child elements."""
    found: dict[str, list[str]] = {}
    for number, element in enumerate(verdict.iterfind(f"{_CAS}attributes/*")):
        if number >= MOST_VALUES:
            raise ProviderError("the provider's answer has more attributes than any honest one")
        if not len(element) and element.tag.startswith(_CAS):
            text = (element.text or "").strip(_SPACE)
            found.setdefault(element.tag.removeprefix(_CAS), []).append(text)
    return found


def _parsed(body: bytes) -> Element | None:
    """Return the root of an XML document, or None if it cannot be parsed or has a DTD (and so entities)."""
    try:
        root: Element = ElementTree.fromstring(body, forbid_dtd=True)
    except (ParseError, ValueError, LookupError):
        return None
    return root


def _server(upstream: Upstream) -> str:
    return upstream.server_url.rstrip("/")


# ---- single logout ----------------------------------------------------------------------------------------


def ticket_ended_by(logout_request: str) -> str | None:
    """Return the ticket that a server's logout request names (section 2.3.3), or None."""
    # The text may declare `encoding="UTF-8"`, so parse it as bytes in that encoding.
    root = _parsed(logout_request.encode("utf-8", "replace"))
    if root is None or root.tag != f"{_SAML_PROTOCOL}LogoutRequest":
        return None
    indexes = root.findall(f"{_SAML_PROTOCOL}SessionIndex")
    ticket = (indexes[0].text or "").strip(_SPACE) if len(indexes) == 1 else ""
    return ticket if 0 < len(ticket) <= LONGEST_TICKET and _TICKET.fullmatch(ticket) else None


# ---- connection test --------------------------------------------------------------------------------------


def examine_cas(upstream: Upstream) -> Iterator[Finding]:
    """Ask a server about a ticket that it never issued, and yield the findings."""
    service = service_url(upstream, secrets.token_urlsafe(32))
    names = {"uri": service_address()}
    try:
        validate_ticket(upstream, service, f"{upstream.ticket_prefix}trial-of-the-portal")
    except TicketRefused as error:
        yield Finding(Level.GOOD, _("Validation: the server responds like a CAS server."))
        if error.code in SERVICE_REFUSED:
            text = _(
                "Service: the server does not accept the portal. Register %(uri)s there, with any query."
            )
            yield Finding(Level.WRONG, text % names)
    except ProviderError as error:
        yield Finding(Level.WRONG, _("Validation: %(reason)s") % {"reason": reason_text(error)})
        return
    else:
        yield Finding(Level.WRONG, _("Validation: the server accepts a ticket that it never issued."))
        return
    yield _login_page(upstream, names)


def _login_page(upstream: Upstream, names: dict[str, str]) -> Finding:
    try:
        url = login_url(
            upstream, secrets.token_urlsafe(32), AttemptSecrets(secrets.token_urlsafe(32)), Purpose.SIGN_IN
        )
        answer = fetch(url, allow_private=upstream.allow_private)
    except ProviderError as error:
        return Finding(Level.WRONG, _("Sign-in page: %(reason)s") % {"reason": reason_text(error)})
    if answer.status >= 400:
        text = _("Sign-in page: status %(status)d. Register the service %(uri)s there, with any query.")
        return Finding(Level.WRONG, text % {**names, "status": answer.status})
    return Finding(Level.GOOD, _("Sign-in page: the server shows it for %(uri)s.") % names)
