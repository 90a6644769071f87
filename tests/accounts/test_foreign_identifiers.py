"""Other users' identifiers, half a sign-in, and skipped steps bypass no check on any page."""

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
    sign_in_with_both,
    submit_code,
)

pytestmark = pytest.mark.django_db

FACTORS = "/accounts/second-factor"
NEW = "an even longer horse"


@pytest.fixture(autouse=True)
def empty_cache(db: None) -> None:
    cache.clear()


class RowsOfAlice:
    """One row of alice's for each kind of row that has an identifier."""

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
def alices_rows(alice: User, carol: User) -> RowsOfAlice:
    return RowsOfAlice(alice, carol)


@pytest.fixture
def bobs(client: Client, bob: User) -> Client:
    """A browser in which bob has just confirmed his password."""
    begin_session(client, "bob", proven=True)
    return client


ONLY_FOR_ALICE = {
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
"""Pages that alice may open with these identifiers and bob may not."""

READ_ONLY = ("managed_people", "managed_events")
"""The pages among them that have no form."""

FOR_ANYBODY = {
    # Anyone with the link may use it. Its token is secret and independent of the signed-in user.
    "invitation": lambda a: {"token": a.invitation_token},
    "first_administrator": lambda a: {"token": "x" * 43},
    "account_confirm_email": lambda a: {"key": EmailConfirmationHMAC(a.address).key},
    "lock_account": lambda a: {"token": "x" * 43},
    "account_reset_password_from_key": lambda a: {"uidb36": a.uid, "key": "set-password"},
    # Pictures with random keys.
    "icon": lambda a: {"key": a.icon.key},
    "provider_icon": lambda a: {"key": a.picture.key},
    # All users may see providers.
    "upstream_link": lambda a: {"slug": "id"},
    "upstream_start": lambda a: {"slug": "id"},
    "upstream_callback": lambda a: {"slug": "id"},
    "backchannel_logout": lambda a: {"slug": "id"},
}


def pages() -> Iterator[URLPattern]:
    """Return every page outside the administration."""
    for resolver in get_resolver().url_patterns:
        if isinstance(resolver, URLResolver) and resolver.app_name != "admin":
            yield from resolver.url_patterns  # type: ignore[misc]


def has_identifier(pattern: URLPattern) -> bool:
    return bool(pattern.pattern.converters or pattern.pattern.regex.groups)  # type: ignore[attr-defined]


def test_every_page_with_an_identifier_is_in_a_table() -> None:
    """A new page fails here until it is added to one of the tables."""
    assert {page.name for page in pages() if has_identifier(page)} == set(ONLY_FOR_ALICE) | set(FOR_ANYBODY)


@pytest.mark.parametrize("method", ["get", "head", "post"])
@pytest.mark.parametrize("name", ONLY_FOR_ALICE)
def test_rows_of_another_user_are_not_found(
    bobs: Client, alices_rows: RowsOfAlice, name: str, method: str
) -> None:
    url = reverse(name, kwargs=ONLY_FOR_ALICE[name](alices_rows))

    with nothing_written_if(lambda: True):
        answer = getattr(bobs, method)(url, {"name": "bob's", "wanted": "yes"})

    assert answer.status_code in ((404,) if method == "post" and name not in READ_ONLY else (404, 405))


@pytest.mark.parametrize("name", ONLY_FOR_ALICE)
def test_unknown_numbers_are_not_found(bobs: Client, alices_rows: RowsOfAlice, name: str) -> None:
    kwargs = ONLY_FOR_ALICE[name](alices_rows)
    if "uuid" in kwargs:
        return
    for number in (0, 10**20, 2**63 - 1, 2**63):
        url = reverse(name, kwargs=dict.fromkeys(kwargs, number))
        ask = bobs.get if name in READ_ONLY else bobs.post
        assert ask(url, {"name": "x", "wanted": "yes"}).status_code == 404


def test_the_owner_of_the_rows_can_open_the_same_urls(
    client: Client, alice: User, alices_rows: RowsOfAlice
) -> None:
    """This proves that the 404 responses above are for bob only."""
    secret = add_app(alice)
    sign_in_with_both(client, alice, secret)
    submit_code(client, code(secret), CONFIRM)
    answers = {}
    for name in sorted(ONLY_FOR_ALICE, key=lambda name: name == "end_session"):
        url = reverse(name, kwargs=ONLY_FOR_ALICE[name](alices_rows))
        ask = client.get if name in READ_ONLY else client.post
        answer = ask(url, {"name": "x", "wanted": "yes"})
        is_found = answer.status_code in (302, 200)
        answers[name] = is_found and not answer.get("Location", "").startswith((SIGN_IN_PAGE, STEP, CONFIRM))

    assert [name for name, is_found in answers.items() if not is_found] == []


@pytest.mark.parametrize("action", ["action_remove", "action_primary", "action_send"])
def test_nobody_can_change_the_address_of_another_user(
    bobs: Client, alices_rows: RowsOfAlice, action: str
) -> None:
    with nothing_written_if(lambda: True):
        bobs.post("/accounts/addresses/", {action: "", "email": "second@example.com"})


def test_no_parameter_shows_the_history_of_another_user(
    bobs: Client, alice: User, alices_rows: RowsOfAlice
) -> None:
    body = bobs.get("/accounts/events/", {"user": alice.pk, "subject": "alice", "page": "2"}).content

    assert b"alice" not in body


def test_confirming_the_address_of_another_user_does_not_take_it_over(
    bobs: Client, bob: User, alices_rows: RowsOfAlice
) -> None:
    bobs.post(reverse("account_confirm_email", args=[EmailConfirmationHMAC(alices_rows.address).key]))

    assert EmailAddress.objects.get(pk=alices_rows.address.pk).user_id == alices_rows.id
    assert not EmailAddress.objects.filter(user=bob, email="second@example.com").exists()


@pytest.mark.long
def test_the_administration_refuses_an_ordinary_user_on_every_page(
    bobs: Client, alices_rows: RowsOfAlice, rf: RequestFactory
) -> None:
    for pattern in walk(admin.site.get_urls(), "/admin/"):
        for method in ("get", "post"):
            with nothing_written_if(lambda: True):
                answer = getattr(bobs, method)(re.sub(r"<[^>]+>", str(alices_rows.id), pattern))
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

OPEN_BETWEEN_STEPS = frozenset(
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
"""Pages that are independent of the user, or that are the next step of the sign-in."""


def urls(alices_rows: RowsOfAlice) -> Iterator[tuple[str, str]]:
    for page in pages():
        kwargs = {**ONLY_FOR_ALICE, **FOR_ANYBODY}.get(str(page.name), lambda a: {})(alices_rows)
        yield str(page.name), reverse(str(page.name), kwargs=kwargs)


OF_CLIENTS = {
    *("openid_configuration", "openid_keys", "openid_token", "openid_userinfo", "openid_introspect"),
    *("openid_revoke", "openid_device_authorization", "openid_device_qr"),
}
"""Pages that servers request without a cookie."""

ASKS_ITSELF = OF_CLIENTS | {"openid_authorize", "openid_logout", "openid_logout_confirmed"}
"""Pages that the middleware for second factors does not check."""


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_password_alone_opens_no_page(
    client: Client, alice: User, alices_rows: RowsOfAlice, method: str
) -> None:
    """Between the steps the user is not signed in. Every page redirects to the second step."""
    add_app(alice)
    assert sign_in(client, "alice")["Location"].startswith(f"{FACTORS}/sign-in/")

    for name, url in urls(alices_rows):
        if name in OPEN_BETWEEN_STEPS or name in OF_CLIENTS:
            continue
        with nothing_written_if(lambda: True):
            answer = getattr(client, method)(url)
        if name.startswith("openid_") and answer.status_code in (303, 400):
            continue  # a request without a client, and a sign-out without a session
        assert answer.status_code in (302, 405), name
        if answer.status_code == 302:
            assert answer["Location"].startswith(("/accounts/login/", f"{FACTORS}/sign-in/")), name
    assert not is_signed_in(client)
    assert SignIn.objects.filter(user=alice).count() == 1


def test_the_administration_is_closed_between_the_steps(client: Client, carol: User) -> None:
    add_app(carol)
    sign_in(client, "carol")

    for page in walk(admin.site.get_urls(), "/admin/"):
        answer = client.get(re.sub(r"<[^>]+>", "1", page))
        assert answer.status_code in (302, 404), page
        assert "/admin/accounts" not in answer.get("Location", "").partition("?")[0], page


def test_the_sign_in_page_redirects_to_the_second_step(client: Client, alice: User) -> None:
    add_app(alice)
    sign_in(client, "alice")

    assert client.get(f"{FACTORS}/sign-in/").status_code == 200


@pytest.mark.parametrize("method", ["get", "post"])
def test_every_page_sends_a_user_without_the_required_factor_to_set_one_up(
    client: Client, bob: User, alices_rows: RowsOfAlice, method: str
) -> None:
    begin_session(client, "bob")
    StrictGroup.objects.create(group=GroupFactory(name="guests"))

    for name, url in urls(alices_rows):
        if name in OPEN_PAGES or name in ASKS_ITSELF:
            continue
        with nothing_written_if(lambda: True):
            answer = getattr(client, method)(url)
        assert (answer.status_code, answer.get("Location", "").partition("?")[0]) == (
            302,
            f"{FACTORS}/needed/",
        ), name


@pytest.mark.parametrize("method", ["get", "post"])
def test_pages_with_their_own_factor_check_reveal_nothing_before_it(
    client: Client, bob: User, alices_rows: RowsOfAlice, method: str
) -> None:
    begin_session(client, "bob")
    StrictGroup.objects.create(group=GroupFactory(name="guests"))
    found = {name: url for name, url in urls(alices_rows) if hasattr(resolve(url).func, "asks_for_factor")}

    assert set(found) == ASKS_ITSELF
    client.get(found["openid_keys"])  # the first request creates the first key
    for name, url in found.items():
        with nothing_written_if(lambda: True):
            answer = getattr(client, method)(url)
        assert answer.status_code != 302, name
        assert b"bob@example.com" not in answer.content and str(bob.uuid).encode() not in answer.content, name


def test_an_administrator_without_the_required_factor_cannot_administer(
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
def test_a_visitor_cannot_skip_a_step(
    client: Client, alice: User, alices_rows: RowsOfAlice, url: str, fields: dict[str, str], method: str
) -> None:
    add_app(alice)

    with nothing_written_if(lambda: True):
        answer = getattr(client, method)(url.format(uid=alices_rows.uid), fields)

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
def test_a_signed_in_user_cannot_skip_a_step(
    bobs: Client, bob: User, url: str, fields: Any, method: str
) -> None:
    with nothing_written_if(lambda: True):
        answer = getattr(bobs, method)(url, fields)

    assert answer.status_code < 500
    assert not Authenticator.objects.filter(user=bob).exists()
    assert not RememberedDevice.objects.filter(user=bob).exists()


@pytest.mark.parametrize("step", [f"{FACTORS}/device/", f"{FACTORS}/codes/", "/"])
def test_posting_the_last_step_does_not_skip_the_code(
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


def test_only_a_code_of_the_user_with_this_password_counts(client: Client, alice: User, bob: User) -> None:
    hers, his = add_app(alice), add_app(bob)
    codes = add_recovery_codes(alice)
    sign_in(client, "bob")

    for text in (code(hers), codes[0]):
        client.post(f"{FACTORS}/sign-in/", {"code": text})
        assert not is_signed_in(client)
    client.post(f"{FACTORS}/sign-in/", {"code": code(his)})

    assert is_signed_in(client)
    assert SignIn.objects.get().user == bob


def test_a_used_invitation_creates_no_second_account(client: Client, carol: User) -> None:
    _, link = invitations.invite(email="", groups=[], days=1, inviter=carol)
    path = link.removeprefix(PORTAL)
    fields = {"username": "one", "password1": NEW, "password2": NEW}
    client.post(path, fields)

    again = client.post(path, {**fields, "username": "two"})

    assert again.status_code == 404
    assert not User.objects.filter(username="two").exists()
    assert Invitation.objects.get().used_by == User.objects.get(username="one")


def test_the_link_for_the_first_administrator_is_invalid_once_there_is_one(
    client: Client, carol: User
) -> None:
    path = first_administrator.make_link().removeprefix(PORTAL)

    answers = [client.get(path), client.post(path, {"username": "two", "password1": NEW, "password2": NEW})]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert User.objects.filter(is_superuser=True).count() == 1
