"""A passkey instead of the password: it must have asked for its PIN or fingerprint."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from authgate.models import SignIn
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.second_factor.security_key import SecurityKey

pytestmark = pytest.mark.django_db(transaction=True)

ALONE = "/accounts/login/passkey/"
STEP = "/accounts/second-factor/sign-in/"


def challenge_of(options: Any) -> str:
    return str(options["request_options"]["publicKey"]["challenge"])


def wait_until_the_second_step_is_too_old(client: Client) -> None:
    """Let the second step expire. Until then, the page of the second step is the only page.

    The thief came by a provider, so the session has no password that the sign-in must belong to.
    """
    session = client.session
    session["account_login"]["initiated_at"] -= 3600
    del session["password_given"]
    session.save()


@pytest.mark.parametrize("with_pin", [True, False])
def test_a_passkey_signs_in_only_with_its_pin(client: Client, alice: User, with_pin: bool) -> None:
    key = SecurityKey()
    key.enrol(alice)
    asked = challenge_of(client.get(ALONE).json())

    client.post(ALONE, {"credential": key.answer(asked, alice, with_pin=with_pin)})

    assert is_signed_in(client) is with_pin
    assert SignIn.objects.filter(passkey_at__isnull=False).exists() is with_pin


def test_a_stolen_key_cannot_sign_the_challenge_of_the_thiefs_own_second_step(
    client: Client, alice: User, bob: User
) -> None:
    stolen, own = SecurityKey(), SecurityKey()
    stolen.enrol(alice)
    own.enrol(bob)
    sign_in(client, "bob")
    page = client.get(STEP)
    asked = challenge_of(json.loads(page.context["passkey_options"]))

    wait_until_the_second_step_is_too_old(client)
    client.post(ALONE, {"credential": stolen.answer(asked, alice)})

    assert not is_signed_in(client)
