"""What allauth refuses beneath the portal's own guards. A release that stops refusing it fails here."""

from __future__ import annotations

import time
from typing import Any

import pytest
import time_machine
from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.flows.reauthentication import did_recently_reauthenticate
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import ViewRecoveryCodesView
from django.test import RequestFactory

from accounts.models import User
from tests.second_factor.factors import add_app, add_recovery_codes, code

pytestmark = pytest.mark.django_db


def request_of(user: Any) -> Any:
    request = RequestFactory().get("/")
    request.user, request.session = user, {}  # type: ignore[assignment]
    return request


def test_a_code_is_accepted_once(alice: User, settings: Any) -> None:
    settings.MFA_TOTP_TOLERANCE = 1
    start = time.time() // 30 * 30
    with time_machine.travel(start, tick=False) as clock:
        digits = code(add_app(alice), 1)
        app = Authenticator.objects.get(user=alice).wrap()
        first = app.validate_code(digits)
        clock.shift(45)

        again = app.validate_code(digits)

    assert (first, again) == (True, False)


def test_recovery_codes_are_not_cached(alice: User) -> None:
    add_recovery_codes(alice)
    request = request_of(alice)
    record_authentication(request, alice, "password", reauthenticated=True)

    answer = ViewRecoveryCodesView.as_view()(request)

    assert "no-store" in answer.headers["Cache-Control"]


def test_a_user_without_factors_has_not_reauthenticated(alice: User) -> None:
    alice.set_unusable_password()

    assert not did_recently_reauthenticate(request_of(alice))
