"""The loader of rows into memory: applications with compiled rules, and sessions with their users."""

from __future__ import annotations

import gc
import hashlib
import hmac
import time
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from sys import intern
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import CharField, F, Q, QuerySet, Value
from django.db.models.functions import Cast

from authgate import models
from authgate.check.contracts import checks
from authgate.check.credentials import KEY_LENGTH, TOKEN_KIND
from authgate.check.memory import GateSettings, Memory, Principal, Session
from authgate.decision.rules import Application, Maintenance, Rule, Subject, Who
from authgate.decision.target import is_on_same_host, is_within, origins_claiming, without_port
from authgate.factor_policy import in_strict_group, is_factor_missing, is_given, proof_of, proofs_of
from authgate.memberships import GROUP_FIELDS, groups_in
from authgate.pages.framed import render_framed
from authgate.pages.refused import render_refused
from authgate.people import people
from authgate.prepared import PreparedLookup, PreparedQuery
from authgate.redirect_targets import domain_matches
from authgate.validation import canonical_cookie_domains
from authgate.worker.memory import have_several_owners
from authgate.worker.rule_compiler import application_of
from authgate.worker.usage import tallies

if TYPE_CHECKING:
    from django.contrib.auth.models import _User as User


def gate_settings() -> GateSettings:
    """Return the settings that a check needs. Raises ValidationError as `shared_domains` does."""
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return GateSettings(
        portal_origin=settings.IKD_PORTAL_ORIGIN,
        trusted_proxies=tuple(settings.IKD_TRUSTED_PROXIES),
        forwarded_hops=settings.IKD_FORWARDED_HOPS,
        checks=checks(settings.IKD_OAUTH2_CONTRACT),
        state_keys=tuple(hmac.digest(key.encode(), b"ikd sealed state", hashlib.sha256) for key in keys),
        render_refused=render_refused,
        render_framed=render_framed,
        shared_domains=shared_domains(),
    )


def shared_domains() -> tuple[str, ...]:
    """Return IKD_SHARED_COOKIE_DOMAINS. Raises ValidationError for a mistake: then no check is answered."""
    return canonical_cookie_domains(tuple(settings.IKD_SHARED_COOKIE_DOMAINS))


def memory_for_one_request() -> Memory:
    memory = Memory(gate_settings())
    memory.tallies = tallies
    return memory


Compiled = tuple[Application, tuple[str, ...]]
"""A compiled application, and its origins as administrators wrote them."""


# ---- applications -----------------------------------------------------------------------------------------


def load_application(origin: str) -> Application | None:
    """Return the compiled application that claims an origin, or None. Two queries."""
    return _load_application(origin)[0]


def load_application_into(memory: Memory, origin: str) -> None:
    """Load the application that claims an origin into the memory of one request. Two queries."""
    memory.applications[origin], is_at_several_ports = _load_application(origin)
    if is_at_several_ports:
        memory.at_several_ports.add(origin)


def _load_application(origin: str) -> tuple[Application | None, bool]:
    """Return the application of an origin, and whether another application has other ports of its host."""
    if is_beside_the_portal(origin):
        return None, False
    plain = origins_claiming(without_port(origin))
    at_any_port = Q(origins__value__in={*origins_claiming(origin), *plain})
    for claiming in plain:
        at_any_port |= Q(origins__value__startswith=f"{claiming}:")
    rule_fields = [f"rules__{field}" for field in RULE_FIELDS]
    rows = list(
        models.Application.objects.filter(at_any_port)
        .order_by("rules__path", "rules__pk")
        .values_list("origins__value", *APPLICATION_FIELDS, *rule_fields)
    )
    owners = {row[0]: row[1] for row in rows}
    nearest = _nearest(origin, owners)
    if nearest is None:
        return None, False
    columns = 1 + len(APPLICATION_FIELDS)
    own = [row for row in rows if row[0] == nearest]
    rules = [row[columns:] for row in own if row[columns] is not None]
    application = own[0][1:columns]
    claims = [claim for claim in owners if without_port(claim) != claim]
    is_at_several_ports = have_several_owners(
        origin, claims, lambda each: owners.get(_nearest(each, owners) or "")
    )
    return _application(application, rules, _references([application[0]])), is_at_several_ports


def _nearest(origin: str, claims: Container[str]) -> str | None:
    return next((claim for claim in origins_claiming(origin) if claim in claims), None)


def load_applications() -> list[Application]:
    """Return all compiled applications, by name. Three queries."""
    return _compiled(models.Application.objects.all(), models.Rule.objects.all())


def load_compiled(which: set[int] | None = None) -> list[Compiled]:
    """Return compiled applications with their origins: all, or those of the given ids. Four queries."""
    applications, origins = models.Application.objects.all(), models.Origin.objects.all()
    rules = models.Rule.objects.all()
    if which is not None and len(which) < 500:
        applications, origins = applications.filter(pk__in=which), origins.filter(application__in=which)
        rules = rules.filter(application__in=which)
    by_application: dict[int, list[str]] = {}
    for application_id, value in origins.values_list("application_id", "value"):
        by_application.setdefault(application_id, []).append(value)
    compiled = _compiled(applications, rules)
    return [(application, tuple(by_application.get(application.id, ()))) for application in compiled]


def load_one(id: int) -> Application | None:
    """Return a compiled application; None if it was deleted. Two queries."""
    rows = _WITH_RULES.rows(id)
    if not rows:
        return None
    columns = len(APPLICATION_FIELDS)
    rules = [row[columns:] for row in rows if row[columns] is not None]
    return _application(rows[0][:columns], rules, _references([id]))


def _with_rules(id: int) -> QuerySet[models.Application, Any]:
    rule_fields = [f"rules__{field}" for field in RULE_FIELDS]
    found = models.Application.objects.filter(pk=id).order_by("rules__path", "rules__pk")
    return found.values_list(*APPLICATION_FIELDS, *rule_fields)


_WITH_RULES = PreparedLookup(_with_rules, int)


def load_everything_compiled() -> list[Compiled]:
    """Return all compiled applications, and exempt them from garbage collection.

    Otherwise the collector would visit them repeatedly while they are created, and later during checks.
    """
    gc.disable()
    try:
        compiled = load_compiled()
        gc.freeze()
    finally:
        gc.enable()
    return compiled


@dataclass(frozen=True, slots=True)
class Trial:
    """An application without and with one rule that only watches. `version` identifies the rule's content."""

    rule: int
    version: str
    without: Application
    with_it: Application


def load_trials(which: Collection[int]) -> list[Trial]:
    """Return the trials of applications: one for each rule that only watches. Three queries."""
    rules = models.Rule.objects.filter(application__in=which)
    by_application: dict[int, list[Row]] = {}
    for row in rules.order_by("path", "pk").values_list(*RULE_FIELDS):
        by_application.setdefault(row[-1], []).append(row)
    applications = models.Application.objects.filter(pk__in=which).values_list(*APPLICATION_FIELDS)
    references = _references(list(which))
    found = []
    for row in applications:
        rows = by_application.get(row[0], [])
        without = _application(row, rows, references)
        for rule in rows:
            if rule[ONLY_WATCH] is True:
                with_it = _application(row, rows, references, trial=rule[0])
                found.append(Trial(rule[0], _version(rule, references), without, with_it))
    return found


def _version(row: Row, references: References) -> str:
    named = [sorted(references[kind].get(row[0], ())) for kind in ("group", "user")]
    return hashlib.sha256(repr((row, named)).encode()).hexdigest()[:16]


def application_ids() -> set[int]:
    """Return the ids of all applications. One query."""
    return set(models.Application.objects.values_list("pk", flat=True))


HEADER_WISHES = (
    "user_header",
    "remote_headers",
    "forwarded_user_header",
    "identity_jwt",
    "username_header",
    "access_token",
    "id_token",
    "challenges",
)
CLOSING_FIELDS = ("refusal_text", "maintenance", "maintenance_text", "maintenance_minutes")
APPLICATION_FIELDS = ("pk", "name", "enabled", *CLOSING_FIELDS, *HEADER_WISHES)
RULE_FIELDS = (
    "pk",
    "path",
    "exact",
    "methods",
    "networks",
    "who",
    "second_factor",
    "factor_minutes",
    "passkey",
    "expires_at",
    "only_watch",
    "application_id",
)
ONLY_WATCH = RULE_FIELDS.index("only_watch")
Row = tuple[Any, ...]
References = dict[str, dict[int, list[str]]]
"""Groups and users of rules, and names of groups that applications receive, by rule or application."""


def _compiled(applications: QuerySet[models.Application], rules: QuerySet[models.Rule]) -> list[Application]:
    """Return compiled applications. Two queries: a join would return each application once for each rule."""
    rule_rows = rules.order_by("path", "pk").values_list(*RULE_FIELDS)
    rows = list(applications.order_by("name").values_list(*APPLICATION_FIELDS))
    return compile_rows(rows, rule_rows, _references([row[0] for row in rows]))


def compile_rows(rows: Iterable[Row], rules: Iterable[Row], references: References) -> list[Application]:
    """Return compiled applications. `rows` have APPLICATION_FIELDS, `rules` RULE_FIELDS, sorted by path."""
    by_application: dict[int, list[Row]] = {}
    for row in rules:
        by_application.setdefault(row[-1], []).append(row)
    return [_application(row, by_application.get(row[0], []), references) for row in rows]


def _references(applications: list[int]) -> References:
    """Return the users and groups of rules, and the groups that applications receive. One query.

    Owners are loaded only for applications under maintenance.
    """
    is_one = len(applications) == 1
    rows: Iterable[Row] = _REFERENCES_OF_ONE.rows(*applications) if is_one else _references_of(*applications)
    found: References = {"group": {}, "user": {}, "named": {}, "owner": {}, "team": {}}
    for kind, owner, reference in rows:
        found[kind].setdefault(owner, []).append(reference)
    return found


def _references_of(*applications: int) -> QuerySet[Any, Any]:
    groups: Any = models.Rule.groups.through.objects.all()
    users: Any = models.Rule.users.through.objects.all()
    named: Any = models.Application.named_groups.through.objects.all()
    owners: Any = models.Application.owners.through.objects.filter(application__maintenance=True)
    teams: Any = models.Application.owner_groups.through.objects.filter(application__maintenance=True)
    if len(applications) < 500:
        owners = owners.filter(application__in=applications)
        teams = teams.filter(application__in=applications)
        groups = groups.filter(rule__application__in=applications)
        users = users.filter(rule__application__in=applications)
        named = named.filter(application__in=applications)
    union: QuerySet[Any, Any] = groups.values_list(
        Value("group"), F("rule_id"), Cast("group_id", CharField())
    ).union(
        users.values_list(Value("user"), F("rule_id"), Cast("user_id", CharField())),
        named.values_list(Value("named"), F("application_id"), F("group__name")),
        owners.values_list(Value("owner"), F("application_id"), Cast("user_id", CharField())),
        teams.values_list(Value("team"), F("application_id"), Cast("group_id", CharField())),
        all=True,
    )
    return union


_REFERENCES_OF_ONE = PreparedLookup(_references_of, int)


def _application(row: Row, rules: list[Row], references: References, trial: int | None = None) -> Application:
    """Compile one application. `row` has its APPLICATION_FIELDS, each of `rules` has RULE_FIELDS.

    Rules that only watch are left out, except the rule with the id `trial`.
    """
    id, name, enabled, refusal_text, is_closed, text, minutes, *wishes = row
    named = references["named"].get(id)
    owners, teams = _ids(references["owner"].get(id)), _ids(references["team"].get(id))
    deciding = [rule for rule in rules if rule[ONLY_WATCH] is not True or rule[0] == trial]
    return application_of(
        id=id,
        name=name,
        enabled=enabled,
        **dict(zip(HEADER_WISHES, wishes, strict=True)),
        named_groups=frozenset(named) if named else None,
        refusal_text=refusal_text or "",  # a row of the journal may be older than the column
        maintenance=Maintenance(text, minutes * 60, owners, teams) if is_closed else None,
        rules=[(rule[1], rule[2], _rule(rule, references)) for rule in deciding],
        watched=len(deciding) < len(rules),
    )


def _rule(row: Row, references: References) -> Rule:
    """Compile one rule. An unreadable rule still covers its path scope, and admits nobody."""
    id, _, _, methods, networks_text, who, second_factor, minutes, passkey, expires_at, only_watch, _ = row
    try:
        if not isinstance(only_watch, bool | None):  # a row of the journal may be older than the column
            raise TypeError(only_watch)
        networks = _parts(networks_text) if networks_text != "" else None
        for network in networks or ():
            is_within("192.0.2.1", (network,))
        return Rule(
            id=id,
            who=WHO[who],
            methods=frozenset(_parts(methods)) if methods != "" else None,
            networks=networks,
            groups=_ids(references["group"].get(id)),
            users=_ids(references["user"].get(id)),
            second_factor=second_factor,
            proof=proof_of(minutes, passkey),
            expires_at=_unix(expires_at),
        )
    except (LookupError, ValueError, TypeError, AttributeError):
        return Rule(id=id, who=Who.CHOSEN, readable=False)


WHO = {who.value: who for who in Who}
NOBODY: frozenset[int] = frozenset()


def _ids(references: list[str] | None) -> frozenset[int]:
    return frozenset(map(int, references)) if references else NOBODY


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def is_allowed_origin(origin: str) -> bool:
    """Return whether browsers may be redirected to an origin: an application's, a trusted one or our own."""
    if origin == settings.IKD_PORTAL_ORIGIN or domain_matches(origin, settings.IKD_TRUSTED_DOMAINS):
        return True
    if is_beside_the_portal(origin):
        return False
    return models.Origin.objects.filter(value__in=origins_claiming(origin)).exists()


def is_beside_the_portal(origin: str) -> bool:
    """Return whether an origin is the portal's host with another port or scheme. No application may."""
    return origin != settings.IKD_PORTAL_ORIGIN and is_on_same_host(origin, settings.IKD_PORTAL_ORIGIN)


# ---- sessions ---------------------------------------------------------------------------------------------

IDLE_SLACK = 60
"""Seconds by which "last seen" may lag, because it is written in batches. An idle session may end this much
late, but never early."""


def load_session(digest: bytes) -> Session | None:
    """Return the live gate session of a token's digest, with its user and groups, or None. One query.

    `Session.is_live` compares the idle and absolute lifetimes, because memory has to do so for each check.
    """
    return load_sessions([digest]).get(digest)


def _sessions_of(digests: list[bytes]) -> QuerySet[models.GateSession, Row]:
    return (
        models.GateSession.objects.filter(token_digest__in=digests)
        .annotate(
            verified=people().has_verified_address("sign_in__user"),
            in_strict_group=in_strict_group("sign_in__user"),
            user_uuid=Cast("sign_in__user__uuid", CharField()),
        )
        .order_by("pk")
        .values_list(*LIFE_FIELDS, "token_digest", *FACTOR_FIELDS, *SESSION_FIELDS)
    )


_SESSIONS = PreparedQuery(_sessions_of)


def load_sessions(digests: list[bytes]) -> dict[bytes, Session]:
    """Return the live gate sessions of some tokens' digests, as `load_session` does. One query.

    This function leaves out the rows that ended, not the query: for many digests SQLite would search the
    index of all rows that have not ended.
    """
    now = time.time()
    found: dict[bytes, list[Row]] = {}
    for row in _SESSIONS.rows(digests):
        ended_at, sign_in_ended_at, is_active, digest = row[:4]
        if ended_at is None and sign_in_ended_at is None and is_active is True:
            found.setdefault(bytes(digest), []).append(row)
    # A sign-in that lacks a required second factor grants nothing. The portal asks for it before a code.
    return {
        digest: _session(rows, now) for digest, rows in found.items() if not is_factor_missing(*rows[0][4:9])
    }


LIFE_FIELDS = ("ended_at", "sign_in__ended_at", "sign_in__user__is_active")
FACTOR_FIELDS = (
    "sign_in__second_factor_at",
    "sign_in__remembered_device",
    "sign_in__user__is_staff",
    "sign_in__user__is_superuser",
    "in_strict_group",
)
SESSION_FIELDS = (
    "sign_in__passkey_at",
    "origin",
    "sign_in_id",
    "sign_in__expires_at",
    "sign_in__last_seen_at",
    "sign_in__idle_timeout",
    "sign_in__user__pk",
    "user_uuid",
    "sign_in__user__username",
    "sign_in__user__display_name",
    "sign_in__user__email",
    "verified",
    *(f"sign_in__user__{field}" for field in GROUP_FIELDS),
)


def _session(rows: list[Row], now: float) -> Session:
    given, _, _, is_superuser, _, passkey, origin, sign_in, expires, seen, idle, *person = rows[0][4:-3]
    user, uuid, username, name, email, verified = person
    groups, until = groups_in(rows, now)
    subject = Subject(
        user,
        dashed(uuid),
        username,
        name,
        email if verified else "",
        groups,
        second_factor=is_given(given),
        proofs=proofs_of(given, passkey),
        is_superuser=is_superuser,
        groups_until=until,
    )
    idle_at = seen.timestamp() + idle + IDLE_SLACK
    return Session(intern(origin), sign_in, subject, expires.timestamp(), idle_at)


def dashed(uuid: str) -> str:
    """Return a UUID as text with dashes. Some databases store it without them."""
    if len(uuid) != 32:
        return uuid
    return f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"


def load_held(keys: list[bytes]) -> dict[bytes, Principal]:
    """Load the gate sessions and API tokens again that memory holds under some keys.

    A JWT is not in the database. Memory forgets it, and it is verified when a client sends it again.
    """
    tokens = {key[1:]: key for key in keys if len(key) == KEY_LENGTH and key[:1] == TOKEN_KIND}
    gates = [key for key in keys if len(key) != KEY_LENGTH]
    found: dict[bytes, Principal] = dict(load_sessions(gates)) if gates else {}
    if tokens:
        found |= {tokens[digest]: machine for digest, machine in people().load_tokens(list(tokens)).items()}
    return found


def _groups_of(user: int) -> QuerySet[Any, tuple[Any, ...]]:
    verified = people().has_verified_address("pk")
    found = get_user_model()._default_manager.filter(pk=user).order_by("groups__pk")
    return found.values_list(verified, "email", *GROUP_FIELDS)


_GROUPS_OF = PreparedLookup(_groups_of, int)


def subject_of(user: User, sign_in: models.SignIn | None = None) -> Subject:
    """Return a user as the subject of decisions, with the second factor of `sign_in`. One query."""
    now = time.time()
    rows = _GROUPS_OF.rows(user.pk)
    email = rows[0][1] if rows and rows[0][0] else ""
    groups, until = groups_in(rows, now)
    given, passkey = (sign_in.second_factor_at, sign_in.passkey_at) if sign_in else (None, None)
    return Subject(
        user.pk,
        str(user.uuid),
        user.username,
        user.display_name,
        email,
        groups,
        second_factor=is_given(given),
        proofs=proofs_of(given, passkey),
        is_superuser=user.is_superuser,
        groups_until=until,
    )
