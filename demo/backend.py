"""The service behind the proxy, which shows the identity that it receives. It knows no secrets.

`python backend.py PORT PORTAL_URL NAME=URL …`
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

IDENTITY = (
    "X-Auth-Request-User",
    "X-Auth-Request-Preferred-Username",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
)
WORDS = {"app": "the app", "wiki": "the wiki", "ops": "operations"}
STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #657086; --paper: #f3f5f9; --card: #fff;
  --line: #dfe4ec; --accent: #2f5bd7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebf2; --soft: #9aa5ba; --paper: #10141c; --card: #191f2b; --line: #2b3445;
    --accent: #86a7ff; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { width: min(44rem, 100%); background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 2rem 2.2rem; }
h1 { margin: 0 0 .2rem; font-size: 1.6rem; letter-spacing: -.01em; }
p { margin: 0 0 1.4rem; color: var(--soft); }
table { width: 100%; border-collapse: collapse; margin: 0 0 1.6rem; }
th, td { padding: .5rem 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { width: 50%; padding-right: 1rem; font: .875rem/1.7 ui-monospace, monospace; color: var(--soft); }
td { font-weight: 600; }
td.empty { font-weight: 400; color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: .5rem 1.3rem; align-items: baseline; }
a { color: var(--accent); }
a.out { margin-left: auto; }
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{heading}</h1>
<p>{lead}</p>
<table>{rows}</table>
<nav>{links}</nav>
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Surroundings:
    portal: str
    sites: dict[str, str]


class Backend(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, surroundings: Surroundings) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.surroundings = surroundings


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 75
    server: Backend

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        identity = {name: self.headers.get(name, "") for name in IDENTITY}
        if "text/html" in self.headers.get("Accept", ""):
            self.send("text/html; charset=utf-8", self.page(identity))
            return
        facts = {"host": self.headers.get("Host", ""), "path": self.path, "identity": identity}
        self.send("application/json", json.dumps(facts | {"cookies": self.cookie_names()}, indent=2) + "\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def send(self, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def page(self, identity: dict[str, str]) -> str:
        here, who = self.name(), identity["X-Auth-Request-User"]
        rows = [row(name, value) for name, value in identity.items()]
        rows.append(row("Cookies that came along", ", ".join(self.cookie_names())))
        return PAGE.format(
            title=escape(here),
            style=STYLE,
            heading=f"Hello {escape(who)}" if who else "Nobody is signed in",
            lead=f"This is <b>{escape(here)}</b>, and the proxy told it who you are. "
            f"You asked for <code>{escape(self.path)}</code>.",
            rows="".join(rows),
            links=self.links(bool(who)),
        )

    def name(self) -> str:
        host = self.headers.get("Host", "")
        for name, url in self.server.surroundings.sites.items():
            if urlsplit(url).netloc == host:
                return WORDS.get(name, name)
        return host

    def links(self, is_signed_in: bool) -> str:
        around = self.server.surroundings
        links = [
            f'<a href="{escape(url)}/">{escape(WORDS.get(name, name))}</a>'
            for name, url in around.sites.items()
        ]
        links.append(f'<a href="{escape(around.portal)}/">my portal</a>')
        if is_signed_in:
            links.append('<a class="out" href="/authgate/sign_out">sign out everywhere</a>')
        return "".join(links)

    def cookie_names(self) -> list[str]:
        """Return the names of the cookies. Their values are secret."""
        pairs = ";".join(self.headers.get_all("Cookie", [])).split(";")
        return [pair.partition("=")[0].strip() for pair in pairs if pair.strip()]


def row(name: str, value: str) -> str:
    cell = f"<td>{escape(value)}</td>" if value else '<td class="empty">empty</td>'
    return f"<tr><th>{escape(name)}</th>{cell}</tr>"


def main() -> None:
    port, portal, *sites = sys.argv[1:]
    around = Surroundings(portal, dict(site.split("=", 1) for site in sites))
    Backend(int(port), around).serve_forever()


if __name__ == "__main__":
    main()
