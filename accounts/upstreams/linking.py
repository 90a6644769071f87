"""Sign-ins by any provider: how the portal finds, links and creates the user.

Only (upstream, subject) identifies a user. A name never opens an existing account. An address does so only if
both the portal and a trusted provider have verified it.
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
"""Attempts to find or create a user. Each sees what concurrent sign-ins have written before it."""

_NOT_IN_NAMES = re.compile(r"[^\w.+-]")


@dataclass(frozen=True, slots=True)
class Assertion:
    """A provider's assertion about a user. `methods` and `context` are the claims amr and acr."""

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


# ---- the sign-in ------------------------------------------------------------------------------------------


def sign_in_by_provider(
    request: HttpRequest, upstream: Upstream, assertion: Assertion, target: str | None
) -> HttpResponse:
    """Sign in the user of an assertion, in the same steps as with a password. Raises ProviderError."""
    user = _user_with_retries(upstream, assertion)
    with transaction.atomic():
        request.session.set_expiry(0)
        request.session[SEALED_ASSERTION] = _seal(upstream, user, assertion)
        record_authentication(request, user, method="upstream", provider=upstream.slug)
        # Django requires a backend. The user can still sign in with a password.
        user.backend = settings.AUTHENTICATION_BACKENDS[0]
        try:
            response: HttpResponse = perform_login(request, Login(user=user, redirect_url=target))
        except ProviderError:
            # Delete the contents of the session, because the sign-in failed.
            logout(request)
            raise
    request.session.set_expiry(0)
    return response


def _user_with_retries(upstream: Upstream, assertion: Assertion) -> User:
    """Find or create the user. Try again if a concurrent sign-in has just taken the subject or address."""
    for _ in range(TRIES):
        try:
            with transaction.atomic():
                return find_or_create_user(upstream, assertion)
        except IntegrityError:
            continue
    raise ProviderError("others arrive with the same subject or address all the time", ErrorPage.UNAVAILABLE)


def _seal(upstream: Upstream, user: User, assertion: Assertion) -> str:
    """Return the encrypted values for the provider session, to keep while the second factor is pending."""
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
    """Return whether the identity of the first step, if any, is still linked, and its provider enabled."""
    sealed = request.session.get(SEALED_ASSERTION)
    if sealed is None:
        return True
    kept = _unseal(sealed)
    if kept is None:
        return False
    known = Identity.objects.filter(upstream=kept["upstream"], subject=kept["subject"], user=user)
    return kept["user"] != user.pk or known.filter(upstream__enabled=True).exists()


def store_provider_session(request: HttpRequest, user: User) -> None:
    """Store the provider session of the sign-in that has just begun. Raises ProviderError."""
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
    """Create the row. Lock provider and identity, so that nobody can delete them meanwhile."""
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
    """Accept the provider's second factor as one of the portal's. The administrator configured this."""
    sign_in.methods = [*sign_in.methods, "upstream_second_factor"]
    sign_in.second_factor_at = timezone.now()
    sign_in.save(update_fields=["methods", "second_factor_at"])


def has_second_factor(upstream: Upstream, assertion: Assertion) -> bool:
    counted = set(upstream.second_factor_values.split())
    return bool(counted & {*assertion.methods, assertion.context})


# ---- finding and creating the user ------------------------------------------------------------------------


def find_or_create_user(upstream: Upstream, assertion: Assertion) -> User:
    """Return the user of an assertion. Link or create the user if the provider's settings allow it.

    Raises ProviderError if they do not, or if the user is disabled.
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
    """Return the address that the provider has verified, if the provider is trusted for its domain, or None.

    `email_verified` is only about the claim `email` (OpenID Connect Core, section 5.1). If another claim is
    mapped, users may have typed its value themselves. CAS has no such claim, so its trusted domains apply to
    any attribute. If all addresses of a provider are trusted, an address counts unless the provider says that
    it is not verified.
    """
    claim = _claim_for(upstream, ClaimMapping.Field.EMAIL) or "email"
    verified = assertion.claims.get("email_verified")
    if upstream.trusts_every_address:
        verified = verified in (True, None) or (upstream.is_oidc and claim != "email")
    elif upstream.is_oidc and claim != "email":
        return None
    text = assertion.claims.get(claim)
    # Validate before the change to lower case. It turns a Kelvin sign into a k, and so into another address.
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
    """Return the user who has the provider's address, if both portal and provider verified it.

    Raises ProviderError for a user with power in the administration. Such users link identities only while
    signed in.
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

    They follow the rules for names that users choose. They have no at sign, because such a name could look
    like another user's address. They do not suggest power, such as `admin`.
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
    """Fill the fields of a new account. For an older one, fill only mapped fields and a missing address."""
    claim = _claim_for(upstream, ClaimMapping.Field.DISPLAY_NAME)
    name = readable(assertion.claims.get(claim or "name"), 150)
    if (claim or is_new) and name and name != user.display_name:
        user.display_name = name
        user.save(update_fields=["display_name"])
    if is_new or not user.email or _claim_for(upstream, ClaimMapping.Field.EMAIL):
        _update_address(upstream, user, assertion)


def _update_address(upstream: Upstream, user: User, assertion: Assertion) -> None:
    """Set a verified address as the user's own, unless another user has it.

    Do not change the address of users with power in the admin, because its owner can reset their password.
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
