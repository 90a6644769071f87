"""Browsers, as people would name them, and whether one is new to an account."""

from __future__ import annotations

import re
from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.throttle import network_of
from authgate.audit import printable
from authgate.models import SignIn

KNOWN_FOR = timedelta(days=90)
LOOKED_AT = 500

BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrom", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def browser_named(user_agent: str) -> str:
    """Give the browser and its system, or what it says of itself where we know neither."""
    browser = next((name for sign, name in BROWSERS if sign in user_agent), "")
    system = next((name for sign, name in SYSTEMS if sign in user_agent), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or system or user_agent[:60] or _("unknown")


def is_new_device(user: User, address: str | None, user_agent: str) -> bool:
    """Tell whether somebody who signed in before never did so with this browser from this network.

    The browser's version does not count. The first sign-in of all is no news.
    """
    earlier = SignIn.objects.filter(user=user, started_at__gt=timezone.now() - KNOWN_FOR)
    known = earlier.order_by("-started_at").values_list("address", "user_agent")[:LOOKED_AT]
    seen = {(network_of(where), _family(agent)) for where, agent in known}
    here = (network_of(address), _family(printable(user_agent, 300)))
    return bool(seen) and here not in seen


def _family(user_agent: str) -> str:
    return re.sub(r"[0-9][0-9._]*", "", user_agent)
