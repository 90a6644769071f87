"""Sign-ins between the first step and the second factor.

What was valid at the first step must still be valid at the last.
"""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from accounts.models import User
from accounts.upstreams.linking import is_identity_valid

PROOF = "password_given"


def note_password(request: HttpRequest, user: User) -> None:
    """Note which password was given, as the hash that every signed-in session has."""
    request.session[PROOF] = user.get_session_auth_hash()


def is_still_valid(request: HttpRequest, user: User) -> bool:
    """Return whether password, provider and user are the same and still active."""
    proof = request.session.pop(PROOF, None)
    if proof is not None and not constant_time_compare(proof, user.get_session_auth_hash()):
        return False
    return user.is_active and is_identity_valid(request, user)
