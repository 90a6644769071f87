"""What each kind of provider does in its own way; everything else is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.http import HttpRequest

from accounts.models import Upstream
from accounts.upstreams.attempts import Attempt, Own, Purpose
from accounts.upstreams.cas import flow as cas
from accounts.upstreams.linking import Arrival
from accounts.upstreams.oidc import connection_test as trial
from accounts.upstreams.oidc import flow as oidc


@dataclass(frozen=True, slots=True)
class Protocol:
    """`leave` gives where the browser goes, `redeem` who came back from there; both raise Trouble.

    `examine` tries the provider out and says what is wrong, each finding as it is found.
    """

    leave: Callable[[Upstream, str, Own, Purpose], str]
    redeem: Callable[[HttpRequest, Upstream, Attempt, Own], Arrival]
    examine: Callable[[Upstream], Iterator[trial.Finding]]


PROTOCOLS: dict[str, Protocol] = {
    Upstream.Kind.OIDC: Protocol(oidc.authorization_url, oidc.redeem, trial.examine_oidc),
    Upstream.Kind.CAS: Protocol(cas.login_url, cas.redeem, cas.examine),
}
