"""Another project's relying party: openid-client of npm, against the real server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from accounts.models import User
from openid.models import Client
from tests.accounts.conftest import PORTAL, PortalClient
from tests.accounts.signing_in import is_signed_in
from tests.front.serving import Database, Portal
from tests.openid.relying_party import CALLBACK, RelyingParty
from tests.proxies.processes import binary
from tests.upstreams.real import installed

AFTER = "https://wiki.example.com/signed-out"


class Script:
    """The client's process. Each step is a line to it, and a line back."""

    def __init__(self, portal: Portal, rp: RelyingParty) -> None:
        assert not isinstance(portal.address, str)
        folder = installed(Path(__file__).parent / "npm", "openid-client", "client.mjs")
        host, port = portal.address
        arguments = [PORTAL, host, str(port), rp.client.client_id, rp.secret, CALLBACK]
        self.process = subprocess.Popen(
            [binary("node", "nodejs"), "client.mjs", *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self, step: str, **given: str) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"step": step, **given}) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def script(rp: RelyingParty, database: Database, tmp_path: Path, settings: Any) -> Iterator[Script]:
    Client.objects.update(post_logout_uris=AFTER)
    # The server signs. This process, in which the browser runs, verifies the hint.
    portal = Portal(tmp_path, database, IKD_ENCRYPTION_KEYS=settings.IKD_ENCRYPTION_KEYS[0]).start()
    script = Script(portal, rp)
    yield script
    script.end()
    portal.stop()


def path_of(url: str) -> str:
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}" == PORTAL
    return f"{parts.path}?{parts.query}"


def test_the_client_signs_in_refreshes_and_signs_out(
    browser: PortalClient, script: Script, alice: User
) -> None:
    begun = script.step("begin", scope="openid profile email groups")
    claims = script.step("callback", url=browser.get(path_of(begun["url"]))["Location"])
    userinfo = script.step("userinfo")

    assert claims["sub"] == userinfo["sub"] == str(alice.uuid)
    assert (userinfo["preferred_username"], userinfo["groups"]) == ("alice", ["staff"])
    assert script.step("introspect")["active"] is True
    assert script.step("refresh") == {"same": True}
    assert script.step("userinfo")["sub"] == str(alice.uuid)
    assert script.step("revoke") == {}
    assert script.step("introspect")["active"] is False
    assert script.step("refresh")["error"] == "invalid_grant"
    assert browser.get(path_of(script.step("end", then=AFTER)["url"]))["Location"] == AFTER
    assert not is_signed_in(browser)


def test_the_client_refuses_an_answer_of_another_issuer(browser: PortalClient, script: Script) -> None:
    begun = script.step("begin", scope="openid")
    answer = browser.get(path_of(begun["url"]))["Location"]
    forged = answer.replace("iss=https%3A%2F%2Fsso.example.com", "iss=https%3A%2F%2Fevil.example")

    assert forged != answer
    assert "failed" in script.step("callback", url=forged)
    assert script.step("callback", url=answer)["sub"]
