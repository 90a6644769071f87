"""Between the first step and the second factor: what was right at the first must be right at the last."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from accounts.models import User
from accounts.upstreams.linking import is_identity_valid

PROOF = "password_given"


def note_password(request: HttpRequest, user: User) -> None:
    """Note which password it was, in a form that the session holds of everybody who is signed in."""
    request.session[PROOF] = user.get_session_auth_hash()


def is_still_valid(request: HttpRequest, user: User) -> bool:
    """Return whether neither the password was changed since, nor the provider or the person disabled."""
    proof = request.session.pop(PROOF, None)
    if proof is not None and not constant_time_compare(proof, user.get_session_auth_hash()):
        return False
    return user.is_active and is_identity_valid(request, user)
