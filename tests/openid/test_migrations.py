"""The provider's migrations run backwards and forwards again, on both databases."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

from authgate.models import SignIn
from authgate.sign_ins import end_sign_ins
from openid.models import Client
from tests.feed.conftest import people  # noqa: F401
from tests.front.serving import Cast, Database
from tests.lazy_states import lazy_states  # noqa: F401


def migrate(*target: str) -> None:
    call_command("migrate", *target, interactive=False, verbosity=0)


@pytest.mark.long
@pytest.mark.usefixtures("lazy_states")
def test_migrations_run_backwards_and_forwards(database: Database, people: Cast) -> None:  # noqa: F811
    migrate("openid", "zero")
    tables = connection.introspection.table_names()
    ended = end_sign_ins(SignIn.objects.filter(user=people.alice))
    migrate()

    assert [name for name in tables if name.startswith("openid_")] == []
    assert ended == 1
    assert Client.objects.count() == 0
    assert end_sign_ins(SignIn.objects.filter(user=people.bob)) == 1
