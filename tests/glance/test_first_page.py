"""The overview on the first page: figures, plots with their tables, and badges of applications."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.utils import timezone

from authgate.admin.protection import badges_of
from authgate.models import Application, AuditEvent, Rule, SignIn
from ikd_portal.glance import plots
from tests.factories import ApplicationFactory, RuleFactory, UpstreamFactory, UserFactory
from tests.plans import plan_of

pytestmark = pytest.mark.django_db

WIKI = "https://wiki.example.net"


def happened(kind: str, days_ago: int = 0, count: int = 1, **details: Any) -> None:
    at = timezone.localtime().replace(hour=0, minute=0, second=1) - timedelta(days=days_ago)
    AuditEvent.objects.bulk_create(AuditEvent(kind=kind, at=at, details=details) for _ in range(count))


def counted(kind: str) -> list[int]:
    found = next(plot for plot in plots.plots() if plot.kind == kind)
    return [bar.count for bar in found.bars]


def test_a_plot_counts_each_day_from_midnight_to_midnight() -> None:
    happened("sign_in", 0, 3)
    happened("sign_in", 1, 5)
    happened("sign_in", plots.DAYS - 1, 2)
    happened("sign_in", plots.DAYS, 7)
    happened("refused", 1, 4)

    assert counted("sign_in") == [2, *[0] * (plots.DAYS - 3), 5, 3]
    assert counted("refused") == [*[0] * (plots.DAYS - 2), 4, 0]


def test_the_highest_bar_is_as_high_as_the_plot_and_a_day_with_one_event_can_be_seen() -> None:
    happened("sign_in", 0, 400)
    happened("sign_in", 1)
    bars = plots.plots()[0].bars

    assert (bars[-1].height, bars[-1].y) == (plots.HEIGHT, 0)
    assert (bars[-2].height, bars[-3].height) == (2, 0)


def test_a_flood_is_counted_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "MOST_COUNTED", 5)
    happened("refused", 0, 9)
    bar = next(plot for plot in plots.plots() if plot.kind == "refused").bars[-1]

    assert (bar.count, bar.is_capped) == (5, True)


def test_assistive_technology_reads_the_plot_as_a_table(carols: Client) -> None:
    happened("refused", 1, 17)
    page = carols.get("/admin/").content.decode()
    table = re.findall(r"<table[^>]*>\s*<caption>Refusals</caption>.*?</table>", page, re.S)
    yesterday = timezone.localdate() - timedelta(days=1)

    assert re.search(rf'<th scope="row">{yesterday.day} {yesterday:%b %Y}</th><td>17</td>', table[0])
    assert page.count("<svg viewBox") == page.count('aria-hidden="true" focusable="false" class="plot') == 3


def sign_in_of(user: Any, **fields: Any) -> None:
    now = timezone.now()
    times = {"started_at": now, "last_seen_at": now, "expires_at": now + timedelta(hours=1)}
    SignIn.objects.create(user=user, idle_timeout=600, **{**times, **fields})


def shown(client: Client) -> dict[str, str]:
    return {figure.title: figure.value for figure in client.get("/admin/").context["figures"]}


def test_live_sessions_count_only_usable_sessions(carols: Client, alice: Any, dave: Any) -> None:
    now = timezone.now()
    before = int(shown(carols)["Live sessions"])
    sign_in_of(alice)
    sign_in_of(alice, ended_at=now)
    sign_in_of(alice, expires_at=now)
    sign_in_of(alice, last_seen_at=now - timedelta(hours=1))
    sign_in_of(dave)

    assert int(shown(carols)["Live sessions"]) == before + 1


def test_the_slowest_provider_is_by_the_median(carols: Client) -> None:
    for slug in ("quick", "slow"):
        UpstreamFactory(slug=slug, name=slug.title())
    for seconds in (0.2, 0.3, 30.0):
        happened("sign_in", upstream="quick", provider_seconds=seconds)
    for seconds in (1.0, 2.0, 2.5):
        happened("sign_in", upstream="slow", provider_seconds=seconds)
    happened("sign_in")
    [figure] = [each for each in carols.get("/admin/").context["figures"] if "provider" in each.title]

    assert figure.value == "2.0 s"
    assert "Slow" in figure.note


@pytest.mark.parametrize(
    "details", [[], "x", {"upstream": 3, "provider_seconds": 1}, {"provider_seconds": True}]
)
def test_unexpected_details_cause_no_error(carols: Client, details: Any) -> None:
    AuditEvent.objects.create(kind="sign_in", at=timezone.now(), details=details)

    assert list(shown(carols)) == ["Live sessions"]


def test_a_deleted_provider_is_not_named(carols: Client) -> None:
    happened("sign_in", upstream="gone", provider_seconds=2.0)

    assert list(shown(carols)) == ["Live sessions"]


SEEN = {
    "view_auditevent": ("plots", "Refusals"),
    "view_signin": ("figures", "Live sessions"),
    "view_upstream": ("figures", "Slowest identity provider"),
}


@pytest.mark.parametrize("permission", [*SEEN, "view_brand"])
def test_each_figure_has_a_permission(browser_of: Callable[..., Client], permission: str) -> None:
    UpstreamFactory(slug="slow")
    happened("sign_in", upstream="slow", provider_seconds=2.0)
    pat = UserFactory(username="pat", is_staff=True)
    pat.user_permissions.set(Permission.objects.filter(codename=permission))
    page = browser_of(pat).get("/admin/")
    titles = {str(each.title) for name in ("figures", "plots") for each in page.context[name]}

    assert titles == (
        {"Sign-ins", "Refusals", "Failed sign-ins"}
        if permission == "view_auditevent"
        else {SEEN[permission][1]}
        if permission in SEEN
        else set()
    )


# ---- badges -----------------------------------------------------------------------------------------------


def badges(*rules: dict[str, Any], **fields: Any) -> list[str]:
    application = ApplicationFactory(origins=[WIKI], **fields)
    for rule in rules:
        RuleFactory(application=application, **rule)
    return [str(text) for _kind, text in badges_of(Application.objects.get(pk=application.pk))]


CHOSEN, EVERYONE, SIGNED_IN = Rule.Who.CHOSEN, Rule.Who.EVERYONE, Rule.Who.SIGNED_IN


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], ["no active rule"]),
        ([{"who": SIGNED_IN}], ["signed-in users"]),
        ([{"who": EVERYONE}], ["public"]),
        ([{"who": EVERYONE, "exact": True}], ["public parts"]),
        (
            [{"who": EVERYONE, "path": "/docs"}, {"who": CHOSEN}],
            ["public parts", "groups or users"],
        ),
        ([{"who": EVERYONE, "second_factor": True}], ["signed-in users", "second factor"]),
        ([{"who": CHOSEN, "passkey": True}], ["groups or users", "passkey"]),
        (
            [{"who": CHOSEN, "factor_minutes": 5}, {"who": CHOSEN, "path": "/a"}],
            ["groups or users", "second factor for parts"],
        ),
    ],
)
def test_the_badges_say_how_an_application_is_protected(rules: Any, expected: list[str]) -> None:
    assert badges(*rules) == expected


def test_an_expired_rule_gives_no_badge() -> None:
    assert badges({"who": EVERYONE, "expires_at": timezone.now() - timedelta(hours=1)}) == ["no active rule"]


def test_disabled_and_locked_applications_have_a_badge() -> None:
    assert badges({"who": SIGNED_IN}, enabled=False)[0] == "disabled"
    application = Application.objects.get()
    application.locked_down_at = timezone.now()

    assert str(badges_of(application)[0][1]) == "locked down"


def test_the_badges_are_in_the_list_and_on_the_page(carols: Client) -> None:
    application = ApplicationFactory(name="Shop", origins=[WIKI], who=EVERYONE)
    badge = '<span class="badge serious">public</span>'

    assert badge in carols.get("/admin/authgate/application/").content.decode()
    page = f"/admin/authgate/application/{application.pk}/change/"
    assert badge in carols.get(page).content.decode()
    assert carols.get("/admin/authgate/application/add/").status_code == 200


# ---- many rows --------------------------------------------------------------------------------------------


EIGHT = ("sign_in", "refused", "sign_in_failed", "changed") * 2
MINUTES_AT_ONCE = 100


def write_events(minutes: int, kinds: tuple[str, ...] = EIGHT) -> None:
    """Write an event of each kind for every minute until midnight, many in one statement.

    Model objects would take most of the time. A pipeline of single rows, as `executemany` uses, buffers
    megabytes for PostgreSQL. On a busy machine, the connection failed.
    """
    column, until = AuditEvent._meta.get_field("at"), timezone.localtime() + timedelta(days=1)
    until = until.replace(hour=0, minute=0, second=0)
    times = [
        column.get_db_prep_save(until - timedelta(minutes=each), connection) for each in range(1, minutes + 1)
    ]
    row = "(%s, %s, 'x', '', '', '', '', '{}')"
    with connection.cursor() as cursor:
        for first in range(0, minutes, MINUTES_AT_ONCE):
            some = [(at, kind) for at in times[first : first + MINUTES_AT_ONCE] for kind in kinds]
            cursor.execute(
                "INSERT INTO authgate_auditevent "
                "(at, kind, actor, subject, application, decision_id, reason, details) "
                f"VALUES {', '.join([row] * len(some))}",
                [value for pair in some for value in pair],
            )


@pytest.mark.long
def test_the_first_page_is_quick_with_many_events(carols: Client) -> None:
    """If the page read 200,000 events, it would take as long as writing them. A busy machine slows both."""
    write_events(25_000)
    events = AuditEvent.objects.order_by().values_list("kind", "at")

    counting = min(seconds_of(plots.plots) for _ in range(3))
    reading = seconds_of(lambda: list(events))

    assert all(plot.total > 30_000 for plot in plots.plots()[:3])
    assert counting < reading / 4


def seconds_of(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_each_count_reads_only_its_range_of_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are many events of another kind. Reading all events of the day would read those too."""
    write_events(plots.DAYS * 24 * 60, ("refused",))
    for days_ago in range(plots.DAYS):
        happened("sign_in", days_ago)
    monkeypatch.setattr(plots, "KINDS", [kind for kind in plots.KINDS if kind[0] == "sign_in"])

    plan = plan_of(plots.plots, AuditEvent)

    assert counted("sign_in") == [1] * plots.DAYS
    assert plan.count("events_of_a_kind") == plots.DAYS, plan
