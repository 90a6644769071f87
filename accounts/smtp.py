"""The backend that sends mail by SMTP, under the portal's own name and marked as automatic."""

from __future__ import annotations

import base64
import ipaddress
import re
import smtplib
from collections.abc import Sequence
from email.utils import make_msgid
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp
from django.core.mail.utils import DNS_NAME

from authgate.logs.lines import cause_of

AUTO_SUBMITTED = {"Auto-Submitted": "auto-generated"}
"""A header that prevents out-of-office replies (RFC 3834, section 5)."""


class EmailBackend(smtp.EmailBackend):
    """Django's backend, with the portal's name in EHLO and Message-ID, and a mark on every mail."""

    @property
    def connection_class(self) -> Any:
        return self._connect

    def _connect(self, host: str, port: int, **options: Any) -> smtplib.SMTP:
        kind = smtplib.SMTP_SSL if self.use_ssl else smtplib.SMTP
        return kind(host, port, **{**options, "local_hostname": own_name()})

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            given = {name.lower() for name in message.extra_headers}
            ours = {**AUTO_SUBMITTED, "Message-ID": make_msgid(domain=own_name())}
            added = {name: value for name, value in ours.items() if name.lower() not in given}
            message.extra_headers = {**message.extra_headers, **added}
        return super().send_messages(email_messages) or 0


def own_name() -> str:
    """Return the portal's host for EHLO: a name or an address literal (RFC 5321, section 4.1.3).

    Mail servers refuse names without a dot, such as localhost. In that case, return the machine's own name.
    """
    host = urlsplit(settings.IKD_PORTAL_ORIGIN).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host if "." in host else DNS_NAME.get_fqdn()
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def refusal_of(error: OSError) -> dict[str, Any]:
    """Return the mail server's reply for the log: one line, without addresses or passwords."""
    reply: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused) and error.recipients:
        code, reply = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        code, reply = error.smtp_code, error.smtp_error
    else:
        return {"reason": _without_secrets(cause_of(error))}
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
    return {"code": code, "reply": _without_secrets(" ".join(text.split()))}


def _without_secrets(text: str) -> str:
    user, password = settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD
    if password:  # some servers repeat the command that they refuse
        for secret in (password, f"\0{user}\0{password}"):
            text = text.replace(base64.b64encode(secret.encode()).decode(), "…").replace(secret, "…")
    return re.sub(r"[^\s<>]+@[^\s<>]+", "…", text)
