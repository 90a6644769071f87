from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from accounts.models import User
from accounts.throttle import (
    Limit,
    TooManyAttempts,
    _counter,
    _holder,
    count_mail,
    count_password_attempt,
    limit_of,
    mailbox_key,
)
from authgate.models import AuditEvent, SignIn
from authgate.network_limits import network_of
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import PASSWORD
from tests.own_database import in_tables

HOME, ELSEWHERE = "127.0.0.1", "127.0.9.9"


def fail(client: Client, login: str, times: int, address: str = HOME) -> list[int]:
    return [sign_in(client, login, "wrong", address=address).status_code for _ in range(times)]


@pytest.mark.parametrize("login", ["alice", "nobody"])
def test_the_sixth_wrong_password_is_not_checked(client: Client, alice: User, login: str) -> None:
    assert fail(client, login, 7) == [200] * 5 + [429] * 2


def test_the_right_password_is_refused_too_until_the_limit_ends(client: Client, alice: User) -> None:
    fail(client, "alice", 5)

    answer = sign_in(client, "alice")

    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 300
    assert "Try again in 5 minutes" in answer.content.decode()
    assert not is_signed_in(client)


@in_tables
def test_the_limit_ends_after_its_time(client: Client, alice: User) -> None:
    with time_machine.travel("2026-05-01T12:00:00Z", tick=False) as traveller:
        fail(client, "alice", 5)
        traveller.shift(302)
        answer = sign_in(client, "alice")

    assert answer.status_code == 302


def test_spellings_of_a_name_are_counted_together(client: Client, alice: User) -> None:
    fail(client, "alice", 3)
    fail(client, "ALICE ", 2)

    assert fail(client, "\uff41lice", 1) == [429]


NAMES = ["alice", "ALICE ", "\uff21lice", "alice@example.com", "Alice@Example.com", "second@example.org"]


def test_all_names_of_an_account_share_one_limit(client: Client, alice: User) -> None:
    EmailAddress.objects.create(user=alice, email="second@example.org", verified=True)

    tried = [fail(client, name, 1)[0] for name in NAMES]

    assert tried == [200] * 5 + [429]
    assert [sign_in(client, name).status_code for name in NAMES] == [429] * 6


def test_all_names_share_the_limit_for_many_addresses_too(client: Client, alice: User, settings: Any) -> None:
    settings.IKD_LOGIN_LIMIT_PER_ACCOUNT = "3/3600"

    tried = [fail(client, name, 1, f"127.0.1.{n}")[0] for n, name in enumerate(NAMES[1:5])]

    assert tried == [200, 200, 200, 429]


def test_a_renamed_account_gets_no_new_attempts(client: Client, alice: User) -> None:
    fail(client, "alice", 5)
    User.objects.filter(pk=alice.pk).update(username="alicia")

    assert fail(client, "alicia", 1) == [429]
    assert fail(client, "alice", 1) == [200]


def test_an_unconfirmed_address_does_not_count_for_its_account(
    client: Client, alice: User, bob: User
) -> None:
    EmailAddress.objects.create(user=bob, email="second@example.org", verified=False)

    fail(client, "second@example.org", 6)

    assert sign_in(client, "bob").status_code == 302


def test_names_that_differ_beyond_the_longest_length_are_counted_together(db: None) -> None:
    begun = {tuple(count_password_attempt("x" * length, None, None)) for length in (254, 255, 9999)}

    assert {slot.rpartition(":")[0] for slots in begun for slot in slots[:1]} == {
        min(begun)[0].rpartition(":")[0]
    }


@settings_of_hypothesis(max_examples=50, deadline=None)
@given(st.text(max_size=40) | st.sampled_from(["second factor 7", "account", "7", "account\0007", '","7']))
def test_no_typed_text_has_the_counter_of_an_account(text: str) -> None:
    def keys(account: User | None, login: str = "") -> set[str]:
        holder = _holder(account, login)
        kinds = [f"{secret} {kind}" for secret in ("password", "code") for kind in ("both", "account")]
        return {_counter(kind, "5/300", *holder, *more).key for kind in kinds for more in ((), (HOME,))}

    assert not keys(User(pk=7)) & keys(None, text)
    assert len(keys(User(pk=7))) == 8


def test_another_address_is_counted_separately(client: Client, alice: User) -> None:
    fail(client, "alice", 6)

    assert sign_in(client, "alice", address=ELSEWHERE).status_code == 302


def test_another_account_is_counted_separately(client: Client, alice: User, bob: User) -> None:
    fail(client, "alice", 6)

    assert sign_in(client, "bob").status_code == 302


def test_right_passwords_do_not_count(client: Client, alice: User) -> None:
    for _ in range(8):
        assert sign_in(client, "alice").status_code == 302
        client.post("/accounts/logout/")


def test_wrong_passwords_stay_counted_after_a_right_one(client: Client, alice: User) -> None:
    fail(client, "alice", 4)
    sign_in(client, "alice")
    client.post("/accounts/logout/")

    assert fail(client, "alice", 2) == [200, 429]


def test_an_address_that_tries_many_accounts_is_stopped(client: Client, db: None, settings: Any) -> None:
    settings.IKD_LOGIN_LIMIT_PER_ADDRESS = "3/300"

    answers = [fail(client, f"person-{number}", 1)[0] for number in range(4)]

    assert answers == [200, 200, 200, 429]


def test_an_account_attacked_from_many_addresses_refuses_unknown_addresses(
    client: Client, alice: User, settings: Any
) -> None:
    settings.IKD_LOGIN_LIMIT_PER_ACCOUNT = "3/3600"

    answers = [fail(client, "alice", 1, f"127.0.1.{number}")[0] for number in range(4)]

    assert answers == [200, 200, 200, 429]


def test_an_attacked_account_accepts_an_address_that_its_user_has_used_before(
    client: Client, other_browser: Client, alice: User, settings: Any
) -> None:
    settings.IKD_LOGIN_LIMIT_PER_ACCOUNT = "3/3600"
    sign_in(client, "alice", address=HOME)
    client.post("/accounts/logout/")

    for number in range(6):
        fail(other_browser, "alice", 1, f"127.0.1.{number}")

    assert sign_in(client, "alice", address=HOME).status_code == 302


def test_a_sign_in_long_ago_does_not_make_an_address_known(
    client: Client, alice: User, settings: Any
) -> None:
    settings.IKD_LOGIN_LIMIT_PER_ACCOUNT = "3/3600"
    sign_in(client, "alice", address=HOME)
    client.post("/accounts/logout/")
    SignIn.objects.update(started_at=timezone.now() - timedelta(days=31))

    for number in range(3):
        fail(client, "alice", 1, f"127.0.1.{number}")

    assert sign_in(client, "alice", address=HOME).status_code == 429


def test_an_unknown_account_reaches_the_same_limit(client: Client, db: None, settings: Any) -> None:
    settings.IKD_LOGIN_LIMIT_PER_ACCOUNT = "3/3600"

    answers = [fail(client, "nobody", 1, f"127.0.1.{number}")[0] for number in range(4)]

    assert answers == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        (None, "unknown"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str | None, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize("text", ["5/300", "1/1", "999/999999"])
def test_a_limit_consists_of_attempts_and_seconds(text: str) -> None:
    assert limit_of(text) == Limit(*map(int, text.split("/")))


@pytest.mark.parametrize(
    "text", ["", "5", "5/", "/300", "0/300", "5/0", "5/5m", "-1/300", "1000/1", "5/300\n"]
)
def test_a_malformed_limit_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        limit_of(text)


def test_a_limit_leaves_one_event_for_any_number_of_attempts(client: Client, alice: User) -> None:
    fail(client, "alice", 12)

    assert AuditEvent.objects.filter(kind="sign_in_limited").count() == 1
    assert AuditEvent.objects.filter(kind="sign_in_failed").count() == 5


def test_no_hash_is_computed_beyond_the_limit(client: Client, alice: User) -> None:
    fail(client, "alice", 5)
    failed = AuditEvent.objects.filter(kind="sign_in_failed").count()

    sign_in(client, "alice", PASSWORD)

    assert AuditEvent.objects.filter(kind__in=["sign_in_failed", "sign_in"]).count() == failed


@in_tables
def test_nobody_signs_in_while_the_counters_are_missing(client: Client, alice: User) -> None:
    client.raise_request_exception = False
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ikd_cache_default RENAME TO ikd_cache_gone")

    assert sign_in(client, "alice").status_code == 500
    assert not is_signed_in(client)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("database is locked", "another program is writing to it"),
        ("database or disk is full", "disk is full"),
        ("attempt to write a readonly database", "read-only"),
        ("the server closed the connection", "does not answer"),
    ],
)
def test_counters_that_cannot_be_written_do_not_count_as_too_many_attempts(
    client: Client, alice: User, error: str, reason: str
) -> None:
    client.raise_request_exception = False

    def fail(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith("INSERT"):
            raise OperationalError(error)
        return execute(sql, *arguments)

    with connection.execute_wrapper(fail):
        answer = sign_in(client, "alice")

    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert reason in answer.content.decode()
    assert "Too many" not in answer.content.decode()
    assert sign_in(client, "alice").status_code == 302


def attempt(_: int) -> bool:
    try:
        count_password_attempt("alice", None, HOME)
    except TooManyAttempts:
        return False
    finally:
        connection.close()
    return True


@pytest.mark.django_db(transaction=True)
def test_the_limit_is_exact_for_simultaneous_attempts(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

    with ThreadPoolExecutor(8) as pool:
        won = sum(pool.map(attempt, range(40)))

    assert won == 5


# ---- mails ----


@pytest.mark.parametrize(
    "spelling",
    ["Frank@Example.com", '"frank"@example.com', '"fr\\ank"@EXAMPLE.COM', "frank@example\u3002com"],
)
def test_spellings_of_a_mailbox_share_one_limit_of_mails(db: None, spelling: str) -> None:
    got = [count_mail("register", each, f"192.0.2.{n}") for n, each in enumerate(["frank@example.com"] * 3)]

    assert got == [True] * 3
    assert not count_mail("register", spelling, "192.0.2.9")


def test_a_unicode_host_counts_as_its_ascii_form() -> None:
    assert mailbox_key("a@B\u00fccher.example") == mailbox_key("a@xn--bcher-kva.example")
    assert mailbox_key("a+b@example.com") != mailbox_key("a@example.com")


@pytest.mark.parametrize("email", ["", "@", "a@", "a@\udcff", "a@" + "x" * 70, '"@example.com', "\0@a"])
def test_any_text_has_a_mailbox_key(email: str) -> None:
    assert isinstance(mailbox_key(email), str)


@pytest.fixture
def redis(tmp_path: Path, settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A separate Redis at a Unix socket, as the default cache."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server here")
    socket = tmp_path / "redis.sock"
    server = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while not socket.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    options = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
    location = f"unix://{socket}?db=0"
    backend = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options}
    settings.CACHES = {**settings.CACHES, "default": backend}
    yield server
    server.kill()
    server.wait()


def test_redis_counts_in_the_same_way(client: Client, alice: User, redis: Any) -> None:
    assert fail(client, "alice", 6) == [200] * 5 + [429]
    assert sign_in(client, "alice", address=ELSEWHERE).status_code == 302


def test_nobody_signs_in_while_redis_is_away_and_the_page_explains(
    client: Client, alice: User, redis: Any
) -> None:
    client.raise_request_exception = False
    redis.kill()
    redis.wait()

    answer = sign_in(client, "alice")

    assert answer.status_code == 503
    assert "(Redis) does not answer" in answer.content.decode()
    assert not is_signed_in(client)
