"""Texts of an explanation in the reader's language, and its values for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from authgate.check.responses import Answer
from authgate.configuration_words import mistake_words
from authgate.decision.rules import NO_RULE, Scope, Verdict
from authgate.event_words import reason_words
from authgate.explain.explanation import ENDPOINT, ONE_TIME_CODE, Explanation, Outcome
from authgate.explain.past import PROGRAMS_ARE_OF_TODAY
from authgate.explain.persons import (
    DISABLED,
    FACTOR_OWED,
    NO_SUCH_TOKEN,
    NO_SUCH_USER,
    TOKEN_OPENS_NOTHING,
)
from authgate.explain.question import BadQuestion
from authgate.explain.trace import TracedRule
from authgate.explain.worlds import NamedRule
from authgate.factor_policy import ANY_FACTOR, PASSKEY
from authgate.journal.gaps import UnknownMoment
from authgate.models import JournalGap, Rule

User = get_user_model()

NAMED = 20
"""Names of groups and users in one sentence, at most. An ellipsis replaces the others."""


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A rule on the result page. `wanted` contains sentences about the criteria that must be met."""

    traced: TracedRule
    who: str
    first: str
    wanted: tuple[str, ...]
    application_id: int

    @property
    def path(self) -> str:
        return self.traced.path


def verdict_words(explanation: Explanation) -> str:
    """Return the verdict in one sentence."""
    step = explanation.outcome.step
    if step == ONE_TIME_CODE:
        return _(
            "The address contains a one-time code. Explain does not use codes. Remove it from the address."
        )
    if step == ENDPOINT:
        return _("The portal answers this address itself. The application never receives the request.")
    if explanation.verdict is Verdict.ALLOW and explanation.application is None:
        return _("The request goes to the portal's own pages, which check access themselves.")
    if explanation.verdict is Verdict.REFUSE and explanation.decision is None:
        return _("The check refuses the request before it applies the rules.")
    return {
        Verdict.ALLOW: _("The request is allowed."),
        Verdict.STEP_UP: _("The user is asked for a second factor first."),
        Verdict.SIGN_IN: _("The visitor is asked to sign in first."),
        Verdict.REFUSE: _("The request is refused."),
    }[explanation.verdict]


def reason_in_words(explanation: Explanation) -> str:
    if explanation.reason in ("public", "admitted", *STEPS):
        return ""
    if explanation.reason == NO_RULE:
        return reason_words(NO_RULE)
    is_rules = explanation.decision is not None
    first, second = (reason_words, mistake_words) if is_rules else (mistake_words, reason_words)
    return first(explanation.reason) or second(explanation.reason) or explanation.reason


STEPS = (ONE_TIME_CODE, ENDPOINT, "the portal's own pages")


def person_words(explanation: Explanation) -> str:
    """Return a description of the person who sends the request."""
    person = explanation.standing.person
    if not person.username:
        return _("a visitor who is not signed in")
    if person.token:
        return _("a program with the API token “%(label)s” of %(name)s") % {
            "label": person.token,
            "name": person.username,
        }
    if person.second_factor:
        return _("%s, signed in with a second factor") % person.username
    return _("%s, signed in without a second factor") % person.username


def note_words(note: str) -> str:
    """Return why a person's credential does not count; empty if it counts."""
    return {
        DISABLED: _(
            "The user is disabled. The user's sessions are invalid, so the portal treats the user as a "
            "visitor."
        ),
        FACTOR_OWED: _(
            "The user must have a second factor. Without one, the user's sessions are invalid, so the "
            "portal treats the user as a visitor."
        ),
        TOKEN_OPENS_NOTHING: _(
            "The API token gives no access. It has expired or was revoked, or its user is disabled or "
            "lacks a second factor."
        ),
    }.get(note, "")


def fault_words(problem: BadQuestion) -> str:
    """Return the text about a mistake in a field of the question."""
    return {
        "userinfo": _("Remove the part before @. Browsers do not send it."),
        "scheme": _("Enter an address that begins with https:// or http://."),
        "host": _("Enter a host name in ASCII, without a wildcard. Write other characters as xn--…"),
        "port": _("Enter a port from 1 to 65535."),
        "uri": _("The path contains a space, a control character or half a character."),
        "long": _("The address is longer than 8000 characters."),
        "method": _("Enter a method in ASCII, such as GET."),
        "address": _("Enter an IPv4 or IPv6 address."),
        "query": _("Enter a query in ASCII without spaces, such as allowed_groups=staff."),
    }.get(problem.fault, problem.fault)


def unknown_person_words(problem: str) -> str:
    return {
        NO_SUCH_USER: _("There is no user with this name."),
        NO_SUCH_TOKEN: _("The user has no API token with this name."),
        PROGRAMS_ARE_OF_TODAY: _("API tokens are not in the journal. For another moment, choose a browser."),
    }[problem]


def unknown_moment_words(problem: UnknownMoment) -> str:
    """Return the reason why the journal does not know the state at a moment."""
    sentences = {
        "future": _("This moment is too far in the future."),
        JournalGap.BEGINNING: _("The journal did not exist yet."),
        JournalGap.RETENTION: _("The journal no longer has the changes of that time (IKD_KEEP_JOURNAL)."),
        JournalGap.RESTORED: _(
            "A backup was restored later, so the changes of that time are not in the journal."
        ),
        JournalGap.MIGRATION: _("The journal was off at that time, during a migration or without triggers."),
    }
    said = sentences.get(problem.reason, problem.reason)
    if problem.until is None:
        return said
    moment = date_format(localtime(problem.until), "DATETIME_FORMAT")
    return f"{said} " + _("The first moment after it that can be explained: %s.") % moment


def lines_of(explanation: Explanation) -> list[RuleLine]:
    """Return all rules with the criteria that must be met. Three queries."""
    rows = explanation.world.rules({traced.rule for traced in explanation.rules})
    return [_line(traced, rows[traced.rule]) for traced in explanation.rules if traced.rule in rows]


def _line(traced: TracedRule, named: NamedRule) -> RuleLine:
    first = reason_words(traced.lacking[0]) if traced.lacking else ""
    wanted = tuple(_wanted(criterion, named) for criterion in dict.fromkeys(traced.lacking))
    return RuleLine(traced, who_words(named), first, wanted, named.row.application_id)


def who_words(named: NamedRule) -> str:
    """Return the people that a rule admits, with the names of its groups and users."""
    if named.row.who != Rule.Who.CHOSEN:
        return str(named.row.get_who_display())
    return _named([*named.groups, *named.users]) or str(_("no group and no user"))


def _wanted(criterion: str, named: NamedRule) -> str:
    row, groups, users = named.row, _named(named.groups), _named(named.users)
    if criterion == "group":
        if groups and users:
            text = _("The user is in a group of the rule (%(groups)s), or is a user of the rule (%(users)s).")
            return text % {"groups": groups, "users": users}
        if groups:
            return _("The user is in one of the groups: %s.") % groups
        return _("The user is one of: %s.") % users
    return {
        "method": _("The method is one of: %s.") % row.methods,
        "network": _("The request comes from one of the networks: %s.") % " ".join(row.networks.split()),
        "expired": _("The rule has not expired."),
        "nobody chosen": _("The rule contains groups or users."),
        "not signed in": _("The visitor signs in."),
        "second factor": _("The sign-in has a second factor."),
        ANY_FACTOR: _("The user has confirmed with a second factor recently."),
        PASSKEY: _("The user has confirmed with a passkey recently."),
        "cannot be evaluated": _("The rule is saved again with valid values."),
    }.get(criterion, criterion)


def _named(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:NAMED]) + (" …" if len(listed) > NAMED else "")


def scope_words(scope: Scope | None) -> str:
    if scope is None:
        return _("no rule")
    return path_words(scope.path, scope.exact)


def path_words(path: str, exact: bool) -> str:
    return _("exactly %s") % path if exact else path


def body_kind(found: Answer) -> str:
    """Return the media type of an answer's body; empty without a body."""
    if not found.body:
        return ""
    return dict(found.headers).get(b"content-type", b"").partition(b";")[0].decode("ascii")


def header_pairs(found: Answer) -> list[tuple[str, str]]:
    return [(name.decode("ascii"), value.decode("latin-1")) for name, value in found.headers]


def group_names(explanation: Explanation) -> list[str]:
    """Return the names of the user's groups, with the ends of the memberships. One query."""
    return sorted(explanation.world.groups_of(explanation.standing))


def as_values(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as values for JSON. Names of fields and reasons are not translated."""
    question, person = explanation.question, explanation.standing.person
    decision = explanation.decision
    return {
        "verdict": explanation.verdict.name.lower(),
        "reason": explanation.reason,
        "rule": decision.rule if decision else None,
        "application": explanation.application.name if explanation.application else None,
        "at": datetime.fromtimestamp(explanation.at, UTC).isoformat(timespec="seconds"),
        "request": {
            "url": question.url,
            "method": question.method,
            "client": question.client,
            "query": question.query,
            "proxy": explanation.contract,
            "page": question.navigates,
        },
        "person": {
            "username": person.username,
            "second_factor": person.second_factor,
            "token": person.token,
            "note": explanation.standing.note,
        },
        "variants": [
            {
                "path": variant.path,
                "scope": variant.scope.path if variant.scope else None,
                "exact": variant.scope.exact if variant.scope else False,
                "verdict": variant.verdict.name.lower(),
            }
            for variant in explanation.variants
        ],
        "rules": [
            {
                "rule": line.traced.rule,
                "path": line.path,
                "exact": line.traced.exact,
                "covers": line.traced.decides,
                "verdict": line.traced.verdict.name.lower(),
                "failed": list(line.traced.lacking),
                "wanted": list(line.wanted),
            }
            for line in lines_of(explanation)
        ],
        "answers": [_outcome_values(outcome) for outcome in explanation.outcomes],
    }


def _outcome_values(outcome: Outcome) -> dict[str, Any]:
    found = outcome.answer
    if found is None:
        return {"proxy": outcome.contract, "step": outcome.step}
    return {
        "proxy": outcome.contract,
        "status": found.status,
        "headers": [list(pair) for pair in header_pairs(found)],
        "body": body_kind(found),
    }


def as_text(explanation: Explanation) -> str:
    """Return an explanation for a terminal."""
    lines = [verdict_words(explanation), reason_in_words(explanation), note_words(explanation.standing.note)]
    application = explanation.application.name if explanation.application else "-"
    rule = explanation.decision.rule if explanation.decision else None
    if explanation.world.at is not None:
        lines.append(_("As of %s.") % localtime(explanation.world.at).isoformat(" ", "seconds"))
    lines += [
        "",
        f"{_('Requested by')}: {person_words(explanation)}",
        f"{_('Request')}: {explanation.question.method} {explanation.question.url}",
        f"{_('Client address')}: {explanation.question.client}",
        f"{_('Application')}: {application}",
        f"{_('Deciding rule')}: {rule or '-'}",
        "",
        f"{_('Rules')}:",
    ]
    for line in lines_of(explanation):
        traced = line.traced
        place = scope_words(Scope(traced.path, traced.exact, ()))
        lines.append(f"  {traced.rule} {place} ({line.who}): {rule_state(line)}")
        lines += [f"      {sentence}" for sentence in line.wanted if traced.decides]
    if len(explanation.variants) > 1:
        lines += ["", f"{_('Path variants')}:"]
        lines += [
            f"  {variant.path} -> {scope_words(variant.scope)}: {variant.verdict.name}"
            for variant in explanation.variants
        ]
    return "\n".join([line for line in lines[:3] if line] + lines[3:] + _answer_lines(explanation.outcome))


def rule_state(line: RuleLine) -> str:
    """Return the result of a rule: whether it admits, or does not apply."""
    if not line.traced.decides:
        return _("Another path decides.")
    return line.first or _("Admits the request.")


def _answer_lines(outcome: Outcome) -> list[str]:
    if outcome.answer is None:
        return []
    found = outcome.answer
    heading = _("Answer to %s") % outcome.contract
    kind = body_kind(found)
    lines = ["", f"{heading}:", f"  {found.status}"]
    return [
        *lines,
        *(f"  {name}: {value}" for name, value in header_pairs(found)),
        *([f"  [{kind}]"] if kind else []),
    ]
