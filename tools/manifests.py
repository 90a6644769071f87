"""Writes the plain manifests of deploy/kubernetes from the chart: `make manifests`.

The chart is the only source. A test renders the manifests again and compares.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tools.locks import ROOT

CHART = ROOT / "deploy" / "helm" / "ikd-portal"
VALUES = ROOT / "deploy" / "helm" / "values"
FOLDER = ROOT / "deploy" / "kubernetes"
HELM = Path(sys.executable).with_name("helm")
"""Helm 3, which requirements-dev.txt installs."""

RELEASE, NAMESPACE = "portal", "ikd"

HEADS = {
    "portal": """\
# One portal with SQLite, for clusters without Helm.
""",
    "several-portals": """\
# Two to four portals with PostgreSQL and Redis, for clusters without Helm. Create the Secret first:
#
#     kubectl -n ikd create secret generic portal-secrets --from-env-file=portal.env
#
# portal.env has lines NAME=value: DATABASE_URL, REDIS_URL, IKD_SECRET_KEY, IKD_ENCRYPTION_KEYS and
# IKD_METRICS_TOKEN.
""",
}
"""The first comment of each manifest."""

ORIGIN = """\
# `make manifests` writes it from the chart with deploy/helm/values/{name}.yaml. Tested with the
# API server of Kubernetes 1.34, and against the schemas of 1.30.
"""
NAMESPACE_OBJECT = """
apiVersion: v1
kind: Namespace
metadata: {name: ikd, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
"""


def main() -> int:
    for name in HEADS:
        try:
            (FOLDER / f"{name}.yaml").write_text(manifest(name))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"No manifests: {error}", file=sys.stderr)
            return 1
    return 0


def manifest(name: str) -> str:
    """Return the text of a manifest. Raises OSError without Helm, and CalledProcessError."""
    command = [
        str(HELM),
        "template",
        RELEASE,
        str(CHART),
        "-n",
        NAMESPACE,
        "-f",
        str(VALUES / f"{name}.yaml"),
    ]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    objects = re.sub(r"(?m)^# Source: .*\n", "", rendered).removeprefix("---\n")
    objects = re.sub(r"\n+---\n", "\n---\n", objects)
    return HEADS[name] + ORIGIN.format(name=name) + NAMESPACE_OBJECT + objects


if __name__ == "__main__":
    raise SystemExit(main())
