from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from django.conf import settings
from django.contrib.auth import login
from django.test import Client, RequestFactory

from accounts.factors import has_factor
from accounts.models import User
from accounts.session_store import SessionStore
from tests.factories import PASSWORD

PAGE = "/accounts/login/"


def sign_in(client: Client, login: str, password: str = PASSWORD, *, page: str = PAGE, **more: Any) -> Any:
    """Post the sign-in form from the client address `address`. `remember` is "on" if the box is ticked."""
    address = more.pop("address", None)
    headers = {"REMOTE_ADDR": address} if address else {}
    return client.post(page, {"login": login, "password": password, **more}, **headers)


def begin_session(client: Client, username: str, *, proven: bool = False) -> None:
    """Create the same session as the sign-in form does, without posting the form.

    If `proven`, the user has just confirmed the password.
    """
    user = User.objects.get(username=username)
    assert not has_factor(user), "the form leads to a second one"
    request = RequestFactory(**client.defaults).get(PAGE)
    request.session = SessionStore()
    record_authentication(request, user, method="password", username=username)
    request.session.set_expiry(0)
    login(request, user, "accounts.backends.PasswordBackend")
    if proven:
        record_authentication(request, user, method="password", reauthenticated=True)
    request.session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = request.session.session_key


def is_signed_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def session_key(client: Client) -> str:
    return client.cookies["__Host-ikd_portal"].value


def use_session(client: Client, key: str) -> None:
    client.cookies["__Host-ikd_portal"] = key
