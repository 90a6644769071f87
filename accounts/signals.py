"""Receivers of the signals for signing in and out: the sign-in's row, the audit trail and mails."""

from __future__ import annotations

import time
from typing import Any

from allauth.account import app_settings as allauth_settings
from allauth.account.authentication import get_authentication_records
from allauth.account.signals import (
    email_added,
    email_changed,
    email_removed,
    password_changed,
    password_reset,
)
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models import Q
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import mails
from accounts.backends import account_named
from accounts.factors import has_factor
from accounts.language import save_language
from accounts.models import User
from accounts.own_events import record_own
from accounts.requests import Request, sign_in_of_request
from accounts.second_factor.remembered import is_remembered
from accounts.sign_in.devices import is_new_device
from accounts.upstreams.linking import store_provider_session
from authgate.audit import record
from authgate.models import SignIn
from authgate.peer import client_address
from authgate.sign_ins import begin_sign_in, end_sign_ins


@receiver(user_logged_in, dispatch_uid="begin sign-in")
def begin(sender: Any, request: Request, user: User, **kwargs: Any) -> None:
    """Begin a sign-in under a new session key, and end an earlier sign-in of this browser."""
    session = request.session
    ended = end_sign_ins(_sign_ins_of(request))
    # Django changes the key only if the session was anonymous, and creates the key of a flushed session only
    # with the response. The key that the browser sent may belong to a session that another tab has replaced
    # meanwhile.
    if ended or session.session_key in (None, request.COOKIES.get(settings.SESSION_COOKIE_NAME)):
        session.cycle_key()
    methods, second_factor = _methods_of(request, user)
    address, agent = client_address(request), request.META.get("HTTP_USER_AGENT", "")
    is_new = is_new_device(user, address, agent)
    sign_in = begin_sign_in(
        user,
        session_digest=session.digest,
        address=address,
        user_agent=agent,
        methods=methods,
        keep=not session.get_expire_at_browser_close(),
        second_factor=second_factor,
        remembered_device=not second_factor and _is_remembered(request, user),
    )
    request.sign_in = sign_in
    details = {"methods": methods, "keep": sign_in.keep, **_provider_of(request)}
    record_own("sign_in", request, user, details)
    # Change the user's row last. Each sign-in by a provider locks first the provider, then the identity, then
    # the user. So two sign-ins of one user cannot deadlock.
    store_provider_session(request, user)
    save_language(user)
    if is_new:
        mails.notify(user, "new_device", address)


def _provider_of(request: Request) -> dict[str, Any]:
    """Return the provider that authenticated the user, and how many seconds it took, for the audit event."""
    slug, seconds = getattr(request, "provider_time", ("", 0.0))
    return {"upstream": slug, "provider_seconds": round(seconds, 3)} if slug else {}


def _methods_of(request: HttpRequest, user: User) -> tuple[list[str], bool]:
    """Return the methods of this sign-in, and whether a second factor is among them.

    Leave out allauth's records of an earlier sign-in in the same session.
    """
    since = time.time() - allauth_settings.LOGIN_TIMEOUT
    records = [entry for entry in get_authentication_records(request, user) if entry.get("at", 0) > since]
    factors = [entry for entry in records if entry["method"] == "mfa"]
    methods = [entry["type"] if entry in factors else entry["method"] for entry in records]
    return list(dict.fromkeys(methods)), bool(factors)


def _is_remembered(request: HttpRequest, user: User) -> bool:
    """Return whether the user skipped the second factor because this device is remembered."""
    return is_remembered(request, user) and has_factor(user)


@receiver(user_logged_out, dispatch_uid="end sign-in")
def end(sender: Any, request: Request, user: User | None, **kwargs: Any) -> None:
    ended = end_sign_ins(_sign_ins_of(request))
    request.sign_in = None
    if ended and user is not None:
        record_own("sign_out", request, user)


@receiver(user_login_failed, dispatch_uid="record failed sign-in")
def record_failure(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None, **kwargs: Any
) -> None:
    """Record a failed sign-in. Leave out an unknown name, because users may type their password there."""
    account = account_named(credentials.get("username") or "")
    reason = "unknown account"
    if account is not None:
        reason = "wrong password" if account.is_active else "user disabled"
    record(
        "sign_in_failed",
        subject=account.username if account else "",
        reason=reason,
        address=client_address(request) if request else None,
    )


@receiver(password_changed, dispatch_uid="record password change")
def record_password_change(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record_own("password_changed", request, user)
    mails.notify(user, "password_changed", client_address(request))


@receiver(password_reset, dispatch_uid="record password reset")
def record_password_reset(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    address = client_address(request)
    record("password_changed", subject=user.username, reason="by a link in a mail", address=address)
    mails.notify(user, "password_changed", address)


@receiver(email_added, dispatch_uid="record added address")
def record_added_address(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    _record_address(request, user, "address_added")


@receiver(email_removed, dispatch_uid="record removed address")
def record_removed_address(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    _record_address(request, user, "address_removed")


@receiver(email_changed, dispatch_uid="record changed address")
def record_changed_address(
    sender: Any, request: HttpRequest, user: User, from_email_address: Any, **kwargs: Any
) -> None:
    """Also notify the previous address, because an attacker may have made the change."""
    _record_address(request, user, "address_changed")
    if from_email_address is not None:
        mails.notify(user, "address_changed", client_address(request), to=from_email_address.email)


def _record_address(request: HttpRequest, user: User, kind: str) -> None:
    record_own(kind, request, user)
    mails.notify(user, "address_changed", client_address(request))


def _sign_ins_of(request: HttpRequest) -> Any:
    """Return the sign-ins of this browser, by its current session and by the one that the middleware saw."""
    digest = getattr(request.session, "digest", None)
    sign_in = sign_in_of_request(request)
    none = Q(pk__in=[])
    by_digest = Q(session_digest=digest) if digest else none
    return SignIn.objects.filter(by_digest | (Q(pk=sign_in.pk) if sign_in else none))
