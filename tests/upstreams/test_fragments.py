"""Fragments on the way to a provider: validated, bounded, and in no address or log."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from accounts.models import Upstream, User
from authgate.models import AuditEvent, KeptPage
from tests.accounts.conftest import PortalClient
from tests.second_factor.factors import add_app, code
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import START, sign_in

PAGE = "https://sso.example.com/accounts/"


def end_with(client: PortalClient, provider: Provider, fragment: str, page: str = PAGE) -> str:
    left = client.post(f"{START}?next={page}", {"fragment": fragment})
    assert fragment not in left["Location"] or not fragment
    return client.get(provider.sign_in(left["Location"]))["Location"]


@pytest.mark.parametrize("fragment", ["part-2", "#part-2", "/route?x=1&y=%E4%B8%AD", "a" * 2048])
def test_a_fragment_is_restored(
    client: PortalClient, provider: Provider, upstream: Upstream, fragment: str
) -> None:
    assert end_with(client, provider, fragment) == f"{PAGE}#{fragment.removeprefix('#')}"


REFUSED = {
    "nothing": "",
    "a line break": "a\r\nSet-Cookie: x=1",
    "a space": "a b",
    "a character outside ASCII": "é",
    "too long": "a" * 2049,
    "an access token": "access_token=abc&token_type=bearer",
    "an ID token": "state=1&id_token=abc",
    "a code": "/?code=abc",
}


@pytest.mark.parametrize("fragment", REFUSED.values(), ids=REFUSED)
def test_a_fragment_is_left_out(
    client: PortalClient, provider: Provider, upstream: Upstream, fragment: str
) -> None:
    assert end_with(client, provider, fragment) == PAGE
    assert not KeptPage.objects.exists()


def test_a_fragment_leads_to_no_foreign_page(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    assert end_with(client, provider, "part-4711", page="https://evil.example/") == "/"


def test_a_form_of_another_site_begins_no_attempt(upstream: Upstream, provider: Provider) -> None:
    browser = PortalClient(HTTP_HOST="sso.example.com", enforce_csrf_checks=True)

    assert browser.post(f"{START}?next={PAGE}", {"fragment": "x"}).status_code == 403


def test_a_fragment_is_in_no_event_and_no_log(
    client: PortalClient, provider: Provider, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    provider.answers["/token"] = (500, {}, b"")
    left = client.post(f"{START}?next={PAGE}", {"fragment": "private-4711"})

    client.get(provider.sign_in(left["Location"]))

    ours = "".join(each.getMessage() for each in caplog.records if not each.name.startswith("django.db"))
    assert "4711" not in ours + str(list(AuditEvent.objects.values()))


def test_a_browser_sends_no_fragment_to_the_provider(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    left = client.get(START, headers={"sec-fetch-mode": "navigate"})

    assert left["Location"].endswith("#")


@pytest.mark.parametrize(("accept", "status"), [("text/html,*/*;q=0.8", 200), ("*/*", 302)])
def test_a_browser_gets_a_page_before_the_default_provider(
    client: PortalClient, upstream: Upstream, accept: str, status: int
) -> None:
    Upstream.objects.update(is_default=True)

    answer = client.get("/accounts/login/?next=/accounts/", headers={"accept": accept})

    assert answer.status_code == status
    if status == 200:
        page = answer.content.decode()
        assert "Taking you to Campus" in page and "no-store" in answer["Cache-Control"]
        assert 'url=/upstreams/campus/start?next=https%3A%2F%2Fsso.example.com%2Faccounts%2F"' in page


# ---- access to a kept page --------------------------------------------------------------------------------

REVEALING = {
    "going on with the attempt": "/upstreams/campus/start?attempt=",
    "bringing its answer": "/upstreams/campus/callback?code=x&state=",
}


@pytest.mark.parametrize("path", REVEALING.values(), ids=REVEALING)
def test_a_provider_cannot_read_a_fragment_with_the_state(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream, path: str
) -> None:
    left = client.post(f"{START}?next={PAGE}", {"fragment": "private-4711"})
    state = asked(left["Location"])["state"]
    sign_in(other_browser, provider)

    answer = other_browser.get(path + state, headers={"x-forwarded-for": "203.0.113.200"})

    assert "4711" not in answer.headers.get("Location", "") + answer.content.decode()
    assert client.get(provider.sign_in(left["Location"]))["Location"] == f"{PAGE}#private-4711"


def test_a_tab_with_a_cookie_that_another_tab_replaced_keeps_its_fragment(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    left = client.post(f"{START}?next={PAGE}", {"fragment": "part-4711"})
    [name] = [name for name in client.cookies if "attempt" in name]
    client.cookies[name] = "another-tabs-cookie-42"

    again = client.get(client.get(provider.sign_in(left["Location"]))["Location"])

    assert client.get(provider.sign_in(again["Location"]))["Location"] == f"{PAGE}#part-4711"


def asked(location: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def test_a_second_factor_after_the_provider_keeps_the_fragment(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    user = User.objects.get(username="alice-there")
    client.post("/accounts/logout/")
    secret = add_app(user)

    left = client.post(f"{START}?next={PAGE}", {"fragment": "part-4711"})
    asked_for_code = client.get(provider.sign_in(left["Location"]))
    answer = client.post(asked_for_code["Location"], {"code": code(secret)})

    assert answer["Location"] == f"{PAGE}#part-4711"
