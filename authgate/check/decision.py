"""Who may do what.

The most specific path scope that covers a path decides, and within it any rule admits. Without a rule
there is no access. Rules only grant: one that cannot be evaluated still claims its scope and admits nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache

from authgate.check.paths import composed, folded, readings
from authgate.check.target import SHORT_URI, BadTarget, Target, is_within

NO_RULE = "no rule covers the path"
MAINTENANCE = "maintenance"

SCOPES_LIMIT = 1_000
"""Paths whose scope an application remembers."""


class Verdict(Enum):
    """What comes of a request, mildest first: of several readings the sternest counts."""

    ALLOW = 0
    STEP_UP = 1
    SIGN_IN = 2
    REFUSE = 3


class Who(Enum):
    EVERYONE = "everyone"
    SIGNED_IN = "signed_in"
    CHOSEN = "chosen"


# By names of their own: looking one up in its Enum costs a check as much as judging by it.
ALLOW, STEP_UP, SIGN_IN, REFUSE = Verdict
EVERYONE, _, CHOSEN = Who


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its reason: the rule that admits, or for each rule of the scope what failed first."""

    verdict: Verdict
    reason: str
    rule: int | None = None
    failed: tuple[tuple[int, str], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule made ready. `methods` and `networks` are None for all; `expires_at` is Unix time."""

    id: int
    who: Who
    methods: frozenset[str] | None = None
    networks: tuple[str, ...] | None = None
    groups: frozenset[int] = frozenset()
    users: frozenset[int] = frozenset()
    second_factor: bool = False
    proof: tuple[str, float] | None = None
    """A kind of proof in `Subject.proofs` that the rule asks for, and for how many seconds it counts."""
    expires_at: float | None = None
    readable: bool = True
    kept: list[Decision] = field(default_factory=list, init=False, compare=False, repr=False)
    """Where `admitted` keeps what it made once."""

    has_conditions: bool = field(default=False, init=False, compare=False, repr=False)
    """Whether there is more to fulfil than who asks."""

    def __post_init__(self) -> None:
        is_bound = self.methods is not None or self.networks is not None or self.expires_at is not None
        object.__setattr__(self, "has_conditions", is_bound or not self.readable)

    @property
    def admitted(self) -> Decision:
        if not self.kept:
            reason = "public" if self.who is EVERYONE else "admitted"
            self.kept.append(Decision(ALLOW, reason, self.id))
        return self.kept[0]


@dataclass(frozen=True, slots=True)
class Scope:
    path: str
    exact: bool
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Maintenance:
    """An application is closed to all but its owners and superusers, whom its rules admit as ever.

    `text` is for those outside. `retry_after` is in seconds.
    """

    text: str = ""
    retry_after: int = 900
    owners: frozenset[int] = frozenset()
    owner_groups: frozenset[int] = frozenset()

    def is_over_for(self, subject: Subject | None) -> bool:
        """Return whether the rules decide about this subject."""
        if subject is None:
            return False
        is_owner = subject.user_id in self.owners or not self.owner_groups.isdisjoint(subject.group_ids)
        return is_owner or subject.is_superuser


@dataclass(frozen=True, slots=True)
class Application:
    """A compiled application: its scopes by path, as written and as `target.folded` makes of it.

    `longest` is the length of the longest of these paths.
    """

    id: int
    name: str
    enabled: bool
    scopes: dict[tuple[str, bool], Scope]
    folded: dict[tuple[str, bool], Scope]
    longest: int
    heeds_case: bool = False
    """Whether a scope is written with capitals; if none is, a lower-case path is found but one way."""
    user_header: str = "username"
    remote_headers: bool = False
    forwarded_user_header: bool = False
    identity_jwt: bool = False
    username_header: bool = False
    access_token: bool = False
    id_token: bool = False
    challenges: str = "bearer"
    """What a program without a credential is asked for: bearer, basic or both."""
    named_groups: frozenset[str] | None = None
    refusal_text: str = ""
    """What signed-in users read on the refused page."""
    maintenance: Maintenance | None = None
    is_open: bool = field(default=True, init=False, compare=False, repr=False)
    """Whether the rules decide about everyone. Kept as one value, since every check looks at it."""
    watched: bool = False
    """Whether its requests are sampled, since it has rules that only watch. They are not in `scopes`."""

    kept: dict[str, Scope | None] = field(default_factory=dict, init=False, compare=False, repr=False)
    """The scope of each plain path that was asked for last."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_open", self.enabled and self.maintenance is None)

    def scope_of(self, plain_path: str) -> Scope | None:
        """Return the scope that a path falls under which every server reads the same way, and keep it."""
        scope = _most_specific(self.scopes, plain_path, self.longest)
        if len(self.kept) >= SCOPES_LIMIT:
            self.kept.clear()
        if len(plain_path) <= SHORT_URI:
            self.kept[plain_path] = scope
        return scope

    @property
    def gets_tokens(self) -> bool:
        return self.access_token or self.id_token


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is signed in. `email` is empty unless it is verified; `groups` are (id, name).

    `groups_until` is the first end of a membership, in Unix time. From then on `groups` are out of date.
    """

    user_id: int
    uuid: str
    username: str
    display_name: str = ""
    email: str = ""
    groups: tuple[tuple[int, str], ...] = ()
    second_factor: bool = False
    proofs: dict[str, float] = field(default_factory=dict, hash=False)
    """When each kind of second factor was given last, in Unix time."""
    is_superuser: bool = False
    groups_until: float = math.inf
    group_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "group_ids", _ids_of(self.groups))


@lru_cache(maxsize=1024)
def _ids_of(groups: tuple[tuple[int, str], ...]) -> frozenset[int]:
    """Return the ids of groups, the same object for all subjects that are in these groups."""
    return frozenset([id for id, _ in groups])


@dataclass(frozen=True, slots=True)
class Filters:
    """What a check's own query narrows: OR within a name, AND between names; None where it is absent."""

    groups: frozenset[str] | None = None
    emails: frozenset[str] | None = None
    email_domains: tuple[str, ...] | None = None


def decide(
    application: Application,
    target: Target,
    subject: Subject | None,
    now: float,
    filters: Filters | None = None,
) -> Decision:
    """Decide about a request to an application; `now` is Unix time.

    Every reading of the path must be admitted, whatever letter case the backend heeds. Where the
    contract tells no path, every scope must admit.
    """
    if not application.is_open and (closed := _closed(application, subject)) is not None:
        return closed
    path = target.plain_path
    if path is not None and not application.heeds_case:
        try:
            scope = application.kept[path]
        except KeyError:
            scope = application.scope_of(path)
        decision = _decide_in_scope(scope, target, subject, now)
    else:
        decision = _decide_for_every_reading(application, target, subject, now)
    return decision if filters is None else _narrow(decision, subject, filters)


def _closed(application: Application, subject: Subject | None) -> Decision | None:
    """Return the refusal of an application that is disabled or under maintenance, unless its rules decide."""
    if not application.enabled:
        return Decision(REFUSE, "application disabled")
    if application.maintenance is None or application.maintenance.is_over_for(subject):
        return None
    return Decision(REFUSE, MAINTENANCE)


def without_maintenance(application: Application) -> Application:
    """Return the application as its rules alone would decide about it."""
    return application if application.maintenance is None else replace(application, maintenance=None)


def _decide_for_every_reading(
    application: Application, target: Target, subject: Subject | None, now: float
) -> Decision:
    try:
        scopes = _scopes_meant(application, target.path)
    except BadTarget:
        return Decision(REFUSE, "path cannot be read safely")
    decisions = [_decide_in_scope(scope, target, subject, now) for scope in scopes]
    return max(decisions, key=lambda decision: decision.verdict.value)


def _scopes_meant(application: Application, path: str | None) -> list[Scope | None]:
    """Return each scope that a request may fall under once, None for "no rule covers it"."""
    if path is None:
        every: dict[int, Scope | None] = {id(scope): scope for scope in application.scopes.values()}
        if ("/", False) not in application.scopes:
            every[0] = None
        return list(every.values())
    found: dict[int, Scope | None] = {}
    for reading in readings(path):
        for scopes, text in (
            (application.scopes, composed(reading)),
            (application.folded, folded(reading)),
        ):
            scope = _most_specific(scopes, text, application.longest)
            found[id(scope)] = scope
    return list(found.values())


def _most_specific(scopes: dict[tuple[str, bool], Scope], path: str, longest: int) -> Scope | None:
    exact = scopes.get((path, True))
    if exact is not None:
        return exact
    if len(path) > longest:  # else a long path of many segments would cost the square of its length
        path = path[: longest + 1].rpartition("/")[0]
    if len(path) > 1 and path.endswith("/"):
        path = path[:-1]
    while path:
        scope = scopes.get((path, False))
        if scope is not None:
            return scope
        path = path.rpartition("/")[0]
    return scopes.get(("/", False))


ADMITS = (ALLOW, "")


def _decide_in_scope(scope: Scope | None, target: Target, subject: Subject | None, now: float) -> Decision:
    if scope is None:
        return Decision(REFUSE, NO_RULE)
    best: Decision | None = None
    failed: list[tuple[int, str]] = []
    for rule in scope.rules:
        outcome = _decide_by_rule(rule, target, subject, now)
        if outcome is ADMITS:
            return rule.admitted
        verdict, criterion = outcome
        failed.append((rule.id, criterion))
        if best is None or verdict.value < best.verdict.value:
            best = Decision(verdict, criterion, rule.id)
    if best is None or best.verdict is REFUSE:
        return Decision(REFUSE, "no rule admits", None, tuple(failed))
    return Decision(best.verdict, best.reason, best.rule, tuple(failed))


def _decide_by_rule(rule: Rule, target: Target, subject: Subject | None, now: float) -> tuple[Verdict, str]:
    """Decide by one rule: whether it admits, would after a sign-in, or what fails first."""
    if rule.has_conditions and (failed := _condition_failed(rule, target, now)):
        return failed
    if rule.who is CHOSEN and not (rule.users or rule.groups):
        return REFUSE, "nobody chosen"
    if rule.who is not EVERYONE or rule.second_factor or rule.proof:
        if subject is None:
            return SIGN_IN, "not signed in"
        if rule.who is CHOSEN and not (subject.user_id in rule.users or subject.group_ids & rule.groups):
            return REFUSE, "group"
        if rule.second_factor and not subject.second_factor:
            return STEP_UP, "second factor"
        if rule.proof and now - subject.proofs.get(rule.proof[0], float("-inf")) >= rule.proof[1]:
            return STEP_UP, rule.proof[0]
    return ADMITS


def _condition_failed(rule: Rule, target: Target, now: float) -> tuple[Verdict, str] | None:
    """Return which condition of a rule a request fails, whoever asks; None if it fulfils all."""
    if not rule.readable:
        return REFUSE, "cannot be evaluated"
    if rule.expires_at is not None and now >= rule.expires_at:
        return REFUSE, "expired"
    if rule.methods is not None and ("GET" if target.method == "HEAD" else target.method) not in rule.methods:
        return REFUSE, "method"
    if rule.networks is not None and not is_within(target.client, rule.networks):
        return REFUSE, "network"
    return None


def _narrow(decision: Decision, subject: Subject | None, filters: Filters) -> Decision:
    """Apply a check's own filters: they never widen, and they ask for a sign-in even where all is public."""
    if decision.verdict in (REFUSE, SIGN_IN):
        return decision
    if subject is None:
        return Decision(SIGN_IN, "not signed in", decision.rule)
    if filters.groups is not None and not filters.groups.intersection(name for _, name in subject.groups):
        return Decision(REFUSE, "allowed_groups")
    if filters.emails is not None and subject.email not in filters.emails:
        return Decision(REFUSE, "allowed_emails")
    if filters.email_domains is not None and not _has_domain(subject.email, filters.email_domains):
        return Decision(REFUSE, "allowed_email_domains")
    return decision


def _has_domain(email: str, domains: tuple[str, ...]) -> bool:
    """Compare as oauth2-proxy does: `x` exactly; `.x` and `*.x` for x and all below; letter case counts."""
    local, separator, domain = email.partition("@")
    if not (local and separator and domain) or "@" in domain:
        return False
    for wanted in domains:
        suffix = wanted.removeprefix("*")
        if suffix.startswith("."):
            if domain == suffix[1:] or domain.endswith(suffix):
                return True
        elif domain == wanted:
            return True
    return False
