"""Findings about requests with which a client could deceive the check or the application."""

from __future__ import annotations

from collections.abc import Iterator

from authgate.check.contracts import Contract
from authgate.decision.paths import variants
from authgate.decision.target import BadTarget, Target
from authgate.doctor.findings import Finding, Level, passed
from authgate.doctor.probes import IDENTITY, SPOOFED_CLIENT, SPOOFED_HOST, SPOOFED_PATH, SPOOFED_USER
from authgate.doctor.seen import Result, Seen

PASS_BYTES = frozenset(("nginx", "caddy", "haproxy", "ingress-nginx"))
"""Contracts of proxies that can send the path byte for byte. Other proxies change it before the check."""

CLEAN_FIRST = frozenset(("traefik", "oauth2 traefik", "caddy", "haproxy", "envoy"))
"""Contracts of proxies with a shipped configuration that removes identity headers before the check."""

PASS_CHOSEN = frozenset(("haproxy", "envoy"))
"""Contracts of proxies that send only listed headers with a check. Others may still reach the application."""

Subjects = tuple[str, ...]
PARTS: tuple[tuple[str, Subjects], ...] = (
    ("scheme or host", ("spoofed", "x-forwarded-host", "host", "x-original-url")),
    ("path", ("spoofed", "x-forwarded-uri", "request target", "x-original-url")),
    ("method", ("spoofed", "x-forwarded-method", "x-original-method")),
    ("client address", ("spoofed", "x-forwarded-for", "x-real-ip")),
)


def forwarded(seen: Seen) -> Iterator[Finding]:
    """Report headers of a client that the check takes for the proxy's description of the request."""
    [plain] = seen.named("plain")
    if plain.check is None:
        return
    target = seen.readable(plain)
    origin = target.origin if target else seen.origin
    problems = [problem for result in seen.named("spoofed") for problem in _believed(seen, result, origin)]
    yield from {problem.test: problem for problem in reversed(problems)}.values()
    if not problems:
        yield passed("forged headers")


def _believed(seen: Seen, result: Result, origin: str) -> Iterator[Finding]:
    if result.check is None:
        return
    try:
        target = seen.target(result.check)
    except BadTarget as problem:
        if "doubled" not in str(problem):
            return  # the check is also unreadable without the client's headers
        header = str(problem).partition(" ")[0]
        yield seen.fail("forged headers", "mixed", "mixed", "spoofed", header, header=header)
        return
    for part, subjects in PARTS:
        if not _is_believed(part, target, origin, result):
            continue
        if part == "client address":
            yield seen.fail("forged client address", "believed client", *subjects, seen=target.client)
        else:
            yield seen.fail("forged headers", "believed", *subjects, part=part)


def _is_believed(part: str, target: Target, origin: str, result: Result) -> bool:
    if part == "client address":
        return target.client == SPOOFED_CLIENT
    if part == "scheme or host":
        return target.origin != origin
    if part == "method":
        return target.method not in (None, result.probe.method)
    return (target.path or "").startswith(SPOOFED_PATH)


def identity(seen: Seen) -> Iterator[Finding]:
    """Report identity headers of a client that the proxy does not remove before the check."""
    found = [result.check.facts.headers.values for result in seen.named("identity") if result.check]
    if not found or seen.contract is None or seen.contract.name not in CLEAN_FIRST:
        return
    spoofed = SPOOFED_USER.encode()
    names = [
        name
        for name in IDENTITY
        if any(spoofed in values.get(name.lower().encode(), b"") for values in found)
    ]
    if names:
        yield seen.fail("identity headers", "identity passes", "identity", names=", ".join(names))
    elif seen.contract.name not in PASS_CHOSEN:
        yield passed("identity headers")


def aliases(seen: Seen) -> Iterator[Finding]:
    """Report names with underscores or dots that pass the proxy."""
    [result], [spelled] = seen.named("aliases"), seen.named("alias of the token")
    names = [] if spelled.check is None else ["Sec_Purpose"]
    for name, value in result.check.facts.headers.values.items() if result.check else ():
        if SPOOFED_USER.encode() in value and (b"_" in name or b"." in name):
            names.append(name.decode())
    if names:
        yield seen.fail("header names", "aliases pass", "names", names=", ".join(names))
    elif seen.contract is not None and seen.contract.name != "haproxy":
        yield passed("header names")


def paths(seen: Seen) -> Iterator[Finding]:
    """Report paths that the check reads differently than they were sent."""
    problems = [
        problem
        for result in (*seen.named("plain"), *seen.named("path"), *seen.named("odd path"))
        if (problem := _other_path(seen, result))
    ]
    yield from problems[:1]
    [plain] = seen.named("plain")
    if not problems and seen.readable(plain) is not None:
        yield passed("paths")


def _other_path(seen: Seen, result: Result) -> Finding | None:
    target = seen.readable(result)
    if target is None or target.uri is None or seen.contract is None:
        return None
    if _is_same(seen.contract, result.probe.path, target.uri):
        return None
    subjects = ("x-forwarded-uri", "request target", "x-original-url")
    return seen.fail("paths", "other path", *subjects, sent=result.probe.path, seen=target.uri)


def _is_same(contract: Contract, sent: str, seen: str) -> bool:
    if sent == seen or contract.name in PASS_BYTES:
        return sent == seen
    (path, _, query), (seen_path, _, seen_query) = sent.partition("?"), seen.partition("?")
    try:
        return query == seen_query and seen_path.lower() in (each.lower() for each in variants(path))
    except BadTarget:
        return False


def hosts(seen: Seen) -> Iterator[Finding]:
    """Report other hosts, ports and request targets that reach the application."""
    found = False
    for name in ("other host", "other port", "absolute"):
        for result in seen.named(name):
            if (problem := _other_host(seen, result)) is not None:
                found = True
                yield problem
    if not found and seen.contract is not None:
        yield passed("hosts")


def _other_host(seen: Seen, result: Result) -> Finding | None:
    name = result.probe.name
    if result.check is None:
        if 200 <= result.status < 300:
            return seen.warn(
                "hosts", "answered", "any host", host=result.probe.host, status=str(result.status)
            )
        return None
    target = seen.readable(result)
    if name == "other host" and target is not None:
        is_served = target.origin == seen.origin
        found = "any host" if is_served else "any host checked"
        return seen.fail("hosts", found, "any host", host=result.probe.host)
    if name == "absolute" and result.probe.host == SPOOFED_HOST and target and target.origin != seen.origin:
        return seen.fail("hosts", "host of the client", "x-forwarded-host", "host", seen=target.origin)
    return None


def published(seen: Seen) -> Iterator[Finding]:
    """Report a check URL that visitors can request. They could then choose what is checked."""
    if seen.contract is None or any(finding.test == "forged headers" for finding in _problems(seen)):
        return
    for result in seen.named("published check"):
        target = seen.readable(result)
        if result.check is not None and not (target and (target.path or "").startswith("/authgate/")):
            yield seen.fail("published check", "published", "published", path=result.probe.path)
            return
    yield passed("published check")


def _problems(seen: Seen) -> Iterator[Finding]:
    return (finding for finding in forwarded(seen) if finding.level is not Level.PASS)
