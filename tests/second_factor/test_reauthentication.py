"""Factors change only after the user confirms their identity, even if the only way in is a provider."""

from __future__ import annotations

import time
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.test import Client

from accounts.models import Identity, User
from tests.accounts.signing_in import sign_in
from tests.factories import PASSWORD, UpstreamFactory
from tests.second_factor.factors import (
    CONFIRM,
    add_app,
    add_recovery_codes,
    code,
    sign_in_with_both,
    submit_code,
)

pytestmark = pytest.mark.django_db(transaction=True)

FACTORS = "/accounts/second-factor/"
APP = f"{FACTORS}app/"
SENSITIVE = ["app/", "codes/", "codes/new/", "passkeys/add/", "app/remove/"]


@pytest.fixture
def by_provider(client: Client, alice: User) -> Client:
    """A browser of a user who has just signed in, with only a provider and a confirmed address."""
    alice.set_unusable_password()
    alice.save()
    client.force_login(alice, backend="accounts.backends.PasswordBackend")
    Identity.objects.create(upstream=UpstreamFactory(slug="campus"), subject="1", user=alice)
    EmailAddress.objects.filter(user=alice).update(verified=True)
    return client


@pytest.mark.parametrize("page", SENSITIVE)
def test_pages_of_factors_are_not_cached(client: Client, alice: User, page: str) -> None:
    secret = add_app(alice)
    add_recovery_codes(alice)
    sign_in_with_both(client, alice, secret)
    submit_code(client, code(secret), CONFIRM)
    if page == "app/":
        Authenticator.objects.all().delete()
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    answer = client.get(f"{FACTORS}{page}")

    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_user_of_a_provider_sets_an_app_up_and_sees_the_codes(by_provider: Client, alice: User) -> None:
    secret = by_provider.get(APP).context["form"].secret

    answer = submit_code(by_provider, code(secret), APP)

    assert answer["Location"] == f"{FACTORS}codes/"
    assert set(Authenticator.objects.values_list("type", flat=True)) == {"totp", "recovery_codes"}


def test_a_user_of_a_provider_gets_the_page_for_passkeys(by_provider: Client) -> None:
    assert by_provider.get(f"{FACTORS}passkeys/add/").status_code == 200


@pytest.mark.parametrize("page", ["app/", "passkeys/add/"])
def test_after_some_minutes_the_provider_is_asked_first(by_provider: Client, page: str) -> None:
    secret = by_provider.get(APP).context["form"].secret

    with time_machine.travel(time.time() + 301, tick=True):
        answers = [
            by_provider.get(f"{FACTORS}{page}"),
            submit_code(by_provider, code(secret), f"{FACTORS}{page}"),
        ]

    assert all(answer["Location"].startswith("/accounts/providers/confirm/") for answer in answers)
    assert not Authenticator.objects.exists()


def test_a_user_who_cannot_confirm_cannot_set_up_a_factor(by_provider: Client) -> None:
    secret = by_provider.get(APP).context["form"].secret
    Identity.objects.all().delete()

    with time_machine.travel(time.time() + 301, tick=True):
        answers = [by_provider.get(APP), submit_code(by_provider, code(secret), APP)]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert not Authenticator.objects.exists()


@pytest.mark.parametrize("factor", [True, False])
def test_access_to_the_mailbox_does_not_confirm_a_user(client: Client, alice: User, factor: bool) -> None:
    EmailAddress.objects.filter(user=alice).update(verified=True)
    if factor:
        sign_in_with_both(client, alice, add_app(alice))
    else:
        sign_in(client, "alice")

    page: Any = client.get("/accounts/reauthenticate/", follow=True)

    ways = [way["id"] for way in page.context["reauthentication_alternatives"]]
    assert page.status_code == 200
    assert "reauthenticate_by_code" not in ways
    assert client.get("/accounts/reauthenticate/code/").status_code == 404
