from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries

from accounts.machines.api_tokens import make_token
from accounts.models import ApiToken, User
from authgate.models import Application, AuditEvent
from tests.admin.test_sessions_and_events import end
from tests.factories import ApplicationFactory

TOKENS = "/admin/accounts/apitoken/"


@pytest.fixture
def wiki(db: None) -> Application:
    return ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], who="signed_in")


@pytest.fixture
def row(alice: User, wiki: Application) -> ApiToken:
    return make_token(alice, "backup", [wiki], 3600)[0]


def test_revoking_a_token_asks_first(carols: Client, row: ApiToken) -> None:
    response = end(carols, TOKENS, row.pk, confirmed="")

    row.refresh_from_db()
    assert b"Revoke these API tokens" in response.content
    assert row.ended_at is None


def test_revoking_a_token_is_recorded(sams: Client, row: ApiToken) -> None:
    end(sams, TOKENS, row.pk)

    row.refresh_from_db()
    event = AuditEvent.objects.get(kind="token_ended")
    assert row.ended_at is not None
    assert (event.actor, event.subject, event.details["changes"]) == ("sam", "backup", {"user": "alice"})


def test_only_superusers_revoke_tokens_of_staff(sams: Client, carol: User, wiki: Application) -> None:
    row, _ = make_token(carol, "hers", [wiki], 3600)

    end(sams, TOKENS, row.pk)

    row.refresh_from_db()
    assert row.ended_at is None


def test_staff_with_the_view_permission_cannot_revoke_a_token(sams: Client, sam: User, row: ApiToken) -> None:
    sam.user_permissions.set(Permission.objects.filter(codename="view_apitoken"))

    end(sams, TOKENS, row.pk)

    row.refresh_from_db()
    assert row.ended_at is None


@pytest.mark.parametrize("what", ["add/", "1/delete/"])
def test_the_admin_can_neither_create_nor_delete_tokens(carols: Client, row: ApiToken, what: str) -> None:
    assert carols.get(f"{TOKENS}{what.replace('1', str(row.pk))}").status_code == 403


def test_no_digest_is_shown_or_searchable(carols: Client, row: ApiToken) -> None:
    page = carols.get(f"{TOKENS}{row.pk}/change/").content.decode()

    assert bytes(row.token_digest).hex() not in page and "token_digest" not in page
    assert carols.get(f"{TOKENS}?token_digest__startswith=a").status_code == 400


def test_the_list_needs_the_same_queries_for_many_tokens(
    carols: Client, row: ApiToken, alice: User, wiki: Application,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    for number in range(20):
        make_token(alice, f"token {number}", [wiki], 3600)

    with django_assert_max_num_queries(14):
        assert carols.get(TOKENS).status_code == 200
