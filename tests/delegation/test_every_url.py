"""Every URL of the portal, opened by every kind of person: who may come in, and nobody gains power.

A URL that is new is in no row of `url_table`, and fails here until a row says whom it is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.db import transaction
from django.urls import URLResolver, get_resolver
from pytest_django.plugin import DjangoDbBlocker

from accounts import reauthentication
from tests.accounts.writing import nothing_written_if
from tests.delegation.attacks import ATTACKS
from tests.delegation.kinds import KINDS, SINGLE, SUPERUSER, Cast, power
from tests.delegation.url_table import TABLE

pytestmark = pytest.mark.django_db

EACH_KIND = [
    pytest.param(kind, marks=pytest.mark.long) if kind in SINGLE else kind
    for kind in KINDS
    if kind != SUPERUSER
]
"""All but superusers. Each permission alone takes a second for every URL, so `make quick` leaves them out."""


@pytest.fixture(scope="module")
def cast(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Cast]:
    """One of everybody and everything, for all tests here. Each request's changes are undone.

    All have proven their identity once, which counts until the module ends, however slow the machine is.
    """
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock(), transaction.atomic():
        patch.setattr(reauthentication, "CONFIRMED_FOR", 86_400)
        yield Cast()
        transaction.set_rollback(True)


def routes(patterns: Any = None, before: str = "") -> Iterator[str]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route


@cache
def keys_of(cast: Cast) -> dict[str, object]:
    """Return the key for each beginning of a route: of a superuser, the powerful group, what is managed."""
    return {
        "access/requests/": cast.request.pk,
        "favourites/": cast.wiki.pk,
        "accounts/managed/applications/": cast.wiki.pk,
        "accounts/managed/reviews/": cast.review.pk,
        "accounts/managed/rules/": cast.rule.pk,
        "accounts/managed/groups/": cast.team.pk,
        "accounts/tokens/": cast.token.pk,
        "accounts/providers/unlink/": cast.identity.pk,
        "accounts/second-factor/passkeys/": cast.passkey.pk,
        "accounts/second-factor/devices/": cast.device.pk,
        "accounts/sessions/": cast.sign_in.uuid,
        "accounts/applications/": cast.client.pk,
        "accounts/providers/link/": cast.upstream.slug,
        "upstreams/": cast.upstream.slug,
        "admin/authgate/application/opened-by/": cast.root.pk,
        "admin/authgate/application/": cast.wiki.pk,
        "admin/authgate/configurationevent/": cast.mistake.pk,
        "admin/authgate/auditevent/": cast.event.pk,
        "admin/authgate/journalentry/": cast.entry.pk,
        "admin/authgate/signin/": cast.sign_in.pk,
        "admin/authgate/gatesession/": cast.gate.pk,
        "admin/accounts/accessrequest/": cast.request.pk,
        "admin/accounts/accessreview/": cast.review.pk,
        "admin/accounts/accessreviewentry/": cast.review.entries.get().pk,
        "admin/accounts/apitoken/": cast.token.pk,
        "admin/accounts/brand/": 1,
        "admin/accounts/group/": cast.powerful.pk,
        "admin/accounts/invitation/": cast.invitation.pk,
        "admin/accounts/upstream/": cast.upstream.pk,
        "admin/accounts/identity/": cast.identity.pk,
        "admin/accounts/user/": cast.root.pk,
        "admin/openid/client/proof/sign-in/": cast.sign_in.pk,
        "admin/openid/client/proof/user/": cast.root.pk,
        "admin/openid/client/": cast.client.pk,
    }


@cache
def url_of(route: str, cast: Cast) -> str:
    """Return a URL of a route, with the key of a row where it names one."""
    if "uidb36" in route:
        return "/accounts/password/reset/key/1-x/"
    key = next((str(key) for start, key in keys_of(cast).items() if route.startswith(start)), "x")
    route = route.replace("^(?P<app_label>authgate|accounts|auth|openid)/$", "{}/".format("accounts"))
    return "/" + re.sub(r"<[^>]+>", key, re.sub(r"\^|\$$", "", re.sub(r"\(\?P<\w+>[^)]*\)", "x", route)))


def comes_in(answer: Any) -> bool:
    """Return whether somebody gets past the door of a page: refused is also who has to sign in first."""
    where = answer.get("Location", "").removeprefix("https://sso.example.com")
    return answer.status_code not in (401, 403, 404) and not where.startswith("/accounts/login/")


def ask(cast: Cast, kind: str, url: str, method: str) -> Any:
    with transaction.atomic():
        answer = getattr(cast.browser(kind), method)(url)
        transaction.set_rollback(True)
    return answer


def test_every_url_is_in_the_table_and_nothing_else() -> None:
    assert set(routes()) == set(TABLE)


def test_the_table_is_not_small() -> None:
    """Each pair of a URL and a person is opened, and each that is refused is posted to."""
    assert len(TABLE) * len(KINDS) >= 6_944
    assert sum(kind not in who for who in TABLE.values() for kind in KINDS) >= 3_872


@pytest.mark.parametrize("kind", [*EACH_KIND, SUPERUSER])
def test_each_url_lets_in_whom_the_table_names(cast: Cast, kind: str) -> None:
    wrong = {}
    for route, who in TABLE.items():
        answer = ask(cast, kind, url_of(route, cast), "get")
        assert answer.status_code != 500, route
        if comes_in(answer) != (kind in who):
            wrong[route] = (answer.status_code, answer.get("Location", ""))

    assert wrong == {}


@pytest.mark.parametrize("kind", [*EACH_KIND, SUPERUSER])
def test_a_form_is_as_shut_as_its_page(cast: Cast, kind: str) -> None:
    """A form that is posted to a page which one may not open does nothing."""
    for route, who in TABLE.items():
        if kind in who:
            continue
        with nothing_written_if(lambda: True):
            answer = ask(cast, kind, url_of(route, cast), "post")
        assert not who or not comes_in(answer) or answer.status_code in (302, 303, 400, 405, 409, 415), route


@pytest.mark.parametrize("kind", EACH_KIND)
def test_nobody_below_a_superuser_gains_or_takes_power(cast: Cast, kind: str) -> None:
    before, changed = power(), []
    for name, attack in ATTACKS.items():
        with transaction.atomic():
            attack(cast, cast.browser(kind), cast.people[kind])
            if power() != before:
                changed.append(name)
            transaction.set_rollback(True)

    assert changed == []


@pytest.mark.parametrize("name", ATTACKS)
def test_a_superuser_does_each_of_it(cast: Cast, name: str) -> None:
    """Else an attack above could fail for a reason of its own."""
    before = power()
    with transaction.atomic():
        ATTACKS[name](cast, cast.browser(SUPERUSER), cast.people[SUPERUSER])
        after = power()
        transaction.set_rollback(True)

    assert after != before
