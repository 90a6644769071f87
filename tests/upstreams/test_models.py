"""Providers, identities and their tokens as rows: encrypted secrets, and sign-ins that end with them."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.utils import timezone

from accounts.checks import check_encryption_keys
from accounts.models import Identity, Upstream, UpstreamSession, User
from authgate.encryption import Undecryptable
from authgate.models import SignIn
from authgate.sign_ins import begin_sign_in
from tests.factories import UpstreamFactory

SECRET = "the client's secret"


def signed_in_by(upstream: Upstream, user: User, subject: str = "sub-1") -> SignIn:
    sign_in = begin_sign_in(
        user, session_digest=f"{subject:0<64}", address=None, user_agent="", methods=["upstream"], keep=False
    )
    Identity.objects.get_or_create(upstream=upstream, subject=subject, user=user)
    UpstreamSession.objects.create(
        sign_in=sign_in, upstream=upstream, subject=subject, checked_at=timezone.now()
    )
    return sign_in


def raw(sql: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def stored(upstream: Upstream) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT client_secret FROM accounts_upstream WHERE id = %s", [upstream.pk])
        return str(cursor.fetchone()[0])


ENDS: dict[str, Callable[[Upstream], object]] = {
    "the upstream deleted": lambda upstream: upstream.delete(),
    "deleted by a query": lambda upstream: Upstream.objects.all().delete(),
    "disabled": lambda upstream: Upstream.objects.update(enabled=False),
    "disabled by raw SQL": lambda upstream: raw("UPDATE accounts_upstream SET enabled = %s", False),
    "the identity deleted": lambda upstream: Identity.objects.get().delete(),
    "the identity deleted by raw SQL": lambda upstream: raw("DELETE FROM accounts_identity"),
    "the identity given away": lambda upstream: Identity.objects.update(subject="somebody else"),
    "the session deleted": lambda upstream: UpstreamSession.objects.all().delete(),
}


@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS)
def test_a_sign_in_ends_with_its_provider_or_identity(
    alice: User, change: Callable[[Upstream], object]
) -> None:
    upstream = UpstreamFactory()
    sign_in = signed_in_by(upstream, alice)

    change(upstream)

    sign_in.refresh_from_db()
    assert sign_in.ended_at is not None and abs((timezone.now() - sign_in.ended_at).total_seconds()) < 60
    assert sign_in.session_digest is None


def test_sign_ins_by_other_providers_stay(alice: User) -> None:
    gone, other = UpstreamFactory(), UpstreamFactory()
    sign_in = signed_in_by(other, alice, "sub-2")
    signed_in_by(gone, alice)

    gone.delete()

    sign_in.refresh_from_db()
    assert sign_in.ended_at is None


def test_other_changes_end_no_sign_in(alice: User) -> None:
    upstream = UpstreamFactory()
    sign_in = signed_in_by(upstream, alice)

    Upstream.objects.update(enabled=True, name="Another name")
    Identity.objects.update(last_used_at=timezone.now())

    sign_in.refresh_from_db()
    assert sign_in.ended_at is None


def test_a_secret_is_encrypted_at_rest_and_shown_nowhere(db: None) -> None:
    upstream = Upstream.objects.get(pk=UpstreamFactory().pk)

    assert SECRET not in stored(upstream)
    assert SECRET not in f"{upstream.client_secret!s}{upstream.client_secret!r}"
    assert upstream.client_secret.reveal() == SECRET


def test_secrets_move_to_a_new_key(db: None, settings: Any) -> None:
    upstream = UpstreamFactory()
    old = settings.IKD_ENCRYPTION_KEYS
    settings.IKD_ENCRYPTION_KEYS = ["n" * 40, *old]

    call_command("reencrypt", stdout=StringIO())

    settings.IKD_ENCRYPTION_KEYS = ["n" * 40]
    assert Upstream.objects.get(pk=upstream.pk).client_secret.reveal() == SECRET


def test_a_wrong_key_is_reported_and_rows_can_still_be_read(db: None, settings: Any) -> None:
    upstream = UpstreamFactory()
    settings.IKD_ENCRYPTION_KEYS = ["w" * 40]
    errors = StringIO()

    read = Upstream.objects.get(pk=upstream.pk)
    call_command("reencrypt", stdout=StringIO(), stderr=errors)

    assert "1 cannot be decrypted" in errors.getvalue()
    with pytest.raises(Undecryptable, match="IKD_ENCRYPTION_KEYS"):
        read.client_secret.reveal()


def test_a_short_key_is_reported_by_the_system_checks(settings: Any) -> None:
    settings.IKD_ENCRYPTION_KEYS = ["short"]

    assert [error.id for error in check_encryption_keys()] == ["accounts.E002"]


def test_at_most_one_provider_is_the_default(db: None) -> None:
    UpstreamFactory(is_default=True)

    with pytest.raises(IntegrityError):
        UpstreamFactory(is_default=True)


WRONG: dict[str, dict[str, Any]] = {
    "no issuer": {"issuer": ""},
    "no client id": {"client_id": ""},
    "http outside": {"issuer": "http://id.example.com"},
    "user info": {"issuer": "https://me:pw@id.example.com"},
    "query": {"issuer": "https://id.example.com?x=1"},
    "fragment": {"issuer": "https://id.example.com#x"},
    "another scheme": {"issuer": "file:///etc/passwd", "allow_private": True},
    "no host": {"issuer": "https://"},
    "wrong port": {"issuer": "https://id.example.com:99999"},
    "no openid": {"scopes": "email"},
    "domain with a wildcard": {"trusted_email_domains": "*.example.com"},
    "machines without audience": {"trusted_for_machines": True},
    "CAS without server": {"kind": "cas"},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_a_provider_that_cannot_work_is_refused(db: None, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UpstreamFactory.build(**fields).full_clean()


def test_a_provider_with_users_cannot_change_its_issuer(alice: User) -> None:
    upstream = UpstreamFactory()
    signed_in_by(upstream, alice)
    upstream.issuer = "https://other.example.com"

    with pytest.raises(ValidationError, match="Add another identity provider"):
        upstream.full_clean()
