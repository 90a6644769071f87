"""Links that an administrator creates between a provider's subject and a user."""

from __future__ import annotations

from enum import Enum, auto

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import Identity, Upstream, User
from accounts.upstreams.claim_texts import is_identifier
from authgate.audit import record


class Linked(Enum):
    NOW = auto()
    BEFORE = auto()


def link_to(
    upstream: Upstream, subject: str, user: User, *, actor: str, address: str | None = None
) -> Linked:
    """Link a subject to a user, and write an audit event. Raises ValidationError if another user has it."""
    validate_subject(subject)
    with transaction.atomic():
        identity, is_new = Identity.objects.get_or_create(
            upstream=upstream, subject=subject, defaults={"user": user}
        )
        if identity.user_id != user.pk:
            raise ValidationError(_("This subject is already linked to a user. Unlink it first."))
        if is_new:
            record_link(identity, actor, address)
    return Linked.NOW if is_new else Linked.BEFORE


def validate_subject(subject: str) -> None:
    """Raise ValidationError if no token can have this subject."""
    if not is_identifier(subject):
        raise ValidationError(_("No token can contain this subject."))


def record_link(identity: Identity, actor: str, address: str | None) -> None:
    record(
        "identity_linked",
        actor=actor,
        subject=identity.user.username,
        reason="by an administrator",
        address=address,
        details={"upstream": identity.upstream.slug},
    )
