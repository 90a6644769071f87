"""The published schemas of custom resources, read as strictly as a Kubernetes API server can.

An API server drops an unknown field, or refuses it if asked to. Here it is always refused. Rules in CEL
(`x-kubernetes-validations`) are not evaluated here. Envoy Gateway does so when it reads a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import yaml
from jsonschema import Draft202012Validator

from tests.kubernetes.rendering import program
from tools.go_programs import resource_definitions

OF_EVERY_OBJECT = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
}


class Kind(NamedTuple):
    """A kind of objects, such as gateway.networking.k8s.io/v1 and HTTPRoute."""

    api_version: str
    kind: str


class Schemas:
    """The schemas of all kinds in some modules."""

    def __init__(self, definitions: Iterable[dict[str, Any]]) -> None:
        self._validators = dict(_validators(definitions))

    def __contains__(self, item: dict[str, Any]) -> bool:
        return Kind(item["apiVersion"], item["kind"]) in self._validators

    def complaints(self, item: dict[str, Any]) -> list[str]:
        """Return what is wrong with an object. Raises KeyError for a kind that no module has."""
        errors = self._validators[Kind(item["apiVersion"], item["kind"])].iter_errors(item)
        return [f"{error.json_path}: {error.message}" for error in errors]


def published_schemas() -> Schemas:
    """Return the schemas of all modules. Skip the test if they cannot be fetched; fail it on CI."""
    files = sorted(program(resource_definitions).glob("*.y*ml"))
    read = (each for file in files for each in yaml.load_all(file.read_text(), yaml.CSafeLoader))
    return Schemas(filter(None, read))


def _validators(definitions: Iterable[dict[str, Any]]) -> Iterator[tuple[Kind, Draft202012Validator]]:
    for definition in definitions:
        if definition.get("kind") != "CustomResourceDefinition":
            continue
        spec = definition["spec"]
        for version in (each for each in spec["versions"] if each["served"]):
            schema = version["schema"]["openAPIV3Schema"]
            schema["properties"] |= OF_EVERY_OBJECT
            kind = Kind(f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            yield kind, Draft202012Validator(_strict(schema))


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a structural schema of Kubernetes as JSON Schema that refuses unknown fields."""
    made = {name: _strict_part(name, value) for name, value in schema.items()}
    if "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if made.pop("nullable", False) and "type" in made:
        made["type"] = [made["type"], "null"]
    if made.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    for name in ("allOf", "anyOf", "oneOf", "not"):
        if name in schema:  # without properties, Kubernetes reads only values there
            made[name] = schema[name]
    return made


def _strict_part(name: str, value: Any) -> Any:
    if name == "properties":
        return {field: _strict(part) for field, part in value.items()}
    if name in ("items", "additionalProperties") and isinstance(value, dict):
        return _strict(value)
    return value
