"""Measures the cost of protecting a small static page, through each installed proxy, set up as in deploy/.

nginx serves the page itself. The other proxies get it from an nginx behind them.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks import proxies, requests, servers
from benchmarks.load import Unexpected, prepare, status_of, wait_ms
from benchmarks.plan import Case, Run, measure_in_turn, middle
from benchmarks.proxies import DEPLOY, HOST
from benchmarks.servers import Server

NAMES = {"nginx": "nginx", "Traefik": "traefik"} | {
    name: program for name, (program, _) in proxies.CONFIGURE.items()
}
"""Each proxy's program by the name to show."""

NGINX_FILES, TRAEFIK_FILE = DEPLOY / "nginx" / "ikd", DEPLOY / "traefik" / "minimal.yaml"
ROUNDS_ALONE = 3
PAGE = "<!doctype html><title>Small</title>" + "<p>A small static page.</p>" * 30
PORTS = {name: servers.free_port() for name in ("plain", "tcp", "unix", "constant")}
"""Chosen before the database is filled, because a site's origin contains its port."""


def origins() -> list[str]:
    """Return the origins of the pages. Only nginx's contain ports."""
    return [*(f"http://{HOST}:{port}" for port in PORTS.values()), f"http://{HOST}"]


def measure_pages(run: Run, var: Path, tokens: dict[str, str]) -> dict[str, Any]:
    """Return the CPU times of all processes for a page, on one core, and what the check added to them."""
    with ExitStack() as stack:
        socket = run.folder / "portal.sock"
        portal = stack.enter_context(servers.portal("portal", var, unix=socket))
        port = servers.free_port()
        second = stack.enter_context(
            servers.nginx("second nginx", run.folder / "second", servers.constant(port), port)
        )
        (run.folder / "page.html").write_text(PAGE)
        cases = _nginx_cases(run, stack, portal, second, socket, tokens)
        page = _page(run, stack)
        if servers.program(NAMES["Traefik"]):
            cases += _traefik_cases(run, stack, portal, second, page, tokens)
        for name, (program, configure) in proxies.CONFIGURE.items():
            if servers.program(program):
                cases += _cases(run, stack, name, configure, portal, page, tokens)
        _refuse_open_pages(cases)
        loaded = measure_in_turn(run, cases)
        alone = [{case.name: wait_ms(case.server, case.load) for case in cases} for _ in range(ROUNDS_ALONE)]
    table: dict[str, Any] = {
        name: {
            "cpu_us": round(middle(loaded[name]).cpu_us, 2),
            "p99_ms": round(middle(loaded[name]).p99_ms, 2),
            "p50_ms_alone": round(median(each[name] for each in alone), 3),
        }
        for name in loaded
    }
    for name, row in table.items():
        plain = table[f"{name.partition(',')[0]}, no check"]
        if row is not plain:
            row["added_us"] = round(row["cpu_us"] - plain["cpu_us"], 2)
            row["added_ms"] = round(row["p50_ms_alone"] - plain["p50_ms_alone"], 3)
    return table


def _refuse_open_pages(cases: list[Case]) -> None:
    """Request each protected page without a session. Raises Unexpected if the page is not protected."""
    for case in cases:
        if "the portal" in case.name and status_of(case.server, requests.page(HOST)) < 300:
            raise Unexpected(f"{case.name}: whoever is not signed in gets the page too")


def _page(run: Run, stack: ExitStack) -> Server:
    """Run the application behind the proxies, another nginx."""
    port = servers.free_port()
    http = f"server {{ listen 127.0.0.1:{port}; root {run.folder}; location / {{ }} }}"
    return stack.enter_context(servers.nginx("page", run.folder / "page", http, port))


def _cases(
    run: Run,
    stack: ExitStack,
    name: str,
    configure: proxies.Configure,
    portal: Server,
    page: Server,
    tokens: dict[str, str],
) -> list[Case]:
    folder, program = run.folder / f"proxy-{name}", NAMES[name]
    folder.mkdir()
    run.say(f"starting {program}")
    at = (f"127.0.0.1:{portal.address[1]}", f"127.0.0.1:{page.address[1]}")
    places = proxies.Places(servers.free_port(), servers.free_port(), *at)
    command, env = configure(folder, places), {"GOMAXPROCS": "1", "HOME": str(folder)}
    running = servers.running(program, command, places.protected, folder / "log", env)
    server = stack.enter_context(running)
    load = prepare(run.folder, f"page-{program}", [requests.page(HOST, tokens[f"http://{HOST}"])])
    bare = replace(server, address=("127.0.0.1", places.bare))
    return [
        Case(f"{name}, no check", bare, load, (page,)),
        Case(f"{name}, the portal", server, load, (page, portal)),
    ]


def _nginx_cases(
    run: Run, stack: ExitStack, portal: Server, second: Server, socket: Path, tokens: dict[str, str]
) -> list[Case]:
    def site(name: str, label: str, asked: str, other: Server | None) -> Case:
        folder, port = run.folder / f"site-{name}", PORTS[name]
        http = _site(folder, port, asked, run.folder)
        server = stack.enter_context(servers.nginx(label, folder, http, port))
        sent = [requests.page(HOST, tokens[f"http://{HOST}:{port}"], port)]
        return Case(label, server, prepare(run.folder, f"page-{name}", sent), (other,) if other else ())

    return [
        site("plain", "nginx, no check", "", None),
        site("constant", "nginx, a second nginx", f"127.0.0.1:{second.address[1]}", second),
        site("tcp", "nginx, the portal", f"127.0.0.1:{portal.address[1]}", portal),
        site("unix", "nginx, the portal over a Unix socket", f"unix:{socket}", portal),
    ]


def _site(folder: Path, port: int, asked: str, root: Path) -> str:
    """Return a site with the shipped files, or without them if `asked` is ""."""
    server = f"listen 127.0.0.1:{port}; server_name {HOST}; root {root}; location / {{ }}"
    if not asked:
        return f"server {{ {server} }}"
    (folder / "ikd").mkdir(parents=True)
    for file in NGINX_FILES.glob("*.conf"):
        (folder / "ikd" / file.name).write_text(file.read_text().replace("127.0.0.1:8000", asked))
    return f"include ikd/http.conf;\nserver {{ include ikd/site.conf; {server} }}"


def _traefik_cases(
    run: Run, stack: ExitStack, portal: Server, second: Server, page: Server, tokens: dict[str, str]
) -> list[Case]:
    port, web = servers.free_port(), page.address[1]
    dynamic = run.folder / "dynamic.json.yaml"
    dynamic.write_text(json.dumps(_traefik_file(portal, second, web)))
    command = [
        servers.program("traefik") or "",
        f"--entrypoints.web.address=127.0.0.1:{port}",
        f"--providers.file.filename={dynamic}",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=ERROR",
    ]
    env = {"GOMAXPROCS": "1"}
    traefik = stack.enter_context(servers.running("traefik", command, port, run.folder / "traefik.log", env))
    token = tokens[f"http://{HOST}"]

    def case(name: str, host: str, *others: Server) -> Case:
        load = prepare(run.folder, f"traefik-{host}", [requests.page(host, token)])
        return Case(name, traefik, load, (page, *others))

    return [
        case("Traefik, no check", "plain.example.com"),
        case("Traefik, a second nginx", "constant.example.com", second),
        case("Traefik, the portal", HOST, portal),
    ]


def _traefik_file(portal: Server, second: Server, web: int) -> dict[str, Any]:
    """Return the shipped middlewares, once with the portal and once with a server that always returns 200."""
    shipped = yaml.safe_load(TRAEFIK_FILE.read_text())["http"]["middlewares"]
    check = shipped["ikd-check"]["forwardAuth"]

    def asking(server: Server) -> dict[str, Any]:
        return {"forwardAuth": check | {"address": f"http://127.0.0.1:{server.address[1]}/authgate/traefik"}}

    middlewares = {"ikd-clean": shipped["ikd-clean"], "portal": asking(portal), "second": asking(second)}
    routers = {
        "plain": {"rule": "Host(`plain.example.com`)", "service": "page"},
        "second": {
            "rule": "Host(`constant.example.com`)",
            "service": "page",
            "middlewares": ["ikd-clean", "second"],
        },
        "portal": {"rule": f"Host(`{HOST}`)", "service": "page", "middlewares": ["ikd-clean", "portal"]},
    }
    page = {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{web}"}]}}
    return {"http": {"middlewares": middlewares, "routers": routers, "services": {"page": page}}}
