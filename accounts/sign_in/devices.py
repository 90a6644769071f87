"""Names of browsers, and whether a browser is new to an account."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from authgate.audit import printable
from authgate.models import SignIn
from authgate.network_limits import network_of

if TYPE_CHECKING:
    from ua_parser import Parser

KNOWN_FOR = timedelta(days=90)
RECENT_SIGN_INS = 500

LONGEST_AGENT = 300
"""Characters of a user agent that the portal parses. A longer text takes the library's patterns longer."""

LONGEST_NAME = 40
SAME_BROWSERS = re.compile(r"^Mobile | Mobile$| iOS$| Mobile iOS$| Mobile WebView$| UI/WKWebView$")
"""Parts of the library's browser names that only repeat the name of the system."""

NAMES = {"Mac OS X": "macOS", "IE": "Internet Explorer", "Other": ""}
UNKNOWN_PROGRAM = re.compile(r"([A-Za-z][\w.+-]{0,30})/v?(\d[\w.]{0,12})")


def browser_named(user_agent: str) -> str:
    """Return a browser with its version and system, such as "Chrome 156, Linux"."""
    browser, system = _parsed(user_agent[:LONGEST_AGENT])
    if browser and system:
        return _("%(browser)s, %(system)s") % {"browser": browser, "system": system}
    return browser or system or _("unknown")


@lru_cache(maxsize=2048)
def _parsed(user_agent: str) -> tuple[str, str]:
    """Return browser and system. For an unknown program, return its own name in place of a browser."""
    from ua_parser import Domain

    found = _parser()(user_agent, Domain.USER_AGENT | Domain.OS)
    family = _name(found.user_agent.family) if found.user_agent else ""
    system = _name(found.os.family) if found.os else ""
    if found.user_agent and family:
        return f"{family} {found.user_agent.major or ''}".strip()[:LONGEST_NAME], system[:LONGEST_NAME]
    program = UNKNOWN_PROGRAM.match(user_agent)
    if program and program[1] != "Mozilla":
        return f"{program[1]} {program[2]}", system
    return ("", system) if system else (_shortened(user_agent), "")


@cache
def _parser() -> Parser:
    """Return the parser in pure Python. The optional faster ones may return other names."""
    from ua_parser import Parser
    from ua_parser.basic import Resolver
    from ua_parser.loaders import load_lazy_builtins

    return Parser(Resolver(load_lazy_builtins()))


def _name(family: str) -> str:
    return NAMES.get(family, SAME_BROWSERS.sub("", family))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"


def is_new_device(user: User, address: str | None, user_agent: str) -> bool:
    """Return whether the user signed in before, but never with this browser from this network.

    The browser's version is ignored.
    """
    earlier = SignIn.objects.filter(user=user, started_at__gt=timezone.now() - KNOWN_FOR)
    known = earlier.order_by("-started_at").values_list("address", "user_agent")[:RECENT_SIGN_INS]
    seen = {(network_of(where), _family(agent)) for where, agent in known}
    here = (network_of(address), _family(printable(user_agent, 300)))
    return bool(seen) and here not in seen


def _family(user_agent: str) -> str:
    return re.sub(r"[0-9][0-9._]*", "", user_agent)
