"""The brand's style sheet and logo, and the icons of applications and providers."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import condition, require_safe

from accounts.branding import brand
from accounts.models import Brand, UpstreamPicture
from authgate.models import Icon
from authgate.pictures import CONTENT_TYPE

NOTHING_ELSE = "default-src 'none'; sandbox"
"""The Content-Security-Policy of a picture that a browser opens as a page: it runs and loads nothing."""
A_YEAR = 365 * 24 * 3600


def _etag(request: HttpRequest) -> str:
    return f'"{brand.current().version}"'


@require_safe
@condition(etag_func=_etag)
def accent(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(brand.style_sheet(brand.current()), content_type="text/css; charset=utf-8")
    return _keep(request, response)


@require_safe
@condition(etag_func=_etag)
def logo(request: HttpRequest) -> HttpResponse:
    look = brand.current()
    uploaded = Brand.objects.values_list("logo", flat=True).first() if look.logo_digest else None
    if uploaded:
        return _keep(request, _picture(bytes(uploaded), CONTENT_TYPE))
    return _keep(request, _picture(brand.own_logo(look), "image/svg+xml"))


@login_required
@require_safe
def icon(request: HttpRequest, key: str) -> HttpResponse:
    """Return an application's icon. Only users who see it in their launcher know its key."""
    return _by_key(Icon.objects.filter(key=key), private=True)


@require_safe
def provider_icon(request: HttpRequest, key: str) -> HttpResponse:
    """Return a provider's icon to any visitor, because the sign-in page shows it."""
    return _by_key(UpstreamPicture.objects.filter(key=key), public=True)


def _by_key(found: QuerySet[Any], **may_keep: bool) -> HttpResponse:
    """Return the picture with this key. The key changes with the content, so browsers cache it for a year."""
    content = found.values_list("content", flat=True).first()
    if content is None:
        raise Http404
    response = _picture(bytes(content), CONTENT_TYPE)
    patch_cache_control(response, max_age=A_YEAR, immutable=True, **may_keep)
    return response


def _picture(content: bytes, content_type: str) -> HttpResponse:
    headers = {"Content-Security-Policy": NOTHING_ELSE, "X-Content-Type-Options": "nosniff"}
    return HttpResponse(content, content_type=content_type, headers=headers)


def _keep(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Allow browsers to cache a response: for a year with a version in the URL, for a minute without."""
    asked = request.GET.get("v")
    if asked == brand.current().version:
        patch_cache_control(response, public=True, max_age=A_YEAR, immutable=True)
    elif asked:
        # Another worker has a newer brand. This worker will read it within seconds.
        patch_cache_control(response, no_cache=True)
    else:
        patch_cache_control(response, public=True, max_age=60)
    return response
