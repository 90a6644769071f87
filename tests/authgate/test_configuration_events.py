"""Rows that checks write: counters and refusals, in limited number: visitors cannot fill the database."""

from __future__ import annotations

import time

import pytest

from accounts.models import User
from authgate.check.responses import Refusal
from authgate.models import AuditEvent, ConfigurationEvent, GateSession, SignIn
from authgate.worker.write_behind import COUNTERS_LIMIT, REFUSALS_A_FLUSH, Writer, writer
from tests.authgate.asking import NAVIGATION, WIKI, ask, begin, endpoint, facts, signed_in
from tests.cache_entries import entries_of


def event(number: int = 0, reason: str = "unknown origin") -> Refusal:
    return Refusal("0" * 12, "nginx", reason, origin=f"https://{number}.example", is_configuration=True)


def refusal(number: int = 0) -> Refusal:
    return Refusal(f"{number:012}", "nginx", "no rule admits", WIKI, "GET", "/", "192.0.2.1", "bob", "Wiki")


@pytest.mark.django_db
def test_a_repeated_mistake_is_one_row_with_a_count() -> None:
    own = Writer()
    for _ in range(3):
        own.note_refusal(event())
        own.flush()
    own.note_refusal(event())
    own.note_refusal(event())
    own.flush()

    assert [each.count for each in ConfigurationEvent.objects.all()] == [5]


@pytest.mark.long
@pytest.mark.django_db
def test_at_most_a_thousand_mistakes_are_stored() -> None:
    own = Writer()
    for number in range(COUNTERS_LIMIT + 50):
        own.note_refusal(event(number))
    own.flush()
    for number in range(COUNTERS_LIMIT, COUNTERS_LIMIT + 50):
        own.note_refusal(event(number))
    own.flush()

    assert ConfigurationEvent.objects.count() == COUNTERS_LIMIT


@pytest.mark.long
@pytest.mark.django_db
def test_existing_counters_still_count_when_the_maximum_is_reached() -> None:
    own = Writer()
    for number in range(COUNTERS_LIMIT):
        own.note_refusal(event(number))
    own.flush()
    own.note_refusal(event(7))
    own.flush()

    assert ConfigurationEvent.objects.get(origin="https://7.example").count == 2


@pytest.mark.django_db
def test_some_of_very_many_refusals_are_stored_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = Writer()
    for number in range(REFUSALS_A_FLUSH + 10):
        own.note_refusal(refusal(number))
    with caplog.at_level("WARNING", "ikd.refusals"):
        own.flush()

    assert AuditEvent.objects.count() == REFUSALS_A_FLUSH
    assert [record.event for record in caplog.records] == [{"count": 10}]  # type: ignore[attr-defined]


@pytest.mark.django_db
def test_a_refusal_can_be_found_by_its_decision_id() -> None:
    own = Writer()
    own.note_refusal(refusal(5))
    own.flush()

    found = AuditEvent.objects.get(decision_id="000000000005")

    assert (found.kind, found.actor, found.reason, found.application) == (
        "refused",
        "bob",
        "no rule admits",
        "Wiki",
    )


def rows_of_caches() -> list[int]:
    """Return the number of rows in the tables of codes and limits. Earlier tests may have left some."""
    return [len(entries_of(alias)) for alias in ("codes", "default")]


@pytest.mark.parametrize("check", ["/authgate/nginx", "/authgate/traefik"])
def test_a_visitor_who_is_sent_to_sign_in_writes_nothing(check: str, wiki: None) -> None:
    before = rows_of_caches()
    for headers in (NAVIGATION, []):
        for path in (
            "/",
            f"/?ikdcode={'C' * 43}",
            "/authgate/start",
            "/authgate/callback?ikdcode=x",
            "/authgate/sign_out",
        ):
            ask(
                facts(
                    f"{WIKI}{path}",
                    headers,
                    check=check,
                    cookie="__Host-ikd_gate=forged; __Host-ikd_nonce=forged",
                )
            )
    for name in ("start", "callback?ikdcode=x", "sign_out", "userinfo", "refused"):
        endpoint(f"/authgate/{name}", WIKI, NAVIGATION, cookie="__Host-ikd_gate=forged")
    writer.flush()

    for table in (AuditEvent, ConfigurationEvent, SignIn, GateSession):
        assert not table.objects.exists()
    assert rows_of_caches() == before


# ---- last seen --------------------------------------------------------------------------------------------


def test_the_last_use_is_stored_at_most_once_a_minute(alice: User) -> None:
    sign_in, own = begin(alice), Writer()
    own.note_use(sign_in.pk, time.time())
    own.flush()
    own.note_use(sign_in.pk, time.time())

    assert not own._sign_ins._due


def test_a_late_use_does_not_revive_an_ended_session(alice: User, wiki: None) -> None:
    """CVE-2022-37186 of LemonLDAP::NG."""
    cookie = signed_in(alice)
    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 200
    sign_in = SignIn.objects.get()
    SignIn.objects.update(ended_at=sign_in.started_at, last_seen_at=sign_in.started_at.replace(year=2020))
    writer.note_use(sign_in.pk, time.time())
    writer.flush()

    assert SignIn.objects.get().last_seen_at.year == 2020
    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 401


def test_a_late_use_does_not_recreate_a_deleted_sign_in(alice: User) -> None:
    sign_in, own = begin(alice), Writer()
    own.note_use(sign_in.pk, time.time())
    SignIn.objects.all().delete()
    own.flush()

    assert not SignIn.objects.exists()
