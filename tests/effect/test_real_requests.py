"""The effect that a change would have had on counted requests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from authgate.effect.real_requests import DAYS, RealRequests, real_requests
from authgate.models import Application, RequestCount, Rule
from tests.admin.forms import send
from tests.effect.rehearsals import effect_of
from tests.factories import ApplicationFactory, RuleFactory

TODAY = timezone.localdate()


@pytest.fixture
def wiki(alice: User, bob: User) -> Application:
    return ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])


def count(application: Application, rule: int, user: User | None, days_ago: int = 1, **outcomes: int) -> None:
    RequestCount.objects.create(
        day=timezone.localdate() - timedelta(days=days_ago),
        application=application,
        person=user.pk if user else 0,
        rule=rule,
        method="GET",
        **outcomes,
    )


def requests_of(change: Any) -> RealRequests:
    found = real_requests(effect_of(change))
    assert found is not None
    return found


def test_nothing_is_shown_before_requests_are_counted(wiki: Application) -> None:
    assert real_requests(effect_of(wiki.delete)) is None


def test_requests_of_users_who_lose_access_by_a_rule_are_counted(
    wiki: Application, alice: User, bob: User
) -> None:
    rule = wiki.rules.get()
    other = ApplicationFactory(name="Other", groups=["staff"])
    count(wiki, rule.pk, alice, allowed=41)
    count(wiki, rule.pk, alice, days_ago=DAYS + 1, allowed=1_000)
    count(wiki, rule.pk, bob, refused=5)
    count(other, other.rules.get().pk, alice, allowed=7)

    found = requests_of(rule.delete)

    assert (found.refused, found.refused_people, found.is_exact) == (41, 1, True)
    assert (found.admitted, found.admitted_people) == (0, 0)


def test_a_rule_for_a_longer_path_affects_at_most_what_the_shorter_one_admitted(
    wiki: Application, alice: User, bob: User
) -> None:
    count(wiki, wiki.rules.get().pk, alice, allowed=41)
    count(wiki, wiki.rules.get().pk, bob, refused=3)

    found = requests_of(lambda: RuleFactory(application=wiki, path="/admin", who="chosen", users=[bob]))

    assert (found.refused, found.is_exact) == (41, False)
    assert (found.admitted, found.admitted_people) == (3, 1)


def test_refusals_without_a_rule_and_by_a_disabled_application_count_as_admitted(
    wiki: Application, bob: User
) -> None:
    count(wiki, 0, bob, refused=2)
    rule = wiki.rules.get()
    rule.delete()

    assert requests_of(lambda: RuleFactory(application=wiki, who="signed_in")).admitted == 2
    RuleFactory(application=wiki, who="signed_in")
    Application.objects.update(enabled=False)
    assert requests_of(lambda: Application.objects.update(enabled=True)).admitted == 2


def test_requests_of_visitors_count_and_visitors_are_not_counted_as_people(wiki: Application) -> None:
    rule = RuleFactory(application=wiki, path="/all", who="everyone")
    count(wiki, rule.pk, None, allowed=9, asked=1)

    found = requests_of(lambda: Rule.objects.filter(pk=rule.pk).update(who="signed_in"))
    Rule.objects.filter(pk=rule.pk).update(who="signed_in")
    opened = requests_of(lambda: Rule.objects.filter(pk=rule.pk).update(who="everyone"))

    assert (found.refused, found.refused_people) == (9, 0)
    assert (opened.admitted, opened.admitted_people) == (1, 0)


def test_many_applications_need_only_one_query(
    wiki: Application, alice: User, bob: User, django_assert_max_num_queries: Any
) -> None:
    for n in range(30):
        app = ApplicationFactory(name=f"App {n}", groups=["staff", "guests"])
        count(app, app.rules.get().pk, alice if n % 2 else bob, allowed=1)
    effect = effect_of(lambda: User.objects.update(is_active=False))

    with django_assert_max_num_queries(2):
        found = real_requests(effect)

    assert found is not None
    assert (found.refused, found.refused_people, found.is_exact) == (30, 2, True)


def test_the_confirmation_page_shows_the_number_of_requests(
    carols: Client, wiki: Application, alice: User
) -> None:
    count(wiki, wiki.rules.get().pk, alice, allowed=41)

    body = send(carols, f"/admin/authgate/application/{wiki.pk}/change/", enabled=None).content.decode()

    assert "Requests that this change would have refused: 41, of people: 1." in body
