"""Fill a portal's database with the users and sites of the behaviour table, and print their tokens.

Run it as a program beside the portal, with the portal's environment: `python -m tests.proxies.cast :8443 {}`.
"""

from __future__ import annotations

import json
import sys

import django

django.setup()

from authgate.models import Application, Origin  # noqa: E402
from tests.behaviour import SITES, api_tokens, create_people_and_sites, token_for  # noqa: E402


def main(port: str, domains: dict[str, str]) -> None:
    create_people_and_sites(port)
    if domains:
        _without_https(domains)
    origins = {
        name: Origin.objects.get(value__contains=host).value for name, host in (domains or SITES).items()
    }
    people = ("alice", "bob", "erin", "frank", "grace")
    gates = {who: {name: token_for(who, origin) for name, origin in origins.items()} for who in people}
    print(json.dumps({"gates": gates, "api": api_tokens()}))


def _without_https(domains: dict[str, str]) -> None:
    """Move the sites to plain http and other names, as in development."""
    Application.objects.update(without_https=True)
    for name, host in SITES.items():
        origin = Origin.objects.get(value__contains=host)
        origin.value = origin.value.replace("https://", "http://").replace(host, domains[name])
        origin.save(update_fields=["value"])


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
