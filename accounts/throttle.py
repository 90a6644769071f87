"""Limits for attempts at passwords and codes: per account and address, per address, per account.

Each limit has a number of slots. Before the portal computes any hash, an attempt takes a slot for the limit's
duration. It calls the cache's `add`, which succeeds for only one of several concurrent requests, on every
backend. The slot becomes free after that time, or at once if the secret was right.

All names of an account count together. A name without an account, or without a confirmed mailbox, counts
under its own spelling. The keys of such names cannot equal keys of accounts.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import idna
from django import forms
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.views.generic.edit import FormMixin

from accounts.backends import LONGEST_LOGIN, name_key
from accounts.models import User
from authgate.audit import record
from authgate.models import SignIn
from authgate.network_limits import network_of

if TYPE_CHECKING:
    FormView = FormMixin[forms.Form]
else:
    FormView = FormMixin  # without type parameters at run time

log = logging.getLogger("ikd.security")

FAMILIAR_FOR = timedelta(days=30)
SIGN_INS, MAILS = "sign_in_limited", "mails_limited"
"""The kinds of audit events that report a reached limit."""


class TooManyAttempts(Exception):
    """A limit is reached. Another attempt is possible after `wait` seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


Holder = tuple[str, str]
"""The account or name for which an attempt counts: its key, after a kind that no visitor can choose."""


@dataclass(frozen=True, slots=True)
class Limit:
    amount: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Counter:
    """One limit applied to one account, address, or both."""

    key: str
    limit: Limit

    @property
    def slots(self) -> list[str]:
        return [f"{self.key}:{number}" for number in range(self.limit.amount)]

    def free(self, taken: dict[str, Any]) -> Iterator[str]:
        return (slot for slot in self.slots if slot not in taken)

    def wait(self, taken: dict[str, Any]) -> int:
        until = min((taken[slot] for slot in self.slots if slot in taken), default=0)
        return max(1, round(until - time.time()))


def limit_of(text: str) -> Limit:
    """Return the limit in a text such as `5/300`: attempts, then seconds. Raises ValueError for others."""
    match = re.fullmatch(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,5})", text)
    if match is None:
        raise ValueError(text)
    return Limit(int(match[1]), int(match[2]))


def count_password_attempt(login: str, account: User | None, address: str | None) -> list[str]:
    """Count an attempt at a password, and return its slots, for `release_attempt`.

    `account` is the user with the name `login`, or None. Raises TooManyAttempts, and the cache's own errors.
    """
    return _begin("password", _holder(account, login), account, address)


def count_code_attempt(account: User, address: str | None) -> list[str]:
    """Count an attempt at a second factor's code, apart from attempts at passwords.

    Returns and raises the same as `count_password_attempt`.
    """
    return _begin("code", _holder(account), account, address)


def count_device_code_attempt(account: User, address: str | None) -> list[str]:
    """Count an attempt at a device's code. Returns and raises the same as `count_password_attempt`."""
    return _begin("device code", _holder(account), account, address)


def _begin(secret: str, holder: Holder, account: User | None, address: str | None) -> list[str]:
    return _take_slots(_counters(secret, holder, account, address), address)


def count_mail(purpose: str, recipient: str, address: str | None, *, is_known: bool = True) -> bool:
    """Count a mail that a visitor requests, and return whether the recipient may get it.

    If `is_known` is false, the caller sends no mail, and the request does not count for the mailbox. Visitors
    cannot see whether a recipient's limit is reached. Raises TooManyAttempts if the limit of the visitor's
    network is reached, and the cache's own errors.
    """
    network = network_of(address)
    holder = ("mailbox", mailbox_key(recipient)) if is_known else ("typed", _typed(recipient))
    _take_slots([_counter(f"{purpose} asked", settings.IKD_MAIL_LIMIT_PER_ADDRESS, network)], address, MAILS)
    try:
        _take_slots(
            [_counter(f"{purpose} got", settings.IKD_MAIL_LIMIT_PER_RECIPIENT, *holder)], address, MAILS
        )
    except TooManyAttempts:
        return False
    return True


def mailbox_key(email: str) -> str:
    """Return the form of an address that is equal for all spellings: quoted names, and hosts in Unicode."""
    local, _, domain = email.strip().rpartition("@")
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    with contextlib.suppress(idna.IDNAError):
        domain = idna.encode(domain, uts46=True).decode()
    return name_key(f"{local}@{domain}")


def release_attempt(slots: list[str]) -> None:
    """Release the slots of an attempt, because the secret was right."""
    try:
        cache.delete_many(slots)
    except Exception:
        log.exception("an attempt to sign in cannot be taken back: is the cache reachable?")


def _holder(account: User | None, login: str = "") -> Holder:
    return ("typed", _typed(login)) if account is None else ("account", str(account.pk))


def _typed(text: str) -> str:
    return name_key(text[:LONGEST_LOGIN])


def _counters(secret: str, holder: Holder, account: User | None, address: str | None) -> list[Counter]:
    network = network_of(address)
    counters = [
        _counter(f"{secret} both", settings.IKD_LOGIN_LIMIT_PER_ACCOUNT_AND_ADDRESS, *holder, network),
        _counter("address", settings.IKD_LOGIN_LIMIT_PER_ADDRESS, network),
    ]
    # An attacker who tries an account from many addresses must not lock out its user.
    if not _is_familiar(account, network):
        counters.append(_counter(f"{secret} account", settings.IKD_LOGIN_LIMIT_PER_ACCOUNT, *holder))
    return counters


def _counter(kind: str, limit: str, *parts: str) -> Counter:
    # A keyed hash, because users sometimes type their password as the name. JSON, so that the boundaries
    # between parts are unambiguous.
    text = json.dumps([kind, limit, *parts])
    return Counter(f"sign-in:{salted_hmac(__name__, text, algorithm='sha256').hexdigest()}", limit_of(limit))


def _is_familiar(account: User | None, network: str) -> bool:
    """Return whether the account has signed in from this network recently.

    Also query for an unknown account, so the response time is the same.
    """
    since = timezone.now() - FAMILIAR_FOR
    addresses = (
        SignIn.objects.filter(user_id=account.pk if account else 0, started_at__gt=since)
        .exclude(address=None)
        .order_by()
        .values_list("address", flat=True)
        .distinct()
    )
    return any(network_of(address) == network for address in addresses[:1000])


def _take_slots(counters: list[Counter], address: str | None, event: str = SIGN_INS) -> list[str]:
    taken = cache.get_many([slot for counter in counters for slot in counter.slots])
    full = [counter for counter in counters if next(counter.free(taken), None) is None]
    if full:
        _record_once(full[0], address, event)
        raise TooManyAttempts(max(counter.wait(taken) for counter in full))
    slots: list[str] = []
    for counter in counters:
        slot = _take(counter, taken)
        if slot is None:
            release_attempt(slots)
            raise TooManyAttempts(counter.limit.seconds)
        slots.append(slot)
    return slots


def _take(counter: Counter, taken: dict[str, Any]) -> str | None:
    until = int(time.time()) + counter.limit.seconds
    won = (slot for slot in counter.free(taken) if cache.add(slot, until, counter.limit.seconds))
    return next(won, None)


def _record_once(counter: Counter, address: str | None, event: str) -> None:
    """Write one event each time a limit is reached, even if the attempts continue."""
    if cache.add(f"{counter.key}:told", 1, counter.limit.seconds):
        record(event, reason="too many attempts", address=address)


def with_status(response: HttpResponse, form: forms.Form) -> HttpResponse:
    """Set status 429 if the form reached a limit. The portal then checked no password."""
    for errors in form.errors.as_data().values():
        for error in errors:
            if error.code == "too_many_attempts":
                response.status_code = 429
                response.headers["Retry-After"] = str((error.params or {}).get("wait", 60))
    return response


class ThrottledFormMixin(FormView):
    """A view that responds with status 429 if a limit was reached."""

    def form_invalid(self, form: forms.Form) -> HttpResponse:
        return with_status(super().form_invalid(form), form)


def wait_page(request: HttpRequest, wait: int) -> HttpResponse:
    """Return the page for a reached limit of the visitor's network. It reveals nothing about any account."""
    response = render(request, "accounts/wait.html", {"minutes": -(-wait // 60)}, status=429)
    response.headers["Retry-After"] = str(wait)
    return response
