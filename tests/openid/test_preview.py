"""The preview of a client's claims in the admin, which issues no token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser

from accounts.models import User
from authgate.models import Rule, SignIn
from openid.models import Client, Grant, Token
from tests.accounts.conftest import PortalClient
from tests.accounts.writing import nothing_written_if
from tests.admin.conftest import browser_of, carols, sam, sams  # noqa: F401
from tests.openid.relying_party import RelyingParty

ANY_SIGN_IN = {"iat", "exp", "auth_time", "sid", "nonce", "at_hash"}


def page(rp: RelyingParty) -> str:
    return f"/admin/openid/client/{rp.client.pk}/preview/"


def ask(browser: Browser, rp: RelyingParty, person: str = "alice", **fields: Any) -> Any:
    asked = {"person": person, "scopes": ["openid", "profile", "email", "groups"], "address": "192.0.2.1"}
    return browser.post(page(rp), {**asked, **fields})


def test_the_previewed_claims_are_those_of_the_client(
    browser: PortalClient,
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
) -> None:
    tokens = rp.tokens(browser)
    real, told = rp.verified(tokens["id_token"]), json.loads(rp.userinfo(tokens["access_token"]).content)

    preview = ask(carols, rp).context["preview"]

    assert preview.verdict.name == "ALLOW"
    assert preview.userinfo == told
    assert set(preview.id_token) == set(real)
    kept = set(real) - ANY_SIGN_IN
    assert {name: preview.id_token[name] for name in kept} == {name: real[name] for name in kept}


def test_only_the_chosen_scopes_count(rp: RelyingParty, alice: User, carols: Browser) -> None:  # noqa: F811
    preview = ask(carols, rp, scopes=["email"]).context["preview"]

    assert preview.userinfo == {"sub": str(alice.uuid), "email": "alice@example.com", "email_verified": True}


def test_a_scope_that_the_client_lacks_is_refused(
    rp: RelyingParty,
    alice: User,
    carols: Browser,  # noqa: F811
) -> None:
    Client.objects.update(scopes="openid")

    response = ask(carols, rp, scopes=["groups"])

    assert "scopes" in response.context["form"].errors
    assert response.context["preview"] is None


def expected(rp: RelyingParty, browser: Browser, person: str, **fields: Any) -> tuple[str, str]:
    preview = ask(browser, rp, person, **fields).context["preview"]
    return preview.verdict.name, preview.machine_reason


def test_a_user_whom_no_rule_admits_is_refused_with_the_reason(
    rp: RelyingParty,
    bob: User,
    carols: Browser,  # noqa: F811
) -> None:
    response = ask(carols, rp, "bob")

    assert response.context["preview"].verdict.name == "REFUSE"
    body = response.content.decode()
    assert "The user is in one of the groups: staff." in body
    assert "The client receives nothing now." in body


def test_a_disabled_user_and_a_disabled_client_are_refused(
    rp: RelyingParty,
    alice: User,
    dave: User,
    carols: Browser,  # noqa: F811
) -> None:
    assert expected(rp, carols, "dave")[0] == "REFUSE"
    Client.objects.update(enabled=False)
    assert b"The client is disabled." in ask(carols, rp).content


def test_the_preview_names_a_required_second_factor(
    rp: RelyingParty,
    alice: User,
    carols: Browser,  # noqa: F811
) -> None:
    Rule.objects.update(second_factor=True)

    assert expected(rp, carols, "alice")[0] == "STEP_UP"
    assert expected(rp, carols, "alice", second_factor="on")[0] == "ALLOW"
    told = ask(carols, rp, second_factor="on").context["preview"].id_token
    assert (told["acr"], told["amr"]) == ("2fa", ["pwd", "otp", "mfa"])


def test_the_client_address_counts(rp: RelyingParty, alice: User, carols: Browser) -> None:  # noqa: F811
    Rule.objects.update(networks="198.51.100.0/24")

    assert expected(rp, carols, "alice")[0] == "REFUSE"
    assert expected(rp, carols, "alice", address="198.51.100.7")[0] == "ALLOW"
    assert "address" in ask(carols, rp, address="nonsense").context["form"].errors


@pytest.mark.parametrize("person", ["nobody", "", "a\x00b", "x" * 151, "\u202ealice"])
def test_an_unknown_user_is_an_error_of_the_form(
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
    person: str,
) -> None:
    response = ask(carols, rp, person)

    assert response.status_code == 200
    assert "person" in response.context["form"].errors


def test_nothing_is_issued_and_nothing_is_written(
    rp: RelyingParty,
    alice: User,
    carols: Browser,  # noqa: F811
) -> None:
    carols.get(page(rp))
    before = SignIn.objects.count()

    with nothing_written_if(lambda: True):
        assert ask(carols, rp).status_code == 200

    assert not Grant.objects.exists() and not Token.objects.exists()
    assert SignIn.objects.count() == before


@pytest.mark.parametrize("lacking", ["view_client", "view_user", "explain_access"])
def test_staff_who_lack_one_permission_see_nothing(
    rp: RelyingParty,
    alice: User,
    sam: User,  # noqa: F811
    browser_of: Any,  # noqa: F811
    lacking: str,
) -> None:
    sam.user_permissions.remove(*Permission.objects.filter(codename=lacking))
    sams_browser = browser_of(sam)

    for response in (sams_browser.get(page(rp)), ask(sams_browser, rp)):
        assert response.status_code == 403
        assert b"alice" not in response.content


def test_staff_with_all_three_permissions_see_the_preview(
    rp: RelyingParty,
    alice: User,
    sams: Browser,  # noqa: F811
) -> None:
    assert ask(sams, rp).context["preview"].verdict.name == "ALLOW"


@pytest.mark.parametrize("key", ["0", "9" * 30, str(2**63)])
def test_an_unknown_client_is_not_found(carols: Browser, rp: RelyingParty, key: str) -> None:  # noqa: F811
    assert carols.get(f"/admin/openid/client/{key}/preview/").status_code == 404


def test_the_preview_is_not_cached_and_makes_few_queries(
    rp: RelyingParty,
    alice: User,
    carols: Browser,  # noqa: F811
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(30):
        Rule.objects.create(application=rp.client.application, path=f"/{number}", who=Rule.Who.SIGNED_IN)
    ask(carols, rp)

    with django_assert_max_num_queries(18):
        assert "no-store" in ask(carols, rp)["Cache-Control"]
