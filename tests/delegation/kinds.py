"""The kinds of users who open every URL, and the rows that the URLs name."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.utils import timezone

from accounts.machines.api_tokens import make_token
from accounts.models import (
    AccessRequest,
    AccessReview,
    Brand,
    Identity,
    Invitation,
    ManagedGroup,
    RememberedDevice,
    StrictGroup,
    Upstream,
    User,
)
from accounts.onboarding import invitations
from authgate.audit import record
from authgate.models import (
    Application,
    AuditEvent,
    ConfigurationEvent,
    GateSession,
    JournalEntry,
    Rule,
    SignIn,
)
from openid import keys
from openid.models import Client as ConnectedClient
from tests.admin.conftest import PortalClient
from tests.factories import PASSWORD, ApplicationFactory, GroupFactory, UpstreamFactory, UserFactory

ANONYMOUS, USER, OWNER, MANAGER, ALL, SUPERUSER = (
    "anonymous",
    "user",
    "owner",
    "manager",
    "staff with all permissions",
    "superuser",
)
SINGLE = (
    *("accounts.view_user", "accounts.add_user", "accounts.change_user", "accounts.delete_user"),
    *("accounts.view_group", "accounts.add_group", "accounts.change_group", "accounts.delete_group"),
    *(
        "accounts.add_invitation",
        "accounts.add_identity",
        "accounts.change_upstream",
        "accounts.view_upstream",
    ),
    *("accounts.change_apitoken", "account.change_emailaddress"),
    *("authgate.view_application", "authgate.add_application", "authgate.change_application"),
    *("authgate.delete_application", "authgate.change_rule", "authgate.change_origin"),
    *("authgate.change_signin", "authgate.view_auditevent", "authgate.explain_access"),
    *("openid.view_client", "openid.change_client"),
)
"""Each of these permissions has a staff user with no other permission."""

KINDS = (ANONYMOUS, USER, OWNER, MANAGER, *SINGLE, ALL, SUPERUSER)


class Cast:
    """A user of each kind with a browser, and one row of every kind that a URL can name."""

    def __init__(self, kinds: Iterable[str] = KINDS) -> None:
        now = timezone.now()
        later = now + timezone.timedelta(days=1)  # type: ignore[attr-defined]
        self.root = UserFactory(
            username="root", email="root@example.com", verified=True, is_staff=True, is_superuser=True
        )
        self.other_root = UserFactory(username="root-2", is_staff=True, is_superuser=True)
        self.victim = UserFactory(username="victim", email="victim@example.com", verified=True)
        self.powerful: Group = GroupFactory(name="operators")
        apps = ("accounts", "authgate", "openid")
        self.powerful.permissions.set(Permission.objects.filter(content_type__app_label__in=apps))
        self.strict: Group = GroupFactory(name="careful")
        StrictGroup.objects.create(group=self.strict)
        self.team: Group = GroupFactory(name="team")
        self.bound: Group = GroupFactory(name="bound")
        self.wiki: Application = ApplicationFactory(
            name="Wiki", origins=["https://wiki.example.com"], groups=["bound"]
        )
        self.rule: Rule = self.wiki.rules.get()
        self.payroll: Application = ApplicationFactory(
            name="Payroll", origins=["https://pay.example.com"], groups=["accountants"], access_token=True
        )
        self.upstream: Upstream = UpstreamFactory(slug="id", name="Directory")
        self.identity = Identity.objects.create(upstream=self.upstream, subject="root", user=self.root)
        self.token, _ = make_token(self.root, "backup", [self.wiki], 3600)
        self.request = AccessRequest.objects.create(
            application=self.wiki, user=self.victim, rule=self.rule, path="/", asked_at=now
        )
        self.review = AccessReview.objects.create(application=self.wiki, name="Wiki", began_at=now)
        self.review.entries.create(user=self.victim, username="victim")
        self.sign_in = SignIn.objects.create(
            user=self.root, started_at=now, last_seen_at=now, expires_at=later, idle_timeout=3600
        )
        self.gate = GateSession.objects.create(
            sign_in=self.sign_in, origin="https://wiki.example.com", token_digest=b"x" * 32, created_at=now
        )
        self.device = RememberedDevice.objects.create(
            user=self.root, token_digest=b"x" * 32, fingerprint="", created_at=now, expires_at=later
        )
        self.passkey = Authenticator.objects.create(
            user=self.root, type="webauthn", data={"name": "key", "credential": {}}
        )
        self.invitation: Invitation = invitations.invite(email="", groups=[], days=1, inviter=self.root)[0]
        self.client = ConnectedClient.objects.create(
            application=self.wiki, redirect_uris="https://wiki.example.com/cb"
        )
        self.mistake = ConfigurationEvent.objects.create(
            contract="nginx", reason="unknown origin", count=1, first_at=now, last_at=now
        )
        self.event: AuditEvent = record("refused", actor="root", application="Wiki")
        self.entry = JournalEntry.objects.filter(table_name="accounts_user").latest("pk")
        keys.load_or_create()  # otherwise each request for the key set creates one, which is slow
        self.brand, _ = Brand.objects.get_or_create(pk=1)
        self.people = {kind: self._person(number, kind) for number, kind in enumerate(kinds)}
        self._browsers = {kind: self._browser(person) for kind, person in self.people.items()}
        self._cookies = {kind: deepcopy(browser.cookies) for kind, browser in self._browsers.items()}

    def browser(self, kind: str) -> Client:
        """Return the browser of a kind of user, with its original cookies: tests undo each request."""
        browser = self._browsers[kind]
        browser.cookies = deepcopy(self._cookies[kind])
        return browser

    def _person(self, number: int, kind: str) -> User | None:
        if kind == ANONYMOUS:
            return None
        if kind == SUPERUSER:
            return UserFactory(username="super", is_staff=True, is_superuser=True)
        is_staff = kind in (ALL, *SINGLE)
        person: User = UserFactory(
            username=f"person-{number}",
            email=f"person-{number}@example.com",
            verified=True,
            is_staff=is_staff,
        )
        if kind == ALL:
            person.user_permissions.set(Permission.objects.all())
        if kind in SINGLE:
            app, _, codename = kind.partition(".")
            person.user_permissions.set(
                Permission.objects.filter(content_type__app_label=app, codename=codename)
            )
        if kind == OWNER:
            self.wiki.owners.add(person)
            self.wiki.shareable_groups.add(self.bound)
        if kind == MANAGER:
            ManagedGroup.objects.create(group=self.team).managers.set([person])
        return person

    def _browser(self, person: User | None) -> Client:
        browser = PortalClient(HTTP_HOST="sso.example.com", raise_request_exception=True)
        if person is not None:
            browser.force_login(person, backend="accounts.backends.PasswordBackend")
            browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
        return browser


def power() -> dict[str, list[Any]]:
    """Return the rows that give power: accounts of superusers, permissions, and rows that grant them."""
    with connection.cursor() as cursor:
        return {
            name: sorted(cursor.execute(sql, values).fetchall(), key=str)
            for name, (sql, values) in queries_of_power().items()
        }


@cache
def queries_of_power() -> dict[str, tuple[str, Any]]:
    """Return the compiled queries. They run after each attack, and compiling takes far longer than that."""
    users, roots = User.objects.all(), User.objects.filter(is_superuser=True)
    rights = Permission.objects.all()
    queries = {
        "flags": users.filter(Q(is_staff=True) | Q(is_superuser=True)).values_list(
            "pk", "is_staff", "is_superuser"
        ),
        "own": users.filter(user_permissions__in=rights).values_list("pk", "user_permissions"),
        "by group": users.filter(groups__permissions__isnull=False).values_list("pk", "groups"),
        "groups": Group.objects.filter(permissions__isnull=False).values_list("pk", "permissions"),
        "strict": StrictGroup.objects.values_list("group_id"),
        "managers": ManagedGroup.managers.through._default_manager.values_list("managedgroup", "user"),
        "shareable": Application.shareable_groups.through.objects.values_list("application", "group"),
        "roots": roots.values_list("pk", "username", "email", "password", "is_active"),
        "roots' addresses": EmailAddress.objects.filter(user__is_superuser=True).values_list(
            "email", "verified", "primary"
        ),
        "roots' keys": Authenticator.objects.filter(user__is_superuser=True).values_list("pk"),
        "roots' identities": Identity.objects.filter(user__is_superuser=True).values_list(
            "upstream", "subject"
        ),
        "roots' tokens": roots.filter(api_tokens__isnull=False).values_list(
            "api_tokens", "api_tokens__ended_at"
        ),
        "roots' sign-ins": SignIn.objects.filter(user__username="root").values_list("pk", "ended_at"),
        "tokens of providers": Application.objects.filter(access_token=True).values_list(
            "pk", "origins__value"
        ),
        "providers": Upstream.objects.values_list(
            "pk", "issuer", "client_id", "enabled", "group_mappings__group"
        ),
    }
    return {name: query.query.sql_with_params() for name, query in queries.items()}
