"""Limits of a connection: size and time of a request head, idle time, and connections for each network."""

from __future__ import annotations

import logging
from collections import Counter

from authgate.network_limits import network_of

log = logging.getLogger("ikd.gate")

LARGEST_HEAD = 65_536
"""Bytes of a request head, give or take one read of the socket."""

HEAD_WITHIN = 10
"""Seconds in which a head has to arrive. A peer that is no trusted proxy has them for its first byte too."""

OF_A_NETWORK = 128
"""Connections that a network may have open unless it is a trusted proxy's."""

TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 38\r\nconnection: close\r\n\r\nThe head of the request is too large.\n"
)


class Connections:
    """Counts the connections of peers that are no trusted proxies. `seconds` is moved by the worker."""

    def __init__(self) -> None:
        self.limit = 1_000
        self.seconds = self.refused = self._told = 0
        self._by_network: Counter[str] = Counter()

    def admit(self, peer: str) -> bool:
        """Count a connection. Return False if it has to be closed: its network has too many, or all have."""
        network = network_of(peer)
        if self._by_network[network] >= OF_A_NETWORK or self._by_network.total() >= self.limit:
            self.refused += 1
            log.warning("connections are closed because too many are open, from %s above all", self._most())
            return False
        self._by_network[network] += 1
        return True

    def leave(self, peer: str) -> None:
        network = network_of(peer)
        self._by_network[network] -= 1
        if self._by_network[network] <= 0:
            del self._by_network[network]

    def take_refused(self) -> int:
        """Return how many were refused since this was asked last."""
        refused, self._told = self.refused - self._told, self.refused
        return refused

    def _most(self) -> str:
        return self._by_network.most_common(1)[0][0]


connections = Connections()
"""Those of this process."""
