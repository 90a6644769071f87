"""Users from files: the import grants no rights, links no users, and creates all users or none."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import argon2
import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.core.management.base import CommandError

from accounts.admin.user_import import UnreadableFile, is_acceptable_hash, people_in_csv, people_in_json
from accounts.models import UpstreamGroup, User
from authgate.models import AuditEvent
from tests.factories import GroupFactory, UpstreamFactory

GOOD = "username,display_name,email,groups\nerin,Erin,erin@example.com,staff;crew\nfrank,,,\n"


def run(tmp_path: Path, text: str, *options: str, name: str = "users.csv") -> tuple[str, str]:
    """Return the command's output, and the problems."""
    path, said, problems = tmp_path / name, StringIO(), StringIO()
    path.write_text(text)
    try:
        call_command("import_users", str(path), *options, stdout=said, stderr=problems)
    except CommandError as error:
        problems.write(str(error))
    return said.getvalue(), problems.getvalue()


@pytest.mark.django_db
def test_users_are_created_in_their_groups_and_without_a_password(tmp_path: Path) -> None:
    said, problems = run(tmp_path, GOOD, "--yes", "--create-groups")

    assert problems == ""
    assert "Created 2 users." in said
    erin = User.objects.get(username="erin")
    assert {group.name for group in erin.groups.all()} == {"staff", "crew"}
    assert not erin.has_usable_password()
    assert not (erin.is_staff or erin.is_superuser)
    assert not EmailAddress.objects.get(user=erin).verified
    assert AuditEvent.objects.filter(kind="added", actor="manage.py").count() == 4


@pytest.mark.django_db
def test_without_yes_nothing_is_created(tmp_path: Path) -> None:
    said, problems = run(tmp_path, GOOD, "--create-groups")

    assert "+ user erin (staff, crew)" in said
    assert "repeat with --yes" in problems
    assert not User.objects.exists()
    assert not Group.objects.exists()


@pytest.mark.django_db
def test_existing_users_are_not_changed(tmp_path: Path, alice: User) -> None:
    before = User.objects.values().get(pk=alice.pk)

    said, _problems = run(
        tmp_path, "username,display_name,groups\nALICE,Mallory,crew\n", "--yes", "--create-groups"
    )

    assert "exists, not changed: ALICE" in said
    assert User.objects.values().get() == before
    assert {group.name for group in alice.groups.all()} == {"staff"}


PROBLEMS = {
    "an address of another": ("erin,,alice@example.com,", "Another user has this e-mail address"),
    "a name like another's": ("al\u0456ce,,,", "looks the same"),
    "a name that is an address": ("alice@example.com,,,", "Another user has this e-mail address"),
    "a wrong name": ("a b,,,", "username:"),
    "no name": (",x,,", "username:"),
    "no address": ("erin,,nowhere,", "email:"),
    "a hidden character": ("erin,a\u202eb,,", "invisible"),
    "an unknown group": ("erin,,,nobodies", "There is no group nobodies."),
    "a provider's group": ("erin,,,campus", "filled by an identity provider"),
    "a name twice": ("erin,,,\nErin,,,", "in the file twice"),
    "names that look alike": ("paul,,,\np\u0430ul,,,", "looks the same"),
    "an address twice": ("erin,,e@example.com,\nfay,,E@example.com,", "in the file twice"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", PROBLEMS)
def test_one_problem_prevents_all_from_being_created(tmp_path: Path, alice: User, name: str) -> None:
    UpstreamGroup.objects.create(group=GroupFactory(name="campus"), upstream=UpstreamFactory(), value="x")
    rows, words = PROBLEMS[name]

    _said, problems = run(tmp_path, f"username,display_name,email,groups\ngreta,,,\n{rows}\n", "--yes")

    assert words in problems
    assert User.objects.count() == 1


UNREADABLE = {
    "nothing": "",
    "no name": "email\na@example.com\n",
    "staff": "username,is_staff\nerin,1\n",
    "superuser": "username,Superuser\nerin,1\n",
    "permissions": "username,user_permissions\nerin,1\n",
    "roles": "username,role\nerin,people\n",
    "passwords": "username,password\nerin,secret\n",
    "hashes": "username,password_hash\nerin,$argon2id$\n",
    "unknown": "username,phone\nerin,1\n",
    "a column twice": "username,username\nerin,erin\n",
    "a short row": "username,email\nerin\n",
    "a long row": "username,email\nerin,,x\n",
    "a quote": 'username,email\n"erin,\n',
    "too many": "username\n" + "".join(f"u{number}\n" for number in range(5001)),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_file_is_refused(name: str) -> None:
    with pytest.raises(UnreadableFile) as refused:
        people_in_csv(UNREADABLE[name])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"users": 1}', '{"users": [{"username": 1}]}', '{"users": [[]]}', "[" * 100_000]
)
def test_json_that_is_not_a_list_of_users_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFile):
        people_in_json(text)


def test_json_with_rights_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="administration rights"):
        people_in_json('{"users": [{"username": "erin", "is_superuser": true}]}')


def hashed(**parameters: int) -> str:
    return argon2.PasswordHasher(**{"time_cost": 1, "memory_cost": 8, "parallelism": 1, **parameters}).hash(
        "x"
    )


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [
        (hashed(), True),
        (hashed(time_cost=11), False),
        (hashed().replace("m=8", "m=4194304"), False),
        (hashed().replace("argon2id", "argon2i"), False),
        (hashed().replace("argon2id", "argon2d"), False),
        (hashed(hash_len=8), False),
        (hashed().replace("v=19", "v=16"), False),
        ("$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", False),
        ("plain", False),
        ("", False),
    ],
    ids=["good", "rounds", "memory", "i", "d", "short", "version", "bcrypt", "plain", "empty"],
)
def test_only_safe_password_hashes_are_accepted(text: str, is_kept: bool) -> None:
    assert is_acceptable_hash(text) is is_kept


@pytest.mark.django_db
def test_a_hash_of_another_kind_is_a_problem(tmp_path: Path) -> None:
    text = json.dumps({"users": [{"username": "erin", "password_hash": "{SHA}x"}]})

    _said, problems = run(tmp_path, text, "--yes", name="users.json")

    assert "of a kind that the portal does not verify" in problems
    assert "{SHA}" not in problems


@pytest.mark.django_db
def test_a_new_group_has_no_permissions(tmp_path: Path) -> None:
    run(tmp_path, GOOD, "--yes", "--create-groups")

    assert not Permission.objects.filter(group__name="staff").exists()
