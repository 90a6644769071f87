"""The explanation of a described request: run the check, and collect the reasons for its answer."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from authgate.check.context import Context
from authgate.check.credentials import Credential
from authgate.check.memory import Memory, Tokens
from authgate.check.missing import (
    Missing,
    MissingApplication,
    MissingCode,
    MissingEndpoint,
    MissingIssuers,
    MissingPage,
    MissingProgram,
    MissingSession,
    MissingSigner,
    MissingTokens,
)
from authgate.check.pipeline import answer, read
from authgate.check.request import Facts
from authgate.check.responses import Answer, status_of_redirect, to_portal
from authgate.cookies import place_of
from authgate.decision.evaluation import decide
from authgate.decision.rules import Application, Decision, Subject, Verdict
from authgate.decision.target import Target, without_code
from authgate.explain.heads import cookie_for, facts_of, token_for, urls_of_checks
from authgate.explain.persons import Standing
from authgate.explain.question import Question
from authgate.explain.trace import TracedRule, Variant, rules_of, variants_of
from authgate.explain.worlds import PRESENT, World
from authgate.worker import loader

ONE_TIME_CODE = "one-time code"
ENDPOINT = "endpoint"

KEPT = "A" * 43
"""The placeholder for the key of a page that the check would keep."""

PROVIDER_TOKENS = Tokens(b"(access token)", b"(ID token)", math.inf)
"""The placeholder for a provider's tokens. Their length is not known here."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The check's answer to one kind of proxy. If the check would do `step` instead, `answer` is None."""

    contract: str
    answer: Answer | None
    step: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to a question, and its reasons. `decision` is None if the check did not reach the rules.

    `reason` is the machine name of the deciding reason. `target` is None if the request cannot be read.
    """

    question: Question
    standing: Standing
    contract: str
    outcomes: tuple[Outcome, ...]
    application: Application | None
    target: Target | None
    verdict: Verdict
    reason: str
    decision: Decision | None
    variants: tuple[Variant, ...]
    rules: tuple[TracedRule, ...]
    at: float
    world: World = PRESENT

    @property
    def outcome(self) -> Outcome:
        return next(each for each in self.outcomes if each.contract == self.contract)


class Unsigned:
    """The placeholder for the portal's key. No application accepts an identity that it signs."""

    def __bool__(self) -> bool:
        return True

    def sign(self, claims: dict[str, Any], now: float) -> bytes:
        parts = ({"alg": "none"}, claims)
        texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
        return b".".join([*texts, b"(signature)"])


def placeholder(length: int) -> bytes:
    """Return zeros in place of random bytes. No real decision id or nonce consists of them."""
    return bytes(length)


def contracts() -> tuple[str, ...]:
    """Return the names of the contracts that this portal serves."""
    return tuple(urls_of_checks(settings.IKD_OAUTH2_CONTRACT))


def explain(
    question: Question, standing: Standing, contract: str, now: float, world: World = PRESENT
) -> Explanation:
    """Return the check's answer to a person's request at `now` (Unix time). Nothing is written.

    `world` contains the applications and persons of the present or of another moment.
    """
    memory = Memory(loader.gate_settings(), placeholder)
    urls = urls_of_checks(settings.IKD_OAUTH2_CONTRACT)
    asked = {name: _facts(question, standing, name, url, memory, now) for name, url in urls.items()}
    outcomes = tuple(_outcome(name, facts, memory, world) for name, facts in asked.items())
    context = read(asked[contract], memory)
    outcome = next(each for each in outcomes if each.contract == contract)
    if not isinstance(context, Context):
        return _unread(question, standing, outcomes, outcome, now, world)
    return _explained(question, standing, outcomes, outcome, context, world)


def _facts(
    question: Question, standing: Standing, contract: str, url: str, memory: Memory, now: float
) -> Facts:
    if not standing.has_credential:
        return facts_of(question, contract, url, [], settings.IKD_FORWARDED_HOPS, now)
    place = place_of(question.origin, memory.settings.shared_domains)
    key, header = token_for() if standing.person.token else cookie_for(place)
    if key not in memory.sessions:
        memory.sessions[key] = standing.principal(place)
    return facts_of(question, contract, url, header, settings.IKD_FORWARDED_HOPS, now)


def _outcome(contract: str, facts: Facts, memory: Memory, world: World) -> Outcome:
    """Return the check's answer. Load what memory lacks as `check_view` does, but write nothing."""
    while True:
        context = read(facts, memory)
        found = answer(context, memory) if isinstance(context, Context) else context
        if isinstance(found, Answer):
            return Outcome(contract, found)
        stopped = _supply(contract, found, memory, world)
        if stopped is not None:
            return stopped


def _supply(contract: str, found: Missing, memory: Memory, world: World) -> Outcome | None:
    match found:
        case MissingApplication(origin=origin):
            world.load_application_into(memory, origin)
        case MissingSession(digest=key) | MissingProgram(key=key):
            memory.sessions[key] = None
        case MissingIssuers():
            memory.issuers = frozenset()
        case MissingSigner():
            memory.signer = Unsigned()
        case MissingTokens(session=session):
            session.tokens = PROVIDER_TOKENS
        case MissingCode():
            return Outcome(contract, None, ONE_TIME_CODE)
        case MissingPage(context=context):
            uri, status = without_code(context.target.uri or "/"), status_of_redirect(context.target)
            return Outcome(contract, to_portal(context, memory, uri, status=status, kept=KEPT))
        case MissingEndpoint():
            return Outcome(contract, None, ENDPOINT)
        case _:
            raise TypeError(found)
    return None


def _unread(
    question: Question,
    standing: Standing,
    outcomes: tuple[Outcome, ...],
    outcome: Outcome,
    now: float,
    world: World,
) -> Explanation:
    """Return the explanation of a check that ends before the application is known."""
    found = outcome.answer
    is_let_in = found is not None and found.status == 200
    refusal = found.refusal if found is not None else None
    return Explanation(
        question,
        standing,
        outcome.contract,
        outcomes,
        application=None,
        target=None,
        verdict=Verdict.ALLOW if is_let_in else Verdict.REFUSE,
        reason=refusal.reason if refusal else "the portal's own pages",
        decision=None,
        variants=(),
        rules=(),
        at=now,
        world=world,
    )


def _explained(
    question: Question,
    standing: Standing,
    outcomes: tuple[Outcome, ...],
    outcome: Outcome,
    context: Context,
    world: World,
) -> Explanation:
    subject = _subject(standing, context)
    application, target, now = context.application, context.target, context.now
    decided = decide(application, target, subject, now, context.query.filters)
    decision: Decision | None = decided
    verdict, reason = decided.verdict, decided.reason
    refusal = outcome.answer.refusal if outcome.answer is not None else None
    if outcome.answer is None:
        verdict, reason, decision = Verdict.SIGN_IN, outcome.step, None
    elif refusal is not None and refusal.reason != reason:
        verdict, reason, decision = Verdict.REFUSE, refusal.reason, None
    return Explanation(
        question,
        standing,
        outcome.contract,
        outcomes,
        application,
        target,
        verdict,
        reason,
        decision,
        variants_of(application, target, subject, now),
        rules_of(application, target, subject, now),
        now,
        world,
    )


def _subject(standing: Standing, context: Context) -> Subject | None:
    """Return the subject for the rules, or None if the credential does not count for this application."""
    principal = standing.principal("") if standing.has_credential else None
    if principal is None:
        return None
    credential = Credential(b"", "")
    if principal.is_program and not principal.accepts(credential, context.application.id, context.now):
        return None
    return principal.subject
