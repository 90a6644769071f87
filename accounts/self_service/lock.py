"""The lock of an account by the link in a mail about it. The link needs no sign-in, and gives no access."""

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
"""If a way into the account is newer, an attacker may have added it, and an administrator has to check."""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def lock_account(request: HttpRequest, token: str) -> HttpResponse:
    """Lock an account by a link. Only the form locks it, because mail scanners open links."""
    link = lock_links.link_of(token)
    if link is None:
        response = render(request, "accounts/lock_spent.html", status=404)
    elif request.method != "POST":
        response = render(request, "accounts/lock.html", {"username": link.user.username})
    elif lock(link, client_address(request)):
        response = redirect("account_locked")
    else:
        response = render(request, "accounts/lock_spent.html", status=404)
    # Requests for style sheets must not send the token as Referer. With "no-referrer", browsers would send
    # the form without an origin, and the portal would refuse it.
    response["Referrer-Policy"] = "strict-origin"
    return response


@never_cache
@require_safe
def account_locked(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/locked.html")


def lock(link: LockLink, address: str | None) -> bool:
    """Use a link: end the user's sign-ins and API tokens, and disable the user until a new password is set.

    Return False if another request used the link. If an administrator disabled the user, no mail can enable
    the account again. Also lock the last superuser.
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
    _notify(user, link, address)
    return True


def _disable(user: User, link: LockLink) -> None:
    """Disable a user. Earlier links for a new password no longer work."""
    is_other = user.locked_at is not None and user.unlock_address != link.email
    needs_administrator = is_other or not user.has_usable_password() or has_new_way_in(user, link)
    user.unlock_address = "" if needs_administrator else link.email
    user.is_active, user.locked_at = False, timezone.now()
    user.save(update_fields=["is_active"])


def has_new_way_in(user: User, link: LockLink) -> bool:
    """Return whether a factor, a provider or an address is so new that an attacker may have added it.

    Each of them would still open the account after a new password. Also return True if the user no longer has
    the address that the mail was sent to.
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


def _notify(user: User, link: LockLink, address: str | None) -> None:
    """Send mails to the user and to the administrators."""
    mails.notify(user, "account_locked", address, to=link.email)
    if user.email and user.email != link.email:
        mails.notify(user, "account_locked", address)
    for administrator in User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk):
        mails.notify(administrator, "other_account_locked", address, about=user)
