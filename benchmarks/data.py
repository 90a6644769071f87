"""Fills a portal's database for a measurement: `python -m benchmarks.data '{…}'`.

The database copies many of the rows from one row that Django's models created.
"""

from __future__ import annotations

import json
import secrets
import sys
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from django.db.models import Model

from benchmarks.issuer import AUDIENCE
from benchmarks.sign_in import PASSWORD, username
from benchmarks.tokens import digest_of, token_of

SITE = "https://app.example.com"
RULES = 10
KINDS = ("end session", "disable user", "remove from group", "change a rule")
SQL = {
    "sqlite": {
        "uuid": "lower(hex(randomblob(16)))",
        "key": "lower(hex(randomblob(32)))",
        "digest": "digest_of({n})",
    },
    "postgresql": {
        "uuid": "gen_random_uuid()",
        "key": "replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')",
        "digest": f"sha256(convert_to(lpad(({{n}})::text, {len(token_of(0))}, '0'), 'UTF8'))",
    },
}
"""A random UUID, a random key of 64 digits, and the digest of the token with a number."""


def fill(wanted: dict[str, Any]) -> dict[str, Any]:
    """Fill a database with `applications`, `users` with `sessions` on SITE, and sessions on more `origins`.

    `trials` adds as many sessions for each of KINDS, each with its own user, numbered after the others. Those
    of the last kind also have their own applications. `passwords` is the number of users with a password, of
    whom the last ones are `administrators`. `issuer` is the URL of a provider whose JWTs are accepted as
    credentials. `redirect_uri` is that of an OpenID Connect client.
    """
    from django.contrib.auth.models import Group

    from authgate.models import Application, Origin, Rule

    staff = Group.objects.create(name="staff")
    site = Application.objects.create(name="Site", without_https=True)
    for value in (SITE, *wanted.get("origins", ())):
        Origin.objects.create(application=site, value=value)
    Rule.objects.create(application=site, path="/").groups.add(staff)
    Rule.objects.create(application=site, path="/public", who=Rule.Who.EVERYONE)
    _applications(wanted.get("applications", 1) - 1, staff.pk)
    members = _users(wanted.get("users", 1_000), staff.pk)
    _sessions(members, wanted.get("users", 1_000), wanted["sessions"])
    tokens: dict[str, Any] = {value: _session(members, value) for value in wanted.get("origins", ())}
    _passwords(wanted.get("passwords", 0), wanted.get("administrators", 0))
    _trusted_issuer(wanted.get("issuer", ""))
    tokens["outsider"] = _session(_outsider(), SITE)
    tokens["api_token"] = _api_token(members, site)
    _trials(wanted.get("trials", 0), wanted["sessions"], staff.pk)
    if redirect_uri := wanted.get("redirect_uri"):
        tokens["client"] = _client(redirect_uri)
    return tokens


def _client(redirect_uri: str) -> dict[str, str]:
    """Create a client at which every user may sign in. Return its ID and secret."""
    from authgate.models import Application, Rule
    from openid.grants import digest
    from openid.models import Client, ClientSecret

    wiki = Application.objects.create(name="Wiki")
    Rule.objects.create(application=wiki, path="/", who=Rule.Who.SIGNED_IN)
    client, secret = (
        Client.objects.create(application=wiki, redirect_uris=redirect_uri),
        secrets.token_hex(32),
    )
    ClientSecret.objects.create(client=client, digest=digest(secret))
    return {"client_id": client.client_id, "secret": secret}


def _passwords(count: int, administrators: int) -> None:
    from django.contrib.auth.hashers import make_password

    from accounts.models import User

    password = make_password(PASSWORD)
    made = (
        User(
            username=username(n),
            email=f"{username(n)}@example.com",
            password=password,
            is_staff=n >= count - administrators,
            is_superuser=n >= count - administrators,
        )
        for n in range(count)
    )
    User.objects.bulk_create(made)


def _trusted_issuer(url: str) -> None:
    from accounts.models import Upstream

    if url:
        Upstream.objects.create(
            slug="issuer",
            name="Issuer",
            issuer=url,
            client_id="portal",
            allow_private=True,
            trusted_for_machines=True,
            machine_audience=AUDIENCE,
        )


def _multiply(model: type[Model], pk: int, count: int, **columns: str) -> int:
    """Insert copies of a row and return the first key. `columns` are SQL in which `n` counts from 0."""
    from django.core.management.color import no_style
    from django.db import connection
    from django.db.models import Max

    fields = [field.column for field in model._meta.concrete_fields if field.column and not field.primary_key]
    first: int = model._default_manager.aggregate(newest=Max("pk"))["newest"] + 1
    chosen = ", ".join([f"{first} + n", *(columns.get(name, f't."{name}"') for name in fields)])
    key, table = model._meta.pk.column, model._meta.db_table
    filled = ", ".join(f'"{name}"' for name in (key, *fields))
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE series(n) AS "
            f"(SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n + 1 < {count}) "
            f"INSERT INTO {table} ({filled}) SELECT {chosen} FROM series, {table} t WHERE t.{key} = {pk}"
        )
        for statement in connection.ops.sequence_reset_sql(no_style(), [model]):
            cursor.execute(statement)
    return first


def _sql(name: str) -> str:
    from django.db import connection

    return SQL[connection.vendor][name]


def _users(count: int, group: int) -> int:
    """Create users with a verified address, members of a group. Return the first one's key."""
    from allauth.account.models import EmailAddress

    from accounts.models import User

    template = User.objects.create(username="template", email="template@example.com", display_name="A Person")
    template.groups.add(group)
    through = User.groups.through
    membership = through._default_manager.get(user=template)
    address = EmailAddress.objects.create(user=template, email=template.email, verified=True, primary=True)
    name = f"'user{template.pk}-' || n"
    first = _multiply(
        User,
        template.pk,
        count,
        username=name,
        skeleton=name,
        email=f"{name} || '@example.com'",
        uuid=_sql("uuid"),
    )
    _multiply(EmailAddress, address.pk, count, user_id=f"{first} + n", email=f"{name} || '@example.com'")
    _multiply(through, membership.pk, count, user_id=f"{first} + n")
    template.delete()
    return first


def _sessions(first_user: int, users: int, count: int, start: int = 0, origin: str = f"'{SITE}'") -> None:
    """Create sign-ins with a gate session each, numbered from `start`; `origin` is SQL of `_multiply`."""
    from django.db import connection

    from authgate.models import GateSession, SignIn

    if connection.vendor == "sqlite":
        connection.connection.create_function("digest_of", 1, lambda n: digest_of(n), deterministic=True)
    sign_in = _sign_in(first_user)
    gate = GateSession.objects.create(
        sign_in=sign_in, origin=SITE, token_digest=secrets.token_bytes(32), created_at=sign_in.started_at
    )
    first = _multiply(
        SignIn,
        sign_in.pk,
        count,
        uuid=_sql("uuid"),
        session_digest=_sql("key"),
        user_id=f"{first_user} + n % {users}",
    )
    digest = _sql("digest").format(n=f"{start} + n")
    _multiply(GateSession, gate.pk, count, sign_in_id=f"{first} + n", token_digest=digest, origin=origin)


def _sign_in(user: int) -> Any:
    from django.utils import timezone

    from authgate.models import SignIn

    now = timezone.now()
    return SignIn.objects.create(
        user_id=user,
        session_digest=secrets.token_hex(32),
        started_at=now,
        last_seen_at=now,
        expires_at=now + timedelta(hours=12),
        idle_timeout=4 * 3600,
        user_agent="Mozilla/5.0",
        methods=["password"],
    )


def _session(user: int, origin: str) -> str:
    from authgate.sign_ins import open_gate

    return open_gate(_sign_in(user), origin)


def _api_token(user: int, site: Any) -> str:
    from accounts.machines.api_tokens import make_token
    from accounts.models import User

    return make_token(User.objects.get(pk=user), "a program", [site], 3600)[1]


def _outsider() -> int:
    from accounts.models import User

    return User.objects.create(username="outsider", email="outsider@example.com").pk


def _applications(count: int, group: int, url: str = "https://app{n}.example.net", who: str = "") -> int:
    """Create applications with RULES rules each, or one that admits `who`. Return the first one's key."""
    from authgate.models import Application, Origin, Rule

    if count < 1:
        return 0
    batch = uuid.uuid4().hex
    made = Application.objects.bulk_create(Application(name=f"{batch} {n}") for n in range(count))
    Origin.objects.bulk_create(Origin(application=each, value=url.format(n=n)) for n, each in enumerate(made))
    paths = ["/"] if who else [f"/part-{number}" if number else "/" for number in range(RULES)]
    rules = Rule.objects.bulk_create(
        Rule(application=each, path=path, who=who or Rule.Who.CHOSEN) for each in made for path in paths
    )
    through = Rule.groups.through
    if not who:
        through._default_manager.bulk_create(through(rule_id=rule.pk, group_id=group) for rule in rules)
    return made[0].pk


def _trials(each: int, start: int, group: int) -> None:
    if not each:
        return
    users = _users(each * len(KINDS), group)
    _applications(each, group, "https://trial{n}.example.net", "signed_in")
    plain = each * (len(KINDS) - 1)
    _sessions(users, plain, plain, start)
    own = "'https://trial' || n || '.example.net'"
    _sessions(users + plain, each, each, start + plain, own)


def main(arguments: Iterable[str]) -> None:
    django.setup()
    from django.core.management import call_command
    from django.db import connection, transaction

    wanted = json.loads(next(iter(arguments), "null"))
    if wanted is None:
        call_command("migrate", verbosity=0)
        call_command("createcachetable", verbosity=0)
        return
    with transaction.atomic():
        print(json.dumps(fill(wanted)))
    if connection.vendor == "postgresql":
        # Otherwise PostgreSQL would start this by itself during a measurement.
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


if __name__ == "__main__":
    main(sys.argv[1:])
