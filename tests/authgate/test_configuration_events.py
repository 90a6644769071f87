"""What checks leave behind: counters and refusals, bounded, and nothing that outsiders could grow."""

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
def test_a_mistake_is_counted_rather_than_listed() -> None:
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
def test_there_are_a_thousand_counters_at_most() -> None:
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
def test_counters_that_are_there_go_on_counting_when_all_are_taken() -> None:
    own = Writer()
    for number in range(COUNTERS_LIMIT):
        own.note_refusal(event(number))
    own.flush()
    own.note_refusal(event(7))
    own.flush()

    assert ConfigurationEvent.objects.get(origin="https://7.example").count == 2


@pytest.mark.django_db
def test_of_a_flood_of_refusals_some_are_kept_and_the_rest_is_counted(
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
def test_a_refusal_can_be_found_by_its_decision() -> None:
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
    """Return how many rows the tables of codes and limits have; earlier tests may have left some."""
    return [len(entries_of(alias)) for alias in ("codes", "default")]


@pytest.mark.parametrize("check", ["/authgate/nginx", "/authgate/traefik"])
def test_who_only_has_to_sign_in_leaves_no_trace(check: str, wiki: None) -> None:
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


def test_a_use_is_written_once_a_minute_at_most(alice: User) -> None:
    sign_in, own = begin(alice), Writer()
    own.note_use(sign_in.pk, time.time())
    own.flush()
    own.note_use(sign_in.pk, time.time())

    assert not own._sign_ins._due


def test_a_late_use_revives_no_session_that_ended(alice: User, wiki: None) -> None:
    """CVE-2022-37186 of LemonLDAP::NG."""
    cookie = signed_in(alice)
    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 200
    sign_in = SignIn.objects.get()
    SignIn.objects.update(ended_at=sign_in.started_at, last_seen_at=sign_in.started_at.replace(year=2020))
    writer.note_use(sign_in.pk, time.time())
    writer.flush()

    assert SignIn.objects.get().last_seen_at.year == 2020
    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 401


def test_a_late_use_makes_no_row_of_a_deleted_sign_in(alice: User) -> None:
    sign_in, own = begin(alice), Writer()
    own.note_use(sign_in.pk, time.time())
    SignIn.objects.all().delete()
    own.flush()

    assert not SignIn.objects.exists()
