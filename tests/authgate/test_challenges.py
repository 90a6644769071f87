"""The WWW-Authenticate header of a 401: chosen by the application, never Basic for browsers."""

from __future__ import annotations

import base64

import pytest

from accounts.models import User
from authgate.check.credentials import new_token
from authgate.models import Application, Rule
from tests.authgate.asking import Headers, ask, endpoint, facts, header
from tests.factories import ApplicationFactory

pytestmark = pytest.mark.django_db

GIT = "https://git.example.com"
BASIC, BEARER = b'Basic realm="ikD Portal", charset="UTF-8"', b'Bearer realm="ikD Portal"'
CHOSEN = {"bearer": BEARER, "basic": BASIC, "both": BASIC + b", " + BEARER}
WRONG = {
    "bearer": BEARER + b', error="invalid_token"',
    "basic": BASIC,
    "both": BASIC + b", " + BEARER + b', error="invalid_token"',
}
PROGRAM: Headers = [(b"accept", b"*/*"), (b"user-agent", b"git/2.39.5")]
BROWSERS: dict[str, Headers] = {
    "an old browser's image": [(b"user-agent", b"Mozilla/5.0 (X11; Linux)"), (b"accept", b"image/*")],
    "a script": [(b"sec-fetch-mode", b"cors"), (b"sec-fetch-dest", b"empty")],
    "a page's picture": [(b"sec-fetch-mode", b"no-cors")],
    "a text browser": [(b"user-agent", b"w3m/0.5.3"), (b"accept", b"text/html, image/*")],
    "a request from another origin": [(b"origin", b"https://evil.example")],
    "jQuery": [(b"x-requested-with", b"XMLHttpRequest")],
    "a WebSocket": [(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")],
}


@pytest.fixture(params=CHOSEN)
def chosen(request: pytest.FixtureRequest, db: None) -> str:
    ApplicationFactory(name="Git", origins=[GIT], who=Rule.Who.SIGNED_IN, challenges=request.param)
    assert isinstance(request.param, str)
    return request.param


def basic(password: str) -> Headers:
    return [(b"authorization", b"Basic " + base64.b64encode(f"alice:{password}".encode()))]


@pytest.mark.parametrize("check", ["/authgate/nginx", "/authgate/traefik"])
def test_a_program_gets_the_challenges_of_its_application(chosen: str, check: str) -> None:
    answer = ask(facts(f"{GIT}/project.git/info/refs", PROGRAM, check=check))

    assert (answer.status, header(answer, b"www-authenticate")) == (401, CHOSEN[chosen])


@pytest.mark.parametrize("name", ["start", "userinfo"])
def test_the_sign_in_endpoint_of_nginx_sends_the_same_challenges(chosen: str, name: str) -> None:
    response = endpoint(f"/authgate/{name}", GIT, PROGRAM)

    assert (response.status_code, response["WWW-Authenticate"].encode()) == (401, CHOSEN[chosen])


def test_a_wrong_password_gets_the_challenges_again(chosen: str) -> None:
    sent = [*PROGRAM, *basic(new_token())]

    answer = ask(facts(f"{GIT}/", sent))
    at_nginx = endpoint("/authgate/start", GIT, sent)

    assert (answer.status, header(answer, b"www-authenticate")) == (401, WRONG[chosen])
    assert (at_nginx.status_code, at_nginx["WWW-Authenticate"].encode()) == (401, WRONG[chosen])


@pytest.mark.parametrize("headers", BROWSERS.values(), ids=BROWSERS)
@pytest.mark.parametrize("wrong", [False, True])
def test_a_browser_never_gets_a_basic_challenge(wrong: bool, headers: Headers) -> None:
    ApplicationFactory(name="Git", origins=[GIT], who=Rule.Who.SIGNED_IN, challenges="both")
    sent = [*headers, *(basic(new_token()) if wrong else [])]

    for check in ("/authgate/nginx", "/authgate/traefik"):
        answer = ask(facts(f"{GIT}/page", sent, check=check))
        assert b"basic" not in (header(answer, b"www-authenticate") or b"").lower()
    for name in ("start", "userinfo", "refused", "callback"):
        assert "basic" not in endpoint(f"/authgate/{name}", GIT, sent).get("WWW-Authenticate", "").lower()


def test_the_default_challenge_is_bearer(alice: User) -> None:
    assert Application.objects.create(name="Wiki").challenges == "bearer"


def test_an_unknown_choice_counts_as_bearer() -> None:
    ApplicationFactory(name="Git", origins=[GIT], who=Rule.Who.SIGNED_IN, challenges="digest")

    assert header(ask(facts(f"{GIT}/", PROGRAM)), b"www-authenticate") == BEARER
