"""Rechecks at providers: a user disabled there loses access here. A provider that is down ends no sign-in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from accounts.models import GroupMapping, Upstream, UpstreamSession, User
from accounts.upstreams import event_limits
from accounts.upstreams.oidc import metadata
from accounts.upstreams.oidc.recheck_worker import delete_ended_tokens, may_become_due, recheck_due
from accounts.upstreams.oidc.refresh import LEASE, Outcome, refresh
from authgate.models import AuditEvent, SignIn
from authgate.sign_ins import open_gate
from tests.accounts.conftest import PortalClient
from tests.accounts.signing_in import is_signed_in
from tests.authgate.asking import WIKI, ask, facts
from tests.factories import ApplicationFactory, GroupFactory
from tests.upstreams.no_cache import NoCache
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import sign_in

TOKENS = "/token"


@pytest.fixture
def there(client: PortalClient, provider: Provider, upstream: Upstream) -> PortalClient:
    """A browser with a sign-in that was rechecked two minutes ago, and is rechecked every minute."""
    Upstream.objects.update(recheck_every=60)
    sign_in(client, provider)
    UpstreamSession.objects.update(checked_at=timezone.now() - timedelta(minutes=2))
    return client


def reason() -> str:
    return AuditEvent.objects.filter(kind="sign_out").latest("pk").reason


def session() -> UpstreamSession:
    return UpstreamSession.objects.get()


def test_a_user_known_to_the_provider_stays_signed_in_with_newer_tokens(
    there: PortalClient, provider: Provider
) -> None:
    before = session()

    assert recheck_due() == 1

    after = session()
    assert is_signed_in(there)
    assert after.checked_at > before.checked_at + timedelta(minutes=1)
    assert after.access_token.reveal() == f"{before.access_token.reveal()}-1"
    assert after.refresh_token.reveal() == f"{before.refresh_token.reveal()}-1"
    assert after.id_token.reveal() != before.id_token.reveal()
    assert recheck_due() == 0


def test_each_refresh_uses_the_newest_refresh_token(there: PortalClient, provider: Provider) -> None:
    for _ in range(3):
        UpstreamSession.objects.update(checked_at=timezone.now() - timedelta(minutes=2))
        assert recheck_due() == 1

    assert is_signed_in(there)
    assert provider.refreshed == 3


def test_without_a_newer_refresh_token_the_old_one_stays(there: PortalClient, provider: Provider) -> None:
    provider.token_answer = {"refresh_token": None, "id_token": None}
    before = session()

    recheck_due()

    assert session().refresh_token.reveal() == before.refresh_token.reveal()
    assert session().id_token.reveal() == before.id_token.reveal()


@pytest.mark.parametrize("status", [400, 401])
def test_a_user_unknown_to_the_provider_is_signed_out(
    there: PortalClient, provider: Provider, status: int
) -> None:
    provider.answers[TOKENS] = (status, {}, b'{"error": "invalid_grant"}')

    recheck_due()

    assert not is_signed_in(there)
    assert reason() == "the provider no longer knows the sign-in"


def test_an_answer_about_another_user_ends_the_sign_in(there: PortalClient, provider: Provider) -> None:
    provider.claims["sub"] = "mallory-there"

    recheck_due()

    assert not is_signed_in(there)
    assert reason() == "the provider answered for somebody else"


def answering(status: int, body: bytes = b"") -> Callable[[Provider], None]:
    def bend(provider: Provider) -> None:
        provider.answers[TOKENS] = (status, {}, body)

    return bend


def badly(**answer: Any) -> Callable[[Provider], None]:
    return lambda provider: provider.token_answer.update(answer)


FAILS: dict[str, Callable[[Provider], None]] = {
    "an error of its own": answering(503),
    "too many requests": answering(429),
    "a client that it does not know": answering(401, b'{"error": "invalid_client"}'),
    "a grant that the client may not use": answering(400, b'{"error": "unauthorized_client"}'),
    "a page": answering(400, b"<html>invalid_grant</html>"),
    "no token": badly(access_token=None),
    "no bearer token": badly(token_type="mac"),
    "an ID token that is none": badly(id_token="a.b.c"),
    "an ID token of another kind": lambda provider: provider.claims.update(events={}),
    "an ID token for another client": lambda provider: provider.claims.update(azp="other"),
    "an ID token for several clients": lambda provider: provider.claims.update(aud=["portal", "other"]),
    "gone": Provider.stop,
}


@pytest.mark.parametrize("bend", FAILS.values(), ids=FAILS)
def test_a_failing_provider_ends_no_sign_in_and_causes_an_event(
    there: PortalClient, provider: Provider, bend: Callable[[Provider], None]
) -> None:
    before = session()
    bend(provider)

    recheck_due()

    assert is_signed_in(there)
    assert session().refresh_token == before.refresh_token
    event = AuditEvent.objects.get(kind="upstream_not_asked")
    assert event.details == {"upstream": "campus"}


@pytest.mark.parametrize(("minutes", "stays"), [(60, True), (63, False)])
def test_a_provider_that_is_down_ends_sign_ins_after_the_grace(
    there: PortalClient, provider: Provider, settings: Any, minutes: int, stays: bool
) -> None:
    settings.IKD_RECHECK_GRACE = 3600
    provider.answers[TOKENS] = (503, {}, b"")
    UpstreamSession.objects.update(checked_at=timezone.now() - timedelta(minutes=minutes))

    recheck_due()

    assert is_signed_in(there) is stays
    if not stays:
        assert reason() == "the provider could not be asked for too long"


def test_a_portal_that_was_off_for_longer_than_the_grace_asks_before_it_ends_sign_ins(
    there: PortalClient, provider: Provider
) -> None:
    UpstreamSession.objects.update(checked_at=timezone.now() - timedelta(days=2))

    recheck_due()

    assert is_signed_in(there)


def test_after_a_failure_the_same_sign_in_waits_for_its_turn(there: PortalClient, provider: Provider) -> None:
    provider.answers[TOKENS] = (503, {}, b"")

    assert [recheck_due() for _ in range(3)] == [1, 0, 0]

    provider.answers.clear()
    UpstreamSession.objects.update(tried_at=timezone.now() - LEASE)
    assert recheck_due() == 1


QUIET: dict[str, Callable[[], object]] = {
    "signed out": lambda: SignIn.objects.update(ended_at=timezone.now()),
    "expired": lambda: SignIn.objects.update(expires_at=timezone.now()),
    "idle": lambda: SignIn.objects.update(last_seen_at=timezone.now() - timedelta(days=1)),
    "never asked again": lambda: Upstream.objects.update(recheck_every=0),
    "switched off": lambda: Upstream.objects.update(enabled=False),
    "without a token": lambda: UpstreamSession.objects.update(refresh_token=""),
}


@pytest.mark.parametrize("change", QUIET.values(), ids=QUIET)
def test_without_sign_ins_that_can_become_due_the_portal_rarely_looks(
    there: PortalClient, change: Callable[[], object], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        assert may_become_due()

    change()

    assert not may_become_due()


def test_a_lease_in_the_future_is_ignored(there: PortalClient, provider: Provider) -> None:
    UpstreamSession.objects.update(tried_at=timezone.now() + timedelta(hours=1))

    assert recheck_due() == 1


NOT_ASKED: dict[str, Callable[[], object]] = {
    "not due": lambda: UpstreamSession.objects.update(checked_at=timezone.now()),
    "no interval": lambda: Upstream.objects.update(recheck_every=0),
    "no refresh token": lambda: UpstreamSession.objects.update(refresh_token=""),
    "a sign-in that ended": lambda: SignIn.objects.update(ended_at=timezone.now()),
    "a sign-in that ran out": lambda: SignIn.objects.update(expires_at=timezone.now()),
    "an idle sign-in": lambda: SignIn.objects.update(last_seen_at=timezone.now() - timedelta(hours=5)),
    "a provider that is off": lambda: Upstream.objects.update(enabled=False),
    "asked about elsewhere just now": lambda: UpstreamSession.objects.update(tried_at=timezone.now()),
}


@pytest.mark.parametrize("change", NOT_ASKED.values(), ids=NOT_ASKED)
def test_the_provider_is_not_asked_about_such_a_sign_in(
    there: PortalClient, provider: Provider, change: Callable[[], object]
) -> None:
    change()

    assert recheck_due() == 0
    assert provider.refreshed == 0


# ---- groups ----


def mapped(claim: str, value: str, name: str, mode: str = "mirror") -> None:
    GroupMapping.objects.create(
        upstream=Upstream.objects.get(), claim=claim, value=value, group=GroupFactory(name=name), mode=mode
    )


def in_groups(*names: str) -> None:
    User.objects.get().groups.set([GroupFactory(name=name) for name in names])


def groups() -> set[str]:
    return set(User.objects.get().groups.values_list("name", flat=True))


def set_claims(
    id_token: dict[str, Any], userinfo: dict[str, Any] | None = None
) -> Callable[[Provider], None]:
    def bend(provider: Provider) -> None:
        provider.claims |= id_token
        provider.userinfo = userinfo or {}

    return bend


def without_id_token(bend: Callable[[Provider], None]) -> Callable[[Provider], None]:
    def bent(provider: Provider) -> None:
        bend(provider)
        provider.token_answer["id_token"] = None

    return bent


def without_userinfo(provider: Provider) -> None:
    provider.answers["/userinfo"] = (503, {}, b"")


def somebody_elses(provider: Provider) -> None:
    provider.userinfo = {"sub": "mallory-there", "groups": []}


MIRRORED: dict[str, tuple[Callable[[Provider], None], bool]] = {
    "still in the ID token": (set_claims({"groups": ["crew", "x"]}), True),
    "still in userinfo": (set_claims({}, {"groups": ["crew"]}), True),
    "taken, by the ID token": (set_claims({"groups": ["x"]}), False),
    "taken, by userinfo": (set_claims({}, {"groups": ["x"]}), False),
    "taken, by an empty list": (set_claims({}, {"groups": []}), False),
    "taken in userinfo, which goes before the ID token": (
        set_claims({"groups": ["crew"]}, {"groups": []}),
        False,
    ),
    "no such claim in all there is": (set_claims({}), False),
    "taken, without a new ID token": (without_id_token(set_claims({}, {"groups": ["x"]})), False),
    "left out of the ID token": (set_claims({"_claim_names": {"groups": "src1"}}), True),
    "left out of userinfo": (set_claims({}, {"hasgroups": True}), True),
    "left out of the ID token, taken in userinfo": (
        set_claims({"_claim_names": {"groups": "src1"}}, {"groups": ["x"]}),
        False,
    ),
    "no such claim in userinfo, without a new ID token": (without_id_token(set_claims({})), True),
    "no such claim in the ID token, without userinfo": (without_userinfo, True),
    "userinfo of somebody else": (somebody_elses, True),
}


@pytest.mark.parametrize(("bend", "stays"), MIRRORED.values(), ids=MIRRORED)
def test_a_mirrored_group_follows_the_providers_claims(
    there: PortalClient, provider: Provider, bend: Callable[[Provider], None], stays: bool
) -> None:
    mapped("groups", "crew", "crew")
    in_groups("crew", "own")
    bend(provider)

    assert recheck_due() == 1

    assert is_signed_in(there)
    assert groups() == ({"crew", "own"} if stays else {"own"})


def test_a_group_assigned_at_the_provider_is_assigned_here(there: PortalClient, provider: Provider) -> None:
    mapped("groups", "crew", "crew")
    set_claims({"groups": ["crew"]})(provider)

    recheck_due()

    assert groups() == {"crew"}


def test_a_group_that_is_only_added_is_never_removed(there: PortalClient, provider: Provider) -> None:
    mapped("groups", "crew", "crew", "add")
    mapped("groups", "boss", "boss")
    in_groups("crew", "boss")

    recheck_due()

    assert groups() == {"crew"}


def test_applications_no_longer_receive_a_removed_group(there: PortalClient, provider: Provider) -> None:
    mapped("groups", "crew", "crew")
    in_groups("crew")
    ApplicationFactory(origins=[WIKI], groups=["crew"])
    cookie = f"__Host-ikd_gate={open_gate(SignIn.objects.get(), WIKI)}"
    before = ask(facts(f"{WIKI}/", cookie=cookie)).status

    recheck_due()

    assert (before, ask(facts(f"{WIKI}/", cookie=cookie)).status) == (200, 403)


def test_unreadable_userinfo_causes_an_event_and_keeps_the_new_tokens(
    there: PortalClient, provider: Provider
) -> None:
    mapped("groups", "crew", "crew")
    without_userinfo(provider)
    before = session().refresh_token.reveal()

    recheck_due()

    assert session().refresh_token.reveal() == f"{before}-1"
    assert "userinfo" in AuditEvent.objects.get(kind="upstream_not_asked").reason


def test_without_a_mirrored_group_userinfo_is_not_requested(there: PortalClient, provider: Provider) -> None:
    mapped("groups", "crew", "crew", "add")
    provider.asked.clear()

    recheck_due()

    assert ("GET", "/userinfo") not in provider.asked


# ---- providers that fail ----


def test_a_failing_provider_delays_no_other(
    there: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    second = Provider()
    upstream.pk, upstream.name, upstream.slug, upstream.issuer = None, "Later", "later", second.issuer
    upstream.recheck_every = 60
    upstream.save()
    left = other_browser.get("/upstreams/later/start")
    other_browser.get(second.sign_in(left["Location"], {"sub": "bob-there", "preferred_username": "bob"}))
    UpstreamSession.objects.update(checked_at=timezone.now() - timedelta(minutes=2))
    provider.answers[TOKENS] = (503, {}, b"")

    assert recheck_due() == 2
    assert second.refreshed == 1
    second.stop()


@pytest.mark.django_db(transaction=True)
def test_a_refresh_does_not_restore_tokens_deleted_by_a_sign_out(
    there: PortalClient, provider: Provider
) -> None:
    def answer_late(handler: Any) -> None:
        UpstreamSession.objects.update(refresh_token="", access_token="", id_token="")
        connection.close()
        body = b'{"token_type": "Bearer", "access_token": "late", "refresh_token": "late"}'
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    provider.answers[TOKENS] = answer_late

    recheck_due()

    assert not (session().refresh_token or session().access_token)


@pytest.mark.django_db(transaction=True)
def test_an_answer_older_than_another_processs_is_not_stored(there: PortalClient, provider: Provider) -> None:
    """This process slept. Meanwhile, another one took the lease and stored a newer refresh token."""
    mapped("groups", "crew", "crew")
    in_groups("crew")
    honest = provider._refreshed

    def late(refresh_token: str) -> Any:
        UpstreamSession.objects.update(tried_at=timezone.now() + LEASE / 2, refresh_token="newer")
        connection.close()
        return honest(refresh_token)

    provider._refreshed = late  # type: ignore[method-assign]

    recheck_due()

    assert session().refresh_token.reveal() == "newer"
    assert groups() == {"crew"}


OVER: dict[str, Callable[[], object]] = {
    "the sign-in ended": lambda: SignIn.objects.update(ended_at=timezone.now()),
    "the provider is off": lambda: Upstream.objects.update(enabled=False),
    "there is no refresh token": lambda: UpstreamSession.objects.update(refresh_token=""),
    "another asks": lambda: UpstreamSession.objects.update(tried_at=timezone.now()),
}


@pytest.mark.parametrize("change", OVER.values(), ids=OVER)
def test_a_refresh_sends_no_request_if(
    there: PortalClient, provider: Provider, change: Callable[[], object]
) -> None:
    change()

    assert refresh(session().pk).outcome is Outcome.BUSY
    assert provider.refreshed == 0


def test_a_failing_provider_is_asked_about_one_sign_in_in_each_round(
    there: PortalClient, other_browser: PortalClient, provider: Provider
) -> None:
    sign_in(other_browser, provider, {"sub": "bob-there", "preferred_username": "bob"})
    UpstreamSession.objects.update(checked_at=timezone.now() - timedelta(minutes=2))
    provider.answers[TOKENS] = (503, {}, b"")

    assert [recheck_due(), recheck_due(), recheck_due()] == [1, 1, 0]


def test_the_sign_in_that_waited_longest_is_rechecked_first(
    there: PortalClient, other_browser: PortalClient, provider: Provider
) -> None:
    sign_in(other_browser, provider, {"sub": "bob-there", "preferred_username": "bob"})
    for minutes, row in enumerate(UpstreamSession.objects.order_by("pk"), 2):
        UpstreamSession.objects.filter(pk=row.pk).update(
            checked_at=timezone.now() - timedelta(minutes=minutes)
        )
    provider.answers[TOKENS] = (503, {}, b"")

    recheck_due()

    assert UpstreamSession.objects.get(subject="bob-there").tried_at is not None


def test_failing_to_renew_tokens_ends_no_sign_in(there: PortalClient, provider: Provider) -> None:
    Upstream.objects.update(recheck_every=0)
    UpstreamSession.objects.update(
        wants_tokens=True, expires_at=timezone.now(), checked_at=timezone.now() - timedelta(days=9)
    )
    provider.answers[TOKENS] = (503, {}, b"")

    assert recheck_due() == 1
    assert is_signed_in(there)


@pytest.mark.parametrize(
    ("minutes", "wanted", "asked"),
    [(1, True, 1), (16, True, 0), (1, False, 0)],
    ids=["used", "unused", "unwanted"],
)
def test_tokens_are_renewed_only_if_they_are_wanted_and_in_use(
    there: PortalClient, provider: Provider, minutes: int, wanted: bool, asked: int
) -> None:
    Upstream.objects.update(recheck_every=0)
    UpstreamSession.objects.update(wants_tokens=wanted, expires_at=timezone.now() + timedelta(seconds=50))
    SignIn.objects.update(last_seen_at=timezone.now() - timedelta(minutes=minutes))

    assert recheck_due() == asked


@pytest.mark.parametrize("field", ["ended_at", "expires_at"])
def test_tokens_of_ended_sign_ins_are_deleted(there: PortalClient, provider: Provider, field: str) -> None:
    SignIn.objects.update(**{field: timezone.now() - timedelta(minutes=50)})
    assert delete_ended_tokens() == 0
    SignIn.objects.update(**{field: timezone.now() - timedelta(hours=2)})

    assert delete_ended_tokens() == 1

    kept = session()
    assert not (kept.id_token or kept.access_token or kept.refresh_token)
    assert delete_ended_tokens() == 0


def test_without_a_cache_providers_are_still_asked(
    there: PortalClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_limits, "cache", NoCache())
    provider.answers[TOKENS] = (503, {}, b"")

    assert recheck_due() == 1
    assert not AuditEvent.objects.filter(kind="upstream_not_asked").exists()


def test_a_provider_that_stays_down_causes_few_events(there: PortalClient, provider: Provider) -> None:
    provider.answers[TOKENS] = (503, {}, b"")
    for _ in range(5):
        UpstreamSession.objects.update(tried_at=None)
        recheck_due()

    assert AuditEvent.objects.filter(kind="upstream_not_asked").count() == 1


def test_unreadable_metadata_counts_as_a_failure_too(there: PortalClient, provider: Provider) -> None:
    metadata.forget_all()
    cache.clear()
    provider.answers["/.well-known/openid-configuration"] = (500, {}, b"")
    began = time.monotonic()

    recheck_due()

    assert is_signed_in(there)
    assert AuditEvent.objects.filter(kind="upstream_not_asked").exists()
    assert time.monotonic() - began < 10
