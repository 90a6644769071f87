"""The pages to sign in by a provider, and the page on which users link and unlink identities."""

from __future__ import annotations

import logging
import random
import secrets
import time
from urllib.parse import urlencode

from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from django.contrib import messages
from django.db import transaction
from django.db.models import F, QuerySet
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.destinations import destination, redirect_target, with_fragment, with_next
from accounts.factors import has_factor
from accounts.models import Identity, Upstream, User
from accounts.own_events import record_own
from accounts.reauthentication import is_freshly_confirmed
from accounts.requests import Request, SignedInRequest, login_required
from accounts.upstreams import attempts, provider_sign_out, provider_threads
from accounts.upstreams.attempts import Attempt, Purpose
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.event_limits import may_record
from accounts.upstreams.linking import (
    Assertion,
    has_second_factor,
    is_only_sign_in_method,
    link,
    sign_in_by_provider,
)
from accounts.upstreams.protocols import PROTOCOLS
from authgate.audit import record
from authgate.models import SignIn
from authgate.network_limits import network_of
from authgate.peer import client_address, is_turned_away
from authgate.sign_ins import live_sign_ins, note_revocation

log = logging.getLogger("ikd.upstreams")


def enabled_provider(slug: str) -> Upstream:
    return get_object_or_404(Upstream, slug=slug, kind__in=list(PROTOCOLS), enabled=True)


def enabled_providers() -> list[Upstream]:
    """Return the providers that users may choose, with the keys of their icons. One query."""
    found = Upstream.objects.filter(enabled=True, kind__in=list(PROTOCOLS))
    return list(found.annotate(picture_key=F("picture__key")))


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def start(request: Request, slug: str) -> HttpResponse:
    """Redirect the browser to the provider, or to `next` if the user is signed in.

    The parameter `attempt` is the state of a failed attempt. The new attempt leads to the same page. A POST
    sends the page's fragment, so that it appears in no URL and no log.
    """
    upstream = enabled_provider(slug)
    failed, page = _failed_attempt(request, upstream)
    target = redirect_target(page) if failed else destination(request, "next")
    target = with_fragment(target, request.POST.get("fragment", ""))
    if request.user.is_authenticated:
        return HttpResponseRedirect(target or reverse("launcher"))
    return redirect_to_provider(
        request, upstream, Purpose.SIGN_IN, target, tries=failed.tries + 1 if failed else 0
    )


def _failed_attempt(request: Request, upstream: Upstream) -> tuple[Attempt | None, str]:
    """Return the failed attempt before this one, or None, and the page that it leads to."""
    try:
        attempt, own = attempts.read(request, upstream, request.GET.get("attempt", ""))
    except ProviderError:
        return None, ""
    if attempt.purpose is not Purpose.SIGN_IN:
        return None, ""
    return attempt, attempts.page_of(request, attempt, own)


def redirect_to_provider(
    request: Request, upstream: Upstream, purpose: Purpose, target: str | None, *, tries: int = 0
) -> HttpResponse:
    sign_in = request.sign_in.pk if request.sign_in and purpose is not Purpose.SIGN_IN else 0
    state, own, cookie = attempts.begin(request, upstream, purpose, target, sign_in, tries)
    try:
        _require_turn(request)
        url = PROTOCOLS[upstream.kind].sign_in_url(upstream, state, own, purpose)
        # Without an empty fragment, browsers would append this page's fragment to the provider's URL.
        url += "#" if request.headers.get("Sec-Fetch-Mode") == "navigate" else ""
        response = HttpResponse(status=302, headers={"Location": url, "Referrer-Policy": "no-referrer"})
    except ProviderError as error:
        again = _start_url(upstream, state) if purpose is Purpose.SIGN_IN else None
        response = error_page(request, upstream, error, target, again=again)
    attempts.set_cookie(response, cookie)
    return response


def _start_url(upstream: Upstream, state: str) -> str:
    """Return the URL that begins another attempt for the same page."""
    return f"{reverse('upstream_start', args=[upstream.slug])}?{urlencode({'attempt': state})}"


@never_cache
@require_safe
@sensitive_variables()
def callback(request: Request, slug: str) -> HttpResponse:
    """Complete the attempt when the browser comes back from the provider. HEAD changes nothing."""
    upstream = enabled_provider(slug)
    if request.method == "HEAD":
        return HttpResponse(status=204)
    try:
        attempt, own = attempts.read(request, upstream, request.GET.get("state", ""))
    except ProviderError as error:
        return _without_referrer(error_page(request, upstream, error, is_recorded=False))
    target, is_taken = redirect_target(attempts.page_of(request, attempt, own)), False
    try:
        if own is None:
            # If another tab has replaced the cookie, the portal may repeat the attempt. Without a cookie, the
            # link may be an attacker's.
            reason = "the attempt began in another browser, or its cookie is gone"
            raise ProviderError(reason, ErrorPage.STALE, is_retryable=attempts.has_attempt(request))
        _require_turn(request)
        attempts.use(attempt)
        is_taken = True
        began = time.monotonic()
        assertion = PROTOCOLS[upstream.kind].redeem(request, upstream, attempt, own)
        request.provider_time = (upstream.slug, time.monotonic() - began)
        response = _complete(request, upstream, attempt, assertion, target)
    except ProviderError as error:
        response = _failure_response(request, upstream, attempt, error, target, is_taken=is_taken)
    return _without_referrer(response)


def _require_turn(request: Request) -> None:
    """Raise ProviderError if the request waited too long, because others wait for the same provider."""
    if is_turned_away(request):
        raise ProviderError("too many wait for the provider already", ErrorPage.UNAVAILABLE)


def _without_referrer(response: HttpResponse) -> HttpResponse:
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _failure_response(
    request: Request,
    upstream: Upstream,
    attempt: Attempt,
    error: ProviderError,
    target: str | None,
    *,
    is_taken: bool,
) -> HttpResponse:
    """Return the response to a failed attempt: its target, another attempt, or an error page.

    If a browser restores several tabs at once, the user may have signed in by one of them meanwhile.
    """
    again = _start_url(upstream, request.GET["state"])
    if attempt.purpose is not Purpose.SIGN_IN or error.page is ErrorPage.REFUSED:
        return error_page(request, upstream, error, target)
    if request.user.is_authenticated:
        return HttpResponseRedirect(target or reverse("launcher"))
    has_tries = not is_taken or attempt.tries < attempts.TRIES
    has_just_signed_out = provider_sign_out.cookie_name() in request.COOKIES
    if error.is_retryable and has_tries and not has_just_signed_out and attempts.may_retry(attempt):
        if is_taken:
            _let_other_tabs_finish(attempt)
        return HttpResponseRedirect(again)
    return error_page(request, upstream, error, target, again=again)


def _let_other_tabs_finish(attempt: Attempt) -> None:
    """Wait a moment, longer at each attempt, so that tabs do not invalidate each other's tickets."""
    with provider_threads.waiting():
        time.sleep(random.uniform(0.2, 0.4) * 2**attempt.tries)  # noqa: S311, no secret


def _complete(
    request: Request, upstream: Upstream, attempt: Attempt, assertion: Assertion, target: str | None
) -> HttpResponse:
    if attempt.purpose is Purpose.SIGN_IN:
        _require_enabled(Upstream.objects.all(), upstream)
        return sign_in_by_provider(request, upstream, assertion, target)
    with transaction.atomic():
        # Lock both rows, as a sign-in does: neither the provider nor the sign-in may end meanwhile.
        _require_enabled(Upstream.objects.select_for_update(no_key=True), upstream)
        sign_in = _still_signed_in(request, attempt)
        if attempt.purpose is Purpose.LINK:
            link(request, upstream, assertion, sign_in.user)
            messages.success(request, _("%(name)s was linked to your account.") % {"name": upstream.name})
            return redirect("upstream_identities")
        _confirm_with(request, upstream, assertion, sign_in.user)
    return HttpResponseRedirect(target or reverse("upstream_identities"))


def _require_enabled(upstreams: QuerySet[Upstream], upstream: Upstream) -> None:
    """Raise ProviderError if an administrator disabled the provider meanwhile."""
    if upstreams.order_by().filter(pk=upstream.pk, enabled=True).first() is None:
        raise ProviderError("the provider was switched off meanwhile", ErrorPage.REFUSED)


def _still_signed_in(request: Request, attempt: Attempt) -> SignIn:
    """Return the sign-in that began the attempt. Raises ProviderError if it is no longer live."""
    own = request.sign_in
    if own is None or own.pk != attempt.sign_in:
        raise ProviderError("another sign-in began meanwhile", ErrorPage.STALE)
    locked = live_sign_ins().select_for_update(of=("self",), no_key=True).order_by()
    if not locked.filter(pk=own.pk).first():
        raise ProviderError("the sign-in ended meanwhile", ErrorPage.STALE)
    return own


def _confirm_with(request: Request, upstream: Upstream, assertion: Assertion, user: User) -> None:
    """Record that the user authenticated at the provider again.

    Raises ProviderError if the user has another identity, or lacks the second factor.
    """
    if not Identity.objects.filter(upstream=upstream, subject=assertion.subject, user=user).exists():
        raise ProviderError("the person confirmed with another identity", ErrorPage.REFUSED)
    if has_factor(user) and not has_second_factor(upstream, assertion):
        raise ProviderError(
            "the person has a second factor, which the provider did not ask for", ErrorPage.REFUSED
        )
    record_authentication(request, user, method="upstream", provider=upstream.slug, reauthenticated=True)


def error_page(
    request: Request,
    upstream: Upstream,
    error: ProviderError,
    target: str | None = None,
    *,
    is_recorded: bool = True,
    again: str | None = None,
) -> HttpResponse:
    """Return the page for an error, and write an event with the same reference number.

    Pass `is_recorded=False` for an attempt that never began here. `again` is the URL of the next attempt.
    """
    reference = secrets.token_hex(6)
    log.warning("signing in by %s failed: %s", upstream.slug, error.reason, extra={"decision": reference})
    user = request.user
    # At most one event in two seconds for each network: an attacker must not fill the audit trail.
    if is_recorded and may_record(f"upstream-failed:{network_of(client_address(request))}", 2):
        record(
            "upstream_failed",
            subject=user.get_username() if user.is_authenticated else "",
            reason=error.reason,
            address=client_address(request),
            decision_id=reference,
            details={"upstream": upstream.slug, "blame": error.page.name.lower()},
        )
    page, hash, fragment = (target or "").partition("#")
    then = {"next": page} if page else {}
    context = {
        "upstream": upstream,
        "blame": error.page.name,
        "reference": reference,
        "again": again or f"{reverse('upstream_start', args=[upstream.slug])}?{urlencode(then)}",
        "other_ways": f"{reverse('account_login')}?{urlencode({'local': 1, **then})}{hash}{fragment}",
    }
    return render(request, "accounts/upstream_trouble.html", context, status=error.page.value)


@never_cache
@require_safe
@sensitive_variables()
def sign_out_at_provider(request: Request) -> HttpResponse:
    """Redirect a signed-out browser to the sign-out page of its provider.

    If the provider fails, redirect to the target instead.
    """
    way = provider_sign_out.unseal(request.GET.get("at", "")) if request.method == "GET" else None
    then = redirect_target(way.then) if way else None
    url = _end_session_url(request, way) if way else None
    response = HttpResponse(status=302, headers={"Location": url or then or reverse("signed_out")})
    response.headers["Referrer-Policy"] = "no-referrer"
    return provider_sign_out.remember_sign_out(response)


def _end_session_url(request: Request, way: provider_sign_out.ProviderSignOut) -> str | None:
    taken = provider_sign_out.take_id_token(way.session)
    if taken is None:
        return None
    upstream, hint = taken
    try:
        _require_turn(request)
        return provider_sign_out.end_session_url(upstream, hint, way.then)
    except ProviderError as error:
        details = {"upstream": upstream.slug}
        record(
            "upstream_sign_out_failed",
            reason=error.reason,
            address=client_address(request),
            details=details,
        )
        return None


# ---- the user's identities ---------------------------------------------------------------------------------


def redirect_to_reauthentication(request: SignedInRequest) -> HttpResponse:
    """Redirect to the page for a proof of identity: by second factor or password, or at the provider."""
    target = reverse("upstream_identities")
    if get_reauthentication_flows(request.user):
        return HttpResponseRedirect(with_next(reverse("account_reauthenticate"), target))
    return redirect("upstream_confirm")


@never_cache
@login_required
@require_safe
def identities(request: SignedInRequest) -> HttpResponse:
    linked = list(Identity.objects.filter(user=request.user).select_related("upstream"))
    known = {identity.upstream_id for identity in linked}
    others = [upstream for upstream in enabled_providers() if upstream.pk not in known]
    context = {"identities": linked, "others": others}
    return render(request, "accounts/identities.html", context)


@never_cache
@login_required
@require_POST
def begin_link(request: SignedInRequest, slug: str) -> HttpResponse:
    upstream = enabled_provider(slug)
    if not is_freshly_confirmed(request):
        return redirect_to_reauthentication(request)
    return redirect_to_provider(request, upstream, Purpose.LINK, None)


@never_cache
@login_required
@require_POST
def unlink(request: SignedInRequest, key: int) -> HttpResponse:
    user = request.user
    get_object_or_404(Identity, pk=key, user=user)
    if not is_freshly_confirmed(request):
        return redirect_to_reauthentication(request)
    with transaction.atomic():
        # Lock the user: of two requests that unlink the last two identities at once, only one may succeed.
        User.objects.select_for_update().get(pk=user.pk)
        identity = get_object_or_404(Identity.objects.select_related("user", "upstream"), pk=key, user=user)
        if is_only_sign_in_method(identity):
            messages.error(request, _("This is your only way to sign in. Link another one first."))
            return redirect("upstream_identities")
        identity.delete()
        note_revocation()
        record_own("identity_unlinked", request, user, {"upstream": identity.upstream.slug})
    messages.success(request, _("%(name)s is no longer linked.") % {"name": identity.upstream.name})
    return redirect("upstream_identities")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: SignedInRequest) -> HttpResponse:
    """Ask users without a password to prove their identity at one of their providers.

    A user with a second factor must use it, unless the provider's second factor counts.
    """
    user, target = request.user, destination(request, "next") or reverse("upstream_identities")
    target = with_fragment(target, request.POST.get("fragment", "")) or target
    own = Upstream.objects.filter(enabled=True, identities__user=user).distinct()
    if has_factor(user):
        own = own.exclude(second_factor_values="")
        if not own.exists():
            return HttpResponseRedirect(with_next(reverse("account_reauthenticate"), target))
    if request.method == "POST":
        slug = request.POST.get("upstream", "")
        # Compare in Python: a text with NUL would be an error in PostgreSQL.
        upstream = next((each for each in own if each.slug == slug), None)
        if upstream is None:
            raise Http404
        return redirect_to_provider(request, upstream, Purpose.CONFIRM, target)
    return render(request, "accounts/confirm_by_upstream.html", {"upstreams": own})
