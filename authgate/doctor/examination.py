"""The examination of an application: it sends the doctor's requests and returns the findings."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator

from django.conf import settings

from authgate.check.contracts import checks
from authgate.decision.evaluation import decide
from authgate.decision.rules import Application as Compiled
from authgate.decision.rules import Verdict
from authgate.decision.target import Target, is_within
from authgate.doctor import arrivals, spoofing, verdicts
from authgate.doctor.connection import Place, Reply, Unreachable, place_of_backend, place_of_origin
from authgate.doctor.findings import Finding, Level, passed
from authgate.doctor.lines import FOR_ALL
from authgate.doctor.probes import BROWSER, Probe, probes_for
from authgate.doctor.seen import Result, Seen
from authgate.doctor.tokens import new_token
from authgate.models import Application
from authgate.worker import loader

TIME_LIMIT = 45.0
"""Seconds for all requests to an application. Requests that are not sent by then are not tested."""

UNANSWERED_LIMIT = 2
"""Requests without a response. After them, the proxy gets no more requests."""

MOST_PATHS = 10
"""Paths of rules that are tested besides the first page."""

Test = Callable[[Seen], Iterator[Finding]]


def examine(application: Application, *, paths: tuple[str, ...] = (), at: str = "") -> list[Finding]:
    """Return the findings about every origin of an application.

    `paths` are tested besides the paths of its rules. `at` is an address to use instead of the DNS.
    """
    found: list[Finding] = []
    until = time.monotonic() + TIME_LIMIT
    origins = [origin.value for origin in application.origins.order_by("pk")]
    named = [path for path in application.rules.order_by("pk").values_list("path", flat=True) if path != "/"]
    for origin in origins:
        if "://*." in origin:
            found.append(Finding("connection", Level.WARN, "wildcard", {"origin": origin}, "", origin))
        elif time.monotonic() > until:
            found.append(Finding("connection", Level.WARN, "no time", {"origin": origin}, "", origin))
        else:
            found += examine_origin(origin, (*paths, *named)[:MOST_PATHS], at, until)
    if not origins:
        found.append(Finding("connection", Level.WARN, "no origin"))
    return found + list(_backend(application))


def examine_origin(
    origin: str, paths: tuple[str, ...] = (), at: str = "", until: float = math.inf
) -> list[Finding]:
    """Return the findings about one origin. `until` is a time of the monotonic clock."""
    try:
        place = place_of_origin(origin, at)
        results = _results(place, origin, paths, until)
    except Unreachable as problem:
        line = FOR_ALL.get(str(problem), "")
        return [Finding("connection", Level.FAIL, str(problem), {"origin": origin}, line, origin)]
    seen = Seen(
        origin,
        settings.IKD_PORTAL_ORIGIN,
        tuple(results),
        checks(settings.IKD_OAUTH2_CONTRACT),
        settings.IKD_FORWARDED_HOPS,
        _public(origin, results),
    )
    found = [finding for test in _tests() for finding in test(seen)]
    if not place.is_certified:
        found.append(Finding("certificate", Level.WARN, "certificate", {}, "", origin))
    elif place.encrypted:
        found.append(passed("certificate"))
    return found


def _tests() -> tuple[Test, ...]:
    """Return the tests, in the order of the report."""
    return (
        verdicts.asked,
        verdicts.protected,
        verdicts.visitor,
        verdicts.trusted(tuple(settings.IKD_TRUSTED_PROXIES)),
        verdicts.readable,
        verdicts.origin,
        verdicts.method,
        verdicts.client,
        verdicts.credentials,
        verdicts.websocket,
        verdicts.endpoints,
        verdicts.clock,
        spoofing.forwarded,
        spoofing.identity,
        spoofing.aliases,
        spoofing.paths,
        spoofing.hosts,
        spoofing.published,
    )


def _results(place: Place, origin: str, paths: tuple[str, ...], until: float) -> list[Result]:
    """Send the requests one after another, until the time is over or the proxy no longer responds."""
    key, run = loader.gate_settings().state_keys[0], secrets.token_hex(8)
    results: list[Result] = []
    for probe in probes_for(origin, paths):
        is_silent = len(results) >= UNANSWERED_LIMIT and not any(result.reply for result in results)
        if is_silent or time.monotonic() > until:
            results.append(Result(probe, None))
            continue
        results.append(_result(place, probe, new_token(key), run))
    return results


def _result(place: Place, probe: Probe, token: str, run: str) -> Result:
    """Send one request. After the response, its token is no longer valid."""
    arrivals.expect(token, run)
    try:
        reply = place.ask(probe.octets(token))
        return Result(probe, reply, tuple(arrivals.arrivals_of(token)))
    finally:
        arrivals.forget(token)


def _public(origin: str, results: list[Result]) -> frozenset[str]:
    """Return the paths that visitors may open without a sign-in."""
    memory = loader.memory_for_one_request()
    loader.load_application_into(memory, origin)
    compiled = memory.application(origin)
    if not isinstance(compiled, Compiled):
        return frozenset()
    found = set()
    for result in results:
        path = result.probe.path
        target = Target(origin, result.probe.method, path, "127.0.0.1")
        if decide(compiled, target, None, time.time()).verdict is Verdict.ALLOW:
            found.add(path)
    return frozenset(found)


# ---- the application itself -------------------------------------------------------------------------------


def _backend(application: Application) -> Iterator[Finding]:
    """Report an application that answers requests which bypass the proxy."""
    if not application.backend:
        return
    values = {"backend": application.backend}
    try:
        place = place_of_backend(application.backend)
        reply = _asked_directly(place, application)
    except Unreachable as problem:
        if str(problem) == "refused":
            yield passed("application behind the proxy", "closed", **values)
            return
        line = FOR_ALL.get(str(problem), "")
        yield Finding("application behind the proxy", Level.WARN, str(problem), values, line)
        return
    if all(is_within(address, ("127.0.0.0/8", "::1/128")) for address in place.addresses):
        yield passed("application behind the proxy", "this machine", **values)
    elif reply is None or reply.status in (401, 403):
        yield passed("application behind the proxy", "closed", **values)
    else:
        values["status"] = str(reply.status)
        yield Finding("application behind the proxy", Level.FAIL, "open backend", values)


def _asked_directly(place: Place, application: Application) -> Reply | None:
    origin = application.origins.order_by("pk").first()
    host = origin.value.partition("://")[2] if origin else application.backend
    return place.ask(Probe("backend", "/", host, BROWSER, spelled="").octets(""))
