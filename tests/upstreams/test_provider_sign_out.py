"""Signing out: first here, whatever the provider does, then at the provider. No user is signed in again."""

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


def split_address(url: str) -> tuple[str, dict[str, str]]:
    address, _, query = url.partition("?")
    return address, {name: values[0] for name, values in parse_qs(query).items()}


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def signed_out(client: Client, **form: str) -> Any:
    """Press the button, and return the answer of the portal's page that redirects to the provider."""
    on = client.post(OUT, form)["Location"]
    assert on.startswith(f"{PORTAL}/signed-out/provider?at=")
    return client.get(path_of(on))


def test_the_browser_takes_the_id_token_to_the_provider_and_returns_signed_out(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    hint = UpstreamSession.objects.get().id_token.reveal()

    answer = signed_out(client)

    assert split_address(answer["Location"]) == (
        f"{provider.issuer}/end",
        {"id_token_hint": hint, "client_id": "portal", "post_logout_redirect_uri": SIGNED_OUT},
    )
    assert (answer["Referrer-Policy"], answer["Cache-Control"].count("no-store")) == ("no-referrer", 1)
    assert "You are signed out" in client.get("/signed-out").content.decode()
    assert not is_signed_in(client)


def test_the_user_is_signed_out_here_before_the_provider_is_asked(
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
def test_the_user_ends_on_the_signed_out_page_whatever_the_provider_does(
    client: PortalClient, provider: Provider, upstream: Upstream, bend: Any
) -> None:
    sign_in(client, provider)
    metadata.forget_all()
    bend(provider)

    answer = signed_out(client)

    assert answer["Location"] == "/signed-out"
    assert not is_signed_in(client)
    assert AuditEvent.objects.filter(kind="upstream_sign_out_failed").exists() is (bend is not without)


def test_an_id_token_is_sent_once_and_is_in_no_event(
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


def test_a_head_request_does_not_use_the_redirect_up(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    on = path_of(client.post(OUT)["Location"])

    client.head(on)

    assert "id_token_hint" in client.get(on)["Location"]


@pytest.mark.parametrize("at", ["", "junk", "WzEsIiJd:1abc:AAAA"])
def test_a_forged_redirect_leads_to_the_signed_out_page(
    client: PortalClient, provider: Provider, upstream: Upstream, at: str
) -> None:
    sign_in(client, provider)

    assert client.get(f"/signed-out/provider?at={at}")["Location"] == "/signed-out"
    assert is_signed_in(client)


def test_the_requested_page_follows_the_providers_sign_out(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    ApplicationFactory(origins=[WIKI], who="signed_in")
    sign_in(client, provider)

    _, sent = split_address(signed_out(client, rd=f"{WIKI}/bye")["Location"])
    back = client.get(f"/signed-out?state={sent['state']}")

    assert sent["post_logout_redirect_uri"] == SIGNED_OUT
    assert back["Location"] == f"{WIKI}/bye"


@pytest.mark.parametrize("state", ["junk", "Imh0dHBzOi8vZXZpbC5leGFtcGxlLyI:1abc:AAAA", ""])
def test_a_foreign_state_leads_to_the_signed_out_page(client: PortalClient, db: None, state: str) -> None:
    assert "You are signed out" in client.get(f"/signed-out?state={state}").content.decode()


def test_a_page_that_is_no_longer_allowed_is_not_opened(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    application = ApplicationFactory(origins=[WIKI], who="signed_in")
    sign_in(client, provider)
    _, sent = split_address(signed_out(client, rd=f"{WIKI}/bye")["Location"])
    application.delete()

    assert client.get(f"/signed-out?state={sent['state']}").status_code == 200


def test_a_default_provider_does_not_sign_the_user_in_again_after_signing_out(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    Upstream.objects.update(is_default=True)
    sign_in(client, provider)
    signed_out(client)

    page = client.get("/accounts/login/")

    assert page.status_code == 200
    assert "Campus" in page.content.decode()
    assert other_browser.get("/accounts/login/")["Location"] == "/upstreams/campus/start"


def test_an_id_token_that_is_too_long_is_omitted(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.claims["groups"] = ["a group with a long name"] * 200
    sign_in(client, provider)

    _, sent = split_address(signed_out(client)["Location"])

    assert sent == {"client_id": "portal", "post_logout_redirect_uri": SIGNED_OUT}


def test_signing_out_at_a_protected_origin_also_leads_to_the_provider(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    ApplicationFactory(origins=[WIKI], who="signed_in")
    sign_in(client, provider)
    cookie = f"__Host-ikd_gate={open_gate(SignIn.objects.get(), WIKI)}"
    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 200

    on = endpoint("/authgate/sign_out?rd=/bye", WIKI, SAME, cookie=cookie)["Location"]

    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 401
    assert "id_token" not in on
    _, sent = split_address(client.get(path_of(on))["Location"])
    assert client.get(f"/signed-out?state={sent['state']}")["Location"] == f"{WIKI}/bye"


def test_switching_accounts_signs_out_of_the_provider_too(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    Upstream.objects.update(is_default=True)
    sign_in(client, provider)

    _, sent = split_address(client.get(path_of(client.post("/switch-account")["Location"]))["Location"])
    back = client.get(f"/signed-out?state={sent['state']}")

    assert back["Location"] == f"{PORTAL}/accounts/login/"
    assert client.get("/accounts/login/").status_code == 200


def test_a_user_with_a_password_is_not_sent_to_a_provider(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    sign_in_with_password(client, "alice")

    assert client.post(OUT)["Location"] == "/signed-out"
    assert provider.asked == []


def test_a_cas_server_receives_the_address_to_return_to(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    cas = UpstreamFactory(slug="cas", kind="cas", server_url="https://cas.example.com/cas/")
    UpstreamSession.objects.update(upstream=cas, id_token="")

    answer = signed_out(client)

    assert split_address(answer["Location"]) == (
        "https://cas.example.com/cas/logout",
        {"service": SIGNED_OUT},
    )


def test_an_unencrypted_page_of_an_outside_provider_is_not_opened(
    client: PortalClient, provider: Provider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(client, provider)
    known = metadata.metadata_of(upstream)
    Upstream.objects.update(allow_private=False)
    outside = (upstream.issuer, False)
    monkeypatch.setitem(metadata._documents, outside, metadata._documents[(upstream.issuer, True)])
    assert known.end_session_endpoint.startswith("http://")

    assert signed_out(client)["Location"] == "/signed-out"
