"""PyPI's django-cas-server as a process: `python -m tests.upstreams.real_cas FOLDER HOST PORT PORTAL`.

It finds every name at the address PORTAL, because no DNS knows the names of the tests.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proxies.processes import Server, free_port

USER, PASSWORD = "meetbill", "a password of the CAS server"
ATTRIBUTES = {"mail": "meetbill@example.com", "memberOf": ["staff", "ops"]}
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class RealCas:
    url: str
    server: Server


def start_real_cas(folder: Path, *, host: str = "127.0.0.1", portal: str = "127.0.0.1") -> RealCas:
    port = free_port()
    command = [sys.executable, "-m", "tests.upstreams.real_cas", str(folder), host, str(port), portal]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("IKD_", "DJANGO_"))
    }
    server = Server(command, log=folder / "cas.log", cwd=ROOT, env=environment)
    server.wait_for((host, port))
    return RealCas(f"http://{host}:{port}/cas", server)


def main(folder: str, host: str, port: int, portal: str) -> None:
    _configure(Path(folder))

    import django

    django.setup()

    from django.core.management import call_command
    from django.core.servers.basehttp import get_internal_wsgi_application, run

    call_command("migrate", verbosity=0)
    _lay_out()
    _find_every_name_at(portal)
    run(host, port, get_internal_wsgi_application(), threading=True)


def _configure(folder: Path) -> None:
    from django.conf import settings

    settings.configure(
        SECRET_KEY="the CAS server's",
        DEBUG=False,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        WSGI_APPLICATION=None,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "cas.sqlite3"}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        USE_TZ=True,
        STATIC_URL="/static/",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "django.contrib.messages",
            "django.contrib.staticfiles",
            "cas_server",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.locale.LocaleMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        CAS_AUTH_CLASS="cas_server.auth.TestAuthUser",
        CAS_TEST_USER=USER,
        CAS_TEST_PASSWORD=PASSWORD,
        CAS_TEST_ATTRIBUTES=ATTRIBUTES,
        CAS_NEW_VERSION_HTML_WARNING=False,
        CAS_NEW_VERSION_EMAIL_WARNING=False,
        CAS_SHOW_POWERED=False,
    )


def _lay_out() -> None:
    from cas_server.models import ReplaceAttributName, ServicePattern

    pattern = ServicePattern.objects.create(
        pos=1, name="portal", pattern=r"^https?://sso\.[^/]+/auth/ssologin(\?.*)?$", single_log_out=True
    )
    ReplaceAttributName.objects.create(name="*", service_pattern=pattern)


def _find_every_name_at(address: str) -> None:
    ask = socket.getaddrinfo

    def answer(host: Any, *args: Any, **kwargs: Any) -> Any:
        return ask(address, *args, **kwargs)

    socket.getaddrinfo = answer


def __getattr__(name: str) -> Any:
    """Return `urlpatterns` once there are settings: this module is also the URL configuration."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.urls import include, path

    return [path("cas/", include("cas_server.urls", namespace="cas_server"))]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
