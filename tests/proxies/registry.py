"""The proxies that every test runs against: another one joins by a file like nginx.py and a line here."""

from __future__ import annotations

from tests.proxies.ingress_nginx import start_ingress_nginx
from tests.proxies.nginx import start_nginx
from tests.proxies.proxy import StartProxy
from tests.proxies.traefik import start_traefik

STARTERS: dict[str, StartProxy] = {
    "nginx": start_nginx,
    "traefik": start_traefik,
    "ingress_nginx": start_ingress_nginx,
}
