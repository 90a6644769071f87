"""The cost of one check of each kind, sent directly, compared with the minimum and with other systems."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import peers, requests, servers
from benchmarks.load import prepare
from benchmarks.plan import Case, Run, measure_in_turn, middle, ratio

EMPTY, NGINX = "empty answer of the worker", "nginx return 200"
PEOPLE = 1_000
UNLIKE = 20_000
"""More heads than a worker remembers, so that each is new to it."""

COLD_CONNECTIONS = (1, 16, 64)
"""Checks that wait for the database at the same time share a query."""


def cold_name(connections: int) -> str:
    return f"cold_session,_{connections}_connections"


def measure_checks(run: Run, var: Path, tokens: dict[str, str], sessions: int) -> dict[str, dict[str, float]]:
    """Return the figures of each kind of check, of the baselines, and of the available peers."""
    with ExitStack() as stack:
        cases = _cases(run, stack, var, tokens, sessions)
        found = measure_in_turn(run, [*cases, *peers.cases(run, stack)])
    table: dict[str, dict[str, Any]] = {}
    for name, figures in found.items():
        one = middle(figures)
        table[name] = {field: round(getattr(one, field), 3) for field in one.__slots__}
        table[name]["ratio_to_empty"] = round(ratio(figures, found[EMPTY]), 3)
        table[name]["ratio_to_nginx"] = round(ratio(figures, found[NGINX]), 3)
        table[name]["times_signed_in"] = round(ratio(figures, found["signed_in"]), 3)
    for peer in set(found) & set(peers.NAMES):
        table[peer]["signed_in_to_it"] = round(ratio(found["signed_in"], found[peer]), 3)
    return table


def _cases(run: Run, stack: ExitStack, var: Path, tokens: dict[str, str], sessions: int) -> list[Case]:
    port = servers.free_port()
    nginx = stack.enter_context(servers.nginx("nginx", run.folder / "constant", servers.constant(port), port))
    empty = stack.enter_context(servers.portal("empty", var, worker_class="benchmarks.workers.EmptyWorker"))
    warm = stack.enter_context(servers.filled("warm", var, PEOPLE))
    portal = stack.enter_context(servers.portal("portal", var))
    # With memory for one session, a check of any other session is cold.
    cold = stack.enter_context(servers.portal("cold", var, IKD_MEMORY_SESSIONS="1"))
    ours, many = requests.tokens(1), requests.tokens(PEOPLE)
    spread = requests.tokens(min(sessions, 20_000), 7, sessions)
    traefik = requests.checks(url="/authgate/traefik")
    kinds = [
        ("signed_in", portal, requests.checks(ours), 200),
        ("signed_in_1000_people", warm, requests.checks(many), 200),
        ("signed_in_varying_headers", portal, requests.varying_heads(ours, UNLIKE), 200),
        ("signed_in_no_head_known", portal, requests.distinct_heads(ours, UNLIKE), 200),
        ("anonymous", portal, requests.checks(), 401),
        ("anonymous_redirect", portal, traefik, 302),
        ("public", portal, requests.checks(prefix="/public"), 200),
        ("API_token", portal, requests.checks(authorization=f"Bearer {tokens['api_token']}"), 200),
        ("signed_in_own_Authorization", portal, requests.checks(ours, authorization="Basic eDp5"), 200),
        ("refused", portal, requests.checks([tokens["outsider"]]), 403),
    ]
    cases = [
        Case(name, server, prepare(run.folder, name, sent, status)) for name, server, sent, status in kinds
    ]
    for count in COLD_CONNECTIONS:
        load = prepare(run.folder, cold_name(count), requests.checks(spread), connections=count)
        cases.append(Case(cold_name(count), cold, load))
    same = cases[0].load
    return [Case(NGINX, nginx, same), Case(EMPTY, empty, same), *cases]
