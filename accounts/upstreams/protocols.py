"""OpenID Connect and CAS: the steps in which they differ."""

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

    `sign_in_url` returns the URL at the provider, `redeem` the assertion about the user who came back. Both
    raise ProviderError. `examine` tests the connection and yields each finding at once.
    """

    sign_in_url: Callable[[Upstream, str, AttemptSecrets, Purpose], str]
    redeem: Callable[[HttpRequest, Upstream, Attempt, AttemptSecrets], Assertion]
    examine: Callable[[Upstream], Iterator[Finding]]


def _redeem_code(
    request: HttpRequest, upstream: Upstream, attempt: Attempt, own: AttemptSecrets
) -> Assertion:
    """Return the provider's assertion for a code. Raises ProviderError.

    Its library for HTTP takes 5 MB. `ikd_portal.shared_memory` imports it where a provider is in use.
    """
    from accounts.upstreams.oidc.redemption import redeem_code

    return redeem_code(request, upstream, attempt, own)


PROTOCOLS: dict[str, Protocol] = {
    Upstream.Kind.OIDC: Protocol(authorization_url, _redeem_code, examine_oidc),
    Upstream.Kind.CAS: Protocol(login_url, redeem_ticket, examine_cas),
}
