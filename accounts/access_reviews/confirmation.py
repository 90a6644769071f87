"""The effect of answers in a review, which the owner sees before saving them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction

from accounts.access_reviews import answers
from accounts.models import AccessReview, AccessReviewEntry, User
from authgate import outbox
from authgate.admin.effect_page import needs_a_tick
from authgate.effect.comparison import Bounds, measured, rehearse
from authgate.effect.real_requests import RealRequests, real_requests
from authgate.effect.values import Effect
from authgate.explain.words import path_words

REMOVE = AccessReviewEntry.Answer.REMOVE


class Differs(Exception):
    """The owner did not confirm the effect, or saw another one. Nothing was saved."""


@dataclass(frozen=True, slots=True)
class Line:
    """A person with the answer. `loses` has paths of this application, `elsewhere` counts other ones."""

    key: int
    username: str
    answer: str
    loses: tuple[str, ...] = ()
    elsewhere: int = 0

    @property
    def is_removal(self) -> bool:
        return self.answer == REMOVE


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The effect of answers. `real` counts the affected recent requests to the application."""

    lines: tuple[Line, ...]
    shown: str
    needs_a_tick: bool
    real: RealRequests | None

    @property
    def kept(self) -> list[Line]:
        return [line for line in self.lines if not line.is_removal]

    @property
    def removed(self) -> list[Line]:
        return [line for line in self.lines if line.is_removal]


def confirmation_of(review: AccessReview, chosen: Mapping[int, str], *, owner: User) -> Confirmation:
    """Return the effect of answers. Raises the same as `answers.answer`."""
    entries = list(
        answers.answerable(review, owner).filter(pk__in=chosen, answer="").order_by("username", "pk")
    )
    _saved, effect = rehearse(
        lambda: answers.answer(review, chosen, owner=owner, address=None), _bounds(entries)
    )
    lines = tuple(_line(review, entry, chosen[entry.pk], effect) for entry in entries)
    here = Effect(lost=tuple(each for each in effect.lost if each.application == review.application_id))
    return Confirmation(lines, effect.digest, needs_a_tick(effect), real_requests(here) if here else None)


def answer_as_shown(
    review: AccessReview,
    chosen: Mapping[int, str],
    *,
    owner: User,
    address: str | None,
    shown: str,
    is_sure: bool,
) -> tuple[int, int]:
    """Save answers if the digest of their effect is `shown`, the one on the owner's page.

    If the effect needs a ticked box, `is_sure` must be true. Raises Differs, and the errors of
    `answers.answer`.
    """
    entries = list(answers.answerable(review, owner).filter(pk__in=chosen))
    with outbox.hold() as held, transaction.atomic():
        saved, effect = measured(
            lambda: answers.answer(review, chosen, owner=owner, address=address), _bounds(entries)
        )
        if effect.digest != shown or not (is_sure or not needs_a_tick(effect)):
            raise Differs
    outbox.release(held)
    return saved


def _bounds(entries: list[AccessReviewEntry]) -> Bounds:
    return Bounds(users={entry.user_id for entry in entries if entry.user_id})


def _line(review: AccessReview, entry: AccessReviewEntry, answer: str, effect: Effect) -> Line:
    lost = [each for each in effect.lost if any(person.id == entry.user_id for person in each.people)]
    here = tuple(
        path_words(each.path, each.exact) for each in lost if each.application == review.application_id
    )
    elsewhere = {each.application for each in lost} - {review.application_id}
    return Line(entry.pk, entry.username, answer, here, len(elsewhere))
