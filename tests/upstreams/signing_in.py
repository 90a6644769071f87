from __future__ import annotations

from typing import Any

from django.test import Client

from authgate.models import AuditEvent
from tests.upstreams.provider import Provider

START = "/upstreams/campus/start"


def sign_in(client: Client, provider: Provider, person: dict[str, Any] | None = None, **answer: Any) -> Any:
    """Go to the provider and back, as a browser does. Return the portal's answer."""
    left = client.get(START)
    assert left.status_code == 302, left.content.decode()
    return client.get(provider.sign_in(left["Location"], person, **answer))


def reason() -> str:
    """Return the reason of the newest failure, as administrators read it."""
    return AuditEvent.objects.filter(kind="upstream_failed").latest("pk").reason
