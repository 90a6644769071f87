"""Keys that a file can have, and how to read their values from a node and from a database row.

The keys of a model are its editable fields, so a new field is in the file at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any

from django.db import models
from django.utils.dateparse import parse_datetime

from accounts.models import ClaimMapping, GroupMapping, Upstream
from authgate.models import Application, Rule
from ikd_portal.configuration_file.tree import Items, Node, Scalar
from openid.models import Client

Value = Any
"""A value of a type that JSON has. Two files mean the same if their values are equal."""


class WrongValue(Exception):
    """A node without a value of the right shape. The text says what is expected and never quotes the node."""


class Shape(Enum):
    TEXT = "a text"
    FLAG = "true or false"
    NUMBER = "a whole number"
    MOMENT = "a time with its offset, such as 2030-01-31T18:00:00Z"
    WORDS = "a list of texts without spaces"
    LINES = "a list of texts"
    GROUP = "the name of a group"
    GROUPS = "a list of groups"
    USERS = "a list of usernames"


MANY_TO_MANY = frozenset((Shape.GROUPS, Shape.USERS))

WORDS = frozenset(
    ("methods", "networks", "scopes", "redirect_uris", "post_logout_uris", "trusted_email_domains")
)
"""Fields that are text in the database and a list in the file."""

BY_LINE = frozenset(("redirect_uris", "post_logout_uris", "trusted_email_domains"))
LINES = frozenset(("groups_pattern", "second_factor_values"))
SORTED = frozenset(("methods", "networks", "scopes"))
"""Lists whose order has no meaning. Saving may reorder them."""

OMITTED: dict[type[models.Model], tuple[str, ...]] = {
    Application: ("name",),
    Rule: ("application",),
    Upstream: ("slug", "client_secret"),
    ClaimMapping: ("upstream",),
    GroupMapping: ("upstream",),
    Client: ("application", "client_id"),
}
"""Fields that are an object's key, its parent, or a secret."""

_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Field:
    """A key of an object, which is a field of its model."""

    name: str
    shape: Shape
    label: str
    is_nullable: bool
    choices: tuple[Value, ...]
    default: Value

    def read(self, node: Node) -> Value:
        """Return the value of a node. Raises WrongValue."""
        if isinstance(node, Scalar) and node.is_null and self.is_nullable:
            return None
        value = _READ[self.shape](node)
        if self.choices and value not in self.choices:
            raise WrongValue(f"Use one of {', '.join(map(str, self.choices))}.")
        return sorted(value) if self.name in SORTED or self.shape in MANY_TO_MANY else value

    def of(self, row: models.Model) -> Value:
        """Return the value of a row. Its many-to-many fields must be prefetched."""
        if self.shape in MANY_TO_MANY:
            return sorted(str(each) for each in getattr(row, self.name).all())
        value = getattr(row, self.name)
        if self.shape is Shape.WORDS:
            words = value.replace(",", " ").split()
            return sorted(words) if self.name in SORTED else words
        if self.shape is Shape.LINES:
            return [line for line in value.splitlines() if line.strip()]
        if self.shape is Shape.MOMENT:
            return None if value is None else _moment(value)
        return str(value) if self.shape is Shape.GROUP else value

    def assign(self, row: models.Model, value: Value) -> None:
        """Set the value of a column. References to other rows are set elsewhere."""
        if self.shape is Shape.WORDS:
            value = ("\n" if self.name in BY_LINE else " ").join(value)
        elif self.shape is Shape.LINES:
            value = "\n".join(value)
        elif self.shape is Shape.MOMENT and value is not None:
            value = parse_datetime(value)
        setattr(row, self.name, value)


@lru_cache(maxsize=16)
def fields_of(model: type[models.Model]) -> dict[str, Field]:
    """Return the keys that a model has in the file, in the order of its fields."""
    found = (
        field
        for field in (*model._meta.fields, *model._meta.many_to_many)
        if field.editable and not field.primary_key and field.name not in OMITTED[model]
    )
    return {field.name: _field(field) for field in found}


def _field(field: Any) -> Field:
    shape = _shape(field)
    choices = tuple(value for value, _label in field.flatchoices) if field.choices else ()
    return Field(field.name, shape, field.verbose_name, field.null, choices, _default(field, shape))


def _default(field: Any, shape: Shape) -> Value:
    if shape in MANY_TO_MANY:
        return []
    if shape is Shape.GROUP:
        return None
    default = field.get_default()
    if shape is Shape.WORDS:
        return sorted(default.split()) if field.name in SORTED else default.split()
    return default.splitlines() if shape is Shape.LINES else default


def _shape(field: Any) -> Shape:
    if field.many_to_many:
        return Shape.GROUPS if field.related_model._meta.label == "auth.Group" else Shape.USERS
    if field.name in WORDS:
        return Shape.WORDS
    if field.name in LINES:
        return Shape.LINES
    for kind, shape in (
        (models.ForeignKey, Shape.GROUP),
        (models.BooleanField, Shape.FLAG),
        (models.IntegerField, Shape.NUMBER),
        (models.DateTimeField, Shape.MOMENT),
        (models.CharField, Shape.TEXT),
        (models.TextField, Shape.TEXT),
    ):
        if isinstance(field, kind):
            return shape
    raise TypeError(f"{field} has no shape in the configuration file")


# ---- values of nodes --------------------------------------------------------------------------------------


def text_of(node: Node) -> str:
    """Return the text of a node. Raises WrongValue."""
    if not isinstance(node, Scalar) or node.is_null:
        raise WrongValue(f"Expected {Shape.TEXT.value}.")
    return node.text


def flag_of(node: Node) -> bool:
    """Return the boolean value of a node. Raises WrongValue."""
    if isinstance(node, Scalar) and node.is_plain and node.text in ("true", "false"):
        return node.text == "true"
    raise WrongValue(f"Expected {Shape.FLAG.value}.")


def _number_of(node: Node) -> int:
    if isinstance(node, Scalar) and node.is_plain and _NUMBER.fullmatch(node.text):
        return int(node.text)
    raise WrongValue(f"Expected {Shape.NUMBER.value}.")


def _moment_of(node: Node) -> str:
    try:
        moment = parse_datetime(text_of(node))
        if moment is not None and moment.tzinfo is not None:
            return _moment(moment)
    except (ValueError, OverflowError):
        pass
    raise WrongValue(f"Expected {Shape.MOMENT.value}.")


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def texts_of(node: Node) -> list[str]:
    """Return the texts of a list. Raises WrongValue."""
    if not isinstance(node, Items):
        raise WrongValue(f"Expected {Shape.LINES.value}, such as [one, two].")
    texts = [text_of(each) for each in node.nodes]
    if any("\n" in text or "\r" in text or not text.strip() for text in texts):
        raise WrongValue("A text in this list is empty, or has several lines.")
    return texts


def _words_of(node: Node) -> list[str]:
    words = texts_of(node)
    if any(len(word.replace(",", " ").split()) != 1 for word in words):
        raise WrongValue(f"Expected {Shape.WORDS.value}.")
    return words


def _names_of(node: Node) -> list[str]:
    names = texts_of(node)
    if len(set(names)) < len(names):
        raise WrongValue("A name is in this list twice.")
    return names


_READ: dict[Shape, Callable[[Node], Value]] = {
    Shape.TEXT: text_of,
    Shape.FLAG: flag_of,
    Shape.NUMBER: _number_of,
    Shape.MOMENT: _moment_of,
    Shape.WORDS: _words_of,
    Shape.LINES: texts_of,
    Shape.GROUP: text_of,
    Shape.GROUPS: _names_of,
    Shape.USERS: _names_of,
}
