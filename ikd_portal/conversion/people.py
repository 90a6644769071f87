"""Users of other programs, with the password hashes that the portal can verify."""

from __future__ import annotations

import json
from typing import Any

from accounts.admin.user_import import is_acceptable_hash
from ikd_portal.configuration_file.tree import Items, Mapping, Node, Scalar
from ikd_portal.conversion.report import NotConverted, Report

People = list[dict[str, Any]]

KINDS = {
    "$2": "bcrypt",
    "$apr1$": "MD5 of Apache",
    "{SHA}": "SHA-1",
    "$5$": "SHA-256 crypt",
    "$6$": "SHA-512 crypt",
}


def as_json(people: People) -> str:
    """Return users in the format that `import_users` reads."""
    return json.dumps({"users": people}, indent=2, ensure_ascii=False) + "\n"


def kept_hash(text: str, name: str, line: int, report: Report) -> str:
    """Return a hash if the portal can verify it, otherwise "", and report it without quoting the hash."""
    if is_acceptable_hash(text):
        return text
    kind = next((kind for start, kind in KINDS.items() if text.startswith(start)), "unknown")
    if text.startswith("$pbkdf2"):
        kind = "PBKDF2"
    elif text.startswith("$argon2"):
        kind = "Argon2 of another variant or with dear parameters"
    report.note(line, f"{name}: the hash ({kind}) is not carried over. The user needs a new password.")
    return ""


def of_htpasswd(text: str, report: Report) -> People:
    """Return the users of an htpasswd file."""
    people: People = []
    for line, entry in enumerate(text.splitlines(), 1):
        if not entry.strip() or entry.startswith("#"):
            continue
        name, colon, found = entry.strip().partition(":")
        if not colon or not name:
            report.note(line, "This is not a user of an htpasswd file.")
            continue
        if name in {person["username"] for person in people}:
            report.note(line, f"{name} is there twice. The first entry counts.")
            continue
        people.append({"username": name, "password_hash": kept_hash(found, name, line, report)})
    return people


def of_authelia(root: Mapping, report: Report) -> People:
    """Return the users of Authelia's user file. Raises NotConverted."""
    users = root.nodes.get("users")
    if not isinstance(users, Mapping):
        raise NotConverted("There is no section users.")
    people: People = []
    for name, node in users.nodes.items():
        if not isinstance(node, Mapping):
            report.note(users.lines[name], f"{name} cannot be read.")
            continue
        people.append(_person(name, node, report))
        for key in node.nodes.keys() - {"disabled", "displayname", "password", "email", "groups"}:
            report.note(node.lines[key], f"{name}: {key} is not carried over.")
    return people


def _person(name: str, node: Mapping, report: Report) -> dict[str, Any]:
    texts = {key: each.text for key, each in node.nodes.items() if isinstance(each, Scalar)}
    return {
        "username": name,
        "display_name": texts.get("displayname", "")[:150],
        "email": texts.get("email", ""),
        "groups": _texts(node.nodes.get("groups")),
        "password_hash": kept_hash(texts.get("password", ""), name, node.line, report),
        "disabled": texts.get("disabled", "false") != "false",
    }


def _texts(node: Node | None) -> list[str]:
    nodes = node.nodes if isinstance(node, Items) else []
    return [each.text for each in nodes if isinstance(each, Scalar)]
