"""Only a gate token on its own origin counts as a gate cookie, and no other token of the portal."""

from __future__ import annotations

import secrets
from datetime import timedelta

import pytest
import time_machine
from django.conf import settings
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from accounts.models import User
from authgate import handover
from authgate.check.state import State, nonce_hash
from authgate.models import Application, GateSession, Origin, Rule, SignIn
from authgate.sign_ins import end_sign_ins, open_gate
from tests.authgate.asking import NAVIGATION, WIKI, ask, begin, facts, signed_in
from tests.factories import ApplicationFactory

pytestmark = pytest.mark.usefixtures("wiki")
GATE = "__Host-ikd_gate"
ANYBODY = "https://any.example.com"


@pytest.fixture(autouse=True)
def anybody(db: None) -> None:
    ApplicationFactory(name="Any", origins=[ANYBODY], who=Rule.Who.SIGNED_IN)


def status(cookie: str, url: str = f"{WIKI}/", check: str = "/authgate/nginx") -> int:
    return ask(facts(url, cookie=cookie, check=check)).status


def test_a_token_opens_its_origin(alice: User) -> None:
    assert status(signed_in(alice)) == 200


def test_the_digest_of_a_token_gives_no_access(alice: User) -> None:
    signed_in(alice)
    digest = bytes(GateSession.objects.get().token_digest)

    for text in (digest.hex(), digest.decode("latin-1")):
        assert status(f"{GATE}={text}") == 401


def test_no_other_token_of_the_portal_gives_access(alice: User) -> None:
    """CVE-2026-19349 and CVE-2019-12046 of LemonLDAP::NG."""
    browser = Client(HTTP_HOST="sso.example.com")
    browser.force_login(alice)
    portal_key = browser.cookies[settings.SESSION_COOKIE_NAME].value
    state = State(ANYBODY, "/", nonce_hash("nonce"), "", int(timezone.now().timestamp()))
    sign_in = begin(alice)
    code = handover.mint(sign_in, state, b"key")
    tokens = (
        portal_key,
        code,
        "nonce",
        nonce_hash("nonce"),
        sign_in.session_digest,
        str(sign_in.uuid),
        str(sign_in.pk),
    )

    for token in (*tokens, str(alice.uuid), "alice", alice.password, settings.SECRET_KEY, "null", "0", ""):
        assert status(f"{GATE}={token}", f"{ANYBODY}/") == 401


def test_a_gate_token_does_not_work_as_a_portal_session(alice: User) -> None:
    token = open_gate(begin(alice), ANYBODY)
    browser = Client(HTTP_HOST="sso.example.com")
    browser.cookies[settings.SESSION_COOKIE_NAME] = token

    assert browser.get("/", secure=True).status_code == 302


@pytest.mark.parametrize(
    "name",
    [
        "ikd_gate",
        "__Host-ikd_portal",
        "__Host-ikd_nonce",
        "__Secure-ikd_gate",
        "\u00a0__Host-ikd_gate",
        "__host-ikd_gate",
    ],
)
def test_a_cookie_of_another_name_with_the_right_token_gives_no_access(name: str, alice: User) -> None:
    token = signed_in(alice).partition("=")[2]

    assert status(f"{name}={token}") == 401


def test_a_cookie_with_an_em_space_before_its_name_gives_no_access(alice: User) -> None:
    token = signed_in(alice).partition("=")[2]

    assert status(f"\u2003{GATE}={token}".encode().decode("latin-1")) == 401


def test_a_planted_cookie_does_not_hide_the_real_one(alice: User) -> None:
    good = signed_in(alice)

    assert status(f"\u2003{GATE}=evil".encode().decode("latin-1") + f"; {good}") == 200


def test_a_doubled_cookie_is_ignored(alice: User, bob: User) -> None:
    assert status(f"{signed_in(alice)}; {signed_in(bob)}") == 401


@pytest.mark.parametrize("mangle", ["{}x", "x{}", " {}x", '"{}"', "{}\x00", "%20{}", "{}=", "{}{}"])
def test_a_token_with_extra_characters_gives_no_access(mangle: str, alice: User) -> None:
    token = signed_in(alice).partition("=")[2]

    assert status(f"{GATE}={mangle.format(token, token)}") == 401


def test_a_truncated_token_gives_no_access(alice: User) -> None:
    assert status(signed_in(alice)[:-1]) == 401


# ---- origins ----------------------------------------------------------------------------------------------


def test_a_token_of_another_origin_gives_no_access(alice: User) -> None:
    assert status(signed_in(alice, ANYBODY)) == 401


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://b.apps.example.net",
        "https://a.b.apps.example.net",
        "https://x.a.apps.example.net",
        "https://*.apps.example.net",
    ],
)
def test_a_token_of_another_subdomain_under_the_same_wildcard_gives_no_access(
    elsewhere: str, alice: User
) -> None:
    ApplicationFactory(name="Apps", origins=["https://*.apps.example.net"], who=Rule.Who.SIGNED_IN)
    cookie = signed_in(alice, elsewhere)

    assert status(cookie, "https://a.apps.example.net/") == 401


def test_a_token_of_the_https_origin_gives_no_access_over_http(alice: User) -> None:
    app = ApplicationFactory(name="Plain", origins=["http://plain.example.com"], who=Rule.Who.SIGNED_IN)
    Origin.objects.create(application=app, value="https://plain.example.com")
    token = open_gate(begin(alice), "https://plain.example.com")

    assert status(f"ikd_gate={token}; {GATE}={token}", "http://plain.example.com/") == 401
    assert status(f"ikd_gate={token}; {GATE}={token}", "https://plain.example.com/") == 200


# ---- what ends access, as of the next check ---------------------------------------------------------------


def end_gate_session(alice: User) -> None:
    GateSession.objects.update(ended_at=timezone.now())


def end_sign_in(alice: User) -> None:
    end_sign_ins(SignIn.objects.all())


def disable(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)


def delete_user(alice: User) -> None:
    User.objects.filter(pk=alice.pk).delete()


def delete_sign_in(alice: User) -> None:
    SignIn.objects.all().delete()


def let_expire(alice: User) -> None:
    SignIn.objects.update(expires_at=timezone.now())


def let_idle(alice: User) -> None:
    SignIn.objects.update(last_seen_at=timezone.now() - timedelta(seconds=settings.IKD_IDLE_TIMEOUT + 60))


def change_password(alice: User) -> None:
    alice.set_password(secrets.token_hex())
    alice.save()


def leave_group(alice: User) -> None:
    alice.groups.clear()


def remove_group_from_the_other_side(alice: User) -> None:
    Group.objects.get(name="staff").user_set.clear()


def delete_group(alice: User) -> None:
    Group.objects.filter(name="staff").delete()


def delete_rule(alice: User) -> None:
    Rule.objects.filter(application__name="Wiki").delete()


def disable_application(alice: User) -> None:
    Application.objects.update(enabled=False)


def delete_application(alice: User) -> None:
    Application.objects.all().delete()


ENDINGS = [
    end_gate_session,
    end_sign_in,
    disable,
    delete_user,
    delete_sign_in,
    let_expire,
    let_idle,
    change_password,
]
REFUSALS = [
    leave_group,
    remove_group_from_the_other_side,
    delete_group,
    delete_rule,
    disable_application,
    delete_application,
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
def test_an_ended_sign_in_gives_no_access(ending: object, alice: User) -> None:
    cookie = signed_in(alice)
    assert status(cookie) == 200
    ending(alice)  # type: ignore[operator]

    assert status(cookie) == 401
    assert ask(facts(f"{WIKI}/", NAVIGATION, cookie=cookie)).status == 302


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.__name__)
def test_lost_rights_count_as_of_the_next_check(refusal: object, alice: User) -> None:
    cookie = signed_in(alice)
    assert status(cookie) == 200
    refusal(alice)  # type: ignore[operator]

    assert status(cookie) == 403


def test_a_disabled_user_is_refused_with_any_cookie(dave: User) -> None:
    dave.groups.add(Group.objects.get_or_create(name="staff")[0])

    assert status(signed_in(dave)) == 401


def test_the_lifetime_is_exact_to_the_second(alice: User) -> None:
    with time_machine.travel("2030-01-01T00:00:00Z", tick=False) as clock:
        cookie = signed_in(alice)
        SignIn.objects.update(idle_timeout=10 * settings.IKD_SIGN_IN_LIFETIME)
        clock.shift(settings.IKD_SIGN_IN_LIFETIME - 1)
        assert status(cookie) == 200
        clock.shift(1)
        assert status(cookie) == 401


def test_the_idle_time_never_ends_early_and_at_most_a_minute_late(alice: User) -> None:
    with time_machine.travel("2030-01-01T00:00:00Z", tick=False) as clock:
        cookie = signed_in(alice)
        clock.shift(settings.IKD_IDLE_TIMEOUT)
        assert status(cookie) == 200
        clock.shift(60)
        assert status(cookie) == 401


def test_a_changed_username_is_sent_as_of_the_next_check(alice: User) -> None:
    cookie = signed_in(alice)
    User.objects.filter(pk=alice.pk).update(username="alicia", email="new@example.com")

    headers = dict(ask(facts(f"{WIKI}/", cookie=cookie)).headers)

    assert headers[b"x-auth-request-user"] == b"alicia"
    assert headers[b"x-auth-request-email"] == b""


def test_an_unverified_address_is_not_sent(bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(email="boss@example.com")
    ApplicationFactory(name="Open", origins=["https://open.example.com"], who=Rule.Who.SIGNED_IN)
    cookie = signed_in(bob, "https://open.example.com")

    answer = ask(facts("https://open.example.com/", cookie=cookie))
    filtered = ask(facts("https://open.example.com/", cookie=cookie, query="allowed_emails=boss@example.com"))

    assert dict(answer.headers)[b"x-auth-request-email"] == b""
    assert filtered.status == 403
