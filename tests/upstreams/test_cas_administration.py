"""CAS servers in the admin and on the command line."""

from __future__ import annotations

import re
from pathlib import Path

from django.test import Client

from accounts.models import Upstream
from tests.admin.conftest import browser_of, carols  # noqa: F401
from tests.admin.forms import errors_in, save
from tests.upstreams.cas_server import CasServer
from tests.upstreams.test_administration import command, page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cas.md"
SERVICE = "https://sso.example.com/auth/ssologin"


def test_a_superuser_adds_a_server_and_sees_what_to_register(carols: Client) -> None:  # noqa: F811
    answer = save(
        carols,
        "/admin/accounts/upstream/add/",
        kind="cas",
        name="Campus",
        slug="campus",
        server_url="https://cas.example.com/cas",
    )

    assert errors_in(answer) == "" and answer.status_code == 302
    assert SERVICE in carols.get(page(Upstream.objects.get())).content.decode()


def test_the_command_of_the_documentation_adds_a_server_inside_the_network(
    server: CasServer, db: None
) -> None:
    found = re.search(r"^ *manage\.py upstream (add cas .*)$", PAGE.read_text(), re.MULTILINE)
    assert found
    shown = found[1].replace("https://cas.example.com/cas", server.url).split()

    assert "good  Validation" in command(*shown)


def test_a_server_inside_the_network_is_refused_with_the_way_to_allow_it(db: None) -> None:
    told = command("add", "cas", "Campus", "--server", "https://127.0.0.1:9/cas")

    assert "wrong  Validation" in told and "--allow-private" in told


def test_the_command_adds_and_tests_a_server(server: CasServer, db: None) -> None:
    told = command(
        "add", "cas", "Campus", "--server", server.url, "--allow-private",
        "--cas-version", "2", "--ticket-prefix", "SRV-",
    )  # fmt: skip

    added = Upstream.objects.get()
    assert (added.kind, added.cas_version, added.ticket_prefix) == ("cas", 2, "SRV-")
    assert "good  Validation" in told and "good  Sign-in page" in told
    assert server.asked[0][0] == "/cas/serviceValidate"
