"""Texts of a provider that no database, header or page can hold: refused or cleaned, without an error."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from django.core.cache import caches
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import ClaimMapping, GroupMapping, Upstream, UpstreamSession, User
from accounts.upstreams.findings import examine
from accounts.upstreams.oidc import backchannel, metadata
from accounts.upstreams.protocols import PROTOCOLS
from authgate.models import AuditEvent
from authgate.network_limits import WrongTries
from tests.accounts.conftest import PortalClient
from tests.factories import GroupFactory, UpstreamFactory
from tests.feed.cluster import Cluster
from tests.feed.conftest import cluster  # noqa: F401
from tests.upstreams.cas_server import CasServer
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import START, sign_in
from tests.upstreams.test_backchannel import logout_token, send

BAD = {
    "half a character": "a\ud800b",
    "the other half": "\udfff",
    "NUL": "a\x00b",
    "a line break": "a\r\nX-Evil: 1",
    "a line separator": "a\u2028b",
    "an escape": "a\x1b[31mb",
    "a mark that turns the line": "a\u202eb",
}
LONG = "x" * 5000

Field = Callable[[Provider, str], object]


def claim(name: str, *, as_list: bool = False) -> Field:
    return lambda provider, text: provider.claims.update({name: [text] if as_list else text})


def told_by_userinfo(name: str, *, as_list: bool = False) -> Field:
    def bend(provider: Provider, text: str) -> None:
        provider.userinfo = {name: [text] if as_list else text}

    return bend


def discovered(name: str) -> Field:
    return lambda provider, text: provider.metadata.update({name: f"{provider.issuer}/{text}"})


def answered(name: str) -> Field:
    return lambda provider, text: provider.token_answer.update({name: text})


NAMES: dict[str, Field] = {
    "nonce": claim("nonce"),
    "sub": claim("sub"),
    "sid": claim("sid"),
    "acr": claim("acr"),
    "amr": claim("amr", as_list=True),
    "sub of userinfo": told_by_userinfo("sub"),
    "id_token": answered("id_token"),
    "access_token": answered("access_token"),
    "token_type": answered("token_type"),
    "key id": lambda provider, text: provider.header.update(kid=text),
    "type": lambda provider, text: provider.header.update(typ=text),
    **{
        name: discovered(name)
        for name in (
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "end_session_endpoint",
        )
    },
}
"""Values that identify something. A changed text would identify something else, so the sign-in is refused."""

READ: dict[str, Field] = {
    "name": claim("name"),
    "username": claim("preferred_username"),
    "address": claim("email"),
    "groups": claim("groups", as_list=True),
    "a claim of no meaning": claim("shoe_size"),
    "name of userinfo": told_by_userinfo("name"),
    "groups of userinfo": told_by_userinfo("groups", as_list=True),
    "refresh_token": answered("refresh_token"),
}
"""Values that are read or compared. They are cleaned or left out, and the sign-in succeeds."""


@pytest.mark.parametrize("bad", [*BAD.values(), LONG], ids=[*BAD, "a long text"])
@pytest.mark.parametrize("field", NAMES.values(), ids=NAMES)
def test_a_sign_in_is_refused_with(
    client: PortalClient, provider: Provider, upstream: Upstream, field: Field, bad: str
) -> None:
    assert refuses(client, provider, field, bad)


def refuses(client: PortalClient, provider: Provider, field: Field, bad: str) -> bool:
    """Return whether the user sees the page of a refusal with the number of an event."""
    field(provider, bad)

    left = client.get(START)
    page = client.get(provider.sign_in(left["Location"])) if left.status_code == 302 else left

    event = AuditEvent.objects.filter(kind="upstream_failed").latest("pk")
    shown = event.decision_id in page.content.decode()
    return page.status_code == 502 and shown and not UpstreamSession.objects.exists()


@pytest.mark.parametrize("bad", [*BAD.values(), LONG], ids=[*BAD, "a long text"])
@pytest.mark.parametrize("field", READ.values(), ids=READ)
def test_the_sign_in_succeeds_and_the_text_is_not_stored(
    client: PortalClient, provider: Provider, upstream: Upstream, field: Field, bad: str
) -> None:
    GroupMapping.objects.create(upstream=upstream, claim="groups", value="crew", group=GroupFactory())
    ClaimMapping.objects.create(upstream=upstream, claim="name", field="display_name")
    provider.claims["email_verified"] = True
    field(provider, bad)

    assert sign_in(client, provider).status_code == 302

    user = User.objects.get()
    kept = f"{user.username}{user.display_name}{user.email}"
    assert kept.isprintable() and len(kept) < 400
    assert not user.groups.exists()


@pytest.mark.parametrize("bad", [*BAD.values(), LONG], ids=[*BAD, "a long text"])
@pytest.mark.parametrize("name", ["sub", "sid", "jti"])
def test_a_logout_token_ends_nothing_with(
    client: PortalClient,
    provider: Provider,
    upstream: Upstream,
    name: str,
    bad: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backchannel, "_wrong", WrongTries())
    sign_in(client, provider)

    answer = send(client, logout_token(provider, **{name: bad}))

    assert answer.status_code == 400
    assert name in AuditEvent.objects.get(kind="backchannel_logout_failed").reason
    assert UpstreamSession.objects.filter(sign_in__ended_at=None).count() == 1


CAS_BAD = {"a line break": "a\nb", "a line separator": "a\u2028b", "a mark that turns": "a\u202eb"}
"""XML cannot contain the other texts."""


@pytest.mark.parametrize("bad", CAS_BAD.values(), ids=CAS_BAD)
@pytest.mark.parametrize("name", ["authenticationMethod", "authnContextClass"])
def test_a_sign_in_with_cas_is_refused_with(
    client: PortalClient, server: CasServer, campus: Upstream, name: str, bad: str
) -> None:
    back, _ = server.issue(client.get(START)["Location"], "alice", **{name: [bad]})

    assert client.get(back.removeprefix("https://sso.example.com")).status_code == 502
    assert name in AuditEvent.objects.get(kind="upstream_failed").reason


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_the_test_of_a_provider_writes_no_such_text_to_a_terminal(
    provider: Provider, upstream: Upstream, bad: str
) -> None:
    told = quote(f"error {bad}", errors="surrogatepass")
    back = f"https://sso.example.com/upstreams/campus/callback?error={told}"
    provider.answers["/authorize"] = (302, {"Location": back}, b"")

    findings = examine(upstream, PROTOCOLS)

    assert any("error" in finding.text for finding in findings)
    assert all(finding.text.isprintable() for finding in findings)


# ---- PostgreSQL, which refuses more than SQLite -----------------------------------------------------------


@pytest.fixture
def on_postgresql(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:  # noqa: F811
    database = cluster.database(f"x{uuid.uuid4().hex}", "pattern")
    with django_db_blocker.unblock(), database.connected():
        yield


def test_postgresql_receives_no_such_text(
    client: PortalClient, provider: Provider, on_postgresql: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backchannel, "_wrong", WrongTries())
    UpstreamFactory(
        slug="campus", issuer=provider.issuer, allow_private=True, trusted_email_domains="example.com"
    )

    def begin_again() -> None:
        for name in ("claims", "metadata", "token_answer", "userinfo"):
            setattr(provider, name, {})
        provider.header = {"kid": "one"}
        metadata.forget_all()
        for cache in caches.all():
            cache.clear()

    for bad in BAD.values():
        for name, field in NAMES.items():
            begin_again()
            assert refuses(client, provider, field, bad), name
    for bad in BAD.values():
        for name, field in READ.items():
            begin_again()
            field(provider, bad)
            assert sign_in(PortalClient(HTTP_HOST="sso.example.com"), provider).status_code == 302, name
        for name in ("sub", "sid", "jti"):
            assert send(client, logout_token(provider, **{name: bad})).status_code == 400, name
