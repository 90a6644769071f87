"""The query of a check's URL, which administrators write in the proxy's configuration."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_plus

from authgate.decision.rules import Filters

FILTER_NAMES = frozenset(("allowed_groups", "allowed_emails", "allowed_email_domains"))
ALLOW_PORTAL = "allow_portal"

_PORT = re.compile("[1-9][0-9]{0,4}")


class Query(NamedTuple):
    """The parsed query of a check's URL.

    `filters` only narrow access. `allow_portal` admits requests for the portal's own origin. `host` and
    `port` are parameters of some contracts. A check with a `fault`, or a `fault_of_parameter` in one of
    these, is refused.
    """

    filters: Filters | None = None
    host: str = ""
    port: str = ""
    allow_portal: bool = False
    fault_of_parameter: str = ""
    fault: str = ""


NO_QUERY = Query()


@lru_cache(maxsize=1024)
def query_from(text: str, parameters: frozenset[str] = frozenset()) -> Query:
    """Return a parsed query. `parameters` are those of the contract: `host`, `port`, or none."""
    pairs = [pair.partition("=")[::2] for pair in text.split("&")] if text else []
    named = {name: [value for each, value in pairs if each == name] for name in parameters}
    found = _filters_from([pair for pair in pairs if pair[0] not in parameters])
    host, port = named.get("host", []), named.get("port", [])
    fault = ""
    if port and (len(port) > 1 or not _PORT.fullmatch(port[0])):
        fault = "port in the check's URL"
    if "host" in parameters and (len(host) != 1 or not host[0]):
        fault = "host in the check's URL doubled" if any(host) else "host in the check's URL missing"
    if isinstance(found, str):
        return Query(None, "".join(host[:1]), "".join(port[:1]), False, fault, found)
    allow_portal = (ALLOW_PORTAL, "true") in pairs
    return Query(found, "".join(host[:1]), "".join(port[:1]), allow_portal, fault)


def _filters_from(pairs: list[tuple[str, str]]) -> Filters | str | None:
    """Return the filters, or None without any. For a fault, return its text."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        entries = [entry for entry in unquote_plus(value, errors="surrogateescape").split(",") if entry]
        if name not in FILTER_NAMES and name != ALLOW_PORTAL:
            return "unknown parameter in the check's URL"
        if name in found:
            return f"{name} repeated"
        if not entries:
            return f"{name} empty"
        if name == ALLOW_PORTAL and value != "true":
            return f"{name} other than true"
        found[name] = entries
    if FILTER_NAMES.isdisjoint(found):
        return None
    groups, emails, domains = (
        found.get(name) for name in ("allowed_groups", "allowed_emails", "allowed_email_domains")
    )
    return Filters(
        None if groups is None else frozenset(groups),
        None if emails is None else frozenset(emails),
        None if domains is None else tuple(domains),
    )
