from __future__ import annotations

from functools import cache
from typing import Any

import factory
from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import BasePasswordHasher, get_hasher
from django.contrib.auth.models import Group
from django.db.models import QuerySet

from accounts.models import Upstream, User
from accounts.models.membership import Membership
from authgate.models import Application, Origin, Rule

PASSWORD = "correct horse battery"


@cache
def _hash_of_password(hasher: BasePasswordHasher) -> str:
    """Return the hash of PASSWORD with a cheap hasher. The portal's own takes a quarter of a second."""
    return hasher.encode(PASSWORD, hasher.salt())


class GroupFactory(factory.django.DjangoModelFactory[Group]):
    class Meta:
        model = Group
        django_get_or_create = ("name",)

    name = factory.Sequence(lambda n: f"group-{n}")


class UserFactory(factory.django.DjangoModelFactory[User]):
    """A user with the tests' password; `groups=["staff"]` by name, `verified=True` for the e-mail address."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user-{n}")
    display_name = factory.LazyAttribute(lambda user: user.username.title())

    @classmethod
    def _create(cls, model_class: type[User], *args: Any, **kwargs: Any) -> User:
        groups, verified = kwargs.pop("groups", []), kwargs.pop("verified", False)
        user = model_class(**kwargs)
        # As `set_password` does, with a hash that the users of a process share.
        user.password, user._password = _hash_of_password(get_hasher()), PASSWORD
        user.save()
        # As `user.groups.add` does, without its search for memberships that a new user cannot have.
        rows = [Membership(user=user, group=GroupFactory(name=name)) for name in groups]
        QuerySet.bulk_create(Membership.everything.all(), rows)
        if user.email:
            EmailAddress.objects.create(user=user, email=user.email, verified=verified, primary=True)
        return user


CAST: dict[str, dict[str, Any]] = {
    "alice": {"groups": ["staff"]},
    "bob": {"groups": ["guests"]},
    "carol": {"is_staff": True, "is_superuser": True},
    "dave": {"is_active": False},
}


def person(name: str) -> User:
    """Create a user of the cast."""
    return UserFactory(username=name, email=f"{name}@example.com", verified=True, **CAST[name])


class ApplicationFactory(factory.django.DjangoModelFactory[Application]):
    """An application; `origins=["https://…"]`, and `who`, `groups`, `users` of a rule for its whole site."""

    class Meta:
        model = Application

    name = factory.Sequence(lambda n: f"Application {n}")

    @classmethod
    def _create(cls, model_class: type[Application], *args: Any, **kwargs: Any) -> Application:
        origins, who = kwargs.pop("origins", []), kwargs.pop("who", None)
        groups, users = kwargs.pop("groups", []), kwargs.pop("users", [])
        application = model_class.objects.create(**kwargs)
        for value in origins:
            Origin.objects.create(application=application, value=value)
        if who or groups or users:
            RuleFactory(application=application, who=who or Rule.Who.CHOSEN, groups=groups, users=users)
        return application


class RuleFactory(factory.django.DjangoModelFactory[Rule]):
    class Meta:
        model = Rule

    path = "/"
    who = Rule.Who.SIGNED_IN

    @classmethod
    def _create(cls, model_class: type[Rule], *args: Any, **kwargs: Any) -> Rule:
        groups, users = kwargs.pop("groups", []), kwargs.pop("users", [])
        rule = model_class.objects.create(**kwargs)
        rule.groups.add(*(GroupFactory(name=name) for name in groups))
        rule.users.add(*users)
        return rule


class UpstreamFactory(factory.django.DjangoModelFactory[Upstream]):
    class Meta:
        model = Upstream

    name = factory.Sequence(lambda n: f"Provider {n}")
    slug = factory.Sequence(lambda n: f"provider-{n}")
    issuer = "https://id.example.com"
    client_id = "portal"
    client_secret = "the client's secret"
