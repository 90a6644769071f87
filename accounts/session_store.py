"""The portal's session engine: Django's, with the SHA-256 of a session key in place of the key.

An attacker who reads the table gains no session. A stored digest is not a key, and the store does not accept
it as one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import DatabaseError, IntegrityError
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import PortalSession
from authgate.models import SignIn
from authgate.prepared import PreparedLookup, column_names, instance_of
from authgate.sign_ins import end_sign_ins

_KEY = re.compile(r"[A-Za-z0-9_-]{43}")


def digest_of(session_key: str) -> str:
    """Return the digest under which the database stores a session."""
    return hashlib.sha256(session_key.encode()).hexdigest()


def _live(digest: str, now: datetime) -> QuerySet[PortalSession, tuple[Any, ...]]:
    rows = PortalSession.objects.filter(session_key=digest, expire_date__gt=now)
    return rows.values_list(*column_names(PortalSession))


_LIVE = PreparedLookup(_live, str, datetime)


class SessionStore(db.SessionStore):
    """Sessions with keys of 256 bits from the system's generator. The store looks up no other keys."""

    @property
    def digest(self) -> str | None:
        """Return the digest of the current key. A sign-in stores it as a reference to its session."""
        return digest_of(self.session_key) if self.session_key else None

    # ---- Django's hooks ----

    @classmethod
    def get_model_class(cls) -> type[PortalSession]:
        return PortalSession

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = super().create_model_instance(data)
        row.session_key = digest_of(row.session_key)
        return row

    def _validate_session_key(self, key: Any) -> bool:
        return isinstance(key, str) and _KEY.fullmatch(key) is not None

    def _get_new_session_key(self) -> str:
        return secrets.token_urlsafe(32)

    def _get_session_from_db(self) -> PortalSession | None:
        rows = _LIVE.rows(self.digest, timezone.now()) if self.digest else []
        if not rows:
            self._session_key = None
            return None
        return instance_of(PortalSession, rows[0])

    # ---- the store's own methods ----

    def exists(self, session_key: str) -> bool:
        return super().exists(digest_of(session_key))

    def save(self, must_create: bool = False) -> None:
        """Save the data. Raises UpdateError if the session has been deleted, and the database's own errors.

        Django's store would also raise UpdateError if the database is locked or full.
        """
        try:
            super().save(must_create)
        except IntegrityError as error:
            raise UpdateError from error
        except UpdateError as error:
            cause = error.__context__
            if isinstance(cause, DatabaseError) and type(cause) is not DatabaseError:
                raise cause from None
            raise

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key:
            PortalSession.objects.filter(session_key=digest_of(key)).delete()

    def flush(self) -> None:
        """Remove the data and the key, and end the sign-in of this session."""
        if self.digest:
            end_sign_ins(SignIn.objects.filter(session_digest=self.digest))
        super().flush()

    def cycle_key(self) -> None:
        """Change the key of this session, and the digest that its sign-in stores."""
        before = self.digest
        super().cycle_key()
        if before:
            SignIn.objects.filter(session_digest=before).update(session_digest=self.digest)

    # ---- the same for asynchronous callers ----

    # These call the methods above. Those of Django's database store would write the key into the table.
    aexists, aload = SessionBase.aexists, SessionBase.aload
    acreate, asave, adelete = SessionBase.acreate, SessionBase.asave, SessionBase.adelete

    async def aflush(self) -> None:
        await sync_to_async(self.flush)()

    async def acycle_key(self) -> None:
        await sync_to_async(self.cycle_key)()
