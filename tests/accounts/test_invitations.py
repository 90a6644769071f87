"""Invitations and registration: a link creates one account, in groups that the inviter may assign."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.models import Invitation, User
from accounts.onboarding import invitations
from tests.accounts.conftest import PORTAL
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import PASSWORD, GroupFactory, UserFactory

pytestmark = pytest.mark.django_db

ADD = "/admin/accounts/invitation/add/"


@pytest.fixture(autouse=True)
def empty_cache(db: None) -> None:
    cache.clear()


def link(inviter: User | None, *groups: Any, email: str = "") -> str:
    _, url = invitations.invite(email=email, groups=groups, days=1, inviter=inviter)
    return url.removeprefix(PORTAL)


def accept(client: Client, url: str, name: str = "frank", **more: str) -> Any:
    return client.post(url, {"username": name, "password1": PASSWORD, "password2": PASSWORD, **more})


def test_an_invitation_creates_an_account_in_its_groups(client: Client, carol: User) -> None:
    url = link(carol, GroupFactory(name="guests"), email="Frank@example.com")

    accept(client, url)
    sign_in(client, "frank@example.com")

    frank = User.objects.get(username="frank")
    assert is_signed_in(client)
    assert [group.name for group in frank.groups.all()] == ["guests"]
    assert EmailAddress.objects.get(user=frank).verified
    assert not (frank.is_staff or frank.is_superuser)


def test_an_invitation_works_once(client: Client, carol: User) -> None:
    url = link(carol)
    accept(client, url)

    again = accept(client, url, "grace")

    assert again.status_code == 404
    assert not User.objects.filter(username="grace").exists()


def test_only_the_first_of_two_open_forms_creates_an_account(client: Client, carol: User) -> None:
    row, _ = invitations.invite(email="", groups=[], days=1, inviter=carol)
    invitations.accept(row, User(username="frank"), None)

    with pytest.raises(invitations.InvitationUsed):
        invitations.accept(row, User(username="grace"), None)


def test_opening_the_form_does_not_use_up_the_invitation(client: Client, carol: User) -> None:
    url = link(carol)

    answers = [client.get(url).status_code for _ in range(3)]

    assert answers == [200] * 3
    assert accept(client, url).status_code == 302


@pytest.mark.parametrize("how", ["expired", "withdrawn", "inviter disabled", "inviter deleted", "made up"])
def test_invalid_invitations_are_not_found(client: Client, carol: User, how: str) -> None:
    url = link(carol)
    if how == "expired":
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    if how == "withdrawn":
        Invitation.objects.all().delete()
    if how == "inviter disabled":
        User.objects.update(is_active=False)
    if how == "inviter deleted":
        carol.delete()
    if how == "made up":
        url = f"/invitation/{'A' * 43}/"

    assert accept(client, url).status_code == 404
    assert not User.objects.filter(username="frank").exists()


def test_the_stored_digest_does_not_work_as_a_link(client: Client, carol: User) -> None:
    url = link(carol)

    stored = bytes(Invitation.objects.get().token_digest)

    assert url.split("/")[2].encode() not in stored
    assert client.get(f"/invitation/{stored.hex()}/").status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("x" * 151, id="long"),
        pytest.param("a\x00b", id="nul"),
        pytest.param("\u202eabc", id="bidi"),
        pytest.param("🔑", id="emoji"),
        pytest.param("a@b", id="at"),
        pytest.param("CAROL", id="taken"),
        pytest.param("carol@example.com", id="address"),
        pytest.param(" ", id="space"),
        pytest.param("Root", id="a name of power"),
        pytest.param("c\u0430rl", id="letters of two scripts"),
        pytest.param("..", id="dots"),
    ],
)
def test_bad_names_are_refused_and_the_link_stays_valid(client: Client, carol: User, name: str) -> None:
    url = link(carol)

    answer = accept(client, url, name)

    assert answer.status_code == 200
    assert User.objects.count() == 1
    assert client.get(url).status_code == 200


def test_no_extra_form_field_makes_an_administrator(client: Client, carol: User) -> None:
    accept(client, link(carol), is_staff="on", is_superuser="on", groups="1", email="carol@example.com")

    frank = User.objects.get(username="frank")
    assert (frank.is_staff, frank.is_superuser, frank.email) == (False, False, "")


def test_an_address_that_another_user_has_confirmed_since_is_not_assigned(
    client: Client, carol: User, alice: User
) -> None:
    url = link(carol, email="new@example.com")
    EmailAddress.objects.create(user=alice, email="new@example.com", verified=True)

    accept(client, url)

    assert User.objects.get(username="frank").email == ""


# ---- which groups an inviter may assign ----


@pytest.fixture
def powerful(db: None) -> Any:
    group = GroupFactory(name="powerful")
    group.permissions.set(Permission.objects.filter(codename="view_user"))
    return group


@pytest.fixture
def erin(db: None) -> User:
    erin = UserFactory(username="erin", is_staff=True)
    names = ["add_invitation", "view_invitation", "view_group"]
    erin.user_permissions.set(Permission.objects.filter(codename__in=names))
    return erin


def test_an_administrator_invites_by_mail_and_sees_the_link_only_once(client: Client, carol: User) -> None:
    sign_in(client, "carol")

    page = client.post(ADD, {"email": "frank@example.com", "days": "7"}, follow=True).content.decode()
    again = client.get("/admin/accounts/invitation/").content.decode()

    shown = re.search(rf"{PORTAL}(/invitation/\S{{43}}/)", page)
    mailed = re.search(rf"{PORTAL}(/invitation/\S{{43}}/)", mail.outbox[-1].body)
    assert shown is not None and mailed is not None and shown[1] == mailed[1]
    assert shown[1] not in again
    assert Invitation.objects.count() == 1


def test_only_superusers_invite_into_a_group_with_permissions(
    client: Client, erin: User, powerful: Any
) -> None:
    sign_in(client, "erin")

    client.post(ADD, {"groups": [powerful.pk], "days": "7"})

    assert not Invitation.objects.exists()
    with pytest.raises(PermissionError):
        invitations.invite(email="", groups=[powerful], days=1, inviter=erin)


def test_staff_invite_into_groups_without_permissions(client: Client, erin: User) -> None:
    sign_in(client, "erin")

    client.post(ADD, {"groups": [GroupFactory(name="guests").pk], "days": "7"})

    assert [group.name for group in Invitation.objects.get().groups.all()] == ["guests"]


def test_a_group_that_has_gained_permissions_since_is_not_assigned(client: Client, erin: User) -> None:
    group = GroupFactory(name="guests")
    url = link(erin, group)
    group.permissions.set(Permission.objects.filter(codename="view_user"))

    accept(client, url)

    assert not User.objects.get(username="frank").groups.exists()


@pytest.mark.parametrize("days", ["", "0", "31", "-1", "x", "9" * 400])
def test_every_invitation_expires(client: Client, carol: User, days: str) -> None:
    sign_in(client, "carol")

    client.post(ADD, {"days": days})

    assert not Invitation.objects.exists()


# ---- registration ----


def register(client: Client, email: str = "frank@example.com") -> Any:
    return client.post("/register/", {"email": email})


def test_registration_is_off_by_default(client: Client, db: None) -> None:
    assert [client.get("/register/").status_code, register(client).status_code] == [404, 404]
    assert mail.outbox == []


def registered(client: Client) -> User:
    register(client)
    found = re.search(rf"{PORTAL}(/invitation/\S+)", mail.outbox[-1].body)
    assert found is not None
    accept(client, found[1])
    return User.objects.get(username="frank")


def test_confirming_an_address_creates_an_account_without_groups(client: Client, settings: Any) -> None:
    settings.IKD_REGISTRATION = "open"

    frank = registered(client)

    assert (frank.is_active, frank.email, frank.groups.count()) == (True, "frank@example.com", 0)


def test_a_new_account_waits_for_approval(client: Client, settings: Any) -> None:
    settings.IKD_REGISTRATION = "approval"

    frank = registered(client)
    sign_in(client, "frank")

    assert not frank.is_active
    assert not is_signed_in(client)


@pytest.mark.parametrize(
    ("email", "mails"),
    [
        ("a@example.com", 1),
        ("a@EXAMPLE.com", 1),
        ("a@sub.example.com", 0),
        ("a@badexample.com", 0),
        ("\u0131nfo@example.com", 0),
    ],
)
def test_only_addresses_in_listed_domains_can_register(
    client: Client, settings: Any, email: str, mails: int
) -> None:
    settings.IKD_REGISTRATION, settings.IKD_REGISTRATION_DOMAINS = "open", ["example.com"]

    register(client, email)

    assert len(mail.outbox) == mails


def test_registration_does_not_reveal_which_accounts_exist(
    client: Client, settings: Any, alice: User
) -> None:
    settings.IKD_REGISTRATION = "open"

    pages = [register(client, email).content for email in ("alice@example.com", "nobody@example.com")]

    # Except the CSRF token, which is random for each page.
    assert len({re.sub(rb'(csrfmiddlewaretoken" value=)"\w{64}"', rb"\1", page) for page in pages}) == 1
    assert [message.subject for message in mail.outbox] == ["Choose a new password", "You are invited"]
