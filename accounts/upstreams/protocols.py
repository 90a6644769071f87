"""The steps of a sign-in in which OpenID Connect and CAS differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.http import HttpRequest

from accounts.models import Upstream
from accounts.upstreams.attempts import Attempt, AttemptSecrets, Purpose
from accounts.upstreams.cas.flow import examine_cas, login_url, redeem_ticket
from accounts.upstreams.findings import Finding
from accounts.upstreams.linking import Assertion
from accounts.upstreams.oidc.connection_test import examine_oidc
from accounts.upstreams.oidc.flow import authorization_url


@dataclass(frozen=True, slots=True)
class Protocol:
    """The steps of a protocol.

    `sign_in_url` returns the provider's URL. `redeem` returns the assertion about the user who came back.
    Both raise ProviderError. `examine` tests the connection, and yields each finding as soon as it is known.
    """

    sign_in_url: Callable[[Upstream, str, AttemptSecrets, Purpose], str]
    redeem: Callable[[HttpRequest, Upstream, Attempt, AttemptSecrets], Assertion]
    examine: Callable[[Upstream], Iterator[Finding]]


def _redeem_code(
    request: HttpRequest, upstream: Upstream, attempt: Attempt, own: AttemptSecrets
) -> Assertion:
    """Return the provider's assertion for a code. Raises ProviderError.

    The import is late, because the HTTP library takes 5 MB of memory. If a provider is in use,
    `ikd_portal.shared_memory` imports it early.
    """
    from accounts.upstreams.oidc.redemption import redeem_code

    return redeem_code(request, upstream, attempt, own)


PROTOCOLS: dict[str, Protocol] = {
    Upstream.Kind.OIDC: Protocol(authorization_url, _redeem_code, examine_oidc),
    Upstream.Kind.CAS: Protocol(login_url, redeem_ticket, examine_cas),
}
