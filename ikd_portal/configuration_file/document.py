"""A configuration file as values, with the line of each key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import models

from accounts.models import ClaimMapping, GroupMapping, Upstream
from authgate.models import Application, Rule
from ikd_portal.configuration_file.schema import (
    Value,
    WrongValue,
    fields_of,
    flag_of,
    text_of,
    texts_of,
)
from ikd_portal.configuration_file.tree import InvalidFile, Items, Mapping, Node, Problem, Scalar
from openid.models import Client

VERSION = "1"

GROUP, APPLICATION, CLIENT, PROVIDER = "group", "application", "client", "provider"


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """The location of a secret: the name of an environment variable or of a file."""

    line: int
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """A rule or a mapping. It has a value for every key; a key that the file omits has its default."""

    line: int
    values: dict[str, Value]
    lines: dict[str, int]


@dataclass(slots=True)
class Entry:
    """An object of the file. A key that is missing in `values`, `rows` and `secrets` keeps its value."""

    kind: str
    name: str
    line: int
    parent: str = ""
    values: dict[str, Value] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    secrets: dict[str, list[SecretPlace]] = field(default_factory=dict)
    kept: dict[str, Value] = field(default_factory=dict)
    """Values that are not applied now, because a lockdown forbids it."""

    def line_of(self, key: str) -> int:
        return self.lines.get(key, self.line)


@dataclass(slots=True)
class Document:
    groups: list[Entry] = field(default_factory=list)
    applications: list[Entry] = field(default_factory=list)
    clients: list[Entry] = field(default_factory=list)
    providers: list[Entry] = field(default_factory=list)

    def entries(self) -> Iterator[Entry]:
        yield from (*self.groups, *self.providers, *self.applications, *self.clients)


def read_document(text: str) -> Document:
    """Return the contents of a file. Raises InvalidFile with all problems that need no database to find."""
    from ikd_portal.configuration_file.parser import parse  # imports PyYAML

    return _Reader().read(parse(text))


Taker = Callable[[Entry, str, Node], None]


class _Reader:
    """Reads the tree. It collects problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.document = Document()
        self.client_ids: dict[str, int] = {}

    def read(self, root: Mapping) -> Document:
        self._require_version(root)
        for key, node in root.nodes.items():
            if key == "groups":
                self.document.groups = self._entries(GROUP, node, {"second_factor": self._flag})
            elif key == "applications":
                self.document.applications = self._entries(APPLICATION, node, self._of_application())
            elif key == "identity_providers":
                self.document.providers = self._entries(PROVIDER, node, self._of_provider())
            elif key != "version":
                self._refuse_key(root, key, ("version", "groups", "applications", "identity_providers"))
        if self.problems:
            raise InvalidFile(self.problems)
        return self.document

    def _require_version(self, root: Mapping) -> None:
        node = root.nodes.get("version")
        if not isinstance(node, Scalar) or node.text != VERSION:
            self._note(node.line if node else 1, f"Begin the file with `version: {VERSION}`.")

    def _of_application(self) -> dict[str, Taker]:
        own: dict[str, Taker] = {
            "origins": self._texts,
            "rules": self._rows_of(Rule),
            "clients": self._clients,
        }
        return self._fields(Application) | own

    def _of_provider(self) -> dict[str, Taker]:
        own: dict[str, Taker] = {
            "client_secret": self._secret,
            "claim_mappings": self._rows_of(ClaimMapping),
            "group_mappings": self._rows_of(GroupMapping),
        }
        return self._fields(Upstream) | own

    def _fields(self, model: type[models.Model]) -> dict[str, Taker]:
        return dict.fromkeys(fields_of(model), self._field_of(model))

    # ---- objects ----

    def _entries(self, kind: str, node: Node, takers: dict[str, Taker], parent: str = "") -> list[Entry]:
        if isinstance(node, Scalar) and node.is_null:
            return []
        if not isinstance(node, Mapping):
            self._note(node.line, "Expected names, each with its settings below it.")
            return []
        return [self._entry(kind, name, node, takers, parent) for name in node.nodes]

    def _entry(self, kind: str, name: str, of: Mapping, takers: dict[str, Taker], parent: str) -> Entry:
        entry, node = Entry(kind, name, of.lines[name], parent), of.nodes[name]
        if not name or name != name.strip():
            self._note(entry.line, "A name is empty, or begins or ends with a space.")
        if isinstance(node, Scalar) and node.is_null:
            return entry
        if not isinstance(node, Mapping):
            self._note(node.line, f"Expected settings of {name}, such as `key: value`.")
            return entry
        for key, value in node.nodes.items():
            entry.lines[key] = node.lines[key]
            if key not in takers:
                self._refuse_key(node, key, takers)
                continue
            self._attempt(node.lines[key], takers[key], entry, key, value)
        return entry

    def _attempt(self, line: int, taker: Taker, entry: Entry, key: str, node: Node) -> None:
        try:
            taker(entry, key, node)
        except WrongValue as mistake:
            self._note(line, f"{key}: {mistake}")

    def _refuse_key(self, node: Mapping, key: str, known: Any) -> None:
        self._note(node.lines[key], f"Unknown key {key[:60]!r}. Known here: {', '.join(known)}.")

    def _note(self, line: int, text: str) -> None:
        self.problems.append(Problem(line, text))

    # ---- values ----

    def _field_of(self, model: type[models.Model]) -> Taker:
        fields = fields_of(model)

        def take(entry: Entry, key: str, node: Node) -> None:
            entry.values[key] = fields[key].read(node)

        return take

    def _flag(self, entry: Entry, key: str, node: Node) -> None:
        entry.values[key] = flag_of(node)

    def _texts(self, entry: Entry, key: str, node: Node) -> None:
        texts = texts_of(node)
        nodes = node.nodes if isinstance(node, Items) else []
        entry.rows[key] = [
            Row(each.line, {"value": text}, {}) for each, text in zip(nodes, texts, strict=True)
        ]

    def _rows_of(self, model: type[models.Model]) -> Taker:
        fields = fields_of(model)

        def take(entry: Entry, key: str, node: Node) -> None:
            if not isinstance(node, Items):
                raise WrongValue("Expected a list. Begin each entry with a dash.")
            entry.rows[key] = [self._row(each, fields) for each in node.nodes]

        return take

    def _row(self, node: Node, fields: dict[str, Any]) -> Row:
        row = Row(node.line, {name: each.default for name, each in fields.items()}, {})
        if not isinstance(node, Mapping):
            self._note(node.line, "Expected settings, such as `- path: /`.")
            return row
        for key, value in node.nodes.items():
            row.lines[key] = node.lines[key]
            if key not in fields:
                self._refuse_key(node, key, fields)
                continue
            try:
                row.values[key] = fields[key].read(value)
            except WrongValue as mistake:
                self._note(node.lines[key], f"{key}: {mistake}")
        return row

    # ---- clients and secrets ----

    def _clients(self, entry: Entry, key: str, node: Node) -> None:
        takers = self._fields(Client) | {"secrets": self._secrets}
        clients = self._entries(CLIENT, node, takers, parent=entry.name)
        for client in clients:
            first = self.client_ids.setdefault(client.name, client.line)
            if first != client.line:
                self._note(client.line, f"The client {client.name} is here twice, first in line {first}.")
        self.document.clients.extend(clients)

    def _secret(self, entry: Entry, key: str, node: Node) -> None:
        none = isinstance(node, Scalar) and node.is_plain and node.text == "none"
        entry.secrets[key] = [] if none else [_secret_place(node)]

    def _secrets(self, entry: Entry, key: str, node: Node) -> None:
        if not isinstance(node, Items):
            raise WrongValue("Expected a list. Begin each entry with a dash.")
        entry.secrets[key] = [_secret_place(each) for each in node.nodes]


def _secret_place(node: Node) -> SecretPlace:
    """Return the location of a secret. Raises WrongValue, without a quote, if the secret itself is there."""
    if isinstance(node, Mapping) and len(node.nodes) == 1:
        [(kind, name)] = node.nodes.items()
        if kind in ("environment", "file"):
            return SecretPlace(node.line, kind, text_of(name))
    raise WrongValue("Name the place of the secret: {environment: NAME} or {file: PATH}. Never the secret.")
