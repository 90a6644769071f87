"""Cells and filters of the administration's lists."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.db.models import DateTimeField
from django.test import Client
from django.utils import timezone, translation

from accounts.models import User
from accounts.sign_in.devices import _parsed, browser_named
from authgate.admin.list_columns import MOST_HIDDEN, chips, cut, moment
from authgate.admin.list_filters import MOST_CHOICES
from authgate.models import SignIn
from authgate.sign_ins import begin_sign_in
from tests.factories import ApplicationFactory, GroupFactory, UserFactory

USERS = "/admin/accounts/user/"
CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
)
HOSTILE = "<img src=x onerror=alert(1)>\u202egnp"


@pytest.mark.parametrize(
    ("language", "at", "short"),
    [
        ("en", datetime(2026, 3, 7, 9, 5, tzinfo=UTC), "7 Mar, 09:05"),
        ("en", datetime(2025, 12, 31, 23, 59, tzinfo=UTC), "31 Dec 2025"),
        ("zh-hans", datetime(2026, 3, 7, 9, 5, tzinfo=UTC), "3月7日 09:05"),
        ("zh-hans", datetime(2025, 12, 31, 23, 59, tzinfo=UTC), "2025年12月31日"),
    ],
)
@time_machine.travel(datetime(2026, 11, 28, tzinfo=UTC), tick=False)
def test_a_time_is_short_and_shown_in_full_on_hover(language: str, at: datetime, short: str) -> None:
    with translation.override(language):
        cell = str(moment(at))

    assert cell.endswith(f">{short}</time>")
    assert f'datetime="{at.isoformat()}"' in cell
    assert f"{at:%H:%M}:00 UTC" in cell


def test_every_list_of_the_admin_shortens_its_dates(rf: Any, carol: User) -> None:
    request = rf.get("/")
    request.user = carol
    plain = [
        f"{model.__name__}.{column}"
        for model, page in admin.site._registry.items()
        for column in page.get_list_display(request)
        if isinstance(column, str) and not hasattr(page, column)
        if any(f.name == column and isinstance(f, DateTimeField) for f in model._meta.concrete_fields)
    ]

    assert plain == []


@pytest.mark.parametrize(
    ("names", "shown", "hidden"),
    [
        ([], 0, 0),
        (["ops"], 1, 0),
        (["ops", "staff", "guests"], 3, 0),
        (["ops", "staff", "guests", "wiki", "git"], 3, 2),
        (["a" * 150, "ops"], 1, 1),
        (["人力资源与行政管理部", "测试环境只读访问权限"], 1, 1),
        ([f"group-{n}" for n in range(5_000)], 2, 4_998),
    ],
)
def test_a_line_of_chips_is_limited_and_counts_the_rest(names: list[str], shown: int, hidden: int) -> None:
    cell = str(chips(names) or "")

    before, _, behind = cell.partition("<details")
    assert before.count('class="chip"') == shown
    assert behind.count('class="chip"') == min(hidden, MOST_HIDDEN)
    assert (f">+{hidden}<" in cell) is bool(hidden)


@pytest.mark.parametrize("cell", [chips, cut], ids=["chips", "cut"])
def test_hostile_values_are_escaped_in_cells(cell: Any) -> None:
    shown = str(cell([HOSTILE] * 9 if cell is chips else HOSTILE))

    assert "<img" not in shown
    assert shown.count("<bdi") == shown.count("&lt;img") // 2 or cell is chips


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (CHROME, "Chrome 156, Linux"),
        (CHROME.replace("Safari/537.36", "Safari/537.36 Edg/156.0.0.0"), "Edge 156, Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:149.0) Gecko/20100101 Firefox/149.0",
            "Firefox 149, Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/26.1 Mobile/15E148 Safari/604.1",
            "Safari 26, iOS",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/26.1 Safari/605.1.15",
            "Safari 26, macOS",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 "
            "Mobile Safari/537.36",
            "Chrome 156, Android",
        ),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot 2"),
        ("curl/8.14.1", "curl 8"),
        ("git/2.51.0", "git 2.51.0"),
        ("Firefox", "Firefox"),
        ("what is this? " * 20, "what is this? what is this? what is this…"),
        ("", "unknown"),
    ],
)
def test_a_user_agent_is_shown_as_a_browsers_name(agent: str, name: str) -> None:
    assert browser_named(agent) == name


def test_a_browsers_name_is_shown_in_chinese() -> None:
    with translation.override("zh-hans"):
        assert browser_named(CHROME) == "Chrome 156\N{FULLWIDTH COMMA}Linux"


@pytest.mark.parametrize(
    "piece", ["a", "1.", "; ", "(", "Mozilla/5.0 ", "iPhone OS ", "Bot", " spider", "Linux"]
)
def test_only_the_beginning_of_a_long_user_agent_is_parsed(piece: str) -> None:
    """Only the beginning is parsed, and the cached names are short, too."""
    _parsed.cache_clear()

    names = {browser_named(piece * n + "x" * 4_096) for n in (400, 500, 600)}

    assert len(names) == 1
    assert _parsed.cache_info().currsize == 1
    assert _parsed.cache_info().maxsize == 2048


def test_a_hostile_user_agent_is_escaped_in_the_list_and_on_hover(carols: Client, alice: User) -> None:
    begin_sign_in(
        alice,
        session_digest="d" * 64,
        address=None,
        user_agent='"><script>alert(1)</script>',
        methods=[],
        keep=False,
    )

    pages = [
        carols.get(url).content.decode() for url in ("/admin/authgate/signin/", f"{USERS}{alice.pk}/change/")
    ]

    for page in pages:
        assert "<script>alert" not in page
        assert 'title="&quot;&gt;&lt;script&gt;' in page


# ---- filters ----------------------------------------------------------------------------------------------


def menus(page: str) -> list[str]:
    return re.findall(r'<details class="filter".*?</details>', page, re.S)


def test_each_filter_is_a_menu_that_shows_its_selected_value(carols: Client, alice: User) -> None:
    group = GroupFactory(name="night shift")
    alice.groups.add(group)

    page = carols.get(USERS, {"groups__id__exact": group.pk}).content.decode()

    [chosen] = [menu for menu in menus(page) if "night shift" in menu]
    assert re.search(r'<summary class="chosen">Groups: <strong>night shift</strong>', chosen)
    assert len(menus(page)) == 4
    assert page.count('class="action-select"') == 1


@pytest.mark.usefixtures("db")
def test_the_filter_by_groups_lists_a_limited_number(carols: Client) -> None:
    from django.contrib.auth.models import Group

    Group.objects.bulk_create(Group(name=f"group-{number}") for number in range(MOST_CHOICES + 50))

    menu = menus(carols.get(USERS).content.decode())[-1]

    assert menu.count(">group-") == MOST_CHOICES


def test_a_malformed_filter_is_not_a_server_error(carols: Client) -> None:
    assert carols.get(USERS, {"groups__id__exact": "x'--"}).status_code < 500


# ---- queries ----------------------------------------------------------------------------------------------

QUERIES = {
    USERS: 8,
    "/admin/accounts/group/": 6,
    "/admin/authgate/application/": 8,
    "/admin/accounts/apitoken/": 7,
}


@pytest.mark.usefixtures("known_brand")
@pytest.mark.parametrize(("url", "queries"), QUERIES.items(), ids=[url.split("/")[-2] for url in QUERIES])
def test_lists_need_the_same_queries_for_many_rows(
    carols: Client, url: str, queries: int, django_assert_num_queries: Any
) -> None:
    from accounts.machines.api_tokens import make_token

    for number in range(30):
        person = UserFactory(groups=[f"team-{number}-{other}" for other in range(5)])
        application = ApplicationFactory(
            origins=[f"https://{number}-{other}.example.com" for other in range(4)]
        )
        make_token(person, "backup", [application], 3_600)

    with django_assert_num_queries(queries):
        carols.get(url)


def test_a_list_has_fifty_rows_per_page(carols: Client, alice: User) -> None:
    now = timezone.now()
    SignIn.objects.bulk_create(
        SignIn(
            user=alice, started_at=now, last_seen_at=now, expires_at=now + timedelta(hours=1), idle_timeout=60
        )
        for _ in range(60)
    )

    assert len(carols.get("/admin/authgate/signin/").context["cl"].result_list) == 50
