"""Rows that a portal writes in a day, dated by the clock."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta

from django.core.cache import caches
from django.db.models import Model
from django.utils import timezone

from accounts.models import (
    AccessReview,
    ApiToken,
    Invitation,
    LockLink,
    PortalSession,
    RememberedDevice,
    User,
)
from authgate.models import (
    Application,
    AuditEvent,
    ConfigurationEvent,
    GateSession,
    KeptPage,
    RequestCount,
    SignIn,
    TrialCount,
)
from openid.models import Client, Code, Grant, LogoutDelivery, Token

DAY = timedelta(days=1)


def sign_in(user: User, *, ended: bool = True, keep: bool = False) -> SignIn:
    """Return a new sign-in that lasts twelve hours, or 30 days."""
    now = timezone.now()
    return SignIn(
        user=user,
        session_digest=None if ended else os.urandom(32).hex(),
        started_at=now,
        last_seen_at=now,
        expires_at=now + (30 * DAY if keep else DAY / 2),
        idle_timeout=14_400,
        ended_at=now if ended else None,
        methods=["password"],
    )


def gate_session(parent: SignIn, *, ended: bool = False) -> GateSession:
    now = timezone.now()
    return GateSession(
        sign_in=parent,
        origin="https://wiki.example.com",
        token_digest=os.urandom(32),
        created_at=now,
        ended_at=now if ended else None,
    )


def portal_session() -> PortalSession:
    expires = timezone.now() + DAY / 2
    return PortalSession(session_key=os.urandom(32).hex(), session_data="x" * 300, expire_date=expires)


def event(kind: str) -> AuditEvent:
    return AuditEvent(
        at=timezone.now(), kind=kind, actor="alice", subject="alice", reason="no rule admits the user",
        address="198.51.100.7", details={"url": "https://wiki.example.com/a/page"},
    )  # fmt: skip


def request_count(user: User) -> RequestCount:
    return request_counts([user])[0]


def request_counts(users: Sequence[User]) -> list[RequestCount]:
    application, _ = Application.objects.get_or_create(name="wiki")
    today = timezone.localdate()
    return [
        RequestCount(day=today, application=application, person=user.pk, rule=1, method="GET", allowed=7)
        for user in users
    ]


def trial_count(user: User) -> TrialCount:
    return TrialCount(day=timezone.localdate(), rule=1, version="v", person=user.pk, change="none", count=7)


def configuration_event(reason: str) -> ConfigurationEvent:
    now = timezone.now()
    return ConfigurationEvent(contract="nginx", reason=reason, count=1, first_at=now, last_at=now)


def invitation(*, used: bool = False) -> Invitation:
    now = timezone.now()
    return Invitation(
        token_digest=os.urandom(32), created_at=now, expires_at=now + DAY, used_at=now if used else None
    )


def api_token(user: User, *, ended: bool = False) -> ApiToken:
    now = timezone.now()
    return ApiToken(
        user=user, name="a program", token_digest=os.urandom(32), created_at=now, expires_at=now + DAY,
        ended_at=now if ended else None,
    )  # fmt: skip


def remembered_device(user: User) -> RememberedDevice:
    now = timezone.now()
    return RememberedDevice(
        user=user, token_digest=os.urandom(32), fingerprint="f", created_at=now, expires_at=now + DAY
    )


def lock_link(user: User) -> LockLink:
    now = timezone.now()
    return LockLink(
        user=user, token_digest=os.urandom(32), email="a@example.com", created_at=now, expires_at=now + DAY
    )


def kept_page() -> KeptPage:
    expires = timezone.now() + timedelta(hours=1)
    return KeptPage(
        key=os.urandom(16).hex(), network="198.51.100.0", address="https://x/", expires_at=expires
    )


def client(name: str = "wiki") -> Client:
    application, _ = Application.objects.get_or_create(name=name)
    found, _ = Client.objects.get_or_create(client_id=name, defaults={"application": application})
    return found


def grant(parent: SignIn, *, offline: bool = False, ended: bool = False, to: Client | None = None) -> Grant:
    """Create a grant with its code and tokens. The refresh token is valid for a day."""
    now = timezone.now()
    made = Grant.objects.create(
        client=to or client(), sign_in=parent, sid=os.urandom(16).hex(), subject=str(parent.user.uuid),
        scopes="openid", auth_time=now, acr="1", offline=offline, created_at=now,
        ended_at=now if ended else None,
    )  # fmt: skip
    Code.objects.create(
        grant=made, digest=os.urandom(32), redirect_uri="https://x/", challenge="c", expires_at=now
    )
    Token.objects.create(
        grant=made, kind=Token.Kind.REFRESH, digest=os.urandom(32), sequence=0, scopes="openid",
        expires_at=now + DAY,
    )  # fmt: skip
    return made


def delivery() -> LogoutDelivery:
    now = timezone.now()
    return LogoutDelivery(
        uri="https://x/", audience="wiki", subject="s", sid=os.urandom(16).hex(), allow_private=False,
        created_at=now, due_at=now, tries=1, done_at=now, answer="taken",
    )  # fmt: skip


def save_all(*lists: Sequence[Model]) -> None:
    for each in lists:
        type(each[0])._default_manager.bulk_create(each)


def cache_entry() -> None:
    caches["default"].set(os.urandom(8).hex(), 1, 300)
    caches["codes"].set(os.urandom(8).hex(), "a code", 60)


def access_review(user: User) -> AccessReview:
    now = timezone.now()
    return AccessReview(name="wiki", began_at=now, closed_at=now, asked=[user.username])
