"""Monitoring a running portal: metrics, dashboard, alerts, access log, and why it is not ready."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.db import connection
from django.test import Client
from pytest_django import Settings

from authgate.worker import metrics, migrations, readiness
from tests.front.serving import Cast, Database, Portal, check_bytes, eventually
from tests.proxies.processes import binary
from tools.locks import ROOT

TOKEN = "the token of Prometheus"
SECRET = "Zx81hPq0dF7wKLmN2tRvB5yJcGsA3eQu"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "ikd-portal.json").read_text())
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
QUERIES = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{panel["title"]: target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]},
}
MOST_SERIES = 250
"""The most series of a portal after each kind of request. A histogram has 21 for each label."""


@pytest.fixture(scope="module")
def portal(database: Database, people: Cast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    settings = {"IKD_METRICS_TOKEN": TOKEN, "IKD_ACCESS_LOG": "true", "IKD_ACCESS_LOG_CHECKS": "5"}
    portal = Portal(tmp_path_factory.mktemp("portal"), database, **settings).start()
    yield portal
    portal.stop()


def ask(portal: Portal, path: str, *, token: str = TOKEN) -> str:
    with portal.connect() as one:
        return str(one.get(path, Authorization=f"Bearer {token}").body.decode())


def value(text: str, series: str) -> float:
    found = re.search(rf"(?m)^{re.escape(series)} (\S+)$", text)
    return float(found[1]) if found else 0.0


def test_checks_are_counted_and_measured(portal: Portal, people: Cast) -> None:
    checks = [check_bytes(people.alice_cookie), check_bytes(people.bob_cookie), check_bytes("")]
    with portal.connect() as one:
        for octets in checks * 100:
            one.send(octets)
            one.reply()

    def is_counted() -> bool:
        one.send(check_bytes(check="/authgate/traefik"))  # processes publish while checks arrive
        one.reply()
        text = ask(portal, "/metrics")
        counted = 'ikd_checks_total{contract="nginx",answer="%s",reason="%s"}'
        return (
            value(text, counted % ("allowed", "session")) == 100
            and value(text, counted % ("refused", "no_rule_admits")) == 100
            and value(text, counted % ("sign_in", "not_signed_in")) == 100
            and value(text, 'ikd_check_seconds_count{way="waited"}') > 0
            and value(text, 'ikd_check_seconds_bucket{way="protocol",le="0.1"}') > 150
        )

    with portal.connect() as one:
        assert eventually(is_counted, 15), ask(portal, "/metrics")


def test_the_number_of_series_is_small(portal: Portal) -> None:
    text = ask(portal, "/metrics")

    assert 0 < len(re.findall(r"(?m)^ikd_", text)) < MOST_SERIES


@pytest.mark.parametrize(("title", "query"), QUERIES.items(), ids=QUERIES)
def test_queries_use_metrics_that_a_running_portal_shows(portal: Portal, title: str, query: str) -> None:
    text = ask(portal, "/metrics")
    shown = set(re.findall(r"(?m)^# TYPE (\w+) ", text))
    types = dict(re.findall(r"(?m)^# TYPE (\w+) (\w+)$", text))
    asked = set(re.findall(r"\bikd_\w+", query))

    bases = {re.sub(r"_(?:bucket|sum|count)$", "", name): name for name in asked}
    assert {base for base, name in bases.items() if base not in shown and name not in shown} == set()
    assert [name for base, name in bases.items() if base != name and types.get(base) != "histogram"] == []
    assert asked or "up{" in query


def test_every_alert_says_what_to_do() -> None:
    assert [
        rule["alert"] for rule in RULES if rule["labels"]["severity"] not in ("critical", "warning")
    ] == []
    assert [
        rule["alert"] for rule in RULES if not rule["annotations"].keys() >= {"summary", "description"}
    ] == []


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(taken) == len(set(taken))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_promtool_accepts_rules_queries_and_configuration(tmp_path: Path) -> None:
    groups = [
        {"name": "panels", "rules": [{"record": f"a:{n}", "expr": q} for n, q in enumerate(QUERIES.values())]}
    ]
    promtool = binary("promtool", "it with `make promtool`")
    text = json.dumps({"groups": groups}).replace("$instance", ".*")
    (tmp_path / "panels.yml").write_text(text)
    configuration = str(PROMETHEUS / "prometheus.yml")

    for command in (
        ["check", "rules", str(PROMETHEUS / "alerts.yml"), str(tmp_path / "panels.yml")],
        ["check", "config", "--syntax-only", configuration],
    ):
        done = subprocess.run([promtool, *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# ---- the access log ---------------------------------------------------------------------------------------


def logged(portal: Portal, message: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in portal.log.read_text().splitlines()]
    return [line["event"] for line in lines if line["logger"] == "ikd.access" and line["message"] == message]


def test_a_page_has_a_line_without_its_secret(portal: Portal) -> None:
    with portal.connect() as one:
        one.send(
            f"GET /invitation/{SECRET}/?code={SECRET} HTTP/1.1\r\nHost: sso.example.com\r\n"
            "X-Forwarded-Proto: https\r\n\r\n".encode()
        )
        one.reply()

    assert eventually(lambda: "/invitation/…/" in {one.get("route") for one in logged(portal, "page")})
    [line] = [one for one in logged(portal, "page") if one.get("route") == "/invitation/…/"]
    assert line.keys() >= {"method", "status", "ms"}
    assert SECRET not in portal.log.read_text()


def test_some_checks_have_a_line_without_query_or_cookie(portal: Portal, people: Cast) -> None:
    def is_logged() -> bool:
        with portal.connect() as one:
            one.send(check_bytes(people.alice_cookie, path=f"/a?b={SECRET}"))
            one.reply()
        return bool([line for line in logged(portal, "check") if line.get("path") == "/a"])

    assert eventually(is_logged)
    line = next(line for line in logged(portal, "check") if line.get("path") == "/a")
    assert (line["contract"], line["status"], line["answer"]) == ("nginx", 200, "allowed")
    assert line["origin"] == "https://wiki.example.com"
    text = portal.log.read_text()
    assert SECRET not in text
    assert people.alice_cookie.partition("=")[2] not in text


# ---- why it is not ready ----------------------------------------------------------------------------------


def test_operators_see_the_state_of_each_part(portal: Portal) -> None:
    lines = ask(portal, "/readyz").splitlines()

    assert lines[0] == "ok"
    assert {"database: ok", "writing: ok", "triggers: ok", "migrations: ok", "keys: ok"} <= set(lines)
    assert ask(portal, "/readyz", token="wrong") == "ok\n"


@pytest.mark.django_db
def test_missing_migrations_make_it_unready_and_only_operators_see_which(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.IKD_METRICS_TOKEN = TOKEN
    monkeypatch.setattr(readiness._Migrated, "completely", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'authgate' AND name LIKE '0003%'")

    strangers = Client().get("/readyz")
    operators = Client().get("/readyz", headers={"authorization": f"Bearer {TOKEN}"})

    assert (strangers.status_code, operators.status_code) == (503, 503)
    assert "run migrate" in strangers.text and "0003" not in strangers.text
    assert "migrations: run migrate, these are missing: authgate.0003_identity_jwt" in operators.text


@pytest.mark.django_db
def test_a_missing_encryption_key_is_reported(settings: Settings) -> None:
    from accounts.models import Upstream

    settings.IKD_METRICS_TOKEN = TOKEN
    Upstream.objects.create(
        slug="a", name="A", client_id="a", client_secret="a secret", issuer="https://a.example"
    )
    settings.IKD_ENCRYPTION_KEYS = ["another key of 32 characters at least"]

    text = Client().get("/readyz", headers={"authorization": f"Bearer {TOKEN}"}).text

    assert "keys: accounts.upstream.client_secret: a secret in the database was encrypted with a key" in text


def test_the_migrations_of_all_our_apps_are_checked() -> None:
    shipped = set(migrations._shipped())

    assert {"authgate.0001_initial", "accounts.0001_initial"} <= shipped
    assert {name.partition(".")[0] for name in shipped} >= {"authgate", "accounts", "openid"}


def test_every_counter_has_a_help_text() -> None:
    from authgate import counters

    names = {each._name for each in counters.ALL}
    assert names <= metrics.HELP.keys()
