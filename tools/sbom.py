"""A software bill of materials of the portal, in CycloneDX 1.6 (JSON).

Two runs on one commit produce the same bytes: https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import json
import re
import tarfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ikd_portal import __version__
from tools.licences import licence_of
from tools.locks import ROOT, Locked, needed_by, read_lock, read_requirements

Component = dict[str, Any]
STATUS = re.compile(r"(?:^|/)var/lib/dpkg/status\.d/[^/]+$")
FIELD = re.compile(r"^(Package|Version|Architecture): (.*)$", re.MULTILINE)


def bill(at: int, image: Path | None = None) -> str:
    """Return the bill of the wheel, and of an image if its archive is passed.

    `at` is the Unix time of the commit. The archive is from `docker save` or `buildah push`.
    """
    locked = read_lock(ROOT / "requirements.lock")
    components = [_python_package(each) for each in locked]
    components += _debian_packages(image) if image is not None else []
    portal = {
        "type": "application",
        "bom-ref": f"pkg:pypi/ikd-portal@{__version__}",
        "name": "ikd-portal",
        "version": __version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "purl": f"pkg:pypi/ikd-portal@{__version__}",
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": datetime.fromtimestamp(at, UTC).isoformat(), "component": portal},
        "components": components,
        "dependencies": _dependencies(locked),
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return json.dumps({"serialNumber": f"urn:uuid:{number}", **document}, indent=2) + "\n"


def _reference(package: Locked) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _python_package(package: Locked) -> Component:
    return {
        "type": "library",
        "bom-ref": _reference(package),
        "name": package.name,
        "version": package.version,
        "licenses": _licences(licence_of(package.name)),
        "purl": _reference(package),
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{package.name}/{package.version}/",
                "hashes": [{"alg": "SHA-256", "content": each} for each in package.hashes],
            }
        ],
    }


def _licences(expression: str) -> list[Component]:
    is_one = " " not in expression
    return [{"license": {"id": expression}}] if is_one else [{"expression": expression}]


def _dependencies(locked: list[Locked]) -> list[Component]:
    """Return the dependencies of each package, from the metadata of the installed packages."""
    references = {each.name: _reference(each) for each in locked}
    asked = {str(canonicalize_name(each.name)): each for each in read_requirements(ROOT / "requirements.txt")}
    needed = {
        each.name: needed_by(asked.get(canonicalize_name(each.name), Requirement(each.name)))
        for each in locked
    }
    rows = {f"pkg:pypi/ikd-portal@{__version__}": set(asked)}
    rows |= {references[name]: set(names) for name, names in needed.items()}
    return [
        {"ref": reference, "dependsOn": sorted(references[name] for name in names if name in references)}
        for reference, names in rows.items()
    ]


def _debian_packages(image: Path) -> list[Component]:
    """Return the Debian packages in an image, which contains their status files but not dpkg."""
    found = {}
    with tarfile.open(image) as archive:
        [manifest] = json.load(archive.extractfile("manifest.json") or _missing("manifest.json"))
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(name) or _missing(name)) as layer:
                for member in layer:
                    if STATUS.search(member.name) and (file := layer.extractfile(member)) is not None:
                        package = _debian_package(file.read().decode())
                        found[package["bom-ref"]] = package
    return [found[reference] for reference in sorted(found)]


def _missing(name: str) -> Any:
    raise FileNotFoundError(f"the image has no {name}")


def _debian_package(status: str) -> Component:
    fields = dict(FIELD.findall(status))
    version = fields["Version"].replace("+", "%2B").replace(":", "%3A")
    purl = f"pkg:deb/debian/{fields['Package']}@{version}?arch={fields['Architecture']}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": fields["Package"],
        "version": fields["Version"],
        "purl": purl,
    }
