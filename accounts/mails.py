"""Mails to users. Every link begins with IKD_PORTAL_URL, never with the request's Host header."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import close_old_connections, connection
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _

from accounts.branding import brand
from accounts.branding.mail_brand import logo_part
from accounts.lock_links import new_link
from accounts.models import User
from accounts.smtp import AUTO_SUBMITTED, refusal_of
from authgate import outbox
from authgate.logs.request_ids import current_request

log = logging.getLogger("ikd.mails")

WAITING_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class MailKind:
    """The texts of a mail. `button` labels its link to `path`, or to the path that `send` receives."""

    subject: Any
    sentence: Any
    button: Any = ""
    path: str = ""


SESSIONS_PATH = "/accounts/sessions/"
KINDS = {
    "new_device": MailKind(
        _("New sign-in to your account"),
        _("Someone signed in to your account from a new browser or network."),
        _("See your sessions"),
        SESSIONS_PATH,
    ),
    "password_changed": MailKind(
        _("Your password was changed"),
        _("The password of your account was changed."),
        _("See your sessions"),
        SESSIONS_PATH,
    ),
    "factor_added": MailKind(
        _("A second factor was added"),
        _("A second factor was added to your account."),
        _("See your second factors"),
        "/accounts/second-factor/",
    ),
    "factor_removed": MailKind(
        _("A second factor was removed"),
        _("A second factor was removed from your account."),
        _("See your second factors"),
        "/accounts/second-factor/",
    ),
    "factors_reset": MailKind(
        _("Your second factors were reset"),
        _("An administrator removed all second factors of your account and ended your sign-ins."),
        _("Sign in"),
        "/accounts/login/",
    ),
    "recovery_codes_made": MailKind(
        _("New recovery codes were created"),
        _("New recovery codes were created for your account. The old codes no longer work."),
        _("See your second factors"),
        "/accounts/second-factor/",
    ),
    "address_changed": MailKind(
        _("Your e-mail address was changed"),
        _("The e-mail addresses of your account were changed."),
        _("See your addresses"),
        "/accounts/addresses/",
    ),
    "account_locked": MailKind(
        _("Your account was locked"),
        _(
            "Someone used the link in an e-mail about your account. All sign-ins and API tokens have ended, "
            "and nobody can sign in until a new password is set. Choose one now. If you receive no link "
            "for it, ask your administrator."
        ),
        _("Choose a new password"),
        "/accounts/password/reset/",
    ),
    "other_account_locked": MailKind(
        _("A user locked their account"),
        _(
            "The user reported a change or sign-in that they did not make. All sign-ins and API tokens of "
            "the "
            "account have ended. Look for factors, addresses and providers that an attacker added."
        ),
        _("See the account"),
    ),
    "access_requested": MailKind(
        _("A user asks for access"),
        _("A user asks for access to an application that you own. Answer on the page below."),
        _("Answer the request"),
    ),
    "access_granted": MailKind(
        _("You have access"), _("An owner granted your request for access."), _("My applications"), "/"
    ),
    "access_declined": MailKind(
        _("Your request was declined"),
        _("An owner declined your request for access."),
        _("My applications"),
        "/",
    ),
    "access_review": MailKind(
        _("Review who can open an application"),
        _("Confirm or remove the access of each person to an application that you own."),
        _("Review access"),
    ),
    "password_reset": MailKind(
        _("Choose a new password"),
        _(
            "Someone asked to reset the password of your account. If it was you, use the link within one "
            "hour."
        ),
        _("Choose a new password"),
    ),
    "confirm_address": MailKind(
        _("Confirm your e-mail address"),
        _(
            "This e-mail address was entered for an account in the portal. If you did this, confirm the "
            "address."
        ),
        _("Confirm the address"),
    ),
    "invitation": MailKind(
        _("You are invited"),
        _("You are invited to the portal. Use the link to create your account. The link works once."),
        _("Create your account"),
    ),
}
ASKED_FOR = ("password_reset", "confirm_address", "invitation")
ABOUT_ACCESS = ("access_requested", "access_granted", "access_declined", "access_review")
WITHOUT_LOCK = (*ASKED_FOR, *ABOUT_ACCESS, "factors_reset", "account_locked", "other_account_locked")
"""Mails without a link that locks the account. All others report what an attacker may have done."""

_waiting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mails")
_room = threading.BoundedSemaphore(WAITING_LIMIT)


def notify(
    user: User, kind: str, address: str | None = None, *, to: str = "", about: User | None = None
) -> None:
    """Send a user a mail about a change to their account. `address` is the network address of the change.

    With `about`, `user` is an administrator, and the mail is about the account of `about`.
    """
    if to or user.email:
        facts = {"username": (about or user).username, "address": address or ""}
        path = reverse("admin:accounts_user_change", args=[about.pk]) if about else ""
        queue(_send_notice, kind, user.pk, to or user.email, facts, path, language=user.language)


def _send_notice(kind: str, user_id: int, to: str, facts: dict[str, Any], path: str) -> None:
    lock_url = "" if kind in WITHOUT_LOCK else new_link(user_id, to)
    send(kind, to, {**facts, "lock_url": lock_url}, path)


def queue(act: Callable[..., None], *args: Any, language: str = "") -> None:
    """Call a function after the response is sent, in `language` or the language of the page.

    So the response time does not reveal whether an account exists. A change that the portal only tries, to
    show its effect, sends no mail.
    """
    language = language or translation.get_language() or settings.LANGUAGE_CODE
    outbox.send(partial(_queue, language, act, *args))


def _queue(language: str, act: Callable[..., None], *args: Any) -> None:
    if not settings.IKD_WRITE_BEHIND:
        _call(language, act, *args)
        return
    if not _room.acquire(blocking=False):
        log.error("a mail was dropped: %d are waiting already", WAITING_LIMIT)
        return
    _waiting.submit(_in_thread, current_request.get(), language, act, *args)


def _in_thread(request: str, language: str, act: Callable[..., None], *args: Any) -> None:
    current_request.set(request)
    close_old_connections()
    try:
        _call(language, act, *args)
    finally:
        _room.release()
        connection.close()


def _call(language: str, act: Callable[..., None], *args: Any) -> None:
    """Call a function in a language. Log its errors instead of raising them."""
    try:
        with translation.override(language):
            act(*args)
    except Exception:
        log.exception("a mail could not be made")


def send(kind: str, to: str, facts: dict[str, Any], path: str = "") -> None:
    """Send a mail as plain text and HTML. If the mail server refuses it, log the server's reply."""
    message = _message(kind, to, facts, path)
    try:
        message.send()
    except OSError as error:
        server = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
        log.error("mail_not_sent", extra={"event": {"mail": kind, "server": server, **refusal_of(error)}})


class Message(EmailMultiAlternatives):
    """A mail. Its HTML shows the attached logo, so mail programs do not list an attachment."""

    mixed_subtype = "related"


def _message(kind: str, to: str, facts: dict[str, Any], path: str) -> Message:
    words, look = KINDS[kind], brand.current()
    light, dark = look.shades
    logo = logo_part(look)
    context = {
        **facts,
        "subject": words.subject,
        "sentence": words.sentence,
        "button": words.button,
        "url": f"{settings.IKD_PORTAL_URL}{path or words.path}",
        "is_asked_for": kind in ASKED_FOR,
        "at": timezone.now(),
        "portal": settings.IKD_PORTAL_URL,
        "brand": look,
        "light": light,
        "dark": dark,
        "has_logo": logo is not None,
    }
    message = Message(
        str(words.subject),
        render_to_string("mail/message.txt", context),
        to=[to],
        headers=dict(AUTO_SUBMITTED),
    )
    message.attach_alternative(render_to_string("mail/message.html", context), "text/html")
    if logo is not None:
        message.attach(logo)
    return message
