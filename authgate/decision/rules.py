"""Compiled applications with their rules, the subjects that they apply to, and the result of a decision."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache

from authgate.decision.target import SHORT_URI

NO_RULE = "no rule covers the path"
MAINTENANCE = "maintenance"

SCOPES_LIMIT = 1_000
"""How many paths an application remembers with their scopes."""


class Verdict(Enum):
    """The result of a decision. The strictest one of several applies: they are in order, mildest first."""

    ALLOW = 0
    STEP_UP = 1
    SIGN_IN = 2
    REFUSE = 3


class Who(Enum):
    EVERYONE = "everyone"
    SIGNED_IN = "signed_in"
    CHOSEN = "chosen"


# Module names, because looking up a member in its Enum costs a check as much as the comparison.
ALLOW, STEP_UP, SIGN_IN, REFUSE = Verdict
EVERYONE, _, CHOSEN = Who


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its reason.

    `rule` is the rule that admits. `failed` has an entry for each rule of the scope that does not: its id,
    and the first criterion that failed.
    """

    verdict: Verdict
    reason: str
    rule: int | None = None
    failed: tuple[tuple[int, str], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule. `methods` and `networks` are None for all; `expires_at` is Unix time."""

    id: int
    who: Who
    methods: frozenset[str] | None = None
    networks: tuple[str, ...] | None = None
    groups: frozenset[int] = frozenset()
    users: frozenset[int] = frozenset()
    second_factor: bool = False
    proof: tuple[str, float] | None = None
    """A kind of proof in `Subject.proofs` that the rule requires, and for how many seconds it is valid."""
    expires_at: float | None = None
    readable: bool = True
    """False if the rule cannot be evaluated. Then it admits nobody."""
    cached: list[Decision] = field(default_factory=list, init=False, compare=False, repr=False)
    """Contains the decision `admitted` after its first use."""

    has_conditions: bool = field(default=False, init=False, compare=False, repr=False)
    """Whether the rule has criteria besides the user and the second factor."""

    def __post_init__(self) -> None:
        is_bound = self.methods is not None or self.networks is not None or self.expires_at is not None
        object.__setattr__(self, "has_conditions", is_bound or not self.readable)

    @property
    def admitted(self) -> Decision:
        if not self.cached:
            reason = "public" if self.who is EVERYONE else "admitted"
            self.cached.append(Decision(ALLOW, reason, self.id))
        return self.cached[0]


@dataclass(frozen=True, slots=True)
class Scope:
    path: str
    exact: bool
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Closes an application to everyone except its owners and superusers. Their rules still apply.

    Users and visitors see `text`. `retry_after` is in seconds.
    """

    text: str = ""
    retry_after: int = 900
    owners: frozenset[int] = frozenset()
    owner_groups: frozenset[int] = frozenset()

    def exempts(self, subject: Subject | None) -> bool:
        """Return whether the rules decide about this subject in spite of the maintenance."""
        if subject is None:
            return False
        is_owner = subject.user_id in self.owners or not self.owner_groups.isdisjoint(subject.group_ids)
        return is_owner or subject.is_superuser


@dataclass(frozen=True, slots=True)
class Application:
    """A compiled application.

    `scopes` are its scopes by path as written, `folded` by path as `paths.folded` returns it. `longest` is
    the length of the longest of these paths.
    """

    id: int
    name: str
    enabled: bool
    scopes: dict[tuple[str, bool], Scope]
    folded: dict[tuple[str, bool], Scope]
    longest: int
    is_case_sensitive: bool = False
    """Whether a scope's path has capital letters. If none has, a lower-case path has only one scope."""
    user_header: str = "username"
    remote_headers: bool = False
    forwarded_user_header: bool = False
    identity_jwt: bool = False
    username_header: bool = False
    access_token: bool = False
    id_token: bool = False
    challenges: str = "bearer"
    """The challenges for a program without a credential: bearer, basic or both."""
    named_groups: frozenset[str] | None = None
    """The only groups that the application receives, None for all."""
    refusal_text: str = ""
    """A text on the refused page for signed-in users."""
    maintenance: Maintenance | None = None
    is_open: bool = field(default=True, init=False, compare=False, repr=False)
    """Whether the rules decide about everyone. Computed once, because every check reads it."""
    watched: bool = False
    """Whether requests are sampled for trial rules. Trial rules are not in `scopes`."""

    recent_scopes: dict[str, Scope | None] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    """The scopes of paths that were requested lately."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_open", self.enabled and self.maintenance is None)

    def scope_of(self, plain_path: str) -> Scope | None:
        """Return the scope of a path with only one variant, and remember it."""
        scope = most_specific(self.scopes, plain_path, self.longest)
        if len(self.recent_scopes) >= SCOPES_LIMIT:
            self.recent_scopes.clear()
        if len(plain_path) <= SHORT_URI:
            self.recent_scopes[plain_path] = scope
        return scope

    @property
    def gets_tokens(self) -> bool:
        return self.access_token or self.id_token


def without_maintenance(application: Application) -> Application:
    return application if application.maintenance is None else replace(application, maintenance=None)


def most_specific(scopes: dict[tuple[str, bool], Scope], path: str, longest: int) -> Scope | None:
    """Return the most specific scope for a path. `longest` is the length of the longest path in `scopes`."""
    exact = scopes.get((path, True))
    if exact is not None:
        return exact
    if len(path) > longest:  # otherwise the time would grow with the square of a long path's length
        path = path[: longest + 1].rpartition("/")[0]
    if len(path) > 1 and path.endswith("/"):
        path = path[:-1]
    while path:
        scope = scopes.get((path, False))
        if scope is not None:
            return scope
        path = path.rpartition("/")[0]
    return scopes.get(("/", False))


@dataclass(frozen=True, slots=True)
class Subject:
    """A signed-in user. `email` is empty unless it is verified; `groups` are (id, name).

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
    """When the user last presented each kind of second factor, in Unix time."""
    is_superuser: bool = False
    groups_until: float = math.inf
    group_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "group_ids", _ids_of(self.groups))


@lru_cache(maxsize=1024)
def _ids_of(groups: tuple[tuple[int, str], ...]) -> frozenset[int]:
    """Return the ids of groups. All subjects in the same groups share one object."""
    return frozenset([id for id, _ in groups])


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters in a check's own query. A request must match one value of each; None means no filter."""

    groups: frozenset[str] | None = None
    emails: frozenset[str] | None = None
    email_domains: tuple[str, ...] | None = None
