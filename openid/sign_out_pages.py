"""The proof of a sign-out in the admin, for one sign-in and for a user."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.admin.lockdowns import PROOF_PERMISSIONS
from accounts.models import User
from authgate.admin.audited import is_number_of_a_row
from authgate.models import SignIn
from openid.sign_out_proof import ClientLine, Proof, Told, proof_of_sign_in, proof_of_user


@never_cache
@require_safe
def sign_in_proof(request: HttpRequest, key: int) -> HttpResponse:
    """Show what one sign-in still opens."""
    _require(request, *PROOF_PERMISSIONS)
    sign_in = get_object_or_404(SignIn.objects.select_related("user"), pk=_key(key))
    back = reverse("admin:authgate_signin_change", args=[sign_in.pk])
    return _page(request, sign_in, sign_in.user.username, proof_of_sign_in(sign_in), back)


@never_cache
@require_safe
def user_proof(request: HttpRequest, key: int) -> HttpResponse:
    """Show what the sign-ins of a user still open."""
    _require(request, "accounts.view_user", *PROOF_PERMISSIONS)
    user = get_object_or_404(User, pk=_key(key))
    back = reverse("admin:accounts_user_change", args=[user.pk])
    return _page(request, user, user.username, proof_of_user(user), back)


def _require(request: HttpRequest, *permissions: str) -> None:
    if not request.user.has_perms(permissions):
        raise PermissionDenied


def _key(key: int) -> int:
    return key if is_number_of_a_row(str(key)) else 0


def _page(request: HttpRequest, of: Model, username: str, proof: Proof, back: str) -> HttpResponse:
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": gettext("Proof of sign-out"),
        "opts": of._meta,
        "of": of,
        "username": username,
        "back": back,
        "proof": proof,
        "at": moment_words(proof.at),
        "gates": [(line, moment_words(line.closed_at) if line.closed_at else "") for line in proof.gates],
        "clients": [
            (line, moment_words(line.dead_at) if line.dead_at else "", told_words(line))
            for line in proof.clients
        ],
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/sign_out_proof.html", context)


def moment_words(moment: Any) -> str:
    """Return a moment to the second, which the formats of languages leave out."""
    return date_format(timezone.localtime(moment), gettext("j F Y, H:i:s e"))


def told_words(line: ClientLine) -> str:
    """Return in one or two sentences whether a client knows, and what happens next."""
    if line.told is Told.LIVE:
        return gettext("Its session has not ended.")
    if line.told is Told.CONFIRMED:
        return gettext("It confirmed after %(ms)d ms.") % {"ms": line.milliseconds}
    if line.told is Told.WAITING:
        return gettext("The portal is notifying it now.")
    if line.told is Told.TRYING and line.delivery is not None:
        text = gettext("Attempt %(tries)d failed (%(answer)s). The next one is at %(at)s.")
        at = moment_words(line.delivery.due_at)
        return text % {"tries": line.delivery.tries, "answer": line.delivery.answer, "at": at}
    if line.delivery is not None:
        text = gettext("The portal could not notify it (%(answer)s).") % {"answer": line.delivery.answer}
    else:
        text = gettext("The portal cannot notify it, because it had no back-channel logout URI.")
    return f"{text} {_end_words(line)}"


def _end_words(line: ClientLine) -> str:
    if line.tokens_end_at is None:
        return gettext("All its access tokens have expired.")
    text = gettext("Its access token expires at %(at)s. The portal refuses it already.")
    return text % {"at": moment_words(line.tokens_end_at)}
