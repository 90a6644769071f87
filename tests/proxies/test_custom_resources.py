"""Every object for Kubernetes in deploy/, docs/ and what the portal generates is what its schema says."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from authgate.proxy_configuration.facts import Address, Facts
from authgate.proxy_configuration.proxies import KINDS
from tests.pattern import ROOT
from tests.proxies.crd_schemas import Schemas, published_schemas
from tests.proxies.proxy import DEPLOY

Manifest = dict[str, Any]

OF_KUBERNETES = "1.30"
"""The version of Kubernetes whose own kinds are asked for. Its kinds here are the same in newer ones."""

GENERATED = ("traefik-kubernetes", "ingress-nginx", "gateway-api", "envoy-gateway")
APPLICATIONS = {
    "one host": Facts(
        "sso.example.com", ("app.example.com",), 443, Address("app.apps", 80), Address("p.i", 1)
    ),
    "several hosts, a port and an API": Facts(
        "login.example.net",
        ("app.example.net", "1.example.org", "wiki"),
        8443,
        Address("web.shop", 7001),
        Address("gate.auth", 7002),
        "/v1/",
    ),
}
"""ingress-nginx has no other port than 443."""


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return published_schemas()


def objects_in(text: str) -> list[Manifest]:
    """Return the objects for Kubernetes of a file. A file that is none, or a template, has none."""
    found = [each for each in yaml.load_all(text, yaml.CSafeLoader) if isinstance(each, dict)]
    return [each for each in found if {"apiVersion", "kind"} <= set(each)]


def shipped() -> Iterator[Any]:
    for folder in ("kubernetes", "ingress-nginx"):
        for path in sorted((DEPLOY / folder).glob("*.yaml")):
            for each in objects_in(path.read_text()):
                yield pytest.param(each, id=f"{folder}/{path.name} {named(each)}")


def in_docs() -> Iterator[Any]:
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"(?ms)^ *```ya?ml\n(.*?)^ *```", page.read_text()):
            for each in objects_in(block) if "apiVersion:" in block else []:
                yield pytest.param(each, id=f"{page.relative_to(ROOT)} {named(each)}")


def generated() -> Iterator[Any]:
    for kind in GENERATED:
        for name, facts in APPLICATIONS.items():
            if kind == "ingress-nginx" and facts.port != 443:
                continue
            for file in KINDS[kind].files(facts):
                for each in objects_in(file.text):
                    yield pytest.param(each, id=f"{kind}, {name}: {named(each)}")


def named(item: Manifest) -> str:
    return f"{item['kind']} {item['metadata']['name']}"


def complaints(item: Manifest, schemas: Schemas) -> list[str]:
    if item in schemas:
        return schemas.complaints(item)
    kubernetes_validate.validate(item, OF_KUBERNETES, strict=True)
    return []


@pytest.mark.parametrize("item", [*shipped(), *in_docs(), *generated()])
def test_an_object_is_what_its_schema_says(item: Manifest, schemas: Schemas) -> None:
    assert complaints(item, schemas) == []


def policy() -> Manifest:
    [found] = [
        each
        for each in objects_in((DEPLOY / "kubernetes" / "envoy-gateway.yaml").read_text())
        if each["kind"] == "SecurityPolicy"
    ]
    return found


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (("spec", "extAuth", "failClosed"), True, "'failClosed' was unexpected"),
        (("spec", "extAuth", "http", "backendRefs"), [{"nam": "portal", "port": 1}], "'nam' was unexpected"),
        (("spec", "extAuth", "statusOnError"), "503", "is not of type 'integer'"),
        (("spec", "targetRefs"), [{"name": "ikd"}], "'kind' is a required property"),
        (("metadata", "nammespace"), "ikd", "'nammespace' was unexpected"),
    ],
)
def test_a_mistake_is_found(place: tuple[str, ...], value: Any, complaint: str, schemas: Schemas) -> None:
    item = copy.deepcopy(policy())
    inner = item
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value

    assert any(complaint in each for each in schemas.complaints(item))


def test_a_filter_of_another_name_is_refused(schemas: Schemas) -> None:
    route = objects_in((DEPLOY / "kubernetes" / "gateway-api.yaml").read_text())[0]
    [check] = [each for each in route["spec"]["rules"][0]["filters"] if "externalAuth" in each]
    check["type"] = "ExternalAuthentication"

    assert "is not one of" in schemas.complaints(route)[0]


def test_a_kind_that_no_schema_has_is_none_of_kubernetes() -> None:
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate(
            {"apiVersion": "example.com/v1", "kind": "X"}, OF_KUBERNETES, strict=True
        )


def test_pages_that_show_objects_are_found() -> None:
    pages = {str(param.id).split(" ")[0] for param in in_docs()}

    assert {"docs/envoy.md", "docs/kubernetes.md", "docs/ingress-nginx.md"} <= pages
