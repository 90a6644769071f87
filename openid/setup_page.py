"""The page that shows which settings to enter in an application for one client. It never shows a secret."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from openid.instructions import APPLICATIONS, WITHOUT_PKCE, Instructions, filled, named
from openid.models import Client
from openid.preview import client_or_404


@never_cache
@require_safe
def setup_page(request: HttpRequest, key: int) -> HttpResponse:
    """Show the settings for the selected application, and what the client still lacks for it."""
    if not request.user.has_perm("openid.view_client"):
        raise PermissionDenied
    client = client_or_404(key)
    chosen = named(request.GET.get("for", ""))
    context = {
        **admin.site.each_context(request),
        "title": gettext("Set up %(application)s") % {"application": client.application.name},
        "opts": Client._meta,
        "client": client,
        "applications": APPLICATIONS,
        "without_pkce": ", ".join(WITHOUT_PKCE),
        "chosen": chosen,
        "fields": fields_for(chosen, client) if chosen else {},
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/client_setup.html", context)


def fields_for(chosen: Instructions, client: Client) -> dict[str, Any]:
    """Return the page's contents: settings to copy, and URIs with whether they are registered."""
    values = {
        "issuer": settings.IKD_PORTAL_ORIGIN,
        "client_id": client.client_id,
        "secret": gettext("(the client secret)"),
        "scopes": chosen.scopes,
        "site": _site_of(client) or chosen.site,
    }
    registered, allowed = client.redirect_uris.split(), set(client.scopes.split())
    uris = [filled(uri, values) for uri in chosen.redirect_uris]
    return {
        "settings": [(name, filled(value, values)) for name, value in chosen.settings],
        "redirect_uris": [(uri, uri in registered) for uri in uris],
        "post_logout_uri": filled(chosen.post_logout_uri, values),
        "backchannel_logout_uri": filled(chosen.backchannel_logout_uri, values),
        "missing_scopes": " ".join(scope for scope in chosen.scopes.split() if scope not in allowed),
    }


def _site_of(client: Client) -> str:
    """Return the origin of the client's first http or https redirect URI; "" without one."""
    for uri in client.redirect_uris.split():
        if uri.startswith(("https://", "http://")):
            return "/".join(uri.split("/", 3)[:3])
    return ""
