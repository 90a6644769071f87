"""Limits on connections: size and time of a request head, idle time, and connections per client network."""

from __future__ import annotations

import logging
from collections import Counter

from authgate.network_limits import network_of

log = logging.getLogger("ikd.gate")

LARGEST_HEAD = 65_536
"""Bytes that a request head may have. One read from the socket may exceed it."""

HEAD_WITHIN = 10
"""Seconds within which a request head must arrive. For a peer that is no trusted proxy, an idle connection
has the same limit."""

CONNECTIONS_PER_NETWORK = 128
"""Connections that one client network may have open. Trusted proxies have no such limit."""

TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 38\r\nconnection: close\r\n\r\nThe head of the request is too large.\n"
)


class Connections:
    """Counts the connections of peers that are not trusted proxies. The worker advances `seconds`."""

    def __init__(self) -> None:
        self.limit = 1_000
        self.seconds = self.refused = self._reported = 0
        self._by_network: Counter[str] = Counter()

    def admit(self, peer: str) -> bool:
        """Count a connection. Return False if it must be closed, because its network or all have too many."""
        network = network_of(peer)
        if self._by_network[network] >= CONNECTIONS_PER_NETWORK or self._by_network.total() >= self.limit:
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
        """Return how many connections were refused since the last call."""
        refused, self._reported = self.refused - self._reported, self.refused
        return refused

    def _most(self) -> str:
        return self._by_network.most_common(1)[0][0]


connections = Connections()
"""The connections of this process."""
