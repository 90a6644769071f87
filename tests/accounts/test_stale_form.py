"""A form with a stale CSRF token: nothing typed is lost, no secret is repeated, no other site can use it."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import ApiToken, User
from accounts.onboarding import first_administrator, invitations
from accounts.sign_in.stale_form import LONGEST, MOST_FIELDS, NOT_SECRET, RETYPED_FIELDS, is_secret
from tests.accounts.conftest import PORTAL
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import PASSWORD, ApplicationFactory, UpstreamFactory

pytestmark = pytest.mark.django_db

OWN = {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_ORIGIN": PORTAL}
PROFILE = "/accounts/profile/"
TYPED = "a name that took long to find"


@pytest.fixture
def strict(client: Client) -> Client:
    client.handler.enforce_csrf_checks = True
    return client


@pytest.fixture
def alices(strict: Client, alice: User) -> Client:
    strict.force_login(alice, backend="accounts.backends.PasswordBackend")
    return strict


def inputs(answer: Any) -> dict[str, tuple[str, str]]:
    """Return the type and value of each input in the repeated form."""
    form = answer.content.decode().split("<form ")[1].partition("</form>")[0]
    found = {}
    for tag in re.findall(r"<input [^>]*>", form):
        attributes = dict(re.findall(r'([a-z]+)="([^"]*)"', tag))
        found[attributes["name"]] = (attributes["type"], unescape(attributes.get("value", "")))
    return found


def send_again(client: Client, path: str, answer: Any, **typed: str) -> Any:
    """Press the button after filling in the fields that the page asks for again."""
    fields = {name: value for name, (_, value) in inputs(answer).items()}
    return client.post(path, {**fields, **typed}, **OWN)


def test_the_button_sends_the_typed_values_again(alices: Client, alice: User) -> None:
    stale = alices.post(PROFILE, {"display_name": '"><b>\n🦊', "csrfmiddlewaretoken": "x" * 64}, **OWN)

    assert stale.status_code == 403
    assert inputs(stale)["display_name"] == ("hidden", '"><b>\n🦊')
    alice.refresh_from_db()
    assert alice.display_name == "Alice"

    send_again(alices, PROFILE, stale)
    alice.refresh_from_db()
    assert alice.display_name == '"><b>🦊'


def test_all_values_of_a_field_are_kept(alices: Client) -> None:
    stale = alices.post("/accounts/tokens/new/", {"name": "backup", "applications": ["1", "2"]}, **OWN)

    assert stale.content.count(b'name="applications"') == 2
    assert inputs(stale)["name"] == ("hidden", "backup")


def test_a_user_signs_in_by_typing_only_the_password_again(strict: Client, alice: User) -> None:
    stale = strict.post("/accounts/login/", {"login": "alice", "password": PASSWORD, "remember": "on"}, **OWN)

    assert PASSWORD not in stale.content.decode()
    assert inputs(stale)["login"] == ("text", "alice")
    assert inputs(stale)["password"] == ("password", "")
    assert inputs(stale)["remember"] == ("hidden", "on")
    send_again(strict, "/accounts/login/", stale, password=PASSWORD)
    assert is_signed_in(strict)


def test_an_invitation_is_accepted_by_sending_the_form_again(strict: Client, carol: User) -> None:
    _, link = invitations.invite(email="", groups=[], days=1, inviter=carol)
    path = link.removeprefix(PORTAL)
    new = {"password1": "an even longer horse", "password2": "an even longer horse"}

    stale = strict.post(path, {"username": "newcomer", "display_name": TYPED, **new}, **OWN)
    send_again(strict, path, stale, **new)

    assert "an even longer horse" not in stale.content.decode()
    assert User.objects.get(username="newcomer").display_name == TYPED


def test_the_first_administrator_is_created_by_sending_the_form_again(strict: Client) -> None:
    path = first_administrator.make_link().removeprefix(PORTAL)
    new = {"password1": "an even longer horse", "password2": "an even longer horse"}

    stale = strict.post(path, {"username": "root", "display_name": "", "email": "", **new}, **OWN)
    send_again(strict, path, stale, **new)

    assert User.objects.get(username="root").is_superuser


def test_a_form_of_the_administration_is_repeated_without_its_secret(strict: Client, carol: User) -> None:
    strict.force_login(carol, backend="accounts.backends.PasswordBackend")
    page = f"/admin/accounts/upstream/{UpstreamFactory().pk}/change/"
    typed = {"name": TYPED, "client_secret": "hunter2 hunter2", "claim_mappings-0-claim": "mail"}

    stale = strict.post(page, {**typed, "remove_secret": "on"}, **OWN)

    assert "hunter2" not in stale.content.decode()
    assert inputs(stale)["client_secret"] == ("password", "")
    assert inputs(stale)["claim_mappings-0-claim"] == ("hidden", "mail")
    assert inputs(stale)["remove_secret"] == ("hidden", "on")


def test_a_file_must_be_chosen_again(strict: Client, carol: User) -> None:
    strict.force_login(carol, backend="accounts.backends.PasswordBackend")
    picture = SimpleUploadedFile("logo.png", b"\x89PNG content of a file")

    stale = strict.post("/admin/accounts/brand/1/change/", {"name": TYPED, "logo_file": picture}, **OWN)

    assert b"content of a file" not in stale.content
    assert b"multipart/form-data" in stale.content
    assert inputs(stale)["logo_file"] == ("file", "")


def test_the_page_is_not_cached_framed_or_scripted(alices: Client) -> None:
    stale = alices.post(PROFILE, {"display_name": TYPED}, **OWN)

    assert "no-store" in stale["Cache-Control"]
    assert stale["Referrer-Policy"] == "same-origin"
    assert stale["X-Frame-Options"] == "DENY"
    assert "script-src" not in stale["Content-Security-Policy"]
    assert "<script" not in stale.content.decode()


def test_the_page_is_in_chinese(alices: Client) -> None:
    stale = alices.post(PROFILE, {"display_name": TYPED}, HTTP_ACCEPT_LANGUAGE="zh-CN", **OWN)

    assert "重新提交" in stale.content.decode()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
        {"HTTP_SEC_FETCH_SITE": "none"},
        {"HTTP_SEC_FETCH_SITE": "same-origin,same-origin"},
        {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_ORIGIN": PORTAL},
        {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_ORIGIN": "https://evil.example.org"},
        {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": "https://evil.example.org"},
        {"HTTP_ORIGIN": f"{PORTAL}.evil.example.org"},
        {"HTTP_ORIGIN": "http://sso.example.com"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_REFERER": f"{PORTAL}{PROFILE}"},
    ],
)
def test_values_that_another_site_may_have_sent_are_not_repeated(
    alices: Client, headers: dict[str, str]
) -> None:
    answer = alices.post(PROFILE, {"display_name": TYPED}, **headers)

    assert answer.status_code == 403
    assert TYPED not in answer.content.decode()
    assert "Send again" not in answer.content.decode()
    assert 'href=""' in answer.content.decode()


@pytest.mark.parametrize("headers", [OWN, {"HTTP_ORIGIN": PORTAL}, {"HTTP_SEC_FETCH_SITE": "same-origin"}])
def test_values_sent_by_the_portals_own_pages_are_repeated(alices: Client, headers: dict[str, str]) -> None:
    answer = alices.post(PROFILE, {"display_name": TYPED}, **headers)

    assert inputs(answer)["display_name"] == ("hidden", TYPED)


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": TYPED},
        {"NewPassWord": TYPED},
        {"x-0-secret_value": TYPED},
        {"credential": TYPED},
        {"name": f"{TYPED}\0"},
        {f"name{n}": TYPED for n in range(MOST_FIELDS + 1)},
        {"name": TYPED + "x" * LONGEST},
        {"password": SimpleUploadedFile("x", TYPED.encode())},
        {"logo_file": TYPED},
        {"other_file": SimpleUploadedFile("x", TYPED.encode())},
    ],
    ids=[
        "key",
        "case",
        "inline",
        "passkey",
        "NUL",
        "many",
        "long",
        "file",
        "text for a file",
        "unknown file",
    ],
)
def test_a_form_over_the_limits_is_not_repeated(
    alices: Client, settings: Any, fields: dict[str, Any]
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 10 * MOST_FIELDS

    answer = alices.post(PROFILE, fields, **OWN)

    assert answer.status_code == 403
    assert TYPED not in answer.content.decode()
    assert "Send again" not in answer.content.decode()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"display_name=" + TYPED.encode(), "text/plain"),
        (b'{"display_name": "x"}', "application/json"),
        (b"broken", "multipart/form-data; boundary=x"),
        (b"broken", "multipart/form-data"),
    ],
)
def test_a_body_that_is_not_a_form_is_not_repeated(alices: Client, body: bytes, content_type: str) -> None:
    answer = alices.generic("POST", PROFILE, body, content_type, **OWN)

    assert answer.status_code in (400, 403)
    assert TYPED not in answer.content.decode()


def test_methods_other_than_post_are_not_repeated(alices: Client) -> None:
    answer = alices.put(PROFILE, f"display_name={TYPED}", "application/x-www-form-urlencoded", **OWN)

    assert (answer.status_code, TYPED in answer.content.decode()) == (403, False)


def test_another_site_cannot_use_the_page_to_bypass_the_token(alices: Client, alice: User) -> None:
    stale = alices.post(PROFILE, {"display_name": TYPED}, **OWN)

    evil = {name: value for name, (_, value) in inputs(stale).items()}
    from_elsewhere = alices.post(PROFILE, evil, HTTP_ORIGIN="https://evil.example.org")

    assert from_elsewhere.status_code == 403
    alice.refresh_from_db()
    assert alice.display_name == "Alice"


@pytest.mark.parametrize(
    "name", ["client_secret", "code", "oldpassword", "password", "password1", "password2"]
)
def test_the_secret_fields_of_the_portals_forms_are_listed(name: str) -> None:
    assert name in RETYPED_FIELDS


PAGES = [
    "/accounts/login/",
    "/accounts/reauthenticate/",
    "/accounts/password/change/",
    "/accounts/second-factor/app/",
    "/accounts/second-factor/passkeys/add/",
    "/admin/accounts/user/add/",
    "/admin/accounts/user/{user}/password/",
    "/admin/accounts/user/{user}/change/",
    "/admin/accounts/upstream/add/",
    "/admin/accounts/invitation/add/",
    "/admin/accounts/brand/1/change/",
    "/admin/accounts/group/add/",
    "/admin/authgate/application/add/",
]


@pytest.mark.parametrize("page", PAGES)
def test_every_password_field_counts_as_secret_and_no_choice_does(
    client: Client, carol: User, alice: User, page: str
) -> None:
    if page != "/accounts/login/":
        sign_in(client, "carol")
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    answer = client.get(page.format(user=alice.pk))

    assert answer.status_code == 200
    for tag in re.findall(r"<input [^>]*>", answer.content.decode()):
        name, kind = (re.search(rf'\b{what}="([^"]*)"', tag) for what in ("name", "type"))
        if name is None or kind is None or name[1] == "csrfmiddlewaretoken":
            continue
        if kind[1] in ("password", "file") or "one-time-code" in tag:
            assert name[1] in RETYPED_FIELDS
        elif kind[1] in ("checkbox", "radio"):
            assert not is_secret(name[1]) or name[1] in NOT_SECRET


def test_a_new_api_token_is_created_by_sending_the_form_again(strict: Client, alice: User) -> None:
    wiki = ApplicationFactory(origins=["https://wiki.example.com"], groups=["staff"])
    strict.handler.enforce_csrf_checks = False
    sign_in(strict, "alice")
    strict.post("/accounts/reauthenticate/", {"password": PASSWORD})
    strict.handler.enforce_csrf_checks = True

    typed = {"name": TYPED, "applications": str(wiki.pk), "days": "30"}
    stale = strict.post("/accounts/tokens/new/", typed, **OWN)
    send_again(strict, "/accounts/tokens/new/", stale)

    assert ApiToken.objects.get().name == TYPED
