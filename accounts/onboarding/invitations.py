"""Invitations: links that each create one account, in groups that the inviter chose.

The database stores only SHA-256 of a link's token. If registration is allowed, users who register send
themselves an invitation by mail.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from accounts import mails
from accounts.email_addresses import is_address_taken
from accounts.models import Invitation, User
from accounts.self_service.password_reset import send_link
from authgate.audit import record

LONGEST_DAYS = 30
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class InvitationUsed(Exception):
    """The invitation was used or withdrawn, or has expired."""


def invite(*, email: str, groups: Iterable[Group], days: int, inviter: User | None) -> tuple[Invitation, str]:
    """Create an invitation, and return it with its link. The portal can show the link only now.

    If there is an `email`, send the link to it. Without an inviter, the user is registering. Raises
    PermissionError if an inviter who is no superuser chooses a group with permissions.
    """
    chosen = list(groups)
    if not (inviter and inviter.is_superuser) and any(group.permissions.exists() for group in chosen):
        raise PermissionError("only superusers invite into groups that carry permissions")
    token, now = secrets.token_urlsafe(32), timezone.now()
    with transaction.atomic():
        row = Invitation.objects.create(
            token_digest=_digest(token),
            email=email.lower(),
            made_by=inviter,
            is_by_oneself=inviter is None,
            by_superuser=bool(inviter and inviter.is_superuser),
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        row.groups.set(chosen)
    path = reverse("invitation", args=[token])
    if email:
        mails.queue(mails.send, "invitation", row.email, {}, path)
    return row, f"{settings.IKD_PORTAL_URL}{path}"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def invitation_of(token: str) -> Invitation | None:
    """Return the live invitation of a token, or None."""
    if _TOKEN.fullmatch(token) is None:
        return None
    return Invitation.objects.filter(
        token_digest=_digest(token), used_at=None, expires_at__gt=timezone.now()
    ).first()


@transaction.atomic
def accept(invitation: Invitation, user: User, address: str | None) -> User:
    """Create the account. Raises InvitationUsed, also if a concurrent request uses the same link."""
    now = timezone.now()
    live = Invitation.objects.filter(pk=invitation.pk, used_at=None, expires_at__gt=now)
    if not live.update(used_at=now):
        raise InvitationUsed
    if not invitation.is_by_oneself:
        _refuse_lost_inviter(invitation)
    user.is_active = not (invitation.is_by_oneself and settings.IKD_REGISTRATION == "approval")
    # The user has read the mail, so the address is verified. But another user may have taken it meanwhile.
    is_free = bool(invitation.email) and not is_address_taken(invitation.email)
    user.email = invitation.email if is_free else ""
    user.save()
    if is_free:
        EmailAddress.objects.create(user=user, email=invitation.email, verified=True, primary=True)
    user.groups.set(_groups_of(invitation))
    Invitation.objects.filter(pk=invitation.pk).update(used_by=user)
    record(
        "registered" if invitation.is_by_oneself else "invitation_accepted",
        actor=user.username,
        subject=user.username,
        address=address,
        reason="" if user.is_active else "waits for approval",
    )
    return user


def _refuse_lost_inviter(invitation: Invitation) -> None:
    """Raise InvitationUsed if the inviter has been disabled or deleted."""
    if invitation.made_by is None or not invitation.made_by.is_active:
        raise InvitationUsed


def _groups_of(invitation: Invitation) -> list[Group]:
    """Return the groups for the new account.

    Leave out groups with permissions, unless the inviter was a superuser and still is one.
    """
    groups = invitation.groups.all()
    may_grant = invitation.by_superuser and invitation.made_by is not None and invitation.made_by.is_superuser
    return list(groups if may_grant else groups.filter(permissions__isnull=True))


def may_register(email: str) -> bool:
    """Return whether an address belongs to a domain that may register. Without the setting, all may."""
    domains = [domain.lower().lstrip("@") for domain in settings.IKD_REGISTRATION_DOMAINS]
    return not domains or email.lower().rpartition("@")[2] in domains


def send_own_invitation(email: str) -> None:
    """Send a link that creates an account. If the address has an account, send a link for a new password."""
    if is_address_taken(email):
        send_link(email)
        return
    if may_register(email):
        invite(email=email, groups=[], days=1, inviter=None)
