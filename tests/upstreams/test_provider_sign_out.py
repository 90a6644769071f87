"""Signing out: here first and whatever the provider does, then there, nobody in again by itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from accounts.models import Upstream, UpstreamSession, User
from accounts.upstreams.oidc import metadata
from authgate.models import AuditEvent, SignIn
from authgate.sign_ins import open_gate
from tests.accounts.conftest import PORTAL, PortalClient
from tests.accounts.signing_in import is_signed_in
from tests.accounts.signing_in import sign_in as sign_in_with_password
from tests.authgate.asking import NAVIGATION, WIKI, ask, endpoint, facts
from tests.factories import ApplicationFactory, UpstreamFactory
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import sign_in

OUT = "/accounts/logout/"
SAME = [(b"sec-fetch-site", b"same-origin"), *NAVIGATION]
SIGNED_OUT = f"{PORTAL}/signed-out"


@pytest.fixture
def provider(provider: Provider) -> Provider:
    provider.metadata["end_session_endpoint"] = f"{provider.issuer}/end"
    return provider


def parted(url: str) -> tuple[str, dict[str, str]]:
    address, _, query = url.partition("?")
    return address, {name: values[0] for name, values in parse_qs(query).items()}


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def signed_out(client: Client, **form: str) -> Any:
    """Press the button, and give the answer of the portal's page that leads on."""
    on = client.post(OUT, form)["Location"]
    assert on.startswith(f"{PORTAL}/signed-out/provider?at=")
    return client.get(path_of(on))


def test_the_browser_goes_on_to_the_provider_with_the_id_token_and_comes_back_signed_out(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    hint = UpstreamSession.objects.get().id_token.reveal()

    answer = signed_out(client)

    assert parted(answer["Location"]) == (
        f"{provider.issuer}/end",
        {"id_token_hint": hint, "client_id": "portal", "post_logout_redirect_uri": SIGNED_OUT},
    )
    assert (answer["Referrer-Policy"], answer["Cache-Control"].count("no-store")) == ("no-referrer", 1)
    assert "You are signed out" in client.get("/signed-out").content.decode()
    assert not is_signed_in(client)


def test_signing_out_here_has_happened_before_anybody_goes_to_the_provider(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    metadata.forget_all()
    asked = len(provider.asked)

    client.post(OUT)

    assert SignIn.objects.get().ended_at is not None
    assert len(provider.asked) == asked


def broken(provider: Provider) -> None:
    provider.answers["/.well-known/openid-configuration"] = (500, {}, b"")


def without(provider: Provider) -> None:
    provider.metadata["end_session_endpoint"] = None


def gone(provider: Provider) -> None:
    provider.stop()


@pytest.mark.parametrize("bend", [broken, without, gone], ids=["broken", "offers no sign-out", "gone"])
def test_whatever_the_provider_does_one_ends_on_the_page_that_says_so(
    client: PortalClient, provider: Provider, upstream: Upstream, bend: Any
) -> None:
    sign_in(client, provider)
    metadata.forget_all()
    bend(provider)

    answer = signed_out(client)

    assert answer["Location"] == "/signed-out"
    assert not is_signed_in(client)
    assert AuditEvent.objects.filter(kind="upstream_sign_out_failed").exists() is (bend is not without)


def test_an_id_token_leaves_once_and_is_in_no_event(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    hint = UpstreamSession.objects.get().id_token.reveal()
    on = path_of(client.post(OUT)["Location"])

    first, second = client.get(on), other_browser.get(on)

    assert hint in first["Location"]
    assert "id_token_hint" not in second["Location"]
    kept = UpstreamSession.objects.get()
    assert not (kept.id_token or kept.access_token or kept.refresh_token)
    assert hint[:40] not in str(list(AuditEvent.objects.values()))


def test_a_page_that_leads_on_uses_nothing_up_by_head(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    on = path_of(client.post(OUT)["Location"])

    client.head(on)

    assert "id_token_hint" in client.get(on)["Location"]


@pytest.mark.parametrize("at", ["", "junk", "WzEsIiJd:1abc:AAAA"])
def test_a_way_on_that_is_not_the_portals_leads_to_the_signed_out_page(
    client: PortalClient, provider: Provider, upstream: Upstream, at: str
) -> None:
    sign_in(client, provider)

    assert client.get(f"/signed-out/provider?at={at}")["Location"] == "/signed-out"
    assert is_signed_in(client)


def test_the_page_asked_for_is_reached_by_way_of_the_provider(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    ApplicationFactory(origins=[WIKI], who="signed_in")
    sign_in(client, provider)

    _, sent = parted(signed_out(client, rd=f"{WIKI}/bye")["Location"])
    back = client.get(f"/signed-out?state={sent['state']}")

    assert sent["post_logout_redirect_uri"] == SIGNED_OUT
    assert back["Location"] == f"{WIKI}/bye"


@pytest.mark.parametrize("state", ["junk", "Imh0dHBzOi8vZXZpbC5leGFtcGxlLyI:1abc:AAAA", ""])
def test_a_state_of_somebody_else_leads_nowhere(client: PortalClient, db: None, state: str) -> None:
    assert "You are signed out" in client.get(f"/signed-out?state={state}").content.decode()


def test_a_page_that_may_no_longer_be_gone_to_is_not(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    application = ApplicationFactory(origins=[WIKI], who="signed_in")
    sign_in(client, provider)
    _, sent = parted(signed_out(client, rd=f"{WIKI}/bye")["Location"])
    application.delete()

    assert client.get(f"/signed-out?state={sent['state']}").status_code == 200


def test_a_default_provider_signs_nobody_in_again_who_has_just_signed_out(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    Upstream.objects.update(is_default=True)
    sign_in(client, provider)
    signed_out(client)

    page = client.get("/accounts/login/")

    assert page.status_code == 200
    assert "Campus" in page.content.decode()
    assert other_browser.get("/accounts/login/")["Location"] == "/upstreams/campus/start"


def test_a_long_id_token_stays_away_rather_than_the_sign_out(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.claims["groups"] = ["a group with a long name"] * 200
    sign_in(client, provider)

    _, sent = parted(signed_out(client)["Location"])

    assert sent == {"client_id": "portal", "post_logout_redirect_uri": SIGNED_OUT}


def test_from_a_protected_origin_the_sign_in_ends_and_the_provider_is_next(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    ApplicationFactory(origins=[WIKI], who="signed_in")
    sign_in(client, provider)
    cookie = f"__Host-ikd_gate={open_gate(SignIn.objects.get(), WIKI)}"
    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 200

    on = endpoint("/authgate/sign_out?rd=/bye", WIKI, SAME, cookie=cookie)["Location"]

    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 401
    assert "id_token" not in on
    _, sent = parted(client.get(path_of(on))["Location"])
    assert client.get(f"/signed-out?state={sent['state']}")["Location"] == f"{WIKI}/bye"


def test_switching_accounts_leaves_the_provider_too(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    Upstream.objects.update(is_default=True)
    sign_in(client, provider)

    _, sent = parted(client.get(path_of(client.post("/switch-account")["Location"]))["Location"])
    back = client.get(f"/signed-out?state={sent['state']}")

    assert back["Location"] == f"{PORTAL}/accounts/login/"
    assert client.get("/accounts/login/").status_code == 200


def test_whoever_came_with_a_password_meets_no_provider(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    sign_in_with_password(client, "alice")

    assert client.post(OUT)["Location"] == "/signed-out"
    assert provider.asked == []


def test_a_cas_server_is_told_where_to_send_the_browser_back(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    cas = UpstreamFactory(slug="cas", kind="cas", server_url="https://cas.example.com/cas/")
    UpstreamSession.objects.update(upstream=cas, id_token="")

    answer = signed_out(client)

    assert parted(answer["Location"]) == ("https://cas.example.com/cas/logout", {"service": SIGNED_OUT})


def test_an_unencrypted_page_of_a_provider_outside_is_not_gone_to(
    client: PortalClient, provider: Provider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(client, provider)
    known = metadata.metadata_of(upstream)
    Upstream.objects.update(allow_private=False)
    outside = (upstream.issuer, False)
    monkeypatch.setitem(metadata._documents, outside, metadata._documents[(upstream.issuer, True)])
    assert known.end_session_endpoint.startswith("http://")

    assert signed_out(client)["Location"] == "/signed-out"
