"""All migrations run back to zero and forwards again, with rows in the tables."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from authgate.models import SignIn
from authgate.worker import triggers
from ikd_portal.models import ManagedObject
from openid import triggers as openid_triggers
from tests.factories import UpstreamFactory, UserFactory
from tests.front.serving import Cast
from tests.lazy_states import lazy_states  # noqa: F401
from tests.years import rows

APPS = (
    *("openid", "accounts", "authgate", "ikd_portal"),
    *("admin", "mfa", "account", "sessions", "auth", "contenttypes"),
)


def fill(people: Cast) -> None:
    UpstreamFactory()
    rows.grant(SignIn.objects.filter(user=people.alice)[0])
    rows.save_all([rows.event("sign_in")], [rows.portal_session()], [rows.api_token(people.alice)])
    rows.save_all([rows.remembered_device(people.bob)], [rows.lock_link(people.bob)], [rows.kept_page()])
    ManagedObject.objects.create(kind="group", name="staff", object_key=1)
    rows.save_all([rows.invitation()], [rows.delivery()], [rows.configuration_event("a mistake")])


@pytest.mark.parametrize(
    "order", [APPS, APPS[2:3] + APPS[:2] + APPS[3:]], ids=["downwards", "the gate first"]
)
def test_migrations_run_back_to_zero_and_forwards_with_rows(
    people: Cast, order: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    if order != APPS:  # backwards, Django renders all models of all states itself
        request.getfixturevalue("lazy_states")
    fill(people)

    for app in order:
        call_command("migrate", app, "zero", interactive=False, verbosity=0)
    left = set(connection.introspection.table_names())
    call_command("migrate", interactive=False, verbosity=0)

    assert {name for name in left if not name.startswith("ikd_cache")} == {"django_migrations"}
    assert triggers.missing() | openid_triggers.missing() == set()
    UserFactory(username="the first")
    assert User.objects.get().username == "the first"
