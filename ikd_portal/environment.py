"""Reads environment variables. An unreadable value stops the portal with a message that names it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import environ
from django.core.exceptions import ImproperlyConfigured

DATABASES = ("sqlite", "postgres", "postgresql", "psql", "pgsql")
MAIL_SERVERS = tuple(environ.Env.EMAIL_SCHEMES)
SESSION_ATTRIBUTES = "target_session_attrs"
OF_PRIMARIES = ("primary", "read-write")
"""Only these, because a replica lags behind: sessions that have ended would still be open there."""

TRUE = frozenset(("1", "true", "yes", "on", "y", "ok"))
FALSE = frozenset(("", "0", "false", "no", "off", "n"))


class Environment(environ.Env):  # type: ignore[misc]  # django-environ has no types
    """Reads variables literally. The base class lets a leading `$` refer to another variable."""

    def get_value(self, var: str, cast: Any = None, default: Any = None, parse_default: bool = False) -> Any:
        """Return the value, or the default if the variable is not set. Raises ImproperlyConfigured."""
        if var not in self.ENVIRON:
            return default
        text = self.ENVIRON[var]
        reader = READERS.get(cast) if isinstance(cast, type) else None
        if reader is None:
            return self.parse_value(text, cast)
        read, wanted = reader
        try:
            return read(text)
        except ValueError:
            raise ImproperlyConfigured(f"{var} must be {wanted}, is {text!r}") from None


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE | FALSE:
        raise ValueError(word)
    return word in TRUE


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (_switch, "True or False"),
    int: (int, "a whole number"),
    float: (_finite, "a number"),
}


def database_config(url: str) -> dict[str, Any]:
    """Return Django's database settings. Raises ImproperlyConfigured, without the URL's password.

    If the URL names several PostgreSQL hosts, connections go to the one that accepts writes.
    """
    wanted = (
        "DATABASE_URL must be a URL such as postgres://user:password@host/name or sqlite:////path/to/file"
    )
    config = _read_url(url, DATABASES, environ.Env.db_url_config, wanted)
    if "," in (host := config.get("HOST", "")):
        config["HOST"] = host.replace("[", "").replace("]", "")
        options = config.setdefault("OPTIONS", {})
        if options.setdefault(SESSION_ATTRIBUTES, "primary") not in OF_PRIMARIES:
            text = f"DATABASE_URL names several hosts: its {SESSION_ATTRIBUTES} must be primary or read-write"
            raise ImproperlyConfigured(f"{text}, is {options[SESSION_ATTRIBUTES]!r}")
    return config


def mail_config(url: str) -> dict[str, Any]:
    """Return Django's mail settings. Raises ImproperlyConfigured, without the URL's password."""
    wanted = "IKD_MAIL_URL must be a URL such as smtp+tls://user:password@mail.example.com:587"
    return _read_url(url, MAIL_SERVERS, environ.Env.email_url_config, wanted)


# The service's name becomes the host of a URL, which would turn capitals into small letters.
SENTINELS = re.compile(
    r"redis\+sentinel://(?P<credentials>[^@/]*@)?(?P<hosts>[^@/]+)/(?P<service>[a-z0-9_-]+)"
    r"(?:/(?P<number>[0-9]+))?(?P<query>\?.*)?"
)
SENTINEL_PORT = 26379


def redis_config(url: str) -> tuple[str, dict[str, Any]]:
    """Return the URL of Redis, and django-redis's options for Sentinel.

    A URL of sentinels is `redis+sentinel://user:password@host,host:port/service/0`. Reads go to the primary
    too, because a replica may still have a used code. Raises ImproperlyConfigured, without the password.
    """
    if not url.startswith("redis+sentinel:"):
        return url, {}
    match = SENTINELS.fullmatch(url)
    sentinels = _addresses(match["hosts"], SENTINEL_PORT) if match else []
    if match is None or not sentinels:
        text = (
            "REDIS_URL with Sentinel must be a URL such as redis+sentinel://host1:26379,host2:26379/mymaster/0;"
            " the name of the service has no capitals"
        )
        raise ImproperlyConfigured(text)
    location = f"{match['credentials'] or ''}{match['service']}/{match['number'] or 0}{match['query'] or ''}"
    factory = "django_redis.pool.SentinelConnectionFactory"
    return f"redis://{location}", {"CONNECTION_FACTORY": factory, "SENTINELS": sentinels}


def _addresses(hosts: str, port: int) -> list[tuple[str, int]]:
    """Return the hosts of a list with their ports, or an empty list if one cannot be read."""
    try:
        found = [urlsplit(f"//{host}") for host in hosts.split(",")]
        addresses = [(each.hostname or "", each.port or port) for each in found]
    except ValueError:
        return []
    return addresses if all(host for host, _ in addresses) else []


def _read_url(
    url: str, schemes: tuple[str, ...], read: Callable[[str], dict[str, Any]], wanted: str
) -> dict[str, Any]:
    try:
        if urlsplit(url).scheme not in schemes:
            raise ImproperlyConfigured(f"{wanted}; it does not begin with the name of a known protocol")
        return read(url)
    except ValueError:  # its text may quote the password
        raise ImproperlyConfigured(f"{wanted}; its host or port cannot be read") from None


def time_zone(name: str) -> str:
    """Return the name of a time zone. Raises ImproperlyConfigured if this machine does not know it."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder, a path, an unknown name
        text = f"IKD_TIME_ZONE must be a time zone such as Europe/Berlin, is {name!r}"
        raise ImproperlyConfigured(text) from None
    return name
