"""Unreadable values of variables stop the portal. Without a checkout, data have a folder, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from ikd_portal.environment import Environment, database_config, mail_config, redis_config, time_zone
from ikd_portal.installation import IS_CHECKOUT, default_folder

env = Environment()


@pytest.mark.parametrize(
    ("text", "value"),
    [("True", True), ("1", True), (" on ", True), ("False", False), ("0", False), ("no", False), ("", False)],
)
def test_a_switch_is_read(text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IKD_X", text)

    assert env.bool("IKD_X", default=not value) is value


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (env.bool, "ture"),
        (env.bool, "2"),
        (env.int, "1.5"),
        (env.int, ""),
        (env.float, "nan"),
        (env.float, "inf"),
        (env.float, "1,5"),
    ],
)
def test_an_unreadable_value_is_reported_with_its_variable(
    reader: object, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IKD_X", text)

    with pytest.raises(ImproperlyConfigured, match=r"^IKD_X must be a?.+, is '"):
        reader("IKD_X", default=None)  # type: ignore[operator]


def test_a_key_may_begin_with_a_dollar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IKD_X", "$ecret")
    monkeypatch.setenv("ecret", "of another variable")

    assert env.str("IKD_X", default="") == "$ecret"
    assert env.list("IKD_X", default=[]) == ["$ecret"]


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "//u:hunter2@host/name",
        "mysql://u:hunter2@host/name",
        "postgres://u:hunter2@host:port/name",
        "postgres://[u:hunter2@host/name",
    ],
)
def test_an_unreadable_database_url_is_reported_without_its_password(
    url: str, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL must be a URL such as") as raised:
        database_config(url)

    assert "hunter2" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert [warning for warning in recwarn if "hunter2" in str(warning.message)] == []


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgres://u:p@db1:5432,db2:5433/name", "db1,db2", "5432,5433"),
        ("postgres://u:p@db1,db2/name?target_session_attrs=primary", "db1,db2", ""),
        ("postgres://u:p@[::1]:5432,[::2]:5432/name", "::1,::2", "5432,5432"),
    ],
)
def test_the_primary_of_several_hosts_is_used(url: str, host: str, port: str) -> None:
    found = database_config(url)

    assert (found["HOST"], str(found["PORT"])) == (host, port)
    assert found["OPTIONS"] == {"target_session_attrs": "primary"}


@pytest.mark.parametrize("attributes", ["any", "standby", "prefer-standby", "read-only"])
def test_a_database_url_that_accepts_replicas_is_refused(attributes: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"must be primary or read-write, is ") as raised:
        database_config(f"postgres://u:hunter2@db1,db2/name?target_session_attrs={attributes}")

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "location", "sentinels"),
    [
        ("redis://host:6379/0", "redis://host:6379/0", None),
        ("redis+sentinel://one/mymaster", "redis://mymaster/0", [("one", 26379)]),
        (
            "redis+sentinel://u:p%40w@one:1,[::2]:3/my-master/7?ssl=false",
            "redis://u:p%40w@my-master/7?ssl=false",
            [("one", 1), ("::2", 3)],
        ),
    ],
)
def test_redis_is_found_by_its_url(url: str, location: str, sentinels: list[tuple[str, int]] | None) -> None:
    found, options = redis_config(url)

    assert found == location
    assert options.get("SENTINELS") == sentinels


@pytest.mark.parametrize(
    "place",
    [
        "",
        "/mymaster",
        "one",
        "one/",
        "one/MyMaster",
        "one/my.master",
        "one,/mymaster",
        "one:x/mymaster",
        "one/m/x",
    ],
)
def test_unreadable_sentinels_are_reported_without_their_password(place: str) -> None:
    with pytest.raises(
        ImproperlyConfigured, match=r"^REDIS_URL with Sentinel must be a URL such as"
    ) as raised:
        redis_config(f"redis+sentinel://u:hunter2@{place}")

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["hunter2", "http://u:hunter2@host", "smtp://u:hunter2@host:port"])
def test_an_unreadable_mail_server_is_reported_without_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^IKD_MAIL_URL must be a URL such as") as raised:
        mail_config(url)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "Europe", "", "/etc/passwd"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^IKD_TIME_ZONE must be a time zone"):
        time_zone(name)


def test_a_known_time_zone_is_accepted() -> None:
    assert time_zone("Asia/Shanghai") == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("user", "data_home", "folder"),
    [
        (0, "", "/var/lib/ikd-portal"),
        (0, "/srv/data", "/var/lib/ikd-portal"),
        (1000, "/home/alice/data", "/home/alice/data/ikd-portal"),
        (1000, "", "/home/alice/.local/share/ikd-portal"),
        (1000, "data", "/home/alice/.local/share/ikd-portal"),
    ],
)
def test_data_without_a_checkout_are_in(
    user: int, data_home: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/alice")

    assert default_folder(user, data_home) == Path(folder)


def test_these_tests_run_in_a_checkout() -> None:
    assert IS_CHECKOUT
