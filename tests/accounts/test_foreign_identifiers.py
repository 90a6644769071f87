"""Other people's identifiers, half a sign-in, and steps out of order: at every page, none leads round."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.core.cache import cache
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, resolve, reverse
from django.utils import timezone

from accounts.machines.api_tokens import make_token
from accounts.models import (
    AccessRequest,
    AccessReview,
    Identity,
    Invitation,
    ManagedGroup,
    RememberedDevice,
    StrictGroup,
    UpstreamPicture,
    User,
)
from accounts.onboarding import first_administrator, invitations
from accounts.second_factor.middleware import OPEN_PAGES
from authgate.models import Icon, SignIn
from openid.models import Client as ConnectedClient
from openid.models import Consent
from tests.accounts.conftest import PORTAL
from tests.accounts.signing_in import PAGE as SIGN_IN_PAGE
from tests.accounts.signing_in import begin_session, is_signed_in, sign_in
from tests.accounts.writing import nothing_written_if
from tests.factories import PASSWORD, ApplicationFactory, GroupFactory, UpstreamFactory
from tests.second_factor.factors import (
    CONFIRM,
    STEP,
    add_app,
    add_recovery_codes,
    code,
    give,
    sign_in_with_both,
)

pytestmark = pytest.mark.django_db

FACTORS = "/accounts/second-factor"
NEW = "an even longer horse"


@pytest.fixture(autouse=True)
def nothing_counted(db: None) -> None:
    cache.clear()


class Alices:
    """One of everything that has an identifier, and is alice's."""

    def __init__(self, alice: User, carol: User) -> None:
        now = timezone.now()
        later = now + timezone.timedelta(days=1)  # type: ignore[attr-defined]
        self.wiki = ApplicationFactory(origins=["https://wiki.example.com"], groups=["staff"])
        self.icon = Icon.objects.create(application=self.wiki, content=b"x")
        self.sign_in = SignIn.objects.create(
            user=alice, started_at=now, last_seen_at=now, expires_at=later, idle_timeout=3600
        )
        self.token, _ = make_token(alice, "backup", [self.wiki], 3600)
        self.upstream = UpstreamFactory(slug="id")
        self.picture = UpstreamPicture.objects.create(upstream=self.upstream, content=b"x")
        self.identity = Identity.objects.create(upstream=self.upstream, subject="alice", user=alice)
        self.device = RememberedDevice.objects.create(
            user=alice, token_digest=b"x" * 32, fingerprint="", created_at=now, expires_at=later
        )
        self.passkey = Authenticator.objects.create(
            user=alice, type="webauthn", data={"name": "key", "credential": {}}
        )
        self.address = EmailAddress.objects.create(user=alice, email="second@example.com")
        self.wiki.owners.set([alice])
        self.rule = self.wiki.rules.get()
        self.team = GroupFactory(name="team")
        ManagedGroup.objects.create(group=self.team).managers.set([alice])
        self.request = AccessRequest.objects.create(application=self.wiki, user=carol, path="/", asked_at=now)
        self.review = AccessReview.objects.create(application=self.wiki, name="Wiki", began_at=now)
        self.connected = ConnectedClient.objects.create(
            application=self.wiki, redirect_uris="https://wiki.example.com/"
        )
        Consent.objects.create(user=alice, client=self.connected, scopes="openid", given_at=now)
        self.uid = user_pk_to_url_str(alice)
        self.invitation, link = invitations.invite(email="", groups=[], days=1, inviter=carol)
        self.invitation_token = link.rstrip("/").rpartition("/")[2]
        self.id = alice.pk


@pytest.fixture
def alices(alice: User, carol: User) -> Alices:
    return Alices(alice, carol)


@pytest.fixture
def bobs(client: Client, bob: User) -> Client:
    """A browser in which bob has just proven that he is bob."""
    begin_session(client, "bob", proven=True)
    return client


HERS = {
    "end_session": lambda a: {"uuid": a.sign_in.uuid},
    "end_token": lambda a: {"pk": a.token.pk},
    "upstream_unlink": lambda a: {"key": a.identity.pk},
    "forget_device": lambda a: {"pk": a.device.pk},
    "mfa_edit_webauthn": lambda a: {"pk": a.passkey.pk},
    "mfa_remove_webauthn": lambda a: {"pk": a.passkey.pk},
    "favourite": lambda a: {"application": a.wiki.pk},
    "end_own_client": lambda a: {"pk": a.connected.pk},
    "access_request": lambda a: {"pk": a.request.pk},
    "access_review": lambda a: {"pk": a.review.pk},
    "managed_application": lambda a: {"pk": a.wiki.pk},
    "managed_people": lambda a: {"pk": a.wiki.pk},
    "managed_events": lambda a: {"pk": a.wiki.pk},
    "managed_rule": lambda a: {"pk": a.rule.pk},
    "managed_group": lambda a: {"pk": a.team.pk},
}
"""What is hers alone, or nothing of bob's."""

READ_ONLY = ("managed_people", "managed_events")
"""Pages of these that take no form."""

NOBODYS = {
    # Whoever has the link is meant: it is a secret, and says nothing of who is signed in.
    "invitation": lambda a: {"token": a.invitation_token},
    "first_administrator": lambda a: {"token": "x" * 43},
    "account_confirm_email": lambda a: {"key": EmailConfirmationHMAC(a.address).key},
    "lock_account": lambda a: {"token": "x" * 43},
    "account_reset_password_from_key": lambda a: {"uidb36": a.uid, "key": "set-password"},
    # A picture, by a key that is drawn by lot.
    "icon": lambda a: {"key": a.icon.key},
    "provider_icon": lambda a: {"key": a.picture.key},
    # Providers are everybody's.
    "upstream_link": lambda a: {"slug": "id"},
    "upstream_start": lambda a: {"slug": "id"},
    "upstream_callback": lambda a: {"slug": "id"},
    "backchannel_logout": lambda a: {"slug": "id"},
}


def pages() -> Iterator[URLPattern]:
    """Return every page of users."""
    for resolver in get_resolver().url_patterns:
        if isinstance(resolver, URLResolver) and resolver.app_name != "admin":
            yield from resolver.url_patterns  # type: ignore[misc]


def takes_something(pattern: URLPattern) -> bool:
    return bool(pattern.pattern.converters or pattern.pattern.regex.groups)  # type: ignore[attr-defined]


def test_every_page_with_an_identifier_is_in_a_table() -> None:
    """A new one fails here until it is said whose its identifier is."""
    assert {page.name for page in pages() if takes_something(page)} == set(HERS) | set(NOBODYS)


@pytest.mark.parametrize("method", ["get", "head", "post"])
@pytest.mark.parametrize("name", HERS)
def test_what_is_somebody_elses_does_not_exist(bobs: Client, alices: Alices, name: str, method: str) -> None:
    url = reverse(name, kwargs=HERS[name](alices))

    with nothing_written_if(lambda: True):
        answer = getattr(bobs, method)(url, {"name": "bob's", "wanted": "yes"})

    assert answer.status_code in ((404,) if method == "post" and name not in READ_ONLY else (404, 405))


@pytest.mark.parametrize("name", HERS)
def test_numbers_that_no_row_has_are_no_error(bobs: Client, alices: Alices, name: str) -> None:
    kwargs = HERS[name](alices)
    if "uuid" in kwargs:
        return
    for number in (0, 10**20, 2**63 - 1, 2**63):
        url = reverse(name, kwargs=dict.fromkeys(kwargs, number))
        ask = bobs.get if name in READ_ONLY else bobs.post
        assert ask(url, {"name": "x", "wanted": "yes"}).status_code == 404


def test_who_has_these_finds_them_by_the_same_way(client: Client, alice: User, alices: Alices) -> None:
    """Else a 404 above could be everybody's."""
    secret = add_app(alice)
    sign_in_with_both(client, alice, secret)
    give(client, code(secret), CONFIRM)
    answers = {}
    for name in sorted(HERS, key=lambda name: name == "end_session"):
        url = reverse(name, kwargs=HERS[name](alices))
        ask = client.get if name in READ_ONLY else client.post
        answer = ask(url, {"name": "x", "wanted": "yes"})
        is_found = answer.status_code in (302, 200)
        answers[name] = is_found and not answer.get("Location", "").startswith((SIGN_IN_PAGE, STEP, CONFIRM))

    assert [name for name, is_found in answers.items() if not is_found] == []


@pytest.mark.parametrize("action", ["action_remove", "action_primary", "action_send"])
def test_another_ones_address_is_out_of_reach(bobs: Client, alices: Alices, action: str) -> None:
    with nothing_written_if(lambda: True):
        bobs.post("/accounts/addresses/", {action: "", "email": "second@example.com"})


def test_the_history_is_ones_own_whatever_is_asked_for(bobs: Client, alice: User, alices: Alices) -> None:
    body = bobs.get("/accounts/events/", {"user": alice.pk, "subject": "alice", "page": "2"}).content

    assert b"alice" not in body


def test_who_confirms_anothers_address_gains_nothing(bobs: Client, bob: User, alices: Alices) -> None:
    bobs.post(reverse("account_confirm_email", args=[EmailConfirmationHMAC(alices.address).key]))

    assert EmailAddress.objects.get(pk=alices.address.pk).user_id == alices.id
    assert not EmailAddress.objects.filter(user=bob, email="second@example.com").exists()


@pytest.mark.long
def test_the_administration_is_shut_for_him_whatever_the_number(
    bobs: Client, alices: Alices, rf: RequestFactory
) -> None:
    for pattern in walk(admin.site.get_urls(), "/admin/"):
        for method in ("get", "post"):
            with nothing_written_if(lambda: True):
                answer = getattr(bobs, method)(re.sub(r"<[^>]+>", str(alices.id), pattern))
            assert answer.status_code in (302, 403, 404), pattern
            if answer.status_code == 302:
                assert not answer["Location"].startswith("/admin/accounts"), pattern


def walk(patterns: Any, before: str) -> Iterator[str]:
    for pattern in patterns:
        text = before + str(pattern.pattern).lstrip("^").rstrip("$")
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, text)
        elif "(" not in text:
            yield text


# ---- half a sign-in ----

FOR_EVERYBODY = frozenset(
    (
        *("account_login", "account_inactive", "mfa_login_webauthn", "register", "choose_language"),
        "provider_icon",
        *("account_reset_password", "account_reset_password_done", "account_reset_password_from_key"),
        *("account_reset_password_from_key_done", "account_confirm_email", "invitation"),
        *("lock_account", "account_locked"),
        *("first_administrator", "brand_accent", "brand_logo", "key_set", "signed_out", "switch_account"),
        *("account_logout", "sign_out_at_provider", "upstream_start", "upstream_callback"),
        *("backchannel_logout", "sso_login", "verification", "continue", "enter"),
        *("mfa_authenticate", "mfa_trust"),
    )
)
"""Pages that know nothing of who asks, or that are the next step."""


def urls(alices: Alices) -> Iterator[tuple[str, str]]:
    for page in pages():
        kwargs = {**HERS, **NOBODYS}.get(str(page.name), lambda a: {})(alices)
        yield str(page.name), reverse(str(page.name), kwargs=kwargs)


OF_CLIENTS = {
    *("openid_configuration", "openid_keys", "openid_token", "openid_userinfo", "openid_introspect"),
    *("openid_revoke", "openid_device_authorization", "openid_device_qr"),
}
"""What servers ask for, without a cookie."""

ASKS_ITSELF = OF_CLIENTS | {"openid_authorize", "openid_logout", "openid_logout_confirmed"}
"""Pages that the second factor's middleware leaves alone."""


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_password_alone_opens_no_page(client: Client, alice: User, alices: Alices, method: str) -> None:
    """Between the steps one is nobody: sent to sign in, where the second step waits."""
    add_app(alice)
    assert sign_in(client, "alice")["Location"].startswith(f"{FACTORS}/sign-in/")

    for name, url in urls(alices):
        if name in FOR_EVERYBODY or name in OF_CLIENTS:
            continue
        with nothing_written_if(lambda: True):
            answer = getattr(client, method)(url)
        if name.startswith("openid_") and answer.status_code in (303, 400):
            continue  # a request without a client, and a sign-out of nobody
        assert answer.status_code in (302, 405), name
        if answer.status_code == 302:
            assert answer["Location"].startswith(("/accounts/login/", f"{FACTORS}/sign-in/")), name
    assert not is_signed_in(client)
    assert SignIn.objects.filter(user=alice).count() == 1


def test_the_administration_is_shut_between_the_steps(client: Client, carol: User) -> None:
    add_app(carol)
    sign_in(client, "carol")

    for page in walk(admin.site.get_urls(), "/admin/"):
        answer = client.get(re.sub(r"<[^>]+>", "1", page))
        assert answer.status_code in (302, 404), page
        assert "/admin/accounts" not in answer.get("Location", "").partition("?")[0], page


def test_the_sign_in_page_leads_on_to_the_second_step(client: Client, alice: User) -> None:
    add_app(alice)
    sign_in(client, "alice")

    assert client.get(f"{FACTORS}/sign-in/").status_code == 200


@pytest.mark.parametrize("method", ["get", "post"])
def test_who_owes_a_factor_is_sent_to_give_one_from_every_page(
    client: Client, bob: User, alices: Alices, method: str
) -> None:
    begin_session(client, "bob")
    StrictGroup.objects.create(group=GroupFactory(name="guests"))

    for name, url in urls(alices):
        if name in OPEN_PAGES or name in ASKS_ITSELF:
            continue
        with nothing_written_if(lambda: True):
            answer = getattr(client, method)(url)
        assert (answer.status_code, answer.get("Location", "").partition("?")[0]) == (
            302,
            f"{FACTORS}/needed/",
        ), name


@pytest.mark.parametrize("method", ["get", "post"])
def test_pages_that_ask_for_the_factor_themselves_tell_nothing_before(
    client: Client, bob: User, alices: Alices, method: str
) -> None:
    begin_session(client, "bob")
    StrictGroup.objects.create(group=GroupFactory(name="guests"))
    found = {name: url for name, url in urls(alices) if hasattr(resolve(url).func, "asks_for_factor")}

    assert set(found) == ASKS_ITSELF
    client.get(found["openid_keys"])  # the first reader makes the first key
    for name, url in found.items():
        with nothing_written_if(lambda: True):
            answer = getattr(client, method)(url)
        assert answer.status_code != 302, name
        assert b"bob@example.com" not in answer.content and str(bob.uuid).encode() not in answer.content, name


def test_an_administrator_who_owes_a_factor_administers_nothing(
    client: Client, carol: User, settings: Any
) -> None:
    begin_session(client, "carol")
    settings.IKD_SECOND_FACTOR_FOR_STAFF = True

    for page in walk(admin.site.get_urls(), "/admin/"):
        answer = client.get(re.sub(r"<[^>]+>", "1", page))
        assert answer["Location"].startswith(f"{FACTORS}/needed/"), page


# ---- steps out of order ----

OUT_OF_ORDER = {
    "code without password": (f"{FACTORS}/sign-in/", {"code": "123456"}),
    "passkey without password": (f"{FACTORS}/sign-in/", {"credential": "{}"}),
    "remembering without code": (f"{FACTORS}/device/", {"action": "trust"}),
    "passkey that was not asked for": ("/accounts/login/passkey/", {"credential": "{}"}),
    "new password without link": (
        "/accounts/password/reset/key/{uid}-set-password/",
        {"password1": NEW, "password2": NEW},
    ),
    "new password with a made-up link": (
        "/accounts/password/reset/key/{uid}-abc-def/",
        {"password1": NEW, "password2": NEW},
    ),
    "confirming a made-up address": ("/accounts/addresses/confirm/x:y:z/", {}),
    "first administrator with a made-up link": ("/first-administrator/" + "x" * 43, {"username": "root"}),
    "provider that was not asked": ("/upstreams/id/callback?state=x&code=y", {}),
}


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(("url", "fields"), OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_a_stranger_skips_no_step(
    client: Client, alice: User, alices: Alices, url: str, fields: dict[str, str], method: str
) -> None:
    add_app(alice)

    with nothing_written_if(lambda: True):
        answer = getattr(client, method)(url.format(uid=alices.uid), fields)

    assert answer.status_code < 500
    assert not is_signed_in(client)
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


OUT_OF_ORDER_INSIDE = {
    "app without secret": (f"{FACTORS}/app/", {"code": "123456"}),
    "app removed without one": (f"{FACTORS}/app/remove/", {}),
    "passkey that was not asked for": (f"{FACTORS}/passkeys/add/", {"name": "x", "credential": "{}"}),
    "codes without factor": (f"{FACTORS}/codes/", {}),
    "new codes without factor": (f"{FACTORS}/codes/new/", {}),
    "second step when signed in": (f"{FACTORS}/sign-in/", {"code": "123456"}),
    "remembering when signed in": (f"{FACTORS}/device/", {"action": "trust"}),
    "factor again without one": (f"{FACTORS}/code/", {"code": "123456"}),
    "passkey again without one": (f"{FACTORS}/passkey/", {"credential": "{}"}),
    "provider confirmed without one": ("/accounts/providers/confirm/", {"upstream": "id"}),
    "devices forgotten without one": (f"{FACTORS}/devices/forget/", {}),
}


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(("url", "fields"), OUT_OF_ORDER_INSIDE.values(), ids=OUT_OF_ORDER_INSIDE)
def test_nobody_inside_skips_a_step(bobs: Client, bob: User, url: str, fields: Any, method: str) -> None:
    with nothing_written_if(lambda: True):
        answer = getattr(bobs, method)(url, fields)

    assert answer.status_code < 500
    assert not Authenticator.objects.filter(user=bob).exists()
    assert not RememberedDevice.objects.filter(user=bob).exists()


@pytest.mark.parametrize("step", [f"{FACTORS}/device/", f"{FACTORS}/codes/", "/"])
def test_the_code_is_not_skipped_by_the_step_after_it(
    client: Client, alice: User, settings: Any, step: str
) -> None:
    settings.MFA_TRUST_ENABLED, settings.IKD_REMEMBERED_DEVICE_LIFETIME = True, 3600
    add_app(alice)
    sign_in(client, "alice")

    for _ in range(2):
        client.post(step, {"action": "trust"})
        client.get(step)

    assert not is_signed_in(client)
    assert not RememberedDevice.objects.exists()


def test_a_code_is_of_whose_password_was_given(client: Client, alice: User, bob: User) -> None:
    hers, his = add_app(alice), add_app(bob)
    codes = add_recovery_codes(alice)
    sign_in(client, "bob")

    for text in (code(hers), codes[0]):
        client.post(f"{FACTORS}/sign-in/", {"code": text})
        assert not is_signed_in(client)
    client.post(f"{FACTORS}/sign-in/", {"code": code(his)})

    assert is_signed_in(client)
    assert SignIn.objects.get().user == bob


def test_a_link_that_was_used_makes_nothing_more(client: Client, carol: User) -> None:
    _, link = invitations.invite(email="", groups=[], days=1, inviter=carol)
    path = link.removeprefix(PORTAL)
    fields = {"username": "one", "password1": NEW, "password2": NEW}
    client.post(path, fields)

    again = client.post(path, {**fields, "username": "two"})

    assert again.status_code == 404
    assert not User.objects.filter(username="two").exists()
    assert Invitation.objects.get().used_by == User.objects.get(username="one")


def test_the_link_for_the_first_administrator_is_worth_nothing_once_there_is_one(
    client: Client, carol: User
) -> None:
    path = first_administrator.make_link().removeprefix(PORTAL)

    answers = [client.get(path), client.post(path, {"username": "two", "password1": NEW, "password2": NEW})]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert User.objects.filter(is_superuser=True).count() == 1
