"""Run the cluster's tests in a separate network: `make kubernetes-test`.

Programs are built first, while there is a network. Then the process enters new namespaces. No port of the
machine is used, pods and Services have addresses as in k3s, and /etc/hosts is the cluster's DNS.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.go_programs import helm, kube_apiserver, resource_definitions

APART = "IKD_CLUSTER_TESTS"
PROXY, PORTAL, APPLICATIONS = "10.42.0.2", "10.42.0.10", "10.42.0.20"
"""The pods' addresses: of Traefik, the portal and the applications."""

PODS, SERVICES = "10.42.0.0/16", "10.43.0.0/24"


def main() -> int:
    if APART not in os.environ:
        for program in (helm, kube_apiserver, resource_definitions):
            print(f"{program.__name__}: {program()}", flush=True)
        as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", *as_root, "--net", "--mount", sys.executable, "-m", "tests.kubernetes.apart"]
        return subprocess.call([*command, *sys.argv[1:]], env=os.environ | {APART: "1"})
    for address in (PROXY, PORTAL, APPLICATIONS):
        ip("address", "add", f"{address}/32", "dev", "lo")
    ip("link", "set", "lo", "up")
    with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
        hosts.write("127.0.0.1 localhost\n")
        hosts.flush()
        Path(hosts.name).chmod(0o644)
        subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True)
        return subprocess.call([sys.executable, "-m", "pytest", *sys.argv[1:]])


def serve(address: str, name: str) -> None:
    """Publish a Service's address and name, as kube-proxy and the cluster's DNS do."""
    ip("address", "replace", f"{address}/32", "dev", "lo")
    # Otherwise a connection to it would come from the same address, instead of from the proxy's pod.
    ip("route", "replace", "local", address, "dev", "lo", "table", "local", "src", PROXY)
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write(f"{address} {name}\n")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    raise SystemExit(main())
