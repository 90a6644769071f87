"""The demo's users, groups and applications."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

PORTAL_HOST = "sso.localhost"
# Without look-alike characters.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class Person:
    username: str
    display_name: str
    role: str
    groups: tuple[str, ...] = ()
    administrator: bool = False
    active: bool = True


@dataclass(frozen=True, slots=True)
class Site:
    name: str
    host: str
    description: str
    access: str
    groups: tuple[str, ...] = ()
    """Groups with access. Empty: any signed-in user."""
    public_path: str = ""

    def url(self, port: int) -> str:
        return url_of(self.host, port)

    def who(self) -> list[str]:
        """Return the usernames of those who have access."""
        return [
            person.username
            for person in PEOPLE
            if person.active and (not self.groups or set(self.groups) & set(person.groups))
        ]


PEOPLE = (
    Person("carol", "Carol Adams", "administrator", administrator=True),
    Person("alice", "Alice Liddell", "groups staff and ops", groups=("staff", "ops")),
    Person("bob", "Bob Cratchit", "group guests", groups=("guests",)),
    Person("dave", "Dave Bowman", "disabled: cannot sign in", groups=("staff",), active=False),
)
SITES = (
    Site("app", "app.localhost", "Where everybody begins.", "any signed-in user"),
    Site(
        "wiki",
        "wiki.example.localhost",
        "Notes, on an unrelated domain.",
        "any signed-in user; /public for everyone",
        public_path="/public",
    ),
    Site("ops", "ops.localhost", "Machines and their switches.", "group ops", groups=("ops",)),
)

HOSTS = tuple(site.host for site in SITES)


def url_of(host: str, port: int) -> str:
    return f"http://{host}" if port == 80 else f"http://{host}:{port}"


def new_passwords() -> dict[str, str]:
    """Return a random password for each person: 12 characters, about 59 bits."""
    return {person.username: _password() for person in PEOPLE}


def _password() -> str:
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(3))
