"""The values in a configuration. All are validated here, so none can end a string or begin a line."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

LONGEST_ADDRESS = 300
LONGEST_PATH = 200

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?)*")
_ORIGIN = re.compile(r"https://([^:/]+)(?::([1-9][0-9]{0,4}))?")
_ADDRESS = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253}):([1-9][0-9]{0,4})")
_SERVICE = re.compile(r"([a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)\.([a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)")
_WORDS_OF_YAML = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/")


class Fault(Enum):
    """The reasons why a configuration cannot contain a value."""

    ADDRESS = "address"
    IP_ADDRESS = "IP address"
    SERVICE = "service"
    PATH = "path"
    PORTAL = "portal"
    ORIGINS = "origins"
    HOSTNAMES = "hostnames"


class BadFact(ValueError):
    """A configuration cannot contain a value. `field` is its name in `Facts`."""

    def __init__(self, field: str, fault: Fault) -> None:
        super().__init__(f"{field}: {fault.value}")
        self.field = field
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Address:
    """A host and port. An IPv6 address is in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_name(self) -> bool:
        return not self.host.startswith("[") and not _is_ipv4(self.host)


@dataclass(frozen=True, slots=True)
class Service:
    """A Kubernetes Service."""

    name: str
    namespace: str
    port: int


@dataclass(frozen=True, slots=True)
class Facts:
    """An application and the portal. `port` is the port of all their origins. `api` is a path, or empty."""

    portal: str
    hosts: tuple[str, ...]
    port: int
    backend: Address
    portal_at: Address
    api: str = ""

    @property
    def shown_port(self) -> str:
        """The port with a colon, as origins contain it; empty for the default port."""
        return "" if self.port == 443 else f":{self.port}"


def host_and_port(origin: str) -> tuple[str, int] | None:
    """Return the host and port of an https origin; None for any other text, such as a wildcard."""
    match = _ORIGIN.fullmatch(origin)
    if match is None or not _is_name(match[1]):
        return None
    port = int(match[2] or 443)
    return (match[1], port) if port < 65_536 else None


def portal_from(origin: str) -> tuple[str, int]:
    """Return the portal's host and port. Raises BadFact."""
    found = host_and_port(origin)
    if found is None:
        raise BadFact("portal", Fault.PORTAL)
    return found


def hosts_from(origins: Iterable[str], portal: str, port: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the hosts on the portal's port, and the origins that no configuration can contain."""
    hosts, left_out = [], []
    for origin in origins:
        found = host_and_port(origin)
        if found is None or found[1] != port or found[0] == portal:
            left_out.append(origin)
        else:
            hosts.append(found[0])
    return tuple(dict.fromkeys(hosts)), tuple(left_out)


def address_from(text: str, field: str) -> Address:
    """Return the address in a text such as 127.0.0.1:9001, app:80 or [::1]:9001. Raises BadFact."""
    match = _ADDRESS.fullmatch(text.strip().lower()) if len(text) <= LONGEST_ADDRESS else None
    if match is None or int(match[2]) > 65_535 or not _is_host(match[1]):
        raise BadFact(field, Fault.ADDRESS)
    return Address(match[1], int(match[2]))


def service_of(address: Address, field: str) -> Service:
    """Return the Service for `name.namespace:port`, also with `.svc.cluster.local`. Raises BadFact."""
    match = _SERVICE.fullmatch(address.host.removesuffix(".svc.cluster.local").removesuffix(".svc"))
    if match is None or _WORDS_OF_YAML & {match[1], match[2]}:
        raise BadFact(field, Fault.SERVICE)
    return Service(match[1], match[2], address.port)


def api_path_from(text: str) -> str:
    """Return an API's path, which begins and ends with a slash, or "". Raises BadFact."""
    path = text.strip()
    if not path:
        return ""
    path = path if path.endswith("/") else f"{path}/"
    if len(path) > LONGEST_PATH or not _PATH.fullmatch(path):
        raise BadFact("api", Fault.PATH)
    return path


def _is_host(host: str) -> bool:
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return False
        return True
    # If the last label is a number, programs read the name as an IPv4 address, some in more forms than ours.
    if host.rpartition(".")[2].isdigit():
        return _is_ipv4(host)
    return _is_name(host)


def _is_name(text: str) -> bool:
    """Return whether a text is a name that YAML also reads as text."""
    return len(text) <= 253 and _NAME.fullmatch(text) is not None and text not in _WORDS_OF_YAML


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
