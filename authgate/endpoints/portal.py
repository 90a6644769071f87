"""The portal's pages of the hand-over: they send a signed-in browser back to a protected origin."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from authgate import handover, kept_pages
from authgate.check.memory import RefusedPage
from authgate.check.responses import Refusal, new_id
from authgate.check.state import State, unseal
from authgate.cookies import cookie_name, place_of
from authgate.decision.evaluation import decide
from authgate.decision.rules import MAINTENANCE, Application, Decision, Verdict
from authgate.decision.target import Target, without_code
from authgate.factor_policy import step_up_page
from authgate.models import SignIn
from authgate.pages.framed import unless_framed
from authgate.pages.onward import LONGEST_HEADER
from authgate.pages.refused import context_of, template_of
from authgate.peer import client_address
from authgate.portal_cookies import set_portal_cookie
from authgate.redirect_targets import LONGEST_PAGE, validate_target
from authgate.sign_ins import digest, open_gate
from authgate.worker import loader
from authgate.worker.write_behind import writer


def state_in(sealed: str) -> State | None:
    return unseal(sealed, loader.gate_settings().state_keys, time.time())


def with_kept_page(state: State) -> State:
    """Return the state with the URI of its kept page, or unchanged if the page is gone."""
    page = kept_pages.kept(state.kept) if state.kept else None
    if page is None or not page.startswith(f"{state.origin}/"):
        return state
    return state._replace(uri=page.removeprefix(state.origin))


@never_cache
@require_safe
def continue_(request: HttpRequest) -> HttpResponse:
    """Redirect to the protected origin with a one-time code, if its rules admit the user."""
    state = state_in(request.GET.get("state", ""))
    if state is None:
        return render(request, "authgate/broken_link.html", status=400)
    return unless_framed(request, _continued(request, state), _page_of(state))


def _page_of(state: State) -> str:
    return state.origin + with_kept_page(state).uri


def _continued(request: HttpRequest, state: State) -> HttpResponse:
    if state.rounds >= handover.ROUNDS_LIMIT:
        return render(request, "authgate/no_cookies.html", {"origin": state.origin}, status=400)
    state = with_kept_page(state)
    sign_in = _admitted(request, state.origin, state.uri, request.get_full_path)
    if isinstance(sign_in, HttpResponse):
        return sign_in
    code = handover.mint(sign_in, state, loader.gate_settings().state_keys[0])
    response = HttpResponseRedirect(_return_url(state, code))
    response["Referrer-Policy"] = "no-referrer"
    return response


def _admitted(
    request: HttpRequest, origin: str, uri: str, back_url: Callable[[], str]
) -> SignIn | HttpResponse:
    """Return the browser's sign-in if the rules let its user open a page, otherwise the response to send.

    After signing in or giving a second factor, the user returns to `back_url`, which checks the rules again.
    """
    sign_in: SignIn | None = getattr(request, "sign_in", None)
    if sign_in is None:
        return HttpResponseRedirect(f"{reverse(settings.LOGIN_URL)}?{urlencode({'next': back_url()})}")
    application = loader.load_application(origin)
    if application is None:
        return render(request, "authgate/broken_link.html", status=400)
    target = Target(origin, "GET", uri, client_address(request) or "")
    decision = decide(application, target, loader.subject_of(sign_in.user, sign_in), time.time())
    if decision.verdict is Verdict.STEP_UP:
        return HttpResponseRedirect(f"{step_up_page(decision)}?{urlencode({'next': back_url()})}")
    if decision.verdict is not Verdict.ALLOW:
        return refuse(request, target, application, decision)
    return sign_in


ENTRIES_LIMIT = 8
"""Visits to `enter`, each within ENTRIES_AGE of the last, after which the browser sees that it loops."""

ENTRIES_AGE = 20
"""Seconds for which a visit to `enter` counts."""


@never_cache
@require_safe
def enter(request: HttpRequest) -> HttpResponse:
    """Set the gate cookie of a shared domain that includes the portal, and redirect to `rd`.

    It serves ingress-nginx's auth-signin: such an application has no route to the portal, so it cannot redeem
    a code. If `rd` is outside of that domain, redirect to `start` on its origin.
    """
    page = _page_to_enter(request)
    if page is None:
        return render(request, "authgate/broken_link.html", status=400)
    return unless_framed(request, _enter(request, page), page)


def _enter(request: HttpRequest, page: str) -> HttpResponse:
    parts = urlsplit(page)
    origin = f"{parts.scheme}://{parts.netloc}"
    place = place_of(origin, loader.shared_domains())
    if not place.startswith(".") or place != place_of(settings.IKD_PORTAL_ORIGIN, loader.shared_domains()):
        return HttpResponseRedirect(f"{origin}/authgate/start?{urlencode({'rd': _shortened(page)})}")
    uri = without_code(page.removeprefix(origin))
    sign_in = _admitted(request, origin, uri, lambda: _enter_url(request, page))
    if isinstance(sign_in, HttpResponse):
        return sign_in
    return _entered(request, sign_in, place, origin, uri)


LONGEST_PAGE_IN_URL = 1000
"""Characters of a page's URL that fit in `rd`. The database keeps a longer URL."""

ENTER_SALT = "ikd enter"


def _page_to_enter(request: HttpRequest) -> str | None:
    """Return the validated page of another origin that `rd` or `kept` names; None without one."""
    asked_for = request.GET.getlist("rd")
    page = asked_for[0] if len(asked_for) == 1 else None
    if "kept" in request.GET:
        try:
            page = kept_pages.kept(signing.loads(request.GET["kept"], salt=ENTER_SALT))
        except signing.BadSignature:
            page = None
    return validate_target(
        page, base=settings.IKD_PORTAL_ORIGIN, allowed=loader.is_allowed_origin, longest=LONGEST_PAGE
    )


def _enter_url(request: HttpRequest, page: str) -> str:
    """Return a URL of `enter` that leads to a page. It stays short even if the page's URL is long."""
    kept = kept_pages.keep(page, client_address(request)) if len(page) > LONGEST_PAGE_IN_URL else None
    query = {"kept": signing.dumps(kept, salt=ENTER_SALT)} if kept else {"rd": _shortened(page)}
    return f"{reverse('enter')}?{urlencode(query)}"


def _shortened(page: str) -> str:
    """Return a page's URL; without its query, or with the origin only, if it is too long for `rd`."""
    origin = "/".join(page.split("/", 3)[:3])
    shorter = (page, page.partition("?")[0], f"{origin}/")
    return next(each for each in shorter if len(each) <= LONGEST_PAGE_IN_URL or each is shorter[-1])


def _entered(request: HttpRequest, sign_in: SignIn, place: str, origin: str, uri: str) -> HttpResponse:
    """Redirect with a shared cookie. A browser that keeps returning without the cookie gets an error page."""
    name = cookie_name(settings.IKD_PORTAL_ORIGIN, "entries")
    earlier = request.COOKIES.get(name, "")
    entries = int(earlier) if earlier in ENTRIES else 0
    if entries >= ENTRIES_LIMIT:
        return render(request, "authgate/no_cookies.html", {"origin": origin}, status=400)
    response = HttpResponseRedirect(origin + uri)
    response["Referrer-Policy"] = "no-referrer"
    set_portal_cookie(response, name, str(entries + 1), max_age=ENTRIES_AGE)
    held = request.COOKIES.get(cookie_name(place, "gate"), "")
    session = loader.load_session(digest(held)) if held else None
    is_good = session is not None and session.origin == place and session.sign_in_id == sign_in.pk
    if request.method == "GET" and not is_good:
        token = open_gate(sign_in, place, instead_of=held)
        remaining = int(sign_in.expires_at.timestamp() - time.time()) if sign_in.keep else None
        set_portal_cookie(response, cookie_name(place, "gate"), token, max_age=remaining, domain=place[1:])
    return response


ENTRIES = frozenset(map(str, range(ENTRIES_LIMIT + 1)))


def _return_url(state: State, code: str) -> str:
    """Return the URL that redeems the code. If the code has expired, `rd` still leads to the page."""
    if not state.back:
        url = state.origin + handover.with_code(state.uri, code)
        path = state.uri.partition("?")[0]
        for shorter in (path, "/"):
            if len(url) > LONGEST_HEADER:
                url = state.origin + handover.with_code(shorter, code)
        return url
    callback = f"{state.origin}{state.back}/callback?ikdcode={code}"
    url = f"{callback}&{urlencode({'rd': state.uri})}"
    return url if len(url) <= LONGEST_HEADER else callback


def refuse(
    request: HttpRequest, target: Target, application: Application | None, decision: Decision, **shown: object
) -> HttpResponse:
    """Return the refused page, and record the refusal. `shown` replaces values of the page's context.

    `application` is None if it was deleted. During maintenance, return 503 and record nothing.
    """
    name, text = (application.name, application.refusal_text) if application else ("", "")
    username = request.user.get_username()
    closed = application.maintenance if application and decision.reason == MAINTENANCE else None
    if closed is not None:
        page = RefusedPage("", target, name, username, MAINTENANCE, text=closed.text)
        response = render(request, template_of(page), {**context_of(page), **shown}, status=503)
        response["Retry-After"] = str(closed.retry_after)
        return response
    decision_id = new_id(loader.memory_for_one_request())
    writer.note_refusal(
        Refusal(
            decision_id,
            "portal",
            decision.reason,
            target.origin,
            "GET",
            target.path or "",
            target.client,
            username,
            name,
            decision.failed,
        )
    )
    page = RefusedPage(decision_id, target, name, username, decision.reason, text=text)
    return render(request, template_of(page), {**context_of(page), **shown}, status=403)


def application_named_in(next_url: str | None) -> str | None:
    """Return the name of the application that a sign-in page's `next` points to, or None."""
    parts = urlsplit(next_url or "")
    if parts.path != reverse("continue"):
        return None
    state = state_in(parse_qs(parts.query).get("state", [""])[0])
    application = loader.load_application(state.origin) if state else None
    return application.name if application else None
