"""Links by administrators: a program gets its token from the provider, and acts as a user."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from django.core.management import CommandError
from django.test import Client

from accounts.models import Identity, Upstream, User
from authgate.models import AuditEvent
from tests.accounts.conftest import PortalClient
from tests.admin.conftest import browser_of, carols, sam, sams  # noqa: F401
from tests.admin.forms import errors_in, save
from tests.authgate.asking import WIKI, ask, facts, header
from tests.factories import ApplicationFactory, UserFactory
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import sign_in
from tests.upstreams.test_administration import command

ADD = "/admin/accounts/identity/add/"
AUDIENCE = "https://api.example.com"


@pytest.fixture
def robot(db: None) -> User:
    ApplicationFactory(origins=[WIKI], who="signed_in")
    return UserFactory(username="robot")


@pytest.fixture
def programs(upstream: Upstream, robot: User) -> Upstream:
    upstream.trusted_for_machines, upstream.machine_audience = True, AUDIENCE
    upstream.save()
    return upstream


def token_of_a_program(provider: Provider) -> str:
    """Request a token as a program does: client credentials (RFC 6749, section 4.4)."""
    form = {"grant_type": "client_credentials", "client_id": "backup", "audience": AUDIENCE}
    with urllib.request.urlopen(f"{provider.issuer}/token", urlencode(form).encode()) as answer:
        return str(json.load(answer)["access_token"])


def subject_in(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["sub"])


def asked_with(token: str) -> Any:
    return ask(facts(f"{WIKI}/", [(b"authorization", f"Bearer {token}".encode())]))


def by_the_form(client: Client, subject: str, user: User) -> Any:
    upstream = Upstream.objects.get()
    return save(client, ADD, upstream=upstream.pk, subject=subject, user=user.pk)


def by_the_command(client: Client, subject: str, user: User) -> None:
    command("link", "campus", subject, user.username)


@pytest.mark.parametrize("link", [by_the_form, by_the_command], ids=["form", "command"])
def test_a_program_acts_as_the_user_it_is_linked_to(
    carols: Client,  # noqa: F811
    provider: Provider,
    programs: Upstream,
    robot: User,
    link: Callable[..., Any],
) -> None:
    token = token_of_a_program(provider)
    before = asked_with(token).status

    link(carols, subject_in(token), robot)

    answer = asked_with(token)
    assert (before, answer.status) == (401, 200)
    assert header(answer, b"x-auth-request-user") == b"robot"
    event = AuditEvent.objects.get(kind="identity_linked")
    actor = "manage.py" if link is by_the_command else "carol"
    assert (event.actor, event.subject, event.details) == (actor, "robot", {"upstream": "campus"})

    command("unlink", "campus", subject_in(token))
    assert asked_with(token).status == 401
    assert AuditEvent.objects.filter(kind="identity_unlinked", subject="robot").exists()


def test_a_linked_identity_signs_in_as_that_user(
    carols: Client,  # noqa: F811
    client: PortalClient,
    provider: Provider,
    upstream: Upstream,
    alice: User,
) -> None:
    assert by_the_form(carols, "alice-there", alice).status_code == 302

    sign_in(client, provider)

    assert client.session["_auth_user_id"] == str(alice.pk)


def test_staff_link_only_users_without_privileges(
    sams: Client,  # noqa: F811
    upstream: Upstream,
    sam: User,  # noqa: F811
    alice: User,
    carol: User,
) -> None:
    refused = [by_the_form(sams, f"sub-{user}", user) for user in (carol, sam)]
    taken = by_the_form(sams, "sub-alice", alice)

    assert all("Only superusers" in errors_in(answer) for answer in refused)
    assert taken.status_code == 302 and [each.user for each in Identity.objects.all()] == [alice]


def test_staff_without_the_permission_link_no_user(
    sams: Client,  # noqa: F811
    upstream: Upstream,
    sam: User,  # noqa: F811
    alice: User,
) -> None:
    sam.user_permissions.remove(sam.user_permissions.get(codename="add_identity"))

    answer = sams.post(ADD, {"upstream": upstream.pk, "subject": "x", "user": alice.pk})

    assert answer.status_code == 403 and not Identity.objects.exists()


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("taken", "already linked to a user"),
        ("a\nb", "invisible character"),
        ("x" * 256, "255"),
        ("", "required"),
    ],
    ids=["taken", "a line break", "long", "empty"],
)
def test_the_form_refuses_wrong_values(
    carols: Client,  # noqa: F811
    upstream: Upstream,
    alice: User,
    bob: User,
    subject: str,
    told: str,
) -> None:
    Identity.objects.create(upstream=upstream, subject="taken", user=alice)

    answer = by_the_form(carols, subject, bob)

    assert told in errors_in(answer)
    assert Identity.objects.get().user == alice


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "another's subject": (("campus", "taken", "bob"), "already linked to a user"),
    "nobody": (("campus", "new", "nobody"), "no user 'nobody'"),
    "no such provider": (("other", "new", "bob"), "no provider 'other'"),
    "a subject that is none": (("campus", "a\x1b[31m", "bob"), "No token can contain"),
}


@pytest.mark.parametrize(("arguments", "told"), REFUSED.values(), ids=REFUSED)
def test_the_command_refuses_wrong_values(
    upstream: Upstream, alice: User, bob: User, arguments: tuple[str, ...], told: str
) -> None:
    Identity.objects.create(upstream=upstream, subject="taken", user=alice)

    with pytest.raises(CommandError, match=told):
        command("link", *arguments)
    assert Identity.objects.get().user == alice


def test_linking_twice_causes_no_error(upstream: Upstream, alice: User) -> None:
    command("link", "campus", "s", "alice")

    assert "already linked to alice" in command("link", "campus", "s", "ALICE")
    with pytest.raises(CommandError, match="no link for 'other'"):
        command("unlink", "campus", "other")
