"""Admin pages that prove a sign-out, for one sign-in and for a user."""

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
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.admin.lockdowns import PROOF_PERMISSIONS
from accounts.models import User
from authgate.admin.audited import is_row_id
from authgate.models import SignIn
from openid.sign_out_proof import ClientLine, Notice, Proof, proof_of_sign_in, proof_of_user

PROBLEMS = {
    "the provider cannot be reached": _("The client cannot be reached."),
    "the provider did not answer in time": _("The client did not answer in time."),
    "the provider's certificate is not valid for its name": _(
        "The client's certificate is not valid for its name."
    ),
    "the provider's name is not known to the DNS": _("The client's name was not found in the DNS."),
    "the provider's name leads inside the network: allow that for it (--allow-private)": _(
        "The client's name points to a private network, which its settings do not allow."
    ),
    "the provider's name leads to an address that is nobody's service": _(
        "The client's name points to an unusable address."
    ),
    "an address of the provider cannot be read": _("The client's logout URI cannot be read."),
    "an address of the provider is not encrypted: http:// is for the inner network only": _(
        "The client's logout URI is not encrypted. http:// is allowed only in private networks."
    ),
    "the provider's answer is larger than any honest one": _("The client's response is too large."),
    "the provider's answer is packed, which was not asked for": _(
        "The client compressed its response, which the portal did not request."
    ),
}
"""Messages about clients in place of the request errors, which speak of providers."""


@never_cache
@require_safe
def sign_in_proof(request: HttpRequest, key: int) -> HttpResponse:
    """Show what one sign-in still gives access to."""
    _require(request, *PROOF_PERMISSIONS)
    sign_in = get_object_or_404(SignIn.objects.select_related("user"), pk=_key(key))
    back = reverse("admin:authgate_signin_change", args=[sign_in.pk])
    return _page(request, sign_in, sign_in.user.username, proof_of_sign_in(sign_in), back)


@never_cache
@require_safe
def user_proof(request: HttpRequest, key: int) -> HttpResponse:
    """Show what a user's sign-ins still give access to."""
    _require(request, "accounts.view_user", *PROOF_PERMISSIONS)
    user = get_object_or_404(User, pk=_key(key))
    back = reverse("admin:accounts_user_change", args=[user.pk])
    return _page(request, user, user.username, proof_of_user(user), back)


def _require(request: HttpRequest, *permissions: str) -> None:
    if not request.user.has_perms(permissions):
        raise PermissionDenied


def _key(key: int) -> int:
    return key if is_row_id(str(key)) else 0


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
            (line, moment_words(line.dead_at) if line.dead_at else "", notice_words(line))
            for line in proof.clients
        ],
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/sign_out_proof.html", context)


def moment_words(moment: Any) -> str:
    """Return a date and time to the second, because Django's formats leave out seconds."""
    return date_format(timezone.localtime(moment), gettext("j F Y, H:i:s e"))


def notice_words(line: ClientLine) -> str:
    """Return one or two sentences: whether a client was notified, and what happens next."""
    if line.notice is Notice.LIVE:
        return gettext("Its session has not ended.")
    if line.notice is Notice.CONFIRMED:
        return gettext("It confirmed after %(ms)d ms.") % {"ms": line.milliseconds}
    if line.notice is Notice.WAITING:
        return gettext("The portal is notifying it now.")
    if line.notice is Notice.TRYING and line.delivery is not None:
        text = gettext("Attempt %(tries)d failed. The next one is at %(at)s.")
        text %= {"tries": line.delivery.tries, "at": moment_words(line.delivery.due_at)}
        return f"{problem_words(line.delivery.answer)} {text}"
    if line.delivery is not None:
        text = gettext("The portal could not notify it.")
        text = f"{problem_words(line.delivery.answer)} {text}"
    else:
        text = gettext("The portal cannot notify it, because it had no back-channel logout URI.")
    return f"{text} {_end_words(line)}"


def problem_words(answer: str) -> str:
    """Return one sentence: why a client did not confirm. `answer` is the field of a LogoutDelivery."""
    if answer in PROBLEMS:
        return str(PROBLEMS[answer])
    return gettext("The client answered with %(answer)s.") % {"answer": answer}


def _end_words(line: ClientLine) -> str:
    if line.tokens_end_at is None:
        return gettext("All its access tokens have expired.")
    text = gettext("Its access token expires at %(at)s. The portal refuses it already.")
    return text % {"at": moment_words(line.tokens_end_at)}
