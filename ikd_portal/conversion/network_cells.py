"""Divides the address space into cells. Within a cell, the networks of the same rules apply."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Cell:
    """Addresses, as networks, with the numbers of the rules that apply there."""

    holds: frozenset[int]
    networks: tuple[str, ...]


def cells_of(lists: Sequence[tuple[Network, ...] | None]) -> list[Cell]:
    """Divide all addresses by lists of networks. A list that is None applies everywhere."""
    everywhere = frozenset(number for number, each in enumerate(lists) if each is None)
    by_lists: dict[frozenset[int], list[str]] = {}
    for family in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        for start, end in _intervals(lists, family):
            holds = {
                number
                for number, networks in enumerate(lists)
                for each in networks or ()
                if isinstance(each.network_address, family)
                and int(each[0]) <= int(start)
                and int(end) <= int(each[-1])
            }
            words = [str(each) for each in ipaddress.summarize_address_range(start, end)]
            by_lists.setdefault(everywhere | holds, []).extend(words)
    return [Cell(holds, tuple(networks)) for holds, networks in by_lists.items()]


def _intervals(lists: Sequence[tuple[Network, ...] | None], family: type[Any]) -> list[tuple[Any, Any]]:
    last = 2 ** (32 if family is ipaddress.IPv4Address else 128) - 1
    edges = {0, last + 1}
    for networks in lists:
        for each in networks or ():
            if isinstance(each.network_address, family):
                edges |= {int(each[0]), int(each[-1]) + 1}
    ordered = sorted(edges)
    return [(family(start), family(end - 1)) for start, end in pairwise(ordered)]
