"""Middleware that parses cookies strictly, and accepts a session only while its sign-in is live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.utils import timezone

from accounts.requests import Request
from authgate.cookies import cookies_of
from authgate.models import SignIn
from authgate.peer import raw_headers
from authgate.sign_ins import end_sign_ins, sign_in_of
from authgate.worker.write_behind import writer

GetResponse = Callable[[Request], HttpResponse]

TOUCH_INTERVAL = timedelta(minutes=1)


def cookies_in(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the cookies in raw headers, without cookies that have the same name.

    Header names are in lower case.
    """
    return cookies_of(b"; ".join(value for name, value in headers if name == b"cookie"))


class OwnCookiesMiddleware:
    """Parse the Cookie header with the portal's own parser, for every page.

    Django's parser strips Unicode spaces from names. So an attacker on a sibling host could set a cookie
    `\\u2003__Host-ikd_portal`, which Django would read as the portal's own.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: Request) -> HttpResponse:
        request.COOKIES = cookies_in(raw_headers(request))
        return self.get_response(request)


class SignInMiddleware:
    """Set `request.sign_in`. Sign out a session without a live sign-in."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: Request) -> HttpResponse:
        sign_in = _live_sign_in(request) if SESSION_KEY in request.session else None
        request.sign_in = sign_in
        if sign_in is None:
            _forget_user(request)
        elif timezone.now() - sign_in.last_seen_at >= TOUCH_INTERVAL:
            writer.note_use(sign_in.pk, time.time())  # in the background: a busy database must not stop pages
        return self.get_response(request)


def _live_sign_in(request: Request) -> SignIn | None:
    """Return the live sign-in of the session, or None. Both must have the same user."""
    digest = request.session.digest
    sign_in = sign_in_of(digest) if digest else None
    if sign_in is None:
        return None
    # Here Django compares the session with the password's hash, and flushes it if they differ.
    if request.user.pk != sign_in.user_id:
        end_sign_ins(SignIn.objects.filter(pk=sign_in.pk))
        return None
    return sign_in


def _forget_user(request: Request) -> None:
    if SESSION_KEY in request.session:
        request.session.flush()
    request.user = AnonymousUser()
