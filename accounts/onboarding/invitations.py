"""Invitations: a link that creates one account, in groups chosen beforehand.

Only SHA-256 of its token is stored. Users who register, where it is allowed, invite themselves by mail.
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
    """The invitation was used, was withdrawn or has expired."""


def invite(*, email: str, groups: Iterable[Group], days: int, inviter: User | None) -> tuple[Invitation, str]:
    """Create an invitation and return it with its link, which cannot be read again.

    If there is an `email`, the link is mailed to it. Without an inviter, the invitation is of a user who
    registers. Raises PermissionError if an inviter without superuser status chooses a group that carries
    permissions.
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
    """Create the account. Of several concurrent requests with one link, all but one raise InvitationUsed."""
    now = timezone.now()
    live = Invitation.objects.filter(pk=invitation.pk, used_at=None, expires_at__gt=now)
    if not live.update(used_at=now):
        raise InvitationUsed
    if not invitation.is_by_oneself:
        _refuse_lost_inviter(invitation)
    user.is_active = not (invitation.is_by_oneself and settings.IKD_REGISTRATION == "approval")
    # A user with the link has read the mail. But another user may have the address by now.
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
    """Return the groups.

    A group that carries permissions is left out unless the inviter is a superuser and was one before.
    """
    groups = invitation.groups.all()
    may_grant = invitation.by_superuser and invitation.made_by is not None and invitation.made_by.is_superuser
    return list(groups if may_grant else groups.filter(permissions__isnull=True))


def may_register(email: str) -> bool:
    """Return whether an address is of a domain that may register. Without a setting, any may."""
    domains = [domain.lower().lstrip("@") for domain in settings.IKD_REGISTRATION_DOMAINS]
    return not domains or email.lower().rpartition("@")[2] in domains


def send_own_invitation(email: str) -> None:
    """Send a link that creates an account. To users with an account, send one for a new password."""
    if is_address_taken(email):
        send_link(email)
        return
    if may_register(email):
        invite(email=email, groups=[], days=1, inviter=None)
