"""Measures how long a user waits for the sign-in page, and for the answer to a correct password."""

from __future__ import annotations

import http.client
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from benchmarks import servers
from benchmarks.plan import Run
from benchmarks.servers import Server

AT_ONCE = (1, 16)
PASSWORD = "correct horse battery staple"
PAGE = "/accounts/login/"
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


def username(number: int) -> str:
    """Return the name of a user with a password."""
    return f"person-{number}"


def people(trials: int) -> int:
    """Return how many users sign in for `trials`. Each signs in once, so that no limit is reached."""
    return trials * len(AT_ONCE)


def measure_sign_in(run: Run, var: Path) -> dict[str, dict[str, float]]:
    """Return p50 in ms of the page and of a password sign-in, by number of concurrent users; one worker."""
    found: dict[str, dict[str, float]] = {"page": {}, "password": {}}
    with servers.portal("sign in", var) as portal:
        sign_in(portal, people(run.plan.trials))  # the first sign-in loads code that later ones share
        for level, at_once in enumerate(AT_ONCE):
            run.say(f"signing in, {at_once} at once")
            numbers = range(level * run.plan.trials, (level + 1) * run.plan.trials)
            with ThreadPoolExecutor(at_once) as pool:
                seconds = list(pool.map(lambda number: sign_in(portal, number), numbers))
            for kind, column in zip(found, zip(*seconds, strict=True), strict=True):
                found[kind][str(at_once)] = round(1000 * median(column), 1)
    return found


def sign_in(portal: Server, number: int) -> tuple[float, float]:
    """Sign a user in from another address. Return the seconds for the page and for the answer."""
    page, answer, _ = _signed_in(portal, number)
    return page, answer


def browser_signed_in(portal: Server, number: int) -> str:
    """Sign a user in, and return the browser's cookies."""
    return _signed_in(portal, number)[2]


def _signed_in(portal: Server, number: int) -> tuple[float, float, str]:
    headers = {
        "Host": servers.PORTAL_URL.partition("//")[2],
        "Origin": servers.PORTAL_URL,
        "X-Forwarded-For": f"198.51.{number // 250}.{number % 250}",
        "X-Forwarded-Proto": "http",
        "Accept": "text/html",
    }
    connection = http.client.HTTPConnection(*portal.address, timeout=60)
    began = time.perf_counter()
    connection.request("GET", PAGE, headers=headers)
    page = connection.getresponse()
    text = page.read().decode()
    seen = time.perf_counter()
    token = _TOKEN.search(text)
    cookies = [line.partition(";")[0] for line in page.headers.get_all("Set-Cookie") or []]
    assert token is not None
    form = {"login": username(number), "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    sent = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": "; ".join(cookies)}
    asked = time.perf_counter()
    connection.request("POST", PAGE, urlencode(form), headers | sent)
    answer = connection.getresponse()
    answer.read()
    answered = time.perf_counter()
    connection.close()
    if answer.status != 302:
        raise RuntimeError(f"a sign-in was answered with {answer.status}")
    cookies = [line.partition(";")[0] for line in answer.headers.get_all("Set-Cookie") or []]
    return seen - began, answered - asked, "; ".join(cookies)
