"""Sign-ins between the first step and the second factor.

Password, identity and user must still be valid at the last step.
"""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from accounts.models import User
from accounts.upstreams.linking import is_identity_valid

PROOF = "password_given"


def note_password(request: HttpRequest, user: User) -> None:
    """Store in the session which password the user entered, as the hash that Django's sessions have."""
    request.session[PROOF] = user.get_session_auth_hash()


def is_still_valid(request: HttpRequest, user: User) -> bool:
    """Return whether the password is unchanged, and user and provider are still active."""
    proof = request.session.pop(PROOF, None)
    if proof is not None and not constant_time_compare(proof, user.get_session_auth_hash()):
        return False
    return user.is_active and is_identity_valid(request, user)
