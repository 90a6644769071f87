"""Locking an account by the link in a mail about it. The link needs no sign-in, and opens nothing."""

from __future__ import annotations

from datetime import timedelta

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import lock_links, mails
from accounts.machines.api_tokens import end_tokens
from accounts.models import ApiToken, Identity, LockLink, User
from authgate.audit import record
from authgate.models import AuditEvent
from authgate.peer import client_address
from authgate.sign_ins import end_sign_ins

RECENT = timedelta(days=7)
"""A way into the account that is younger may be the attacker's. An administrator then has to look."""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def lock_account(request: HttpRequest, token: str) -> HttpResponse:
    """Lock an account by a link. Opening the link locks nothing, because mail scanners open links."""
    link = lock_links.link_of(token)
    if link is None:
        response = render(request, "accounts/lock_spent.html", status=404)
    elif request.method != "POST":
        response = render(request, "accounts/lock.html", {"username": link.user.username})
    elif lock(link, client_address(request)):
        response = redirect("account_locked")
    else:
        response = render(request, "accounts/lock_spent.html", status=404)
    # Style sheets must not get the token as Referer. With "no-referrer", the form would lack its origin.
    response["Referrer-Policy"] = "strict-origin"
    return response


@never_cache
@require_safe
def account_locked(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/locked.html")


def lock(link: LockLink, address: str | None) -> bool:
    """Use a link: end the user's sign-ins and API tokens, and disable the user until a new password.

    Return False if another request used the link. A user whom an administrator disabled stays so: no mail
    opens that account. The last superuser is locked, too.
    """
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=link.user_id)
        if not lock_links.use(link):
            return False
        ended = {
            "sign_ins": end_sign_ins(user.sign_ins.all()),
            "api_tokens": end_tokens(ApiToken.objects.filter(user=user)),
        }
        user.remembered_devices.all().delete()
        if user.is_active or user.locked_at or user.locked_down_at:
            _disable(user, link)
        record("account_locked", subject=user.username, address=address, details=ended)
    _tell(user, link, address)
    return True


def _disable(user: User, link: LockLink) -> None:
    """Disable a user. Links for a new password that were sent before no longer work."""
    is_other = user.locked_at is not None and user.unlock_address != link.email
    needs_administrator = is_other or not user.has_usable_password() or has_new_way_in(user, link)
    user.unlock_address = "" if needs_administrator else link.email
    user.is_active, user.locked_at = False, timezone.now()
    user.save(update_fields=["is_active"])


def has_new_way_in(user: User, link: LockLink) -> bool:
    """Return whether a factor, a provider or an address is so new that the attacker may have added it.

    Each would outlive a new password. The same applies if the mail went to an address that has gone.
    """
    since = link.created_at - RECENT
    addresses = AuditEvent.objects.filter(
        subject=user.username, kind__in=("address_added", "address_changed"), at__gte=since
    )
    return (
        Authenticator.objects.filter(user=user, created_at__gte=since).exists()
        or Identity.objects.filter(user=user, created_at__gte=since).exists()
        or addresses.exists()
        or not EmailAddress.objects.filter(user=user, email__iexact=link.email, verified=True).exists()
    )


def _tell(user: User, link: LockLink, address: str | None) -> None:
    """Send mails to the user and to the administrators."""
    mails.notify(user, "account_locked", address, to=link.email)
    if user.email and user.email != link.email:
        mails.notify(user, "account_locked", address)
    for administrator in User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk):
        mails.notify(administrator, "other_account_locked", address, about=user)
