"""The portal's CAS pages: one for sign-ins and logout requests, and one that returns the signed-in user."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from accounts.destinations import destination, with_next
from accounts.models import Upstream
from accounts.requests import Request
from accounts.upstreams.cas.flow import service_address
from accounts.upstreams.cas.single_logout import single_logout
from accounts.upstreams.views import callback, start
from authgate.check.admission import header_value
from authgate.check.responses import CHALLENGE


@csrf_exempt  # A POST comes from the CAS server. It reads no cookie, and needs the ticket.
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sso_login(request: Request) -> HttpResponse:
    """Begin a sign-in by CAS, receive the browser with its ticket, or receive a logout request."""
    if request.method == "POST":
        return single_logout(request)
    upstream = selected_server(request.GET.get("upstream", ""))
    if "ticket" in request.GET or "state" in request.GET:
        if upstream is None:
            raise Http404
        return callback(request, upstream.slug)
    if upstream is None:
        return HttpResponseRedirect(with_next(reverse(settings.LOGIN_URL), destination(request, "next")))
    return start(request, upstream.slug)


def selected_server(slug: str) -> Upstream | None:
    """Return the CAS server with this slug. Without a slug, return the default or the only server."""
    servers = Upstream.objects.filter(kind=Upstream.Kind.CAS, enabled=True)
    if slug:
        return servers.filter(slug=slug).first()
    found = list(servers.order_by("-is_default")[:2])
    return found[0] if len(found) == 1 or (found and found[0].is_default) else None


@never_cache
@require_safe
def verification(request: Request) -> HttpResponse:
    """Return the signed-in user, or the sign-in URL, to a page on the portal's own host.

    This evaluates no rules. To protect an application, a proxy must send a check.
    """
    sign_in = request.sign_in
    if sign_in is None:
        location = service_address()
        body = {"error": "sign_in_required", "location": location, "targetURL": location}
        headers = {name.decode().title(): value.decode() for name, value in CHALLENGE}
        return JsonResponse(body, status=401, headers={**headers, "targetURL": location})
    username = sign_in.user.username
    return JsonResponse({"username": username}, headers={"username": header_value(username).decode("ascii")})
