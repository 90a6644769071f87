"""Decides about a request.

The most specific scope that covers the path decides. Any of its rules can admit the request; without a rule
there is no access. Rules only grant. A rule that cannot be evaluated still belongs to its scope, but admits
nobody.
"""

from __future__ import annotations

from authgate.decision.paths import composed, folded, variants
from authgate.decision.rules import (
    ALLOW,
    CHOSEN,
    EVERYONE,
    MAINTENANCE,
    NO_RULE,
    REFUSE,
    SIGN_IN,
    STEP_UP,
    Application,
    Decision,
    Filters,
    Rule,
    Scope,
    Subject,
    Verdict,
    most_specific,
)
from authgate.decision.target import BadTarget, Target, is_within


def decide(
    application: Application,
    target: Target,
    subject: Subject | None,
    now: float,
    filters: Filters | None = None,
) -> Decision:
    """Return the decision about a request to an application. `now` is Unix time.

    Every variant of the path must be admitted, in any letter case. If the path is unknown, every scope must
    admit the request.
    """
    if not application.is_open and (closed := _closed(application, subject)) is not None:
        return closed
    path = target.plain_path
    if path is not None and not application.is_case_sensitive:
        try:
            scope = application.recent_scopes[path]
        except KeyError:
            scope = application.scope_of(path)
        decision = _decide_in_scope(scope, target, subject, now)
    else:
        decision = _decide_for_every_variant(application, target, subject, now)
    return decision if filters is None else _narrow(decision, subject, filters)


def _closed(application: Application, subject: Subject | None) -> Decision | None:
    """Return the refusal of a disabled application, or of one under maintenance. None if its rules decide."""
    if not application.enabled:
        return Decision(REFUSE, "application disabled")
    if application.maintenance is None or application.maintenance.exempts(subject):
        return None
    return Decision(REFUSE, MAINTENANCE)


def _decide_for_every_variant(
    application: Application, target: Target, subject: Subject | None, now: float
) -> Decision:
    try:
        scopes = _scopes_of(application, target.path)
    except BadTarget:
        return Decision(REFUSE, "path cannot be read safely")
    decisions = [_decide_in_scope(scope, target, subject, now) for scope in scopes]
    return max(decisions, key=lambda decision: decision.verdict.value)


def _scopes_of(application: Application, path: str | None) -> list[Scope | None]:
    """Return each scope that may cover the request, once. None stands for "no rule covers the path"."""
    if path is None:
        every: dict[int, Scope | None] = {id(scope): scope for scope in application.scopes.values()}
        if ("/", False) not in application.scopes:
            every[0] = None
        return list(every.values())
    found: dict[int, Scope | None] = {}
    for variant in variants(path):
        for scopes, text in (
            (application.scopes, composed(variant)),
            (application.folded, folded(variant)),
        ):
            scope = most_specific(scopes, text, application.longest)
            found[id(scope)] = scope
    return list(found.values())


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
    """Return `ADMITS`, or the verdict of one rule with the first criterion that failed."""
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
    """Return the first condition of a rule that fails for every user, or None."""
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
    """Apply the filters of a check's URL. They only narrow access. Public paths then require a sign-in."""
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
    """Return whether an address is in one of the domains, as oauth2-proxy compares them.

    `x` matches exactly. `.x` and `*.x` also match all domains below x. Letter case matters.
    """
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
