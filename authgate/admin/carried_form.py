"""A form that the effect page carries, sealed for one user and one URL of the admin."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.core import signing
from django.http import HttpRequest, QueryDict

from authgate.admin.field_changes import SECRET_WORDS
from authgate.encryption import Secret, Undecryptable

FIELD, SURE, AS_CSV, EDIT = "_carried", "_sure", "_as_csv", "_edit_again"
SALT = "ikd effect of a form"
LONGEST = 3600
"""Seconds for which a page can be confirmed."""


class NoLongerCarried(Exception):
    """The sealed form is too old, was altered, or belongs to another user or URL."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The requester's answer on the effect page. `shown` is the digest of the effect that the page showed."""

    shown: str = ""
    is_sure: bool = False
    wants_csv: bool = False
    edits_again: bool = False


def seal(request: HttpRequest, digest: str) -> str:
    """Return the sealed fields of a form, with the digest of the shown effect.

    Fields with names of secrets are encrypted. Files are left out.
    """
    fields: dict[str, list[Any]] = {}
    secret: dict[str, list[Any]] = {}
    for name, values in request.POST.lists():
        if name != "csrfmiddlewaretoken":
            is_secret = any(word in name for word in SECRET_WORDS)
            (secret if is_secret else fields)[name] = values
    encrypted = Secret.of(json.dumps(secret)).token if secret else ""
    carried = {**_bound(request), "shown": digest, "fields": fields, "secret": encrypted}
    return signing.dumps(carried, salt=SALT, compress=True)


def restore(request: HttpRequest) -> None:
    """Put a carried form into `request.POST`, and keep the answer for `answer_to`.

    Without a carried form, the answer is empty. Raises NoLongerCarried.
    """
    request.effect_answer = _restored(request)  # type: ignore[attr-defined]  # an attribute of our own, for answer_to


def answer_to(request: HttpRequest) -> Answer:
    """Return the requester's answer on the effect page."""
    return getattr(request, "effect_answer", Answer())


def replace_post(request: HttpRequest, fields: QueryDict) -> None:
    request.POST = fields  # type: ignore[assignment]  # the stubs allow only forms that Django parsed


def _restored(request: HttpRequest) -> Answer:
    if FIELD not in request.POST:
        return Answer()
    posted = request.POST
    try:
        carried = signing.loads(posted[FIELD], salt=SALT, max_age=LONGEST)
        secret = json.loads(Secret(carried.get("secret", "")).reveal() or "{}")
    except (signing.BadSignature, Undecryptable):
        raise NoLongerCarried from None
    if {name: carried.get(name) for name in ("user", "path")} != _bound(request):
        raise NoLongerCarried
    replace_post(request, _query_of({**carried["fields"], **secret}))
    return Answer(carried["shown"], *(bool(posted.get(name)) for name in (SURE, AS_CSV, EDIT)))


def _bound(request: HttpRequest) -> dict[str, Any]:
    return {"user": request.user.pk, "path": request.get_full_path()}


def _query_of(fields: dict[str, list[str]]) -> QueryDict:
    query = QueryDict(mutable=True)
    for name, values in fields.items():
        query.setlist(name, values)
    query._mutable = False
    return query
