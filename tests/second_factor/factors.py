"""Users' second factors in tests."""

from __future__ import annotations

import time
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.test import Client

from accounts.models import User
from tests.accounts.signing_in import sign_in

STEP = "/accounts/second-factor/sign-in/"
CONFIRM = "/accounts/second-factor/code/"


def add_app(user: User) -> str:
    """Set up an authenticator app for a user, and return its secret."""
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    return secret


def add_recovery_codes(user: User) -> list[str]:
    return RecoveryCodes.activate(user).generate_codes()


def code(secret: str, steps: int = 0) -> str:
    """Return the current code, or the one some time steps later."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))


def submit_code(client: Client, text: str, page: str = STEP, **more: Any) -> Any:
    headers = {"REMOTE_ADDR": more.pop("address")} if "address" in more else {}
    return client.post(page, {"code": text, **more}, **headers)


def sign_in_with_both(client: Client, user: User, secret: str) -> None:
    sign_in(client, user.username)
    response = submit_code(client, code(secret))
    assert response.status_code == 302
    # So that the test may still use the code of this moment.
    row = Authenticator.objects.get(user=user, type="totp")
    row.data.pop("last_counter")
    row.save()
