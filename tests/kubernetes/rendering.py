"""The chart as Helm 3 renders it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.go_programs import NotBuilt
from tools.manifests import CHART, HELM

Manifest = dict[str, Any]

CUSTOM = ("traefik.io/", "gateway.networking.k8s.io/", "monitoring.coreos.com/")
"""API groups of custom resources, which the published schemas lack."""

LEAST = {
    "url": "https://sso.example.com",
    "trustedProxies": ["10.42.0.0/16"],
    "image": {"repository": "registry.example.com/ikd-portal"},
}
"""The values that a user must enter."""

SECRETS = {
    "DATABASE_URL": "postgres://ikd@db/ikd",
    "IKD_SECRET_KEY": "s" * 32,
    "IKD_ENCRYPTION_KEYS": "e" * 32,
}
POSTGRESQL = {"database": "postgresql", "secret": {"values": SECRETS}}

EVERYTHING: dict[str, Any] = {
    **POSTGRESQL,
    "secret": {"values": {**SECRETS, "IKD_METRICS_TOKEN": "t" * 32}},
    "autoscaling": {"enabled": True},
    "env": {"IKD_WORKERS": "4"},
    "image": {"repository": "registry.example.com/ikd-portal", "pullSecrets": [{"name": "registry"}]},
    "podAnnotations": {"example.com/a": "b"},
    "podLabels": {"example.com/c": "d"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "sso", "operator": "Exists"}],
    "priorityClassName": "system-cluster-critical",
    "networkPolicy": {
        "metricsFrom": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        ],
        "egress": [{"ports": [{"port": 5432}, {"port": 53, "protocol": "UDP"}]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "traefik": {"enabled": True, "applicationNamespaces": ["apps"]},
    "ingressNginx": {"enabled": True, "applicationNamespaces": ["apps"]},
    "gatewayApi": {"enabled": True, "parentRefs": [{"name": "gateway"}], "applicationNamespaces": ["apps"]},
}
"""Values with which the chart renders every kind of object."""


def program(path: Callable[[], Path]) -> Path:
    """Return the path of a program. Skip the test if it cannot be built; fail it on CI."""
    try:
        return path()
    except NotBuilt as reason:
        if os.environ.get("CI") == "true":
            raise
        return pytest.skip(f"{path.__name__} cannot be built: {reason}")


def render(values: dict[str, Any], folder: Path, *, name: str = "portal") -> list[Manifest]:
    """Return the objects that the chart renders with LEAST and `values`. Raises CalledProcessError."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(LEAST | values))
    command = [str(HELM), "template", name, str(CHART), "-n", "ikd", "-f", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def found(objects: list[Manifest], kind: str, name: str = "portal", namespace: str = "") -> Manifest:
    """Return the only object with a kind and a name."""
    [only] = [
        each
        for each in objects
        if (each["kind"], each["metadata"]["name"]) == (kind, name)
        and (not namespace or each["metadata"]["namespace"] == namespace)
    ]
    return only
