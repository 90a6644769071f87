"""Effects of second factors: the sign-in's row, the audit trail, and mails to the user."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_reset,
    authenticator_used,
)
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from accounts import mails
from accounts.factors import FACTORS, has_factor, has_passkey
from accounts.models import User
from accounts.own_events import record_own
from accounts.requests import sign_in_of_request
from authgate.audit import record
from authgate.models import SignIn
from authgate.peer import client_address
from authgate.sign_ins import end_sign_ins


def note_factor(request: HttpRequest, method: str) -> None:
    """Store in this browser's sign-in that the user proved a factor, and change the session key."""
    sign_in = sign_in_of_request(request)
    if sign_in is None:
        return
    request.session.cycle_key()
    sign_in.methods = list(dict.fromkeys([*sign_in.methods, method]))
    given = {"second_factor_at": timezone.now()}
    if method == Authenticator.Type.WEBAUTHN:
        given["passkey_at"] = given["second_factor_at"]
    for name, at in given.items():
        setattr(sign_in, name, at)
    SignIn.objects.filter(pk=sign_in.pk, ended_at=None).update(methods=sign_in.methods, **given)


def forget_factor(user: User) -> None:
    """Clear the proofs of removed factors from the user's live sign-ins.

    Without any factor, clear all proofs. Without a passkey, clear those of passkeys.
    """
    live = SignIn.objects.filter(user=user, ended_at=None)
    if not has_factor(user):
        live.update(second_factor_at=None, passkey_at=None, remembered_device=False)
    elif not has_passkey(user):
        live.update(passkey_at=None)


@transaction.atomic
def reset_factors(request: HttpRequest, user: User) -> int:
    """Remove all factors of a user, and end their sign-ins. Return the number of factors.

    `request` is the administrator's.
    """
    rows = Authenticator.objects.filter(user=user)
    kinds = sorted(rows.values_list("type", flat=True))
    rows.delete()
    user.remembered_devices.all().delete()
    forget_factor(user)
    end_sign_ins(SignIn.objects.filter(user=user))
    record(
        "factors_reset",
        actor=request.user.get_username(),
        subject=user.username,
        address=client_address(request),
        details={"factors": kinds},
    )
    mails.notify(user, "factors_reset")
    return len(kinds)


@receiver(authenticator_used, dispatch_uid="note second factor")
def note_used_factor(
    sender: Any, request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: Any
) -> None:
    sign_in = sign_in_of_request(request)
    if sign_in is not None and sign_in.user_id == user.pk:
        note_factor(request, authenticator.type)
    if authenticator.type == Authenticator.Type.RECOVERY_CODES:
        _record("recovery_code_used", request, user, authenticator)


@receiver(authenticator_added, dispatch_uid="record factor")
def note_added_factor(
    sender: Any, request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: Any
) -> None:
    if authenticator.type in FACTORS:
        note_factor(request, authenticator.type)
        _record("factor_added", request, user, authenticator)


@receiver(authenticator_removed, dispatch_uid="record removed factor")
def note_removed_factor(
    sender: Any, request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: Any
) -> None:
    if authenticator.type in FACTORS:
        forget_factor(user)
        _record("factor_removed", request, user, authenticator)


@receiver(authenticator_reset, dispatch_uid="record new recovery codes")
def note_new_recovery_codes(
    sender: Any, request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: Any
) -> None:
    _record("recovery_codes_made", request, user, authenticator)


@receiver(authentication_failed, dispatch_uid="record failed factor")
def note_failed_factor(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record(
        "second_factor_failed", subject=user.username, reason="wrong code", address=client_address(request)
    )


def _record(kind: str, request: HttpRequest, user: User, authenticator: Authenticator) -> None:
    record_own(kind, request, user, {"factor": authenticator.type})
    if kind in mails.KINDS:
        mails.notify(user, kind, client_address(request))
