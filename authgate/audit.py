"""Audit events: what happened in the portal, for administrators."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.utils import timezone

from authgate import counters, outbox
from authgate.models import AuditEvent
from authgate.prepared import PreparedInsert
from authgate.sampling import sample

log = logging.getLogger("ikd.security")
_EVENTS = PreparedInsert(AuditEvent)

ANONYMOUS_EVENTS = frozenset(
    (
        *("sign_in_failed", "sign_in_limited", "mails_limited"),
        *("upstream_failed", "upstream_sign_out_failed", "backchannel_logout_failed"),
    )
)
"""Kinds of events that any client can cause. An event counts as a stranger's if it names no user."""


def record(
    kind: str,
    *,
    actor: str = "",
    subject: str = "",
    application: str = "",
    reason: str = "",
    address: str | None = None,
    decision_id: str = "",
    details: dict[str, Any] | None = None,
) -> AuditEvent:
    """Write an audit event and its log line. No argument may contain a secret.

    If strangers cause too many events, an event is only counted and logged (`sampling`).
    """
    event = AuditEvent(
        at=timezone.now(),
        kind=kind,
        actor=printable(actor, 150),
        subject=printable(subject, 150),
        application=printable(application, 100),
        reason=printable(reason, 100),
        address=address or None,
        decision_id=decision_id,
        details=details or {},
    )
    counters.note_event(kind, event.details.get("methods"))
    is_strangers = kind in ANONYMOUS_EVENTS and not (actor or subject)
    if not is_strangers or sample.keeps(kind, event.application):
        _EVENTS.insert(event)
    outbox.send(partial(log.info, event.kind, extra={"decision": decision_id, "event": _line(event)}))
    return event


def printable(text: str, length: int) -> str:
    """Return a client's text without control characters, with at most `length` characters."""
    return "".join(filter(str.isprintable, text))[:length]


def _line(event: AuditEvent) -> dict[str, Any]:
    """Return an event for the log. Of a change, the log gets the names of fields, not their values."""
    fields = ("actor", "subject", "application", "reason", "address")
    shown = {name: getattr(event, name) for name in fields if getattr(event, name)}
    details = {name: value for name, value in event.details.items() if name != "values"}
    return {"at": event.at.isoformat(), **shown, **details}
