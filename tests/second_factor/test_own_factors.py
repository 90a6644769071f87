"""Users set up and remove their own factors. Administrators remove those of other users."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.internal.flows.trust import IssuedTrust, create_config_fingerprint, encode_trust_cookie
from allauth.mfa.models import Authenticator
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.branding import brand
from accounts.models import Brand, RememberedDevice, StrictGroup, User
from accounts.second_factor.remembered import remember as remember_device
from authgate.models import AuditEvent, SignIn
from authgate.sign_ins import digest
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import PASSWORD, GroupFactory, UserFactory
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
USERS = "/admin/accounts/user/"


def confirm_password(client: Client) -> None:
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})


def set_up(client: Client, user: User) -> tuple[str, Any]:
    sign_in(client, user.username)
    confirm_password(client)
    secret = client.get(APP).context["form"].secret
    return secret, submit_code(client, code(secret), APP)


# ---- the user's own factors ----


@pytest.mark.parametrize(
    "page", ["app/", "app/remove/", "passkeys/add/", "codes/", "codes/new/", "passkeys/1/remove/"]
)
def test_a_user_must_confirm_the_password_before_changing_factors(
    client: Client, alice: User, page: str
) -> None:
    add_app(alice)
    Authenticator.objects.filter(type="totp").update(type="recovery_codes")
    Authenticator.objects.all().delete()
    sign_in(client, "alice")

    for answer in (client.get(f"{FACTORS}{page}"), client.post(f"{FACTORS}{page}")):
        assert answer.status_code in (302, 404)
        assert answer.status_code == 404 or answer["Location"].startswith("/accounts/reauthenticate/")


def test_setting_up_an_app_counts_as_a_second_factor(client: Client, alice: User) -> None:
    _, answer = set_up(client, alice)

    row = SignIn.objects.get()
    assert answer["Location"] == f"{FACTORS}codes/"
    assert row.second_factor_at is not None
    assert AuditEvent.objects.filter(kind="factor_added", subject="alice").exists()


def test_the_picture_is_in_the_page_and_the_policy_allows_it(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    confirm_password(client)

    body = client.get(APP).content.decode()

    assert "<svg" in body
    assert "data:" not in body
    assert "style=" not in body


def test_the_key_is_encrypted_until_it_is_confirmed(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    confirm_password(client)

    secret = client.get(APP).context["form"].secret

    assert secret not in str(dict(client.session.items()))


@pytest.mark.parametrize("text", ["", "000000", "9" * 4096, "\x00", "\u202e", "🔑"])
def test_a_wrong_first_code_sets_nothing_up(client: Client, alice: User, text: str) -> None:
    sign_in(client, "alice")
    confirm_password(client)
    client.get(APP)

    answer = submit_code(client, text, APP)

    assert answer.status_code == 200
    assert not Authenticator.objects.exists()


def test_the_code_that_set_it_up_does_not_sign_in(client: Client, other_browser: Client, alice: User) -> None:
    secret, _ = set_up(client, alice)
    sign_in(other_browser, "alice")

    submit_code(other_browser, code(secret))

    assert not is_signed_in(other_browser)


def test_recovery_codes_are_shown_once(client: Client, alice: User) -> None:
    set_up(client, alice)

    first, again = (client.get(f"{FACTORS}codes/").content.decode() for _ in range(2))

    codes = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()
    assert all(each in first for each in codes)
    assert not any(each in again for each in codes)


def test_removing_the_last_factor_ends_its_effect(client: Client, alice: User) -> None:
    secret = add_app(alice)
    add_recovery_codes(alice)
    sign_in_with_both(client, alice, secret)
    submit_code(client, code(secret), CONFIRM)

    client.post(f"{APP}remove/")

    assert not Authenticator.objects.exists()
    assert SignIn.objects.get().second_factor_at is None
    assert AuditEvent.objects.filter(kind="factor_removed", subject="alice").exists()


@pytest.mark.parametrize("page", ["rename", "remove"])
def test_a_passkey_of_another_user_is_not_found(client: Client, alice: User, bob: User, page: str) -> None:
    theirs = Authenticator.objects.create(user=bob, type="webauthn", data={"name": "bob's"})
    sign_in(client, "alice")
    confirm_password(client)

    answer = client.post(f"{FACTORS}passkeys/{theirs.pk}/{page}/", {"name": "mine"})

    assert answer.status_code == 404
    assert Authenticator.objects.get().data["name"] == "bob's"


@pytest.mark.parametrize(
    "credential",
    [
        "",
        "x",
        "null",
        "[]",
        "{}",
        '{"response": {}}',
        "[" * 9000,
        '"' + "x" * 20_000 + '"',
        '{"response": 1}',
    ],
    ids=["empty", "text", "null", "list", "object", "no data", "deep", "huge", "number"],
)
@pytest.mark.parametrize("page", ["/accounts/login/passkey/", f"{FACTORS}passkeys/add/"])
def test_other_bytes_instead_of_a_passkey_are_refused(
    client: Client, alice: User, page: str, credential: str
) -> None:
    if "add" in page:
        sign_in(client, "alice")
        confirm_password(client)
    client.get(page)

    answer = client.post(page, {"credential": credential, "name": "x"})

    assert answer.status_code in (200, 302)
    assert not Authenticator.objects.exists()


def test_devices_name_the_portal_by_its_brand(client: Client, alice: User) -> None:
    Brand.objects.create(name="\u7edf\u4e00\u767b\u5f55")
    brand.forget()
    sign_in(client, "alice")
    confirm_password(client)

    page = client.get(f"{FACTORS}passkeys/add/")

    brand.forget()
    options = json.loads(page.context["passkey_options"])["creation_options"]["publicKey"]
    assert options["rp"] == {"id": "sso.example.com", "name": "\u7edf\u4e00\u767b\u5f55"}


# ---- a remembered device ----


@pytest.fixture
def remembering(settings: Any) -> Any:
    settings.IKD_REMEMBERED_DEVICE_LIFETIME = settings.MFA_TRUST_COOKIE_AGE = 3600
    settings.MFA_TRUST_ENABLED = True
    return settings


def remember(client: Client, user: User, answer: str) -> str:
    secret = add_app(user)
    sign_in(client, user.username)
    submit_code(client, code(secret))
    client.post(f"{FACTORS}device/", {"action": answer})
    client.post("/accounts/logout/")
    sign_in(client, user.username)
    return secret


def test_a_remembered_device_needs_only_the_password(client: Client, alice: User, remembering: Any) -> None:
    remember(client, alice, "trust")

    row = SignIn.objects.get(ended_at=None)
    assert (row.methods, row.remembered_device, row.second_factor_at) == (["password"], True, None)


def test_a_device_that_is_not_remembered_needs_the_second_step(
    client: Client, alice: User, remembering: Any
) -> None:
    remember(client, alice, "no")

    assert not is_signed_in(client)


def test_another_users_remembered_device_needs_the_second_step(
    client: Client, alice: User, bob: User, remembering: Any
) -> None:
    add_app(bob)
    remember(client, alice, "trust")
    client.post("/accounts/logout/")

    sign_in(client, "bob")

    assert not is_signed_in(client)


def test_a_new_factor_forgets_devices(client: Client, alice: User, remembering: Any) -> None:
    remember(client, alice, "trust")
    client.post("/accounts/logout/")
    add_recovery_codes(alice)

    sign_in(client, "alice")

    assert not is_signed_in(client)


def remembered_rows(user: User) -> list[RememberedDevice]:
    return list(RememberedDevice.objects.filter(user=user).order_by("pk"))


def test_a_remembered_device_is_listed_and_forgotten_at_once(
    client: Client, alice: User, remembering: Any
) -> None:
    client.defaults["HTTP_USER_AGENT"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"
    remember(client, alice, "trust")
    [device] = remembered_rows(alice)
    page = client.get(FACTORS).content.decode()

    client.post(f"{FACTORS}devices/{device.pk}/forget/")

    assert "Firefox 140, Linux" in page and "Firefox 140, Linux" not in client.get(FACTORS).content.decode()
    assert not SignIn.objects.get(ended_at=None).remembered_device
    client.post("/accounts/logout/")
    sign_in(client, "alice")
    assert not is_signed_in(client)


def test_all_devices_can_be_forgotten_at_once(client: Client, alice: User, remembering: Any) -> None:
    remember(client, alice, "trust")

    client.post(f"{FACTORS}devices/forget/")

    assert remembered_rows(alice) == []


def test_a_user_cannot_see_or_forget_another_users_device(
    client: Client, alice: User, bob: User, remembering: Any
) -> None:
    remember(client, alice, "trust")
    [device] = remembered_rows(alice)
    client.post("/accounts/logout/")
    sign_in(client, "bob")

    assert client.post(f"{FACTORS}devices/{device.pk}/forget/").status_code == 404
    client.post(f"{FACTORS}devices/forget/")
    assert "Remembered devices" not in client.get(FACTORS).content.decode()
    assert remembered_rows(alice) == [device]


def test_remembering_a_device_replaces_an_earlier_cookie(
    client: Client, alice: User, remembering: Any
) -> None:
    """An attacker who sets a cookie in a browser gains nothing when the portal remembers the browser."""
    client.cookies["__Host-ikd_device"] = "x" * 43
    remember(client, alice, "trust")

    value = client.cookies["__Host-ikd_device"].value
    assert value != "x" * 43 and len(value) == 43
    assert [bytes(row.token_digest) for row in remembered_rows(alice)] == [digest(value)]


def test_two_users_are_remembered_in_one_browser(
    client: Client, alice: User, bob: User, remembering: Any
) -> None:
    remember(client, alice, "trust")
    client.post("/accounts/logout/")
    remember(client, bob, "trust")
    client.post("/accounts/logout/")

    sign_in(client, "alice")

    assert is_signed_in(client)


@pytest.mark.parametrize("what", ["password", "time", "shorter", "switched off", "reset"])
def test_a_remembered_device_ends_with(
    client: Client, alice: User, carol: User, remembering: Any, what: str
) -> None:
    secret = remember(client, alice, "trust")
    client.post("/accounts/logout/")
    if what == "password":
        alice.set_password(PASSWORD)
        alice.save()
    elif what == "time":
        RememberedDevice.objects.update(expires_at=timezone.now())
    elif what == "shorter":
        RememberedDevice.objects.update(created_at=timezone.now() - timedelta(seconds=61))
        remembering.IKD_REMEMBERED_DEVICE_LIFETIME = 60
    elif what == "switched off":
        remembering.IKD_REMEMBERED_DEVICE_LIFETIME = 0
    else:
        administrator = Client(SERVER_NAME="sso.example.com")
        administrator.defaults |= client.defaults
        sign_in(administrator, "carol")
        reset(administrator, alice)
        assert remembered_rows(alice) == []
        add_app(alice)

    sign_in(client, "alice")

    assert not is_signed_in(client)
    assert secret


def test_only_the_newest_devices_are_remembered(rf: RequestFactory, alice: User, remembering: Any) -> None:
    for number in range(25):
        remember_device(rf.get("/", headers={"user-agent": f"browser {number}"}), alice, HttpResponse())

    names = [row.user_agent for row in remembered_rows(alice)]
    assert names == [f"browser {number}" for number in range(5, 25)]


@pytest.mark.parametrize("name", ["mfa_trusted", "__Host-ikd_device"])
def test_a_cookie_signed_by_the_library_is_not_accepted(
    client: Client, alice: User, remembering: Any, name: str
) -> None:
    """A user could not remove it, because only the browser with the cookie knows of it."""
    add_app(alice)
    trust = IssuedTrust(create_config_fingerprint(alice), int(timezone.now().timestamp()))
    client.cookies[name] = encode_trust_cookie([trust])

    sign_in(client, "alice")

    assert not is_signed_in(client)


# ---- administrators ----


def reset(client: Client, user: User) -> Any:
    chosen = {"action": "reset_factors", "_selected_action": [user.pk], "confirmed": "yes", "post": "yes"}
    return client.post(USERS, chosen)


def test_an_administrator_resets_the_factors_of_a_user(
    client: Client, other_browser: Client, alice: User, carol: User
) -> None:
    sign_in_with_both(other_browser, alice, add_app(alice))
    sign_in(client, "carol")

    reset(client, alice)

    assert not Authenticator.objects.exists()
    assert not is_signed_in(other_browser)
    event = AuditEvent.objects.get(kind="factors_reset")
    assert (event.actor, event.subject) == ("carol", "alice")


def test_staff_do_not_reset_the_factors_of_a_superuser(client: Client, carol: User) -> None:
    add_app(carol)
    erin = UserFactory(username="erin", is_staff=True)
    from django.contrib.auth.models import Permission

    erin.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
    sign_in(client, "erin")

    reset(client, carol)

    assert Authenticator.objects.filter(user=carol).exists()


def test_no_page_of_the_administration_shows_the_secrets_of_factors(client: Client, carol: User) -> None:
    sign_in(client, "carol")
    secret = add_app(carol)

    body = client.get(f"{USERS}{carol.pk}/change/").content.decode()

    assert "TOTP" in body
    assert secret not in body
    assert Authenticator.objects.get().data["secret"] not in body
    assert client.get("/admin/mfa/authenticator/").status_code == 404


@pytest.mark.parametrize("wanted", [True, False])
def test_a_group_can_require_a_second_factor(client: Client, carol: User, wanted: bool) -> None:
    group = GroupFactory(name="staff")
    if not wanted:
        StrictGroup.objects.create(group=group)
    sign_in(client, "carol")

    client.post(
        f"/admin/accounts/group/{group.pk}/change/",
        {"name": "staff", **({"second_factor": "on"} if wanted else {})},
    )

    assert StrictGroup.objects.filter(group=group).exists() is wanted


def test_secrets_move_to_a_new_key(alice: User, settings: Any) -> None:
    secret, earlier = add_app(alice), settings.IKD_ENCRYPTION_KEYS
    settings.IKD_ENCRYPTION_KEYS = ["another key of more than thirty-two characters", *earlier]

    call_command("reencrypt")

    settings.IKD_ENCRYPTION_KEYS = settings.IKD_ENCRYPTION_KEYS[:1]
    from accounts.second_factor.codes import use_code

    assert use_code(alice, code(secret)) is not None
