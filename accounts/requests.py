"""The types of requests to the portal's own pages, after `accounts.sign_in.middleware`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeGuard, TypeVar, cast

from django.contrib.auth import decorators
from django.http import HttpRequest, HttpResponseBase

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User
    from accounts.session_store import SessionStore
    from authgate.models import SignIn

P = ParamSpec("P")
R = TypeVar("R", bound=HttpResponseBase)


class Request(HttpRequest):
    """A request of any visitor. `sign_in` is the live sign-in of the session, or None."""

    user: User | AnonymousUser
    session: SessionStore
    sign_in: SignIn | None
    provider_time: tuple[str, float]
    """The provider that authenticated the user in this request, and how many seconds it took, or unset."""


class SignedInRequest(Request):
    """A request behind `login_required`."""

    user: User
    sign_in: SignIn


def login_required(
    view: Callable[Concatenate[SignedInRequest, P], R],
) -> Callable[Concatenate[Request, P], R]:
    """Redirect visitors who are not signed in to the sign-in page.

    The middleware sets a user only together with their sign-in.
    """
    return cast(Callable[Concatenate[Request, P], R], decorators.login_required(view))


def sign_in_of_request(request: HttpRequest) -> SignIn | None:
    """Return the live sign-in of a request, or None.

    Also accept requests that did not pass the middleware, such as those of signals.
    """
    sign_in: SignIn | None = getattr(request, "sign_in", None)
    return sign_in


def is_signed_in(request: HttpRequest) -> TypeGuard[SignedInRequest]:
    """Return whether the request has a live sign-in, and therefore a user."""
    return sign_in_of_request(request) is not None
