"""Sign-ins by any provider: finding, linking and creating the user.

Users are identified by (upstream, subject) alone. No existing account is opened by a name, or by an address
that neither the portal nor a trusted provider has verified.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import EmailAddress, Login
from django.conf import settings
from django.contrib.auth import logout
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models.functions import Least
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.backends import account_named
from accounts.email_addresses import is_address_taken
from accounts.look_alikes import is_disguised, skeleton
from accounts.models import ClaimMapping, Identity, Upstream, UpstreamSession, User
from accounts.own_events import record_own
from accounts.privilege import privileged
from accounts.requests import sign_in_of_request
from accounts.upstreams.claim_texts import readable
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.groups import update_groups
from accounts.usernames import is_misleading
from authgate.audit import record
from authgate.encryption import Secret, Undecryptable
from authgate.models import SignIn

SEALED_ASSERTION = "upstream_arrival"
LONGEST_USERNAME = 100
TRIES = 5
"""After each failure the next try sees what concurrent sign-ins have written."""

_NOT_IN_NAMES = re.compile(r"[^\w.+-]")


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a provider asserts about a user. `methods` and `context` are amr and acr."""

    subject: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    sid: str = ""
    ticket_digest: str = ""
    id_token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_at: datetime | None = None
    methods: tuple[str, ...] = ()
    context: str = ""


# ---- letting in -------------------------------------------------------------------------------------------


def sign_in_by_provider(
    request: HttpRequest, upstream: Upstream, assertion: Assertion, target: str | None
) -> HttpResponse:
    """Sign in the user of an assertion, in the same steps as with a password. Raises ProviderError."""
    user = _user_after_races(upstream, assertion)
    with transaction.atomic():
        request.session.set_expiry(0)
        request.session[SEALED_ASSERTION] = _sealed(upstream, user, assertion)
        record_authentication(request, user, method="upstream", provider=upstream.slug)
        # The user keeps their password. Only the method of this sign-in differs.
        user.backend = settings.AUTHENTICATION_BACKENDS[0]
        try:
            response: HttpResponse = perform_login(request, Login(user=user, redirect_url=target))
        except ProviderError:
            # The session's contents must not outlive the failed sign-in.
            logout(request)
            raise
    request.session.set_expiry(0)
    return response


def _user_after_races(upstream: Upstream, assertion: Assertion) -> User:
    """Return the user. Try again if a concurrent sign-in takes the subject or the address."""
    for _ in range(TRIES):
        try:
            with transaction.atomic():
                return find_or_create_user(upstream, assertion)
        except IntegrityError:
            continue
    raise ProviderError("others arrive with the same subject or address all the time", ErrorPage.UNAVAILABLE)


def _sealed(upstream: Upstream, user: User, assertion: Assertion) -> str:
    """Return what the sign-in's row will store, encrypted, while the second factor is pending."""
    kept = {
        "upstream": upstream.pk,
        "user": user.pk,
        "subject": assertion.subject,
        "sid": assertion.sid,
        "ticket_digest": assertion.ticket_digest,
        "id_token": assertion.id_token,
        "access_token": assertion.access_token,
        "refresh_token": assertion.refresh_token,
        "expires_at": assertion.expires_at.isoformat() if assertion.expires_at else None,
        "methods": assertion.methods,
        "context": assertion.context,
        "has_second_factor": has_second_factor(upstream, assertion),
    }
    return Secret.of(json.dumps(kept)).token


def _unseal(sealed: str) -> dict[str, Any] | None:
    try:
        return cast(dict[str, Any], json.loads(Secret(sealed).reveal()))
    except Undecryptable:
        return None


def is_identity_valid(request: HttpRequest, user: User) -> bool:
    """Return whether the identity of the first step, if any, is still linked and enabled."""
    sealed = request.session.get(SEALED_ASSERTION)
    if sealed is None:
        return True
    kept = _unseal(sealed)
    if kept is None:
        return False
    known = Identity.objects.filter(upstream=kept["upstream"], subject=kept["subject"], user=user)
    return kept["user"] != user.pk or known.filter(upstream__enabled=True).exists()


def store_provider_session(request: HttpRequest, user: User) -> None:
    """Store what the provider asserted with the sign-in that has just begun. Raises ProviderError."""
    sealed = request.session.pop(SEALED_ASSERTION, None)
    sign_in = sign_in_of_request(request)
    if sealed is None or sign_in is None:
        return
    kept = _unseal(sealed)
    if kept is None:
        raise ProviderError("what the provider said cannot be read any more", ErrorPage.UNAVAILABLE)
    if kept.pop("user") != user.pk:
        return
    with transaction.atomic():
        _create_provider_session(sign_in, kept.pop("upstream"), kept)


def _create_provider_session(sign_in: SignIn, upstream_id: int, kept: dict[str, Any]) -> None:
    """Create the row. Provider and identity are locked, so neither can be deleted meanwhile."""
    locked = Upstream.objects.select_for_update(no_key=True).order_by()
    upstream = locked.filter(pk=upstream_id, enabled=True).first()
    identities = Identity.objects.select_for_update(no_key=True).order_by()
    known = identities.filter(upstream=upstream_id, subject=kept["subject"], user=sign_in.user_id).first()
    if upstream is None or known is None:
        raise ProviderError("the provider or the identity was switched off meanwhile", ErrorPage.REFUSED)
    expires_at = kept.pop("expires_at")
    UpstreamSession.objects.create(
        sign_in=sign_in,
        upstream=upstream,
        checked_at=timezone.now(),
        expires_at=datetime.fromisoformat(expires_at) if expires_at else None,
        **kept,
    )
    if kept["has_second_factor"]:
        _count_as_second_factor(sign_in)
    if upstream.max_lifetime:
        latest = timezone.now() + timedelta(seconds=upstream.max_lifetime)
        SignIn.objects.filter(pk=sign_in.pk).update(expires_at=Least("expires_at", latest))


def _count_as_second_factor(sign_in: SignIn) -> None:
    """Accept the provider's second factor as one of the portal's, as the administrator configured."""
    sign_in.methods = [*sign_in.methods, "upstream_second_factor"]
    sign_in.second_factor_at = timezone.now()
    sign_in.save(update_fields=["methods", "second_factor_at"])


def has_second_factor(upstream: Upstream, assertion: Assertion) -> bool:
    counted = set(upstream.second_factor_values.split())
    return bool(counted & {*assertion.methods, assertion.context})


# ---- who it is --------------------------------------------------------------------------------------------


def find_or_create_user(upstream: Upstream, assertion: Assertion) -> User:
    """Return the user of an assertion, linked or created as the provider's settings allow.

    Raises ProviderError.
    """
    known = (
        Identity.objects.select_related("user")
        .filter(upstream=upstream, subject=assertion.subject)
        .order_by()
        .first()
    )
    user = known.user if known else _linked_by_address(upstream, assertion)
    is_new = user is None
    if user is None:
        user = _create_user(upstream, assertion)
    if not user.is_active:
        raise ProviderError("the user is disabled", ErrorPage.REFUSED)
    identity, _ = Identity.objects.get_or_create(
        upstream=upstream, subject=assertion.subject, defaults={"user": user}
    )
    if identity.user_id != user.pk:
        raise IntegrityError("the subject was linked to another user at this moment")
    Identity.objects.filter(pk=identity.pk).update(last_used_at=timezone.now())
    _update_fields(upstream, user, assertion, is_new=is_new)
    update_groups(upstream, user, assertion.claims)
    return user


def verified_address(upstream: Upstream, assertion: Assertion) -> str | None:
    """Return the address that the provider has verified, if its domain is trusted here.

    `email_verified` is about the claim `email` alone (OpenID Connect Core, section 5.1). Users may have typed
    any other mapped claim themselves. CAS has no such claim, so its trusted domains apply to every claim. If
    all addresses of a provider are trusted, an address counts unless the provider says that it is not
    verified.
    """
    claim = _claim_for(upstream, ClaimMapping.Field.EMAIL) or "email"
    verified = assertion.claims.get("email_verified")
    if upstream.trusts_every_address:
        verified = verified in (True, None) or (upstream.is_oidc and claim != "email")
    elif upstream.is_oidc and claim != "email":
        return None
    text = assertion.claims.get(claim)
    # Validated before folding: the Kelvin sign would become a k, and the address another user's.
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        return None
    if verified is not True:
        return None
    address = text.strip().lower()
    try:
        validate_email(address)
    except ValidationError:
        return None
    return address if upstream.trusts_address(address) else None


def _linked_by_address(upstream: Upstream, assertion: Assertion) -> User | None:
    """Return the user who has the provider's address, if both sides verified it.

    Raises ProviderError for a user with power in the administration: such accounts are linked by hand.
    """
    address = verified_address(upstream, assertion)
    if upstream.linking != Upstream.Linking.VERIFIED_EMAIL or address is None:
        return None
    holders = EmailAddress.objects.filter(email__iexact=address, verified=True).values("user")
    users = list(User.objects.filter(pk__in=holders)[:2])
    if len(users) != 1:
        return None
    if privileged(User.objects.filter(pk=users[0].pk)).exists():
        raise ProviderError(
            "accounts with power in the administration are linked while signed in", ErrorPage.REFUSED
        )
    record(
        "identity_linked",
        subject=users[0].username,
        reason="verified address",
        details={"upstream": upstream.slug},
    )
    return users[0]


def _create_user(upstream: Upstream, assertion: Assertion) -> User:
    if not upstream.create_users:
        raise ProviderError(
            "nobody is linked to this subject, and the provider makes no accounts", ErrorPage.REFUSED
        )
    for username in free_usernames(upstream, assertion):
        user = User(username=username)
        user.set_unusable_password()
        try:
            with transaction.atomic():
                user.save()
        except IntegrityError:
            continue  # a concurrent sign-in created a user with this name
        record("user_made", subject=user.username, details={"upstream": upstream.slug})
        return user
    raise ProviderError("no free name was found for a new account")


def free_usernames(upstream: Upstream, assertion: Assertion) -> Iterator[str]:
    """Yield free names for a new account, similar to the provider's name for the user.

    They follow the rules for names that users choose. They have no at sign, because such a name could pass
    for another user's address, and no word of power.
    """
    claim = _claim_for(upstream, ClaimMapping.Field.USERNAME)
    claims = [assertion.claims.get(name) for name in ([claim] if claim else ["preferred_username", "email"])]
    text = next((value for value in claims if isinstance(value, str) and value.strip()), assertion.subject)
    name = unicodedata.normalize("NFKC", text).strip().partition("@")[0]
    name = _NOT_IN_NAMES.sub("-", name)[:LONGEST_USERNAME].strip("-.")
    if is_disguised(name):
        name = skeleton(name)
    if not _is_allowed(name):
        name = "person"
    taken = {
        taken.lower()
        for taken in User.objects.filter(username__istartswith=name).values_list("username", flat=True)
    }
    for candidate in (name, *(f"{name}-{number}" for number in range(2, 1000))):
        if candidate.lower() in taken or account_named(candidate) is not None:
            continue
        if not User.objects.look_alikes(candidate).exists():
            yield candidate


def _is_allowed(username: str) -> bool:
    try:
        User._meta.get_field("username").run_validators(username)
    except ValidationError:
        return False
    return bool(username) and not is_misleading(username)


def _claim_for(upstream: Upstream, name: str) -> str | None:
    mappings = {mapping.field: mapping.claim for mapping in upstream.claim_mappings.all()}
    return mappings.get(name)


# ---- fields -----------------------------------------------------------------------------------------------


def _update_fields(upstream: Upstream, user: User, assertion: Assertion, *, is_new: bool) -> None:
    """Fill the fields of a new account. For an older one, fill mapped fields and a missing address."""
    claim = _claim_for(upstream, ClaimMapping.Field.DISPLAY_NAME)
    name = readable(assertion.claims.get(claim or "name"), 150)
    if (claim or is_new) and name and name != user.display_name:
        user.display_name = name
        user.save(update_fields=["display_name"])
    if is_new or not user.email or _claim_for(upstream, ClaimMapping.Field.EMAIL):
        _update_address(upstream, user, assertion)


def _update_address(upstream: Upstream, user: User, assertion: Assertion) -> None:
    """Set a verified address as the user's own, unless another user has it.

    Users with power in the admin keep their address: its owner may set their password.
    """
    address = verified_address(upstream, assertion)
    if address is None or address == user.email.lower() or is_address_taken(address, except_by=user.pk):
        return
    if privileged(User.objects.filter(pk=user.pk)).exists():
        return
    EmailAddress.objects.filter(user=user, primary=True).update(primary=False)
    EmailAddress.objects.update_or_create(
        user=user, email=address, defaults={"verified": True, "primary": True}
    )
    user.email = address
    user.save(update_fields=["email"])


# ---- linking ----------------------------------------------------------------------------------------------


def link(request: HttpRequest, upstream: Upstream, assertion: Assertion, user: User) -> None:
    """Link an identity to the signed-in user. Raises ProviderError if another user has it."""
    identity, is_new = Identity.objects.get_or_create(
        upstream=upstream, subject=assertion.subject, defaults={"user": user}
    )
    if identity.user_id != user.pk:
        raise ProviderError("the identity belongs to another account", ErrorPage.REFUSED)
    if is_new:
        record_own("identity_linked", request, user, {"upstream": upstream.slug})


def is_only_sign_in_method(identity: Identity) -> bool:
    """Return whether the user could not sign in without this identity."""
    if identity.user.has_usable_password():
        return False
    others = Identity.objects.filter(user=identity.user, upstream__enabled=True).exclude(pk=identity.pk)
    return not others.exists()
