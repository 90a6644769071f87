"""Limits for each client network. Standard library only."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address


class WrongTries:
    """Limits wrong credentials per client network, with a leaky bucket for each.

    It only limits the database load of wrong credentials. Nobody can guess 256 random bits. Credentials that
    memory holds are still accepted.
    """

    BUCKET, A_SECOND, ADDRESSES = 30.0, 2.0, 4096

    def __init__(self) -> None:
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def is_full(self, client: str, now: float) -> bool:
        return self._level(network_of(client), now) > self.BUCKET - 1.0

    def note(self, client: str, now: float) -> None:
        network = network_of(client)
        self._levels[network] = (self._level(network, now) + 1.0, now)
        self._levels.move_to_end(network)
        while len(self._levels) > self.ADDRESSES:
            self._levels.popitem(last=False)

    def _level(self, network: str, now: float) -> float:
        level, at = self._levels.get(network, (0.0, now))
        return max(0.0, level - max(0.0, now - at) * self.A_SECOND)


def network_of(client: str | None) -> str:
    """Return the network of a client address: an IPv4 address itself, or the /64 of an IPv6 address."""
    if client is None:
        return "unknown"
    if ":" not in client:
        return client
    address = IPv6Address(client)
    return str(address.ipv4_mapped or f"{IPv6Address(int(address) >> 64 << 64)}/64")
