"""Shipped configurations with a mistake of an administrator, and the portal's report of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.front.serving import eventually
from tests.own_database import rows_in
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.proxy import DEPLOY, Proxy
from tests.proxies.registry import STARTERS
from tests.proxies.substitution import substituted
from tests.proxies.wire import Reply, exchange, request_bytes

LOOPBACK = "127.0.0.5"
"""The address of proxies with a mistake."""

WRITTEN_EVERY = 0.2
"""Seconds between two reads of the database, to which the portal writes once a second."""

KEPT = "127.0.0.12"
"""The address of a proxy with a mistake that several tests use."""


@contextmanager
def mistaken(
    name: str,
    mistake: dict[str, str],
    portal: Portal,
    backend: Backend,
    folder: Path,
    *,
    portal_at: str = "",
    file: str = "",
    loopback: str = LOOPBACK,
) -> Iterator[Proxy]:
    """Run a proxy with a copy of deploy/ that has a mistake: each key is replaced by its value.

    Raises KeyError for a key that is in none of the files.
    """
    shipped = name.replace("_", "-")
    copy, source, made = folder / "deploy", DEPLOY / shipped, set()
    for path in (path for path in source.rglob("*") if path.is_file()):
        text, target = path.read_text(), copy / shipped / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        found = {old: new for old, new in mistake.items() if old in text}
        target.write_text(substituted(text, found))
        made |= found.keys()
    if lacking := mistake.keys() - made:
        raise KeyError(f"deploy/{shipped} has no {lacking} any more")
    running = folder / "running"
    running.mkdir()
    chosen = {"file": file} if file else {}
    proxy = STARTERS[name](
        portal, backend, running, portal_at=portal_at, loopback=loopback, shipped=copy, **chosen
    )
    try:
        yield proxy
    finally:
        proxy.server.stop()


def ask_for_a_published_check(proxy: Proxy, contract: str) -> Reply:
    """Send a check for alice's page to the portal's site, with the headers of every contract."""
    portal = proxy.portal
    claims = {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": portal.host("app"),
        "X-Forwarded-Uri": "/page",
        "X-Forwarded-For": "127.0.0.1",
        "X-Original-URL": f"{portal.origin('app')}/page",
        "X-Original-Method": "GET",
        "X-Real-IP": "127.0.0.1",
        "Cookie": portal.cookie("alice", "app"),
    }
    reply = proxy.send(request_bytes("GET", f"/authgate/{contract}", portal.host("portal"), claims))
    assert reply is not None
    return reply


class Events:
    """The events that a portal writes for administrators after this object is created."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._wait_for_what_came_before()
        self._counted_before = self._counters()
        [(self._refused_before,)] = self._ask("SELECT coalesce(max(id), 0) FROM authgate_auditevent")

    def report(self, event: str, origin: str | None = None) -> bool:
        """Return whether a mistake was counted, `<contract>: <reason>`, optionally for one origin."""
        return eventually(lambda: self.has_counted(event, origin), every=WRITTEN_EVERY)

    def name_a_refused_client(self, address: str) -> bool:
        """Return whether the portal recorded a refusal for exactly this client address."""
        ask = "SELECT DISTINCT address FROM authgate_auditevent WHERE kind = 'refused' AND id > ?"
        return eventually(lambda: self._ask(ask, self._refused_before) == [(address,)], every=WRITTEN_EVERY)

    def has_counted(self, event: str, origin: str | None = None) -> bool:
        """Return whether a mistake is in the database already. See `report`."""
        counters = self._counters()
        return any(
            count > self._counted_before.get((contract, at, reason), 0)
            for (contract, at, reason), count in counters.items()
            if f"{contract}: {reason}" == event and origin in (None, at)
        )

    def _wait_for_what_came_before(self) -> None:
        """Cause a mistake and wait for it. The portal writes a second late, and earlier events first."""
        host = f"{uuid4().hex}.example"
        contract = {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": host,
            "X-Forwarded-Uri": "/",
            "X-Forwarded-For": "127.0.0.1",
        }
        address, _, port = self._portal.bind.rpartition(":")
        reply = exchange(
            (address, int(port)),
            request_bytes("GET", "/authgate/nginx", self._portal.bind, contract),
            tls_name=None,
        )
        assert reply is not None and reply.status == 403
        assert eventually(
            lambda: any(at == f"https://{host}" for _, at, _ in self._counters()), every=WRITTEN_EVERY
        )

    def _counters(self) -> dict[tuple[str, str, str], int]:
        rows = self._ask("SELECT contract, origin, reason, count FROM authgate_configurationevent")
        return {(contract, origin, reason): count for contract, origin, reason, count in rows}

    def _ask(self, query: str, *parameters: int) -> list[tuple]:
        return rows_in(self._portal.server.log.parent, query, *parameters)
