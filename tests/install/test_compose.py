"""The compose files: who can reach the portal, what they mount, and that the proxies' files fit them.

Their images come from registries, so no test starts them. The proxies' files that they mount run in
tests/proxies and tests/several, and the image in test_image.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.install.packages import ROOT

FOLDER = ROOT / "deploy" / "compose"
FILES = sorted(FOLDER.glob("*.yaml"))
PORTALS = {"traefik.yaml": ["portal"], "several.yaml": ["portal-a", "portal-b"]}
PROXIES = {"traefik.yaml": "traefik", "several.yaml": "nginx"}
FIELDS = {
    *("image", "network_mode", "networks", "ports", "environment", "volumes", "read_only", "cap_drop"),
    *("security_opt", "restart", "depends_on", "command", "healthcheck"),
}
"""The fields of the Compose specification's services that these files use."""

DOCUMENTED = set(
    re.findall(r"^\| `([A-Z0-9_]+)` \|", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE)
)


def services_of(path: Path) -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(path.read_text())["services"])


every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_each_file_is_listed() -> None:
    assert {path.name for path in FILES} == PORTALS.keys() == PROXIES.keys()


@every_file
def test_only_known_fields_networks_and_volumes_are_used(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    services = services_of(path)

    assert {name for each in services.values() for name in each} <= FIELDS
    assert {name for each in services.values() for name in each.get("networks", [])} == set(
        document["networks"]
    )
    assert {name for each in services.values() for name in each.get("depends_on", [])} <= services.keys()
    named = {volume.partition(":")[0] for each in services.values() for volume in each.get("volumes", [])}
    assert {name for name in named if "/" not in name} == set(document["volumes"])


@every_file
def test_every_mounted_file_exists(path: Path) -> None:
    mounts = [volume for each in services_of(path).values() for volume in each.get("volumes", [])]
    files = [mount.partition(":")[0] for mount in mounts if mount.startswith("../")]

    assert files
    assert [file for file in files if not (FOLDER / file).exists()] == []
    assert [mount for mount in mounts if mount.startswith(".") and not mount.endswith(":ro")] == []


@every_file
def test_only_the_proxy_shares_the_portals_network(path: Path) -> None:
    """Otherwise, a program there could forge checks: it would be one of IKD_TRUSTED_PROXIES."""
    services = services_of(path)
    inside = {name for name, each in services.items() if each.get("network_mode") == "service:gate"}

    assert inside == {*PORTALS[path.name], PROXIES[path.name]}
    assert [name for name, each in services.items() if "ports" in each] == ["gate"]


@every_file
def test_portals_have_few_rights_and_a_volume_each(path: Path) -> None:
    services = services_of(path)
    portals = [services[name] for name in PORTALS[path.name]]

    for portal in portals:
        assert (portal["read_only"], portal["cap_drop"]) == (True, ["ALL"])
        assert portal["security_opt"] == ["no-new-privileges:true"]
        assert portal["environment"]["IKD_TRUSTED_PROXIES"] == "127.0.0.1"
        assert portal["environment"].keys() <= DOCUMENTED
    assert len({str(portal["volumes"]) for portal in portals}) == len(portals)


@every_file
def test_the_proxys_files_have_the_portals_addresses(path: Path) -> None:
    services = services_of(path)
    bound = {services[name]["environment"]["IKD_BIND"] for name in PORTALS[path.name]}
    mounted = [volume.split(":")[0] for volume in services[PROXIES[path.name]]["volumes"]]
    texts = [(FOLDER / name).read_text() for name in mounted if (FOLDER / name).is_file()]
    asked = {address for text in texts for address in re.findall(r"127\.0\.0\.1:800\d", text)}

    assert asked == bound


@every_file
def test_images_have_a_version(path: Path) -> None:
    images = {each["image"] for each in services_of(path).values()} - {"ikd-portal"}

    assert [image for image in images if not re.search(r":v?\d[\d.]*$", image)] == []


@every_file
def test_secrets_are_not_in_the_file(path: Path) -> None:
    secrets = re.findall(r"(?:PASSWORD|KEYS?): (\S+)", path.read_text())
    secrets += re.findall(r"://\w+:(.*?)@", path.read_text())

    assert [value for value in secrets if not re.match(r"\$\{\w+:\?", value)] == []
