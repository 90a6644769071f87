from __future__ import annotations

from typing import Any

from django.test import Client

from tests.factories import PASSWORD

PAGE = "/accounts/login/"


def sign_in(client: Client, login: str, password: str = PASSWORD, *, page: str = PAGE, **more: Any) -> Any:
    """Post the sign-in form; `address` is the client's, `remember` as the box sends it."""
    address = more.pop("address", None)
    headers = {"REMOTE_ADDR": address} if address else {}
    return client.post(page, {"login": login, "password": password, **more}, **headers)


def is_signed_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def session_key(client: Client) -> str:
    return client.cookies["__Host-ikd_portal"].value


def use_session(client: Client, key: str) -> None:
    client.cookies["__Host-ikd_portal"] = key
