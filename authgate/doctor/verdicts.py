"""Findings about ordinary requests: whether they are checked, and whether the check sees them correctly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

from authgate.check.contracts import STATUS
from authgate.configuration_words import fixing_line
from authgate.decision.target import BadTarget, client_from, is_within
from authgate.doctor.arrivals import CHECK
from authgate.doctor.findings import Finding, Level, passed
from authgate.doctor.lines import ENDPOINTS
from authgate.doctor.probes import AUTHORIZATION, COOKIE
from authgate.doctor.seen import Result, Seen

REFUSED = 403
"""The status of the portal's answer to each probe."""

SKEW_DOUBTFUL, SKEW_WRONG = 30, 300
"""Seconds of difference between the proxy's clock and the portal's: for a warning, and for a failure."""


def protected(seen: Seen) -> Iterator[Finding]:
    """Report unchecked requests, and requests for which the proxy ignored the portal's answer."""
    problems = [problem for result in seen.results if (problem := _unprotected(seen, result))]
    yield from _first_of_each_kind(problems)
    if not problems:
        yield passed("protected")


def _unprotected(seen: Seen, result: Result) -> Finding | None:
    name, path = result.probe.name, result.probe.path.partition("?")[0]
    if name not in ("plain", "path", "websocket", "method", "spoofed", "identity", "odd path"):
        return None
    test = "WebSocket" if name == "websocket" else "protected"
    if result.check is None:
        if result.status and (result.status < 300 or (result.status == 404 and name == "plain")):
            return seen.fail(test, "unchecked", "check", path=path, status=str(result.status))
        return None
    if result.status != REFUSED:
        return seen.fail(test, "ignored", "answer", path=path, status=str(result.status or "-"))
    return None


def asked(seen: Seen) -> Iterator[Finding]:
    """Report that no check with the token arrived, although the proxy may send checks."""
    [plain] = seen.named("plain")
    if plain.check is not None:
        return
    if plain.status == 0:
        yield seen.fail("protected", "no response")
    elif _is_of_the_portal(seen, plain):
        yield seen.warn("protected", "token lost", "token")
    elif plain.status >= 300 and plain.status != 404:
        yield seen.fail("protected", "not asked", "check", status=str(plain.status))


def _is_of_the_portal(seen: Seen, result: Result) -> bool:
    """Return whether a response shows that the portal received a check."""
    if result.reply is None:
        return False
    location = result.reply.header("location")
    if result.reply.header("x-auth-location") or result.reply.header("x-auth-decision"):
        return True
    starts = (f"{seen.portal}/continue?", f"{seen.portal}/enter", f"{seen.origin}/authgate/start")
    return location.startswith(starts)


def visitor(seen: Seen) -> Iterator[Finding]:
    """Report the response to a visitor who is not signed in."""
    [result] = seen.named("visitor")
    path = result.probe.path
    if path in seen.public or result.status == 0:
        return
    status = str(result.status)
    if result.status < 300:
        yield seen.fail("visitors", "let in", "check", "answer", status=status)
    elif result.status in (302, 303, 307) and _is_of_the_portal(seen, result):
        yield passed("visitors")
    elif result.status == 403:
        yield passed("visitors", "refused")
    elif result.status == 401:
        yield seen.warn("visitors", "bare 401", "sign-in", status=status)
    else:
        yield seen.warn("visitors", "other answer", "sign-in", status=status)


def readable(seen: Seen) -> Iterator[Finding]:
    """Report checks that the portal refuses because of the proxy's headers."""
    [plain] = seen.named("plain")
    for result in (plain, *seen.named("path")):
        if result.check is None:
            continue
        contract = seen.checks[result.check.facts.path]
        try:
            seen.target(result.check)
        except BadTarget as problem:
            line = fixing_line(contract.name, str(problem))
            values = {"reason": str(problem), "contract": contract.name, "path": result.probe.path}
            yield Finding("check", Level.FAIL, "unreadable", values, line, seen.origin)
            return
    if plain.check is not None:
        yield passed("check")


def trusted(networks: tuple[str, ...]) -> Callable[[Seen], Iterator[Finding]]:
    """Return the test that the proxy's address is in IKD_TRUSTED_PROXIES."""

    def verdict(seen: Seen) -> Iterator[Finding]:
        [plain] = seen.named("plain")
        peer = plain.check.facts.peer if plain.check else None
        if peer is not None and not is_within(peer, networks):
            yield seen.fail("proxy", "untrusted peer", "peer", peer=peer)
        elif plain.check is not None:
            yield passed("proxy")

    return verdict


def origin(seen: Seen) -> Iterator[Finding]:
    """Report a scheme, host or port that differs from the request's."""
    [plain] = seen.named("plain")
    target = seen.readable(plain)
    if target is None:
        return
    if target.origin == seen.origin:
        yield passed("address")
        return
    subjects = ("x-forwarded-host", "host", "x-original-url")
    if target.origin.partition(":")[0] != seen.origin.partition(":")[0]:
        subjects = ("x-forwarded-proto", "x-scheme", "x-original-url")
    yield seen.fail("address", "other origin", *subjects, sent=seen.origin, seen=target.origin)


def method(seen: Seen) -> Iterator[Finding]:
    """Report a method that differs from the request's."""
    [result] = seen.named("method")
    target = seen.readable(result)
    if target is None or target.method is None:
        return
    if target.method == result.probe.method:
        yield passed("method")
        return
    subjects = ("x-forwarded-method", "x-original-method")
    yield seen.fail("method", "other method", *subjects, sent=result.probe.method, seen=target.method)


def client(seen: Seen) -> Iterator[Finding]:
    """Report a client address that is the proxy's, or that is not this portal's own."""
    [plain] = seen.named("plain")
    target = seen.readable(plain)
    if target is None or plain.reply is None or plain.check is None:
        return
    own = plain.reply.own_address
    if target.client == own:
        yield passed("client address")
        return
    subjects = ("x-forwarded-for", "x-real-ip")
    peer = plain.check.facts.peer
    if target.client in (plain.reply.proxy_address, peer and client_from(peer)):
        yield seen.fail("client address", "address of the proxy", *subjects, seen=target.client, own=own)
    else:
        yield seen.warn("client address", "other address", *subjects, seen=target.client, own=own)


def credentials(seen: Seen) -> Iterator[Finding]:
    """Report cookies, Authorization and browser hints that do not reach the check."""
    [plain] = seen.named("plain")
    if plain.check is None:
        return
    values = plain.check.facts.headers.values
    if COOKIE.encode() not in values.get(b"cookie", b""):
        yield seen.fail("cookies", "no cookie", "cookie")
    else:
        yield passed("cookies")
    if values.get(b"authorization") != AUTHORIZATION.encode():
        yield seen.warn("Authorization", "no authorization", "authorization")
    else:
        yield passed("Authorization")
    if values.get(b"sec-fetch-mode") != b"navigate" or b"text/html" not in values.get(b"accept", b""):
        yield seen.warn("browsers", "no hints", "browser")
    else:
        yield passed("browsers")


def websocket(seen: Seen) -> Iterator[Finding]:
    """Report that a WebSocket was checked. If it was not, `protected` reports that."""
    [result] = seen.named("websocket")
    if result.check is not None and result.status == REFUSED:
        yield passed("WebSocket")
    elif result.status == 101:
        yield seen.fail("WebSocket", "unchecked", "check", path=result.probe.path, status="101")


def endpoints(seen: Seen) -> Iterator[Finding]:
    """Report endpoints on the application's origin that do not reach the portal."""
    if seen.contract is None:
        return
    for name in ENDPOINTS:
        [result] = seen.named(f"endpoint {name}")
        if _reaches_the_portal(seen, result, name):
            continue
        is_needed = name != "userinfo"
        level = Level.FAIL if is_needed else Level.WARN
        values = {"path": f"/authgate/{name}", "status": str(result.status or "-")}
        subjects = (f"endpoint {name}", "endpoint")
        yield seen.problem(level, "pages of the portal", "no endpoint", *subjects, **values)
        return
    yield passed("pages of the portal")


def _reaches_the_portal(seen: Seen, result: Result, name: str) -> bool:
    if any(arrival.place == name for arrival in result.arrivals):
        return True
    in_check = name != "userinfo" and seen.contract is not None and seen.contract.style is not STATUS
    return in_check and any(arrival.place == CHECK for arrival in result.arrivals)


def clock(seen: Seen) -> Iterator[Finding]:
    """Report a difference between the clocks of the proxy and the portal."""
    skews = [skew for result in _with_own_date(seen) if (skew := _skew(result)) is not None]
    if not skews:
        return
    skew = max(skews, key=abs)
    if abs(skew) > SKEW_DOUBTFUL:
        level = Level.FAIL if abs(skew) > SKEW_WRONG else Level.WARN
        yield seen.problem(level, "clock", "skew", "clock", seconds=str(skew))
    else:
        yield passed("clock")


def _with_own_date(seen: Seen) -> Iterator[Result]:
    """Yield results that may have the proxy's own Date. Some proxies pass on the portal's Date."""
    yield from seen.named("plain")
    for name in ("other host", "published check"):
        yield from (result for result in seen.named(name) if not result.arrivals)


def _skew(result: Result) -> int | None:
    """Return the seconds by which a response's Date is ahead, or None if it has no Date."""
    if result.reply is None:
        return None
    try:
        there = parsedate_to_datetime(result.reply.header("date")).timestamp()
    except (ValueError, TypeError):
        return None
    return round(there - result.reply.at)


def _first_of_each_kind(problems: list[Finding]) -> Iterator[Finding]:
    """Yield one finding of each kind: the first one."""
    yield from {(problem.test, problem.reason): problem for problem in reversed(problems)}.values()
