from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.test import Client

from accounts.models import PortalSession, User
from authgate.check.state import State, seal
from authgate.models import SignIn
from authgate.worker.loader import gate_settings
from tests.accounts.signing_in import PAGE, is_signed_in, sign_in
from tests.factories import PASSWORD, ApplicationFactory, UserFactory


def without_names_and_tokens(answer: Any, *names: str) -> str:
    body = re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", answer.content.decode())
    for name in names:
        body = body.replace(f'value="{name}"', "")
    return body


@pytest.mark.usefixtures("known_brand")
def test_the_page_has_its_title_and_needs_one_query_for_providers(
    client: Client, db: None, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        answer = client.get(PAGE)

    assert answer.status_code == 200
    assert "Sign in" in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    assert "__Host-ikd_portal" not in answer.cookies


def test_the_form_has_no_action_so_that_the_fragment_survives(client: Client, db: None) -> None:
    body = client.get(f"{PAGE}?next=/signed-out").content.decode()

    assert not re.search(r"<form[^>]* action=", body)


def test_the_page_has_two_scripts_and_nothing_inline(client: Client, db: None) -> None:
    answer = client.get(PAGE)

    body = answer.content.decode()
    assert re.findall(r"<script[^>]*>", body) == [
        '<script src="/static/passkeys.js" defer>',
        '<script src="/static/fragment.js" defer>',
    ]
    assert not re.search(r"<script[^>]*>[^<]|<style|style=|\son\w+=", body)
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("login", ["alice", "Alice@Example.com"])
def test_the_right_password_leads_to_the_launcher(client: Client, alice: User, login: str) -> None:
    answer = sign_in(client, login)

    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert is_signed_in(client)


def test_a_wrong_password_an_unknown_and_a_disabled_user_look_the_same(
    client: Client, alice: User, dave: User
) -> None:
    unusable = UserFactory(username="upstream-only")
    unusable.set_unusable_password()
    unusable.save()

    answers = {
        without_names_and_tokens(sign_in(client, login, password), login)
        for login, password in [
            ("alice", "wrong"),
            ("nobody", "wrong"),
            ("alice@example.com", "wrong"),
            ("nobody@example.com", "wrong"),
            ("dave", PASSWORD),
            ("upstream-only", PASSWORD),
        ]
    }

    assert len(answers) == 1
    assert "do not match" in answers.pop()


def test_a_failed_sign_in_creates_no_session(client: Client, alice: User) -> None:
    sign_in(client, "alice", "wrong")

    assert not PortalSession.objects.exists()
    assert "__Host-ikd_portal" not in client.cookies


def test_the_page_does_not_repeat_the_password(client: Client, alice: User) -> None:
    answer = sign_in(client, "alice", "a-wrong-password")

    assert "a-wrong-password" not in answer.content.decode()


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/signed-out", "https://sso.example.com/signed-out"),
        ("/continue?state=a.b&x=%2F", "https://sso.example.com/continue?state=a.b&x=%2F"),
        ("https://sso.example.com/admin/", "https://sso.example.com/admin/"),
        ("https://wiki.example.net/page?x=1", "https://wiki.example.net/page?x=1"),
        ("https://WIKI.example.net:443/", "https://wiki.example.net/"),
        ("", "/"),
        ("//evil.example", "/"),
        ("///evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        (" /signed-out", "/"),
        ("https://evil.example", "/"),
        ("https://wiki.example.net.evil.example/", "/"),
        ("https://wiki.example.net@evil.example/", "/"),
        ("https://wiki.example.net:8443/", "/"),
        ("http://wiki.example.net/", "/"),
        ("http://[::1", "/"),
        ("https:evil.example", "/"),
        ("https:/evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("data:text/html,x", "/"),
        ("evil", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("/" + "a" * 5000, "/"),
    ],
    ids=repr,
)
def test_next_redirects_only_to_the_portal_and_its_applications(
    client: Client, alice: User, target: str, location: str
) -> None:
    ApplicationFactory(origins=["https://wiki.example.net"])

    from_the_form = sign_in(client, "alice", next=target)

    assert from_the_form.headers["Location"] == location


def test_next_in_the_query_is_validated_too(client: Client, alice: User) -> None:
    assert (
        sign_in(client, "alice", page=f"{PAGE}?next=/signed-out").headers["Location"].endswith("/signed-out")
    )
    client.post("/accounts/logout/")
    assert sign_in(client, "alice", page=f"{PAGE}?next=//evil.example").headers["Location"] == "/"


def test_a_signed_in_user_is_redirected_at_once(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    assert client.get(f"{PAGE}?next=/signed-out").headers["Location"].endswith("/signed-out")
    assert client.get(f"{PAGE}?next=//evil.example").headers["Location"] == "/"


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"login": "", "password": ""},
        {"login": "alice"},
        {"password": PASSWORD},
        {"login": "alice", "password": "x" * 5000},
        {"login": "a" * 5000, "password": PASSWORD},
        {"login": "alice\0", "password": PASSWORD},
        {"login": "alice", "password": f"{PASSWORD}\0"},
        {"login": "\u202ealice", "password": PASSWORD},
        {"login": "alice\r\nX: y", "password": PASSWORD},
        {"login": ["alice", "bob"], "password": PASSWORD},
        {"login": "<script>alert(1)</script>", "password": "x"},
        {"login": "' OR 1=1 --", "password": "x"},
    ],
    ids=lambda form: repr(form)[:40],
)
def test_odd_input_is_refused_in_plain_words(client: Client, alice: User, form: dict[str, Any]) -> None:
    answer = client.post(PAGE, form)

    assert answer.status_code == 200
    assert "<script>alert" not in answer.content.decode()
    assert not is_signed_in(client)


def test_a_body_that_is_not_a_form_signs_nobody_in(client: Client, alice: User) -> None:
    answer = client.post(PAGE, b"\xff\xfe\x00" * 100, content_type="multipart/form-data; boundary=x")

    assert answer.status_code == 200
    assert not is_signed_in(client)


def test_an_oversized_form_is_refused(client: Client, alice: User) -> None:
    huge = client.post(PAGE, {"login": "alice", "password": "x" * 3_000_000})
    many = client.post(PAGE, {f"field{number}": "x" for number in range(1500)})

    assert (huge.status_code, many.status_code) == (400, 400)
    assert not is_signed_in(client)


def test_no_header_turns_the_answer_into_json(client: Client, db: None) -> None:
    answer = client.get(PAGE, HTTP_X_REQUESTED_WITH="XMLHttpRequest")

    assert answer.headers["Content-Type"].startswith("text/html")


def test_posting_the_form_twice_creates_one_sign_in(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    again = sign_in(client, "alice")

    assert again.status_code == 302
    assert SignIn.objects.filter(ended_at=None).count() == 1


def test_head_is_answered_without_a_body(client: Client, db: None) -> None:
    answer = client.head(PAGE)

    assert (answer.status_code, answer.content) == (200, b"")


ODD_METHODS = ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]


@pytest.mark.parametrize("method", ODD_METHODS)
def test_other_methods_do_not_sign_in(client: Client, alice: User, method: str) -> None:
    assert client.generic(method, PAGE, f"login=alice&password={PASSWORD}").status_code == 405


@pytest.mark.parametrize("method", ODD_METHODS)
@pytest.mark.parametrize("page", ["/", "/accounts/logout/", "/switch-account", "/signed-out"])
def test_other_methods_do_not_sign_out(client: Client, alice: User, page: str, method: str) -> None:
    sign_in(client, "alice")

    assert client.generic(method, page).status_code == 405
    assert is_signed_in(client)


@pytest.mark.parametrize(
    "path",
    [
        "signup/",
        "email/",
        "password/set/",
        "confirm-email/",
        "login/code/confirm/",
        "3rdparty/",
    ],
)
def test_unused_pages_of_allauth_do_not_exist(client: Client, db: None, path: str) -> None:
    assert client.get(f"/accounts/{path}").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "sso.example.com.evil.example", "sso.example.com:8443", ""])
def test_the_page_exists_on_the_portals_own_host_only(client: Client, db: None, host: str) -> None:
    assert client.get(PAGE, HTTP_HOST=host).status_code == 404


def test_the_page_names_the_application_that_the_user_wants_to_open(client: Client, db: None) -> None:
    ApplicationFactory(name="Team <Wiki>", origins=["https://wiki.example.net"])
    sealed = sealed_state_for("https://wiki.example.net")

    named = client.get(PAGE, {"next": f"/continue?state={sealed}"}).content.decode()
    forged = client.get(PAGE, {"next": f"/continue?state={sealed}x"}).content.decode()

    assert "Team &lt;Wiki&gt;" in named
    assert "Wiki" not in forged


@pytest.mark.parametrize(
    "target", ["http://[::", "/continue", "/continue?state=%00", "/continue?state=a.b.c.d"]
)
def test_an_unknown_application_in_next_is_not_an_error(client: Client, db: None, target: str) -> None:
    assert client.get(PAGE, {"next": target}).status_code == 200


def test_a_form_without_the_cookie_gets_the_stale_page(client: Client, alice: User) -> None:
    client.handler.enforce_csrf_checks = True

    answer = sign_in(client, "alice", "secret-that-was-typed")

    assert answer.status_code == 403
    assert "Try again" in answer.content.decode()
    assert "secret-that-was-typed" not in answer.content.decode()
    assert 'href=""' in answer.content.decode()


def sealed_state_for(origin: str) -> str:
    state = State(origin, "/", "0" * 32, "", int(time.time()))
    return seal(state, gate_settings().state_keys[0])
