"""Stored decisions by their id, which is on a refused page, in a log line or in `X-Auth-Decision`."""

from __future__ import annotations

import re

from authgate.models import AuditEvent

_ID = re.compile(r"[0-9a-f]{12}")


def is_decision_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def event_of(decision_id: str) -> AuditEvent | None:
    """Return the audit event of a refusal, or None. One query.

    Allowed requests, requests to sign in, configuration mistakes, and refusals beyond the sampling limits
    have no event.
    """
    if not is_decision_id(decision_id):
        return None
    return AuditEvent.objects.filter(decision_id=decision_id, kind="refused").first()


def described(event: AuditEvent) -> dict[str, str]:
    """Return the request of an event as fields of a question."""
    details = event.details if isinstance(event.details, dict) else {}
    texts = {name: str(details.get(name) or "") for name in ("url", "method", "contract")}
    return {
        "url": texts["url"],
        "method": texts["method"] or "GET",
        "proxy": texts["contract"],
        "client": event.address or "",
        "person": event.actor,
    }
