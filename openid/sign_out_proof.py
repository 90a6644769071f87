"""The effect of a sign-out: for each application and client, what has ended, when, and what has not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, TypedDict

from django.db.models import Count, Max, Q, QuerySet
from django.db.models.functions import Coalesce, Least
from django.utils import timezone

from accounts.lockdown import owners_of
from accounts.models import ApiToken, User
from authgate.models import GateSession, SignIn
from openid.models import Grant, LogoutDelivery, Token
from openid.sweep import KEPT_FOR

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

SHOWN = 200
"""Origins at most, and grants at most."""


class Notice(Enum):
    """Whether a client was notified that its session ended."""

    LIVE = "live"
    CONFIRMED = "confirmed"
    WAITING = "waiting"
    TRYING = "trying"
    FAILED = "failed"
    NO_ADDRESS = "no address"


@dataclass(frozen=True, slots=True)
class GateLine:
    """The gate sessions at one origin. `closed_at` is when the last one ended, or None if one is open."""

    application: str
    origin: str
    sessions: int
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClientLine:
    """A client's session. `dead_at` is when its last token ended, or None if one is valid.

    `tokens_end_at` is when its last access token expires, or None if all have expired.
    """

    application: str
    client_id: str
    dead_at: datetime | None
    notice: Notice
    delivery: LogoutDelivery | None
    tokens_end_at: datetime | None = None

    @property
    def milliseconds(self) -> int:
        """Time from the end of the session to the client's answer."""
        if self.delivery is None or self.delivery.done_at is None:
            return 0
        return max(0, round((self.delivery.done_at - self.delivery.created_at) / timedelta(milliseconds=1)))


@dataclass(frozen=True, slots=True)
class Proof:
    """All sessions of a sign-in or user, in their state at the moment `at`."""

    at: datetime
    gates: tuple[GateLine, ...]
    clients: tuple[ClientLine, ...]
    live_api_tokens: int = 0
    ended_api_tokens: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is open, and every client with a logout URI confirmed."""
        gates_closed = all(line.closed_at for line in self.gates)
        done = (Notice.CONFIRMED, Notice.NO_ADDRESS)
        clients_done = all(line.dead_at and line.notice in done for line in self.clients)
        return gates_closed and clients_done and not self.live_api_tokens


def proof_of_sign_in(sign_in: SignIn) -> Proof:
    """Return the sessions of one sign-in. Four queries."""
    now = timezone.now()
    which = SignIn.objects.filter(pk=sign_in.pk)
    return Proof(now, _gates(which, now), _clients(which, now))


def proof_of_user(user: User) -> Proof:
    """Return the sessions of a user's sign-ins that are live or ended within a day. Six queries."""
    now = timezone.now()
    since = now - KEPT_FOR
    which = user.sign_ins.filter(Q(ended_at=None, expires_at__gt=since) | Q(ended_at__gt=since))
    tokens = ApiToken.objects.filter(user=user).aggregate(
        live=Count("pk", filter=Q(ended_at=None, expires_at__gt=now)),
        ended=Count("pk", filter=Q(ended_at__gt=since)),
    )
    clients = _clients(which, now, str(user.uuid))
    return Proof(now, _gates(which, now), clients, tokens["live"], tokens["ended"])


def _gates(which: QuerySet[SignIn], now: datetime) -> tuple[GateLine, ...]:
    """Return gate sessions by origin. They end with their sign-in, when it expires at the latest."""
    ends = Least(
        Coalesce("ended_at", "sign_in__expires_at"), Coalesce("sign_in__ended_at", "sign_in__expires_at")
    )
    gates = GateSession.objects.filter(sign_in__in=which).order_by()
    counted = gates.values_list("origin").annotate(sessions=Count("pk"), last=Max(ends))
    rows = list(counted.order_by("origin")[:SHOWN])
    owners = owners_of({origin for origin, *_ in rows})
    lines = [
        GateLine(owners[origin][1], origin, count, None if ends_at > now else ends_at)
        for origin, count, ends_at in rows
    ]
    return tuple(
        sorted(lines, key=lambda line: (line.closed_at is not None, line.application.lower(), line.origin))
    )


def _clients(which: QuerySet[SignIn], now: datetime, subject: str = "") -> tuple[ClientLine, ...]:
    """Return clients' sessions. With `subject`, sessions of deleted clients are included."""
    access = Q(tokens__kind=Token.Kind.ACCESS)
    grants = Grant.objects.filter(sign_in__in=which, superseded=False).annotate(
        tokens_end_at=Max("tokens__expires_at", filter=access)
    )
    found = sorted(
        grants.select_related("client__application", "sign_in").order_by("-pk")[:SHOWN],
        key=lambda grant: grant.sid,
    )
    sids = [grant.sid for grant in found]
    wanted = Q(sid__in=sids)
    if subject:
        wanted |= Q(subject=subject, created_at__gt=now - KEPT_FOR)
    deliveries = {each.sid: each for each in LogoutDelivery.objects.filter(wanted).order_by("-pk")[:SHOWN]}
    lines = [
        _client_line(list(of_session), deliveries.pop(sid, None), now)
        for sid, of_session in groupby(found, key=lambda grant: grant.sid)
    ]
    lines += [_orphan(each) for each in deliveries.values()]
    return tuple(sorted(lines, key=lambda line: (line.notice is Notice.CONFIRMED, line.application)))


class Ending(TypedDict):
    """The annotation of `_clients`."""

    tokens_end_at: datetime | None


def _client_line(
    grants: list[WithAnnotations[Grant, Ending]], delivery: LogoutDelivery | None, now: datetime
) -> ClientLine:
    client = grants[0].client
    deaths = [_ended_at(grant, now) for grant in grants]
    dead_at = None if None in deaths else max(each for each in deaths if each)
    ends = [each for grant in grants if (each := grant.tokens_end_at) and each > now]
    has_ended = all(grant.ended_at for grant in grants)
    notice = _notice_of(delivery) if has_ended else Notice.LIVE
    return ClientLine(
        client.application.name, client.client_id, dead_at, notice, delivery, max(ends, default=None)
    )


def _ended_at(grant: Grant, now: datetime) -> datetime | None:
    """Return when a grant's tokens ended, or None if they are valid."""
    ended = [each for each in (grant.revoked_at, grant.ended_at, grant.sign_in.ended_at) if each]
    if not grant.offline and grant.sign_in.expires_at <= now:
        ended.append(grant.sign_in.expires_at)
    return min(ended, default=None)


def _notice_of(delivery: LogoutDelivery | None) -> Notice:
    """Return whether an ended session's client was notified. Without a delivery it had no logout URI."""
    if delivery is None:
        return Notice.NO_ADDRESS
    if delivery.done_at is not None:
        return Notice.CONFIRMED if delivery.answer == "taken" else Notice.FAILED
    return Notice.TRYING if delivery.tries else Notice.WAITING


def _orphan(delivery: LogoutDelivery) -> ClientLine:
    """Return the line of a delivery without a grant: the client was deleted, or a clean-up ran."""
    name = delivery.audience
    return ClientLine(name, name, delivery.created_at, _notice_of(delivery), delivery)
