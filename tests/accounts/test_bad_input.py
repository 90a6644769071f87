"""Every form of the portal against what no honest browser sends: one table of forms, one of inputs.

Each is posted twice. The answer is a saving or a refusal in words, never an error page of the server's; what
is refused has changed nothing, and nothing that is saved holds what hides or turns the text around it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.contrib import admin
from django.db import connection, models, transaction
from django.forms import BoundField
from django.test import Client, RequestFactory
from django.urls import get_resolver, resolve
from django.utils import timezone

from accounts.branding import brand
from accounts.lock_links import new_link
from accounts.models import AccessRequest, AccessReview, ManagedGroup, User
from accounts.onboarding import first_administrator, invitations
from tests.accounts.conftest import PORTAL, PortalClient
from tests.accounts.signing_in import sign_in
from tests.accounts.writing import nothing_written_if
from tests.admin import cleaning
from tests.admin.forms import fields_on, form_on
from tests.cache_entries import empty
from tests.factories import PASSWORD, ApplicationFactory, GroupFactory, UpstreamFactory
from tests.second_factor.factors import add_app

pytestmark = pytest.mark.django_db

INPUTS = {
    "empty": b"",
    "huge": b"x" * 1_000_000,
    "NUL": b"a\0b",
    "escape": b"a\x1b[31mb",
    "two lines": b"a\r\nb",
    "right to left": "a\u202eb".encode(),
    "soft hyphen": "a\u00adb".encode(),
    "emoji": "a🦊b".encode(),
    "no UTF-8": b"a\xed\xa0\x80\xff\xfeb",
    "number": b"99999999999999999999",
    "markup": b'"><script>alert(1)</script>{{ 7 }}%(x)s',
}

SHAPES = (
    (re.compile(r"email$"), b"new@ex%sample.com"),
    (re.compile(r"path$"), b"/a%s"),
    (re.compile(r"value$|issuer$|_url$"), b"https://a%s.example.com"),
    (re.compile(r"^next$|^rd$"), b"/accounts/%s"),
)
"""What comes near to being right, by the field's name: else its first letters would have it refused."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form of people's: how to get to it, what an honest browser sends, and which fields are tried."""

    path: Callable[[Any], str]
    fields: dict[str, str]
    tried: tuple[str, ...]
    who: str = "alice"
    is_right: bool = True
    """Whether it is taken as it stands; not where it would need a device."""


NEW = "an even longer horse"
TWICE = {"password1": NEW, "password2": NEW}


def reset_link(cast: Any) -> str:
    key = default_token_generator.make_token(cast.alice)
    return f"/accounts/password/reset/key/{user_pk_to_url_str(cast.alice)}-{key}/"


def invitation_link(cast: Any) -> str:
    _, link = invitations.invite(email="invited@example.com", groups=[], days=1, inviter=cast.carol)
    return link.removeprefix(PORTAL)


def lock_link(cast: Any) -> str:
    return new_link(cast.alice.pk, "alice@example.com").removeprefix(PORTAL)


def access_page(cast: Any) -> str:
    payroll = ApplicationFactory(name="Payroll", origins=["https://pay.example.com"], groups=["accountants"])
    payroll.owners.set([cast.carol])
    return "/access/ask/"


def access_request(cast: Any) -> str:
    cast.wiki.owners.set([cast.alice])
    row = AccessRequest.objects.create(
        application=cast.wiki, user=cast.carol, path="/", asked_at=timezone.now()
    )
    return f"/access/requests/{row.pk}/"


def managed_application(cast: Any) -> str:
    cast.wiki.owners.set([cast.alice])
    return f"/accounts/managed/applications/{cast.wiki.pk}/"


def access_review(cast: Any) -> str:
    cast.wiki.owners.set([cast.alice])
    row = AccessReview.objects.create(application=cast.wiki, name="Wiki", began_at=timezone.now())
    row.entries.create(pk=1, user=cast.carol, username="carol")
    return f"/accounts/managed/reviews/{row.pk}/"


def managed_rule(cast: Any) -> str:
    cast.wiki.owners.set([cast.alice])
    cast.wiki.shareable_groups.set([GroupFactory(name="guests")])
    return f"/accounts/managed/rules/{cast.wiki.rules.first().pk}/"


def managed_group(cast: Any) -> str:
    group = GroupFactory(name="team")
    ManagedGroup.objects.create(group=group).managers.set([cast.alice])
    return f"/accounts/managed/groups/{group.pk}/"


def administrator_link(cast: Any) -> str:
    User.objects.filter(is_superuser=True).update(is_superuser=False)
    return first_administrator.make_link().removeprefix(PORTAL)


def passkey(cast: Any) -> str:
    row = Authenticator.objects.create(
        user=cast.alice, type="webauthn", data={"name": "key", "credential": {}}
    )
    return f"/accounts/second-factor/passkeys/{row.pk}/rename/"


def at(path: str) -> Callable[[Any], str]:
    return lambda cast: path


FACTORS = "/accounts/second-factor"
FORMS = {
    "sign-in": Form(
        at("/accounts/login/"),
        {"login": "alice", "password": PASSWORD, "remember": "on"},
        ("login", "password", "remember", "next"),
        "nobody",
    ),
    "passkey instead": Form(
        at("/accounts/login/passkey/"), {"credential": "{{}}"}, ("credential", "next"), "nobody", False
    ),
    "sign-out": Form(at("/accounts/logout/"), {}, ("rd", "next")),
    "other account": Form(at("/switch-account"), {}, ("next",)),
    "language": Form(at("/language/"), {"language": "en"}, ("language",)),
    "reset": Form(at("/accounts/password/reset/"), {"email": "alice@example.com"}, ("email",), "nobody"),
    "reset by link": Form(reset_link, TWICE, ("password1", "password2"), "nobody"),
    "registration": Form(at("/register/"), {"email": "new@example.com"}, ("email",), "nobody"),
    "invitation": Form(
        invitation_link,
        {"username": "newcomer", "display_name": "New", **TWICE},
        ("username", "display_name", "password1", "password2"),
        "nobody",
    ),
    "first administrator": Form(
        administrator_link,
        {"username": "root", "display_name": "Root", "email": "root@example.com", **TWICE},
        ("username", "display_name", "email", "password1", "password2"),
        "nobody",
    ),
    "ask for access": Form(
        access_page, {"words": "month end", "page": "https://pay.example.com/"}, ("words", "page")
    ),
    "answer": Form(access_request, {"answer": "no", "words": "later"}, ("answer", "words")),
    "managed application": Form(
        managed_application,
        {
            "maintenance": "on",
            "maintenance_text": "Back at noon",
            "maintenance_minutes": "15",
            "refusal_text": "Ask team X",
        },
        ("maintenance", "maintenance_text", "maintenance_minutes", "refusal_text"),
    ),
    "access review": Form(access_review, {"answer-1": "keep"}, ("answer-1", "answer-2")),
    "managed rule": Form(
        managed_rule, {"name": "x"}, ("name", "add_group", "remove_user", "remove_group"), is_right=False
    ),
    "managed group": Form(
        managed_group, {"name": "x"}, ("name", "until", "remove_user", "end_of"), is_right=False
    ),
    "lock": Form(lock_link, {"user": "alice"}, ("user",), "nobody"),
    "profile": Form(at("/accounts/profile/"), {"display_name": "Alice"}, ("display_name",)),
    "password": Form(
        at("/accounts/password/change/"),
        {"oldpassword": PASSWORD, **TWICE},
        ("oldpassword", "password1", "password2", "next"),
    ),
    "password again": Form(at("/accounts/reauthenticate/"), {"password": PASSWORD}, ("password", "next")),
    "address": Form(
        at("/accounts/addresses/"), {"action_add": "", "email": "second@example.com"}, ("email", "action_add")
    ),
    "address removed": Form(
        at("/accounts/addresses/"), {"action_remove": "", "email": "alice@example.com"}, ("email",)
    ),
    "main address": Form(
        at("/accounts/addresses/"), {"action_primary": "", "email": "alice@example.com"}, ("email",)
    ),
    "address told again": Form(
        at("/accounts/addresses/"), {"action_send": "", "email": "alice@example.com"}, ("email",)
    ),
    "API token": Form(
        at("/accounts/tokens/new/"),
        {"name": "backup", "applications": "{wiki.pk}", "days": "30"},
        ("name", "applications", "days"),
    ),
    "favourite": Form(lambda cast: f"/favourites/{cast.wiki.pk}", {"wanted": "yes"}, ("wanted",)),
    "app": Form(at(f"{FACTORS}/app/"), {"code": "123456"}, ("code", "next"), is_right=False),
    "new passkey": Form(
        at(f"{FACTORS}/passkeys/add/"),
        {"name": "key", "passwordless": "on", "credential": "{{}}"},
        ("name", "passwordless", "credential"),
        is_right=False,
    ),
    "passkey renamed": Form(passkey, {"name": "key"}, ("name",)),
    "second factor": Form(
        at(f"{FACTORS}/sign-in/"), {"code": "123456"}, ("code", "credential"), "half", False
    ),
    "second factor again": Form(
        at(f"{FACTORS}/code/"), {"code": "123456"}, ("code", "next"), "with app", False
    ),
    "passkey again": Form(
        at(f"{FACTORS}/passkey/"), {"credential": "{{}}"}, ("credential", "next"), "with app", False
    ),
    "user's password": Form(
        lambda cast: f"/admin/accounts/user/{cast.alice.pk}/password/",
        {"usable_password": "true", **TWICE},
        ("password1", "usable_password"),
        "carol",
    ),
    "users from a file": Form(
        at("/admin/accounts/user/import/"),
        {"text": "username\nnewcomer\n", "confirmed": "yes"},
        ("text", "create_groups", "confirmed"),
        "carol",
    ),
    "action": Form(
        at("/admin/accounts/user/"),
        {"action": "disable", "_selected_action": "{alice.pk}"},
        ("action", "_selected_action", "index", "select_across"),
        "carol",
    ),
    "effect of a change": Form(
        lambda cast: f"/admin/authgate/application/{cast.wiki.pk}/change/",
        {"_carried": "x"},
        ("_carried", "_sure", "_as_csv", "_edit_again"),
        "carol",
        False,
    ),
    "provider begun": Form(
        at("/accounts/providers/confirm/"), {"upstream": "id"}, ("upstream", "next"), is_right=False
    ),
    "device": Form(at(f"{FACTORS}/device/"), {"action": "trust"}, ("action",), "half", False),
    "logout for an application": Form(
        at("/openid/logout/confirmed"), {"request": "x"}, ("request",), is_right=False
    ),
    "device code": Form(at("/openid/device"), {"user_code": "BCDF-GHJK"}, ("user_code",), is_right=False),
    "answer to a device": Form(
        at("/openid/device/answer"),
        {"request": "x", "answer": "allow"},
        ("request", "answer"),
        is_right=False,
    ),
    "consent": Form(
        at("/openid/consent"), {"request": "x", "answer": "allow"}, ("request", "answer"), is_right=False
    ),
}

ADMINS = {
    "application": "/admin/authgate/application/add/",
    "application changed": "/admin/authgate/application/{wiki.pk}/change/",
    "user": "/admin/accounts/user/add/",
    "user changed": "/admin/accounts/user/{alice.pk}/change/",
    "group": "/admin/accounts/group/add/",
    "group changed": "/admin/accounts/group/{group.pk}/change/",
    "provider": "/admin/accounts/upstream/add/",
    "provider changed": "/admin/accounts/upstream/{upstream.pk}/change/",
    "identity": "/admin/accounts/identity/add/",
    "brand": "/admin/accounts/brand/1/change/",
    "invitation": "/admin/accounts/invitation/add/",
}

TEXT_FIELDS = {
    "application": 16,
    "application changed": 16,
    "user": 5,
    "user changed": 3,
    "group": 1,
    "group changed": 1,
    "provider": 18,
    "provider changed": 18,
    "identity": 1,
    "brand": 2,
    "invitation": 2,
}
"""How many fields of each form are tried: none may be lost unseen."""

CHOICES = ("9" * 20, "-1", "x", "\0", "1" * 5000)
SELECTS = {
    "application": 10,
    "application changed": 10,
    "user": 1,
    "user changed": 2,
    "group": 4,
    "group changed": 4,
    "provider": 6,
    "provider changed": 6,
    "identity": 2,
    "brand": 0,
    "invitation": 1,
}
"""How many lists of choices each form has: none may be lost unseen."""

VALID = {
    "application": {"name": "New", "origins-0-value": "https://new.example.com", "rules-0-path": "/"},
    "user": {"username": "newcomer", "usable_password": "true", **TWICE},
    "group": {"name": "new"},
    "identity": {"subject": "alice-there", "user": "{alice.pk}", "upstream": "{upstream.pk}"},
    "provider": {"name": "New", "slug": "new", "issuer": "https://new.example.com", "client_id": "portal"},
}


class People:
    """Who the forms are about, made anew for each test."""

    def __init__(self, alice: User, carol: User) -> None:
        self.alice, self.carol = alice, carol
        self.group = GroupFactory(name="readers")
        self.upstream = UpstreamFactory(slug="id")
        self.wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])


@pytest.fixture
def cast(alice: User, carol: User, settings: Any) -> People:
    settings.IKD_REGISTRATION = "open"
    settings.IKD_REMEMBERED_DEVICE_LIFETIME = 3600
    return People(alice, carol)


def browser(who: str, cast: People) -> Client:
    client = PortalClient(HTTP_HOST="sso.example.com", raise_request_exception=True)
    if who == "nobody":
        return client
    if who == "carol":
        client.force_login(cast.carol, backend="accounts.backends.PasswordBackend")
        return client
    if who == "half":
        add_app(cast.alice)
    sign_in(client, "alice")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    if who == "with app":
        add_app(cast.alice)
    return client


quoted: Any = lru_cache(1_000)(quote_plus)
"""Takes long for a megabyte, which is posted again and again."""


def written(text: bytes, name: str) -> bytes:
    shape = next((shape for pattern, shape in SHAPES if pattern.search(name)), b"%s")
    return shape % text if text else b""


def encoded(fields: dict[str, Any]) -> str:
    return urlencode(fields, doseq=True, quote_via=quoted)


def post(client: Client, path: str, fields: dict[str, Any]) -> Any:
    """Post a form. Who is refused has written nothing."""
    empty("default")
    body = encoded(fields)
    with nothing_written_if(lambda: is_refusal(answer)):
        answer = client.generic("POST", path, body, "application/x-www-form-urlencoded")
    return answer


def is_refusal(answer: Any) -> bool:
    words = rb'class="error|errornote|errorlist|role="alert"'
    return answer.status_code >= 400 or re.search(words, answer.content) is not None


def hides(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def hidden_in_the_database() -> list[tuple[str, str, str]]:
    """Return saved texts with invisible characters; texts of several lines can have line breaks."""
    found = []
    with connection.cursor() as cursor:
        for label, fields, query in texts_in_the_database():
            for row in cursor.execute(query).fetchall():
                found += [
                    (label, name, str(text)[:50])
                    for (name, kept), text in zip(fields, row, strict=True)
                    if text and hides_something(str(text), kept)
                ]
    return found


@cache
def texts_in_the_database() -> list[tuple[str, list[tuple[str, str]], str]]:
    """Return each model with texts: its fields, each with what it may hold besides, and a query for them."""
    found = []
    for model in apps.get_models():
        columns = [
            field
            for field in model._meta.concrete_fields
            if isinstance(field, models.CharField | models.TextField)
        ]
        if not columns or model._meta.app_label == "sessions":
            continue
        fields = [(each.name, "\r\n\t" if isinstance(each, models.TextField) else "") for each in columns]
        names = ", ".join(connection.ops.quote_name(each.column) for each in columns)
        found.append((model._meta.label, fields, f"SELECT {names} FROM {model._meta.db_table}"))
    return found


def hides_something(text: str, kept: str) -> bool:
    return not text.isprintable() and any(hides(each) and each not in kept for each in text)


def try_all(
    client: Client, cast: People, path: Callable[[Any], str], fields: dict[str, Any], tried: str
) -> None:
    """Post a form with each of the inputs in one field, always beginning with the same rows and cookies."""
    for what in INPUTS:
        try_one(client, cast, path, fields, tried, what)


def try_one(
    client: Client, cast: People, path: Callable[[Any], str], fields: dict[str, Any], tried: str, what: str
) -> None:
    """Post a form twice with one of the inputs in one field."""
    with undone(client):
        url = path(cast)
        for _ in range(2):
            answer = post(client, url, {**fields, tried: written(INPUTS[what], tried)})
            assert answer.status_code < 500, (tried, what)
            assert b"<script>alert" not in answer.content, (tried, what)
            if not is_refusal(answer):
                assert hidden_in_the_database() == [], (tried, what)
            elif url.startswith("/admin/"):
                break  # what these refuse they do not remember


@contextmanager
def undone(client: Client) -> Iterator[None]:
    """Undo what a form changes: rows, cookies, and the brand that the process remembers."""
    kept = client.cookies.copy()
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
    client.cookies = kept
    brand.forget()


def try_all_of_the_admin(
    client: Client, cast: People, page: Any, fields: dict[str, Any], tried: list[str]
) -> set[tuple[str, str]]:
    """Post each of the inputs in each field, and return these pairs of a field and an input.

    What a field's own cleaning refuses is posted together with what the other fields refuse. Alone are posted
    what a field accepts, one value that it refuses, and each field at which the page names no error.
    """
    url, bound = page.request["PATH_INFO"], cleaning.fields_on(page)
    refused = {
        (name, what)
        for name in tried
        for what, text in INPUTS.items()
        if cleaning.refuses(bound[name], encoded({**fields, name: written(text, name)}))
    }
    # A request may hold few of the huge ones, so that is the one to be refused alone.
    for name in tried:
        first = next((what for what in ("huge", *INPUTS) if (name, what) in refused), None)
        refused.discard((name, str(first)))
    together = set()
    for what in INPUTS:
        # Both inputs of a date and its time have their errors at the same place.
        places = {cleaning.error_of(bound[name]): name for name in tried if (name, what) in refused}
        named = try_together(client, cast, url, fields, places, what) if len(places) > 1 else set()
        together |= {(places[place], what) for place in named}
    alone = {(name, what) for name in tried for what in INPUTS} - together
    for name, what in sorted(alone):
        try_one(client, cast, at(url), fields, name, what)
    return together | alone


def try_together(
    client: Client, cast: People, url: str, fields: dict[str, Any], places: dict[str, str], what: str
) -> set[str]:
    """Post one of the inputs in several fields that refuse it. Return the places with an error both times."""
    bad = {name: written(INPUTS[what], name) for name in places.values()}
    named = set(places)
    try:
        with undone(client):
            for _ in range(2):
                answer = post(client, url, {**fields, **bad})
                assert answer.status_code == 200, (bad.keys(), what)
                assert is_refusal(answer), (bad.keys(), what)
                assert b"<script>alert" not in answer.content, (bad.keys(), what)
                named &= cleaning.with_errors(answer.content)
    except Exception:
        for name in bad:
            try_one(client, cast, at(url), fields, name, what)  # fails with the name of the field at fault
        raise
    return named


def filled(fields: dict[str, str], cast: People) -> dict[str, str]:
    """Return fields with the keys of rows of the cast, such as `{wiki.pk}`."""
    return {name: value.format(**vars(cast)) for name, value in fields.items()}


def url_of(form: Form, client: Client, cast: People) -> str:
    path = form.path(cast)
    # The key of a link for a new password goes into the session at once.
    return client.get(path)["Location"] if form.path is reset_link else path


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_peoples_takes_nothing_bad(cast: People, name: str) -> None:
    form = FORMS[name]
    client = browser(form.who, cast)
    fields = filled(form.fields, cast)

    for field in form.tried:
        try_all(client, cast, lambda cast: url_of(form, client, cast), fields, field)


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.is_right])
def test_the_form_of_an_honest_browser_is_taken(cast: People, name: str) -> None:
    """Else the table above could be of forms that are refused for another reason."""
    form = FORMS[name]
    client = browser(form.who, cast)

    answer = post(client, url_of(form, client, cast), filled(form.fields, cast))

    assert answer.status_code in (200, 302)
    assert not is_refusal(answer)


def text_fields(page: Any) -> list[str]:
    """Return the text fields of an admin's form."""
    body = page.content.decode()
    names = re.findall(r'<textarea name="([^"]+)"', body)
    for tag in re.findall(r"<input [^>]*>", body):
        kind, name = re.search(r'type="(\w+)"', tag), re.search(r'name="([^"]+)"', tag)
        if kind and name and kind[1] in ("text", "url", "email", "number", "password", "datetime-local"):
            names.append(name[1])
    return [name for name in names if "__prefix__" not in name]


def valid(name: str, cast: People) -> dict[str, str]:
    """Return what a form of the admin needs besides what stands on it."""
    return filled(VALID.get(name, {}), cast)


@pytest.mark.parametrize("name", ADMINS)
def test_a_form_of_the_admin_takes_nothing_bad(cast: People, name: str) -> None:
    client = browser("carol", cast)
    url = ADMINS[name].format(**vars(cast))
    page = client.get(url)
    fields = {**fields_on(page), **valid(name, cast)}
    tried = text_fields(page)

    judged = try_all_of_the_admin(client, cast, page, fields, tried)

    assert judged == {(field, what) for field in tried for what in INPUTS}
    assert len(judged) == TEXT_FIELDS[name] * len(INPUTS)


@dataclass(frozen=True, slots=True)
class Choice:
    """A list of choices on a page of the admin, in the first row of an inline if it belongs to one."""

    field: str
    bound: BoundField
    row: dict[str, str]
    """What adds that row."""

    is_of_rows: bool
    """Whether what is no row is refused before any field is read."""

    def refuses(self, value: str) -> bool:
        return cleaning.refuses(self.bound, encoded({self.field: value}))


def choices_on(page: Any) -> list[Choice]:
    bound, found = cleaning.fields_on(page), {}
    for tag, name in re.findall(r'(<select name="([^"]+)"[^>]*>)', page.content.decode()):
        field, prefix = name.replace("__prefix__", "0"), name.partition("-__prefix__")[0]
        row = {f"{prefix}-TOTAL_FORMS": "1"} if prefix != name else {}
        found[field] = Choice(
            field, bound[field], row, re.search(r"admin-autocomplete| multiple", tag) is not None
        )
    return list(found.values())


def refused_together(
    client: Client, url: str, fields: dict[str, Any], choices: list[Choice], value: str
) -> set[str]:
    """Choose what several lists refuse in all of them. Return the fields at which the page names an error."""
    if len(choices) < 2:
        return set()
    chosen = {choice.field: value for choice in choices}
    rows = {name: text for choice in choices for name, text in choice.row.items()}
    answer = post(client, url, {**fields, **rows, **chosen})
    assert answer.status_code == 200, (chosen.keys(), value[:20])
    assert is_refusal(answer), (chosen.keys(), value[:20])
    named = cleaning.with_errors(answer.content)
    return {choice.field for choice in choices if cleaning.error_of(choice.bound) in named}


@pytest.mark.parametrize("name", ADMINS)
def test_a_choice_that_cannot_be_is_refused(cast: People, name: str) -> None:
    client = browser("carol", cast)
    url = ADMINS[name].format(**vars(cast))
    page = client.get(url)
    fields = {**fields_on(page), **valid(name, cast)}
    choices = choices_on(page)

    for value in CHOICES:
        judged: set[str] = set()
        trouble = None
        try:
            if value != CHOICES[0]:  # which is refused alone
                refused = [each for each in choices if not each.is_of_rows and each.refuses(value)]
                judged = refused_together(client, url, fields, refused, value)
        except Exception as error:
            trouble = error
        for choice in choices:
            if choice.field not in judged:
                answer = post(client, url, {**fields, **choice.row, choice.field: value})
                assert answer.status_code in (200, 400), (choice.field, value[:20])
                assert is_refusal(answer), (choice.field, value[:20])
                judged.add(choice.field)
        if trouble is not None:
            raise trouble
        assert len(judged) == SELECTS[name]


@pytest.mark.parametrize("name", ADMINS)
def test_the_admins_form_as_it_is_meant_is_taken(cast: People, name: str) -> None:
    client = browser("carol", cast)
    url = ADMINS[name].format(**vars(cast))

    answer = post(client, url, {**form_on(client, url), **valid(name, cast)})

    assert answer.status_code == 302


@pytest.mark.parametrize(
    ("fields", "size"), [(1_001, 1), (100_000, 1), (1, 2_700_000)], ids=["many", "very many", "too long"]
)
@pytest.mark.parametrize("page", ["/accounts/login/", "/accounts/profile/", "/admin/accounts/group/add/"])
def test_a_form_beyond_all_measure_is_refused(cast: People, page: str, fields: int, size: int) -> None:
    client = browser("nobody" if page == "/accounts/login/" else "carol", cast)

    answers = [post(client, page, {f"x{n}": "x" * size for n in range(fields)}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [400, 400]


# ---- the tables are whole ----

NO_FORM = frozenset(
    (
        *(
            "launcher",
            "icon",
            "provider_icon",
            "brand_accent",
            "brand_logo",
            "account",
            "sessions",
            "events",
            "tokens",
            "own_clients",
            "managed",
            "managed_people",
            "managed_events",
        ),
        *("account_inactive", "account_reset_password_done", "account_reset_password_from_key_done"),
        *(
            "upstream_identities",
            "mfa_index",
            "second_factor",
            "passkey_required",
            "mfa_view_recovery_codes",
            "signed_out",
        ),
        *("upstream_start", "upstream_callback", "sign_out_at_provider", "continue", "enter", "key_set"),
        # Servers send these; what may be wrong with them has tests of its own.
        *("backchannel_logout", "sso_login", "verification"),
        *("openid_configuration", "openid_keys", "openid_authorize", "openid_token", "openid_userinfo"),
        *("openid_introspect", "openid_revoke", "openid_logout"),
        *("openid_device_authorization", "openid_device_qr"),
        # A button without a field.
        *("end_session", "end_other_sessions", "end_token", "account_confirm_email", "forget_device"),
        *("forget_devices", "upstream_link", "upstream_unlink", "mfa_deactivate_totp", "mfa_remove_webauthn"),
        *("mfa_generate_recovery_codes", "account_locked", "end_own_client"),
    )
)


def test_every_page_with_a_form_is_in_the_table(cast: People) -> None:
    """A new page fails here until it has a row in FORMS, or is named among those without a form."""
    matches = [resolve(form.path(cast)) for form in FORMS.values()]
    tried = {match.url_name for match in matches if not match.namespaces}
    pages = {
        pattern.name
        for patterns in get_resolver().url_patterns
        for pattern in getattr(patterns, "url_patterns", [])
        if getattr(patterns, "app_name", None) != "admin"
    }

    assert pages == tried | NO_FORM
    assert tried & NO_FORM == set()


def test_every_form_of_the_admin_is_in_the_table(cast: People, rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = cast.carol
    tried = {resolve(url.format(**vars(cast))).url_name for url in ADMINS.values()}

    for model, page in admin.site._registry.items():
        if not page.get_urls():
            continue
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        if page.has_add_permission(request):
            assert f"{name}_add" in tried
        if page.has_change_permission(request):
            assert f"{name}_change" in tried
