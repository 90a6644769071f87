"""The demo's rows. Set Django up before importing this module."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.db import connection, transaction

from accounts.models import User
from authgate.models import Application, Origin, Rule
from demo.cast import PEOPLE, SITES, Person, Site


def has_users() -> bool:
    return User.objects.exists()


def seed(port: int, passwords: dict[str, str]) -> None:
    """Create people, groups and applications, all of them or none."""
    with transaction.atomic():
        for person in PEOPLE:
            _make_person(person, passwords[person.username])
        for site in SITES:
            _make_site(site, port)


def move(old: dict[str, str], port: int) -> None:
    """Move the applications to another port. `old` contains their previous URLs by name."""
    with transaction.atomic():
        for site in SITES:
            for origin in Origin.objects.filter(value=old.get(site.name, "")):
                origin.value = site.url(port)
                origin.save(update_fields=["value"])


def close() -> None:
    connection.close()


def _make_person(person: Person, password: str) -> None:
    email = f"{person.username}@example.com"
    user = User(
        username=person.username,
        email=email,
        display_name=person.display_name,
        is_active=person.active,
        is_staff=person.administrator,
        is_superuser=person.administrator,
    )
    user.set_password(password)
    user.save()
    user.groups.set(_groups(person.groups))
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)


def _make_site(site: Site, port: int) -> None:
    application = Application.objects.create(
        name=site.name.capitalize(), description=site.description, without_https=True
    )
    Origin.objects.create(application=application, value=site.url(port))
    who = Rule.Who.CHOSEN if site.groups else Rule.Who.SIGNED_IN
    rule = Rule.objects.create(application=application, path="/", who=who)
    rule.groups.set(_groups(site.groups))
    if site.public_path:
        Rule.objects.create(application=application, path=site.public_path, who=Rule.Who.EVERYONE)


def _groups(names: tuple[str, ...]) -> list[Group]:
    return [Group.objects.get_or_create(name=name)[0] for name in names]
