"""The portal's pages, and three pages that fail in different ways."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.urls import path

from ikd_portal import urls


def unreadable(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation


def forbidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a page that fails on purpose")


urlpatterns = [
    path("fails/400", unreadable),
    path("fails/403", forbidden),
    path("fails/500", broken),
    *urls.urlpatterns,
]
