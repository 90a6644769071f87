"""Limits on the addresses to which the portal itself connects. The DNS resolves names of administrators."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(text: str) -> bool:
    """Return whether an address is public, and also each IPv4 address to which a gateway may translate it."""
    return all(address.is_global and not address.is_multicast for address in _readings(text))


def is_never_allowed(text: str) -> bool:
    """Return whether an address is link-local, multicast or unspecified.

    The portal never connects to these. Clouds serve the credentials of machines at link-local addresses.
    """
    return any(
        address.is_link_local or address.is_multicast or address.is_unspecified for address in _readings(text)
    )


def _readings(text: str) -> Iterator[Address]:
    """Yield an address, and the IPv4 address to which a gateway may translate it."""
    address = ipaddress.ip_address(text)
    if not isinstance(address, ipaddress.IPv6Address) or address.ipv4_mapped is None:
        yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield address.teredo[1]
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
