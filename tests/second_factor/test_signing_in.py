"""Signing in with two steps: no page opens between them, and no code works twice."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from accounts.models import User
from authgate.models import AuditEvent, SignIn
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.second_factor.factors import STEP, add_app, add_recovery_codes, code, submit_code

pytestmark = pytest.mark.django_db


def test_the_password_alone_leads_to_the_second_step(client: Client, alice: User) -> None:
    add_app(alice)

    response = sign_in(client, "alice")

    assert response["Location"] == STEP
    assert not SignIn.objects.exists()


@pytest.mark.parametrize(
    "page",
    [
        "/",
        "/accounts/second-factor/",
        "/accounts/second-factor/app/",
        "/accounts/second-factor/app/remove/",
        "/accounts/second-factor/codes/",
        "/accounts/second-factor/passkeys/add/",
        "/accounts/second-factor/code/",
        "/accounts/password/change/",
        "/accounts/tokens/",
        "/accounts/tokens/new/",
        "/accounts/providers/",
        "/admin/",
    ],
)
def test_no_page_opens_between_the_steps(client: Client, carol: User, page: str) -> None:
    add_app(carol)
    sign_in(client, "carol")

    response = client.get(page)

    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")


def test_the_right_code_signs_in(client: Client, alice: User) -> None:
    secret = add_app(alice)
    sign_in(client, "alice")

    submit_code(client, code(secret))

    row = SignIn.objects.get()
    assert is_signed_in(client)
    assert row.methods == ["password", "totp"]
    assert row.second_factor_at is not None


def test_a_user_without_a_factor_signs_in_with_the_password(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    row = SignIn.objects.get()
    assert (row.methods, row.second_factor_at, row.remembered_device) == (["password"], None, False)


def test_the_requested_page_follows_the_second_step(client: Client, alice: User) -> None:
    secret = add_app(alice)
    sign_in(client, "alice", page="/accounts/login/?next=/accounts/tokens/")

    response = submit_code(client, code(secret))

    assert response["Location"].endswith("/accounts/tokens/")


@pytest.mark.parametrize(
    "text",
    ["", "000000", "0" * 65, "\uff11\uff12", "\x00", "\u202e123456", "🔑", "12345", "1234567", " ", "-"],
    ids=["empty", "wrong", "huge", "wide", "nul", "bidi", "emoji", "short", "long", "space", "dash"],
)
def test_a_wrong_code_does_not_sign_in(client: Client, alice: User, text: str) -> None:
    add_app(alice)
    sign_in(client, "alice")

    response = submit_code(client, text)

    assert response.status_code == 200
    assert not SignIn.objects.exists()


def test_digits_may_be_separated_by_a_space(client: Client, alice: User) -> None:
    digits = code(add_app(alice))
    sign_in(client, "alice")

    submit_code(client, f"{digits[:3]} {digits[3:]}")

    assert is_signed_in(client)


def test_a_code_works_once(client: Client, other_browser: Client, alice: User) -> None:
    digits = code(add_app(alice))
    for browser in (client, other_browser):
        sign_in(browser, "alice")
        submit_code(browser, digits)

    assert is_signed_in(client)
    assert not is_signed_in(other_browser)


def test_a_code_older_than_the_used_one_does_not_work(
    client: Client, other_browser: Client, alice: User
) -> None:
    secret = add_app(alice)
    for browser, steps in ((client, 1), (other_browser, 0)):
        sign_in(browser, "alice")
        submit_code(browser, code(secret, steps))

    assert is_signed_in(client)
    assert not is_signed_in(other_browser)


@pytest.mark.parametrize(("steps", "opens"), [(-2, False), (-1, True), (1, True), (2, False)])
def test_a_clock_may_be_wrong_by_half_a_minute(client: Client, alice: User, steps: int, opens: bool) -> None:
    secret = add_app(alice)
    sign_in(client, "alice")

    submit_code(client, code(secret, steps))

    assert is_signed_in(client) is opens


def test_a_recovery_code_works_once(client: Client, other_browser: Client, alice: User) -> None:
    add_app(alice)
    codes = add_recovery_codes(alice)
    for browser in (client, other_browser):
        sign_in(browser, "alice")
        submit_code(browser, codes[3])

    assert is_signed_in(client)
    assert not is_signed_in(other_browser)
    assert SignIn.objects.get().methods == ["password", "recovery_codes"]
    assert AuditEvent.objects.filter(kind="recovery_code_used", subject="alice").count() == 1


def test_another_users_code_does_not_sign_in(client: Client, alice: User, bob: User) -> None:
    add_app(alice)
    theirs = code(add_app(bob))
    sign_in(client, "alice")

    submit_code(client, theirs)

    assert not is_signed_in(client)


def test_a_user_disabled_between_the_steps_is_not_signed_in(client: Client, alice: User) -> None:
    secret = add_app(alice)
    sign_in(client, "alice")
    User.objects.update(is_active=False)

    submit_code(client, code(secret))

    assert not is_signed_in(client)


def test_a_user_with_a_new_password_between_the_steps_is_not_signed_in(client: Client, alice: User) -> None:
    secret = add_app(alice)
    sign_in(client, "alice")
    alice.set_password("another horse battery")
    alice.save()

    submit_code(client, code(secret))

    assert not is_signed_in(client)


def test_the_second_step_without_the_first_leads_to_the_first(client: Client, alice: User) -> None:
    secret = add_app(alice)

    response = submit_code(client, code(secret))

    assert response["Location"] == "/accounts/login/"
    assert not is_signed_in(client)


def test_a_form_posted_twice_signs_in_once(client: Client, alice: User) -> None:
    digits = code(add_app(alice))
    sign_in(client, "alice")

    submit_code(client, digits)
    again = submit_code(client, digits)

    assert again.status_code == 302
    assert SignIn.objects.count() == 1


def test_a_stale_form_is_refused(alice: User) -> None:
    secret = add_app(alice)
    strict = Client(enforce_csrf_checks=True, HTTP_HOST="sso.example.com")

    response = strict.post(STEP, {"code": code(secret)}, secure=True)

    assert response.status_code == 403


def test_after_five_wrong_codes_the_right_one_is_delayed_too(client: Client, alice: User) -> None:
    secret = add_app(alice)
    sign_in(client, "alice")
    for _ in range(5):
        submit_code(client, "000000")

    response = submit_code(client, code(secret))

    assert response.status_code == 429
    assert not is_signed_in(client)


@pytest.mark.long
def test_wrong_codes_from_elsewhere_do_not_lock_the_user_out(
    client: Client, other_browser: Client, alice: User
) -> None:
    SignIn.objects.create(
        user=alice,
        address="192.0.2.7",
        idle_timeout=1,
        started_at=alice.date_joined,
        last_seen_at=alice.date_joined,
        expires_at=alice.date_joined,
    )
    secret = add_app(alice)
    for number in range(8):
        address = f"203.0.113.{number}"
        sign_in(other_browser, "alice", address=address)
        for _ in range(5):
            submit_code(other_browser, "000000", address=address)

    sign_in(client, "alice", address="192.0.2.7")
    submit_code(client, code(secret), address="192.0.2.7")

    assert is_signed_in(client)


@pytest.mark.long
def test_without_the_password_a_stranger_cannot_use_up_a_users_attempts(
    client: Client, other_browser: Client, alice: User
) -> None:
    """A name that strangers type must not select the counter of a user's codes."""
    secret = add_app(alice)
    for number in range(31):
        for name in (f"second factor {alice.pk}", f"{alice.pk}", f"account {alice.pk}"):
            sign_in(other_browser, name, "wrong", address=f"203.0.113.{number}")

    sign_in(client, "alice", address="198.51.100.7")
    submit_code(client, code(secret), address="198.51.100.7")

    assert is_signed_in(client)


def test_wrong_codes_leave_an_event_without_the_code(client: Client, alice: User) -> None:
    add_app(alice)
    sign_in(client, "alice")

    submit_code(client, "271828")

    event = AuditEvent.objects.get(kind="second_factor_failed")
    assert (event.subject, event.reason) == ("alice", "wrong code")
    assert "271828" not in str(vars(event))


def test_stored_factors_contain_no_plain_secret(client: Client, alice: User) -> None:
    secret = add_app(alice)
    codes = add_recovery_codes(alice)

    stored = " ".join(str(row.data) for row in Authenticator.objects.all())

    assert secret not in stored
    assert not [each for each in codes if each in stored]
