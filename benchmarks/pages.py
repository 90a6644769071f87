"""What protecting a small static page costs, through nginx and through Traefik as deploy/ sets them up."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from benchmarks import requests, servers
from benchmarks.load import prepare
from benchmarks.plan import Case, Run, measure_in_turn, middle
from benchmarks.servers import ROOT, Server

NGINX_FILES, TRAEFIK_FILE = ROOT / "deploy" / "nginx" / "ikd", ROOT / "deploy" / "traefik" / "minimal.yaml"
HOST = "app.example.com"
PAGE = "<!doctype html><title>Small</title>" + "<p>A small static page.</p>" * 30
PORTS = {name: servers.free_port() for name in ("plain", "tcp", "unix", "constant")}
"""Known before the database is filled: a site's origin has its port in it."""


def origins() -> list[str]:
    """Give the origins of the pages; for Traefik one, for its routers go by name."""
    return [*(f"http://{HOST}:{port}" for port in PORTS.values()), f"http://{HOST}"]


def measure_pages(run: Run, var: Path, tokens: dict[str, str]) -> dict[str, Any]:
    """Give CPU times of all that work on a page's one core, and what the check added to them."""
    with ExitStack() as stack:
        socket = run.folder / "portal.sock"
        portal = stack.enter_context(servers.portal("portal", var, unix=socket))
        port = servers.free_port()
        second = stack.enter_context(
            servers.nginx("second nginx", run.folder / "second", servers.constant(port), port)
        )
        (run.folder / "page.html").write_text(PAGE)
        cases = []
        if NGINX_FILES.exists():
            cases += _nginx_cases(run, stack, portal, second, socket, tokens)
        if servers.program("traefik") and TRAEFIK_FILE.exists():
            cases += _traefik_cases(run, stack, portal, second, tokens)
        found = measure_in_turn(run, cases)
    table: dict[str, Any] = {
        name: {"cpu_us": round(middle(figures).cpu_us, 2), "p99_ms": round(middle(figures).p99_ms, 2)}
        for name, figures in found.items()
    }
    for name, figures in found.items():
        proxy = name.partition(",")[0]
        plain = found[f"{proxy}, no check"]
        if figures is plain:
            continue
        table[name]["added_us"] = round(table[name]["cpu_us"] - table[f"{proxy}, no check"]["cpu_us"], 2)
    return table


def _nginx_cases(
    run: Run, stack: ExitStack, portal: Server, second: Server, socket: Path, tokens: dict[str, str]
) -> list[Case]:
    def site(name: str, label: str, asked: str, other: Server | None) -> Case:
        folder, port = run.folder / f"site-{name}", PORTS[name]
        http = _site(folder, port, asked, run.folder)
        server = stack.enter_context(servers.nginx(label, folder, http, port))
        sent = [requests.page(HOST, tokens[f"http://{HOST}:{port}"])]
        return Case(label, server, prepare(run.folder, f"page-{name}", sent), (other,) if other else ())

    return [
        site("plain", "nginx, no check", "", None),
        site("constant", "nginx, a second nginx", f"127.0.0.1:{second.address[1]}", second),
        site("tcp", "nginx, the portal", f"127.0.0.1:{portal.address[1]}", portal),
        site("unix", "nginx, the portal over a Unix socket", f"unix:{socket}", portal),
    ]


def _site(folder: Path, port: int, asked: str, root: Path) -> str:
    """Give a site with the shipped files, but for the portal's address."""
    (folder / "ikd").mkdir(parents=True)
    for file in NGINX_FILES.glob("*.conf"):
        (folder / "ikd" / file.name).write_text(
            file.read_text().replace("127.0.0.1:8000", asked or "127.0.0.1:9")
        )
    protected = "include ikd/site.conf;" if asked else ""
    server = (
        f"server {{ listen 127.0.0.1:{port}; server_name {HOST}; {protected} root {root}; location / {{ }} }}"
    )
    return f"include ikd/http.conf;\n{server}"


def _traefik_cases(
    run: Run, stack: ExitStack, portal: Server, second: Server, tokens: dict[str, str]
) -> list[Case]:
    port, web = servers.free_port(), servers.free_port()
    http = f"server {{ listen 127.0.0.1:{web}; root {run.folder}; location / {{ }} }}"
    page = stack.enter_context(servers.nginx("page", run.folder / "page", http, web))
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
    """Give the shipped middlewares, once with the portal and once with the other server that says 200."""
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
