"""Consents: which scopes users agreed to share with clients."""

from __future__ import annotations

from django.utils import timezone

from accounts.requests import SignedInRequest
from authgate.audit import record
from authgate.peer import client_address
from openid.models import Client, Consent
from openid.protocol.authorization import SCOPES


def keep(request: SignedInRequest, client: Client, wanted: tuple[str, ...]) -> None:
    """Add scopes to a user's consent."""
    user = request.user
    given = Consent.objects.filter(user=user, client=client).first()
    scopes = {*wanted, *(given.scopes.split() if given else [])}
    kept = " ".join(scope for scope in SCOPES if scope in scopes)
    Consent.objects.update_or_create(
        user=user, client=client, defaults={"scopes": kept, "given_at": timezone.now()}
    )
    record(
        "openid_consent",
        actor=user.username,
        subject=user.username,
        application=client.application.name,
        address=client_address(request),
        details={"client": client.client_id, "scopes": kept.split()},
    )
