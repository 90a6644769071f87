"""OpenID Connect while an application is under maintenance: clients try again, and nothing ends."""

from __future__ import annotations

from typing import Any

from accounts.models import User
from authgate.models import Application
from openid.models import Grant
from openid.sweep import end_unadmitted
from tests.accounts.conftest import PortalClient
from tests.openid.relying_party import RelyingParty, parameters_of

WORDS = "Back at <noon>"


def close(wiki: Application) -> None:
    wiki.maintenance, wiki.maintenance_text, wiki.maintenance_minutes = True, WORDS, 5
    wiki.save()


def test_the_authorization_endpoint_shows_the_maintenance_text(
    browser: PortalClient, wiki: Application, rp: RelyingParty
) -> None:
    close(wiki)
    answer = browser.get(rp.url())

    assert (answer.status_code, answer["Retry-After"]) == (503, "300")
    assert "Back at &lt;noon&gt;" in answer.content.decode()


def test_a_silent_request_gets_temporarily_unavailable(
    browser: PortalClient, wiki: Application, rp: RelyingParty
) -> None:
    close(wiki)

    assert parameters_of(browser.get(rp.url(prompt="none")))["error"] == "temporarily_unavailable"


def test_an_owner_signs_in(browser: PortalClient, wiki: Application, rp: RelyingParty, alice: User) -> None:
    close(wiki)
    wiki.owners.add(alice)

    assert "code" in parameters_of(browser.get(rp.url()))


def test_a_refresh_token_waits_and_is_used_afterwards(
    browser: PortalClient, wiki: Application, rp: RelyingParty
) -> None:
    tokens = rp.tokens(browser, scope="openid offline_access")
    close(wiki)
    meanwhile = rp.refresh(tokens["refresh_token"])
    ended = end_unadmitted()
    Application.objects.update(maintenance=False)
    afterwards = rp.refresh(tokens["refresh_token"])

    assert (meanwhile.status_code, meanwhile["Retry-After"]) == (503, "300")
    assert meanwhile.json()["error"] == "temporarily_unavailable"
    assert (ended, Grant.objects.filter(ended_at=None).count()) == (0, 1)
    assert afterwards.status_code == 200


def test_the_rules_still_end_grants_meanwhile(
    browser: PortalClient, wiki: Application, rp: RelyingParty
) -> None:
    rp.tokens(browser)
    close(wiki)
    wiki.rules.all().delete()

    assert end_unadmitted() == 1


def test_the_refused_page_has_the_applications_text(
    client: PortalClient, wiki: Application, rp: RelyingParty, bob: User
) -> None:
    from tests.accounts.signing_in import begin_session

    wiki.refusal_text = "Ask team X"
    wiki.save()
    begin_session(client, "bob")
    answer: Any = client.get(rp.url())

    assert (answer.status_code, "Ask team X" in answer.content.decode()) == (403, True)
