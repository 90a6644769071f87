"""The connection test of an OpenID Connect provider, for the admin and the command."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, urlsplit

from django.utils.translation import gettext as _

from accounts.models import Upstream
from accounts.upstreams.attempts import AttemptSecrets, Purpose
from accounts.upstreams.claim_texts import readable
from accounts.upstreams.errors import ProviderError
from accounts.upstreams.findings import Finding, Level, reason_text
from accounts.upstreams.http_client import Answer, fetch
from accounts.upstreams.oidc.flow import authorization_url, redirect_uri
from accounts.upstreams.oidc.metadata import Metadata, discover, read_keys
from accounts.upstreams.oidc.signed_tokens import LEEWAY, Header, matching_key


def examine_oidc(upstream: Upstream) -> Iterator[Finding]:
    """Yield findings about a provider: discovery, clock, keys, PKCE and redirect URI."""
    try:
        metadata, answer = discover(upstream)
    except ProviderError as error:
        yield Finding(Level.WRONG, _("Discovery: %(reason)s") % {"reason": reason_text(error)})
        return
    yield Finding(Level.GOOD, _("Discovery: the document exists and matches the issuer."))
    yield _clock(answer)
    yield _keys(upstream, metadata)
    yield _challenge(metadata)
    yield _redirect_uri(upstream)
    if upstream.trusted_for_machines and upstream.machine_audience in Upstream.client_ids_at(upstream.issuer):
        text = _("Programs: their audience is a client ID of the portal, so their tokens are refused.")
        yield Finding(Level.WRONG, text)


def _clock(answer: Answer) -> Finding:
    try:
        there = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return Finding(Level.DOUBTFUL, _("Clock: the provider does not send its time."))
    off = round(there - time.time())
    if abs(off) > LEEWAY:
        text = _("Clock: the provider is %(seconds)d seconds off. Its tokens will be refused.")
        return Finding(Level.WRONG, text % {"seconds": off})
    return Finding(Level.GOOD, _("Clock: the provider has the same time."))


def _keys(upstream: Upstream, metadata: Metadata) -> Finding:
    try:
        keys = read_keys(upstream, metadata)
    except ProviderError as error:
        return Finding(Level.WRONG, _("Keys: %(reason)s") % {"reason": reason_text(error)})
    usable = [
        algorithm
        for algorithm in metadata.algorithms
        for key in keys
        if matching_key(Header(algorithm, key.get("kid")), [key])
    ]
    if not usable:
        return Finding(Level.WRONG, _("Keys: the provider publishes no usable key."))
    return Finding(Level.GOOD, _("Keys: %(names)s.") % {"names": ", ".join(sorted(set(usable)))})


def _challenge(metadata: Metadata) -> Finding:
    if metadata.challenge_methods is None:
        return Finding(
            Level.DOUBTFUL, _("PKCE: the provider does not announce support. The portal sends it anyway.")
        )
    if "S256" not in metadata.challenge_methods:
        return Finding(
            Level.DOUBTFUL, _("PKCE: the provider does not support S256, so it may refuse sign-ins.")
        )
    return Finding(Level.GOOD, _("PKCE: S256."))


def _redirect_uri(upstream: Upstream) -> Finding:
    """Send the request of a browser that is not signed in, and return what the redirect shows.

    A provider that knows the client redirects the browser back with an error.
    """
    own = redirect_uri(upstream)
    names = {"uri": own}
    try:
        # As long and random as in a sign-in: some providers refuse a short state before anything else.
        state, own_secret = secrets.token_urlsafe(32), AttemptSecrets(secrets.token_urlsafe(32))
        url = authorization_url(upstream, state, own_secret, Purpose.SIGN_IN)
        answer = fetch(f"{url}&prompt=none", allow_private=upstream.allow_private)
    except ProviderError as error:
        return Finding(Level.WRONG, _("Redirect URI: %(reason)s") % {"reason": reason_text(error)})
    location = answer.headers.get("location", "")
    if answer.status in (302, 303) and location.startswith(f"{own}?"):
        code = parse_qs(urlsplit(location).query).get("error", [""])[0]
        if code in ("login_required", "interaction_required", "consent_required"):
            return Finding(Level.GOOD, _("Redirect URI: the provider accepts %(uri)s.") % names)
        text = _("Redirect URI: the provider accepts %(uri)s, but refuses the client (%(error)s).")
        return Finding(Level.WRONG, text % {**names, "error": readable(code, 60)})
    if answer.status >= 400:
        text = _("Redirect URI or client ID: the provider refuses them. Register exactly %(uri)s there.")
        return Finding(Level.WRONG, text % names)
    return Finding(
        Level.DOUBTFUL,
        _("Redirect URI: could not be checked. Register exactly %(uri)s there.") % names,
    )
