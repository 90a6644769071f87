"""The portal's session engine: Django's sessions under SHA-256 of their key.

A reader of the table gains no session: what is stored is no key, and is looked up as none.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.db import DatabaseError, IntegrityError, router, transaction
from django.utils import timezone

from accounts.models import PortalSession
from authgate.models import SignIn
from authgate.sign_ins import end_sign_ins

_KEY = re.compile(r"[A-Za-z0-9_-]{43}")


def digest_of(session_key: str) -> str:
    """Give what the database keeps of a session key."""
    return hashlib.sha256(session_key.encode()).hexdigest()


class SessionStore(SessionBase):
    """Keys are 256 bits from the system's generator; only keys of that form are looked up."""

    @classmethod
    def get_model_class(cls) -> type[PortalSession]:
        """Return the sessions' model, as Django's own database store does."""
        return PortalSession

    @property
    def digest(self) -> str | None:
        """Give the digest of the current key, by which a sign-in names its portal session."""
        return digest_of(self.session_key) if self.session_key else None

    def _validate_session_key(self, key: Any) -> bool:
        return isinstance(key, str) and _KEY.fullmatch(key) is not None

    def _get_new_session_key(self) -> str:
        return secrets.token_urlsafe(32)

    def exists(self, session_key: str) -> bool:
        return PortalSession.objects.filter(session_key=digest_of(session_key)).exists()

    def load(self) -> dict[str, Any]:
        row = PortalSession.objects.filter(session_key=self.digest, expire_date__gt=timezone.now()).first()
        if row is None:
            self._session_key = None
            return {}
        return self.decode(row.session_data)

    def create(self) -> None:
        self._session_key = self._get_new_session_key()
        self.save(must_create=True)
        self.modified = True

    def save(self, must_create: bool = False) -> None:
        """Save the data. Raises UpdateError if the session is gone meanwhile, CreateError for a taken key."""
        if self.session_key is None:
            return self.create()
        data = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        row = PortalSession(
            session_key=digest_of(self.session_key),
            session_data=self.encode(data),
            expire_date=self.get_expiry_date(),
        )
        using = router.db_for_write(PortalSession, instance=row)
        try:
            with transaction.atomic(using=using):
                row.save(force_insert=must_create, force_update=not must_create, using=using)
        except IntegrityError as error:
            raise (CreateError if must_create else UpdateError) from error
        except DatabaseError as error:
            # Django raises the plain class if there was no row to update; others say nothing of the session.
            if must_create or type(error) is not DatabaseError:
                raise
            raise UpdateError from error
        return None

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key:
            PortalSession.objects.filter(session_key=digest_of(key)).delete()

    def flush(self) -> None:
        """Forget the data and the key, and end the sign-in that hangs on it."""
        if self.digest:
            end_sign_ins(SignIn.objects.filter(session_digest=self.digest))
        super().flush()

    def cycle_key(self) -> None:
        """Change the key. The sign-in that hangs on the old one goes along: only its key is new."""
        before = self.digest
        super().cycle_key()
        if before:
            SignIn.objects.filter(session_digest=before).update(session_digest=self.digest)

    @classmethod
    def clear_expired(cls) -> None:
        PortalSession.objects.filter(expire_date__lt=timezone.now()).delete()
