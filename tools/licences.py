"""Writes docs/licences.md: the licence of each package in the wheel and the image.

Run `python -m tools.licences`. A test compares the page with its output, and the licences with those allowed
here.
"""

from __future__ import annotations

import re
from importlib import metadata

from tools.locks import ROOT, read_lock

PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences

ikD Portal has the [Apache License 2.0](../LICENSE). It brings these packages, unchanged. Each has its own
licence, as an [SPDX expression](https://spdx.org/licenses/). The texts are in the folders `*.dist-info` of an
installation.

Packages under the MPL and the LGPL are separate files that you can replace. Some packages contain libraries
in C, such as `psycopg-binary` and `pillow`. Their licences are in the same folders. The container image also
has Python and its libraries from Debian, with their licences in `/usr/share/doc`.

"""

ALLOWED = {
    *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "LGPL-3.0-only", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0"),
    "PSF-2.0",
}
"""Licences that are allowed without a decision about the package."""

SPDX = {
    "Apache Software License": "Apache-2.0",
    "Apache Software License; MIT License": "Apache-2.0 OR MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
"""SPDX expressions for licences that metadata state in other words."""

READ = {
    "django-csp": ("BSD License", "BSD-3-Clause"),
    "fido2": (
        "Apache Software License; BSD License; Mozilla Public License 2.0 (MPL 2.0)",
        "BSD-2-Clause AND Apache-2.0 AND MPL-2.0",
    ),
    "qrcode": ("BSD License; Other/Proprietary License", "BSD-3-Clause"),
    "sqlparse": ("BSD License", "BSD-3-Clause"),
}
"""Packages whose licence text a person has read, with their metadata at that time."""

OTHER_SYSTEMS = {"async-timeout": "Apache-2.0", "colorama": "BSD-3-Clause", "tzdata": "Apache-2.0"}
"""Packages for other systems or Python versions. They are not installed, so no metadata are here."""


def licence_of(name: str) -> str:
    """Return a package's licence as an SPDX expression. Raises LookupError if its metadata have none."""
    try:
        about = metadata.metadata(name).json
    except metadata.PackageNotFoundError:
        return OTHER_SYSTEMS[name]
    prefix = "License :: "
    classifiers = [each for each in about.get("classifier", []) if each.startswith(prefix)]
    words = "; ".join(sorted(each.rpartition(" :: ")[2] for each in classifiers))
    if name in READ and READ[name][0] == words:
        return READ[name][1]
    stated = str(about.get("license_expression") or words or about.get("license") or "")
    expression = SPDX.get(stated, stated)
    if not is_expression(expression):
        raise LookupError(f"the licence of {name} is not known: {stated[:80]!r}")
    return expression


def is_expression(text: str) -> bool:
    """Return whether a text is an SPDX expression of licences without parentheses."""
    return re.fullmatch(r"[\w.+-]+(?: (?:AND|OR) [\w.+-]+)*", text) is not None


def is_allowed(expression: str) -> bool:
    """Return whether a package with this licence may be shipped: one of its alternatives is allowed."""
    return any(ALLOWED.issuperset(each.split(" AND ")) for each in expression.split(" OR "))


def page() -> str:
    """Return the page in Markdown."""
    rows = [
        f"| {each.name} | {each.version} | {licence_of(each.name)} |"
        for each in read_lock(ROOT / "requirements.lock")
    ]
    return HEAD + "\n".join(["| Package | Version | Licence |", "|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
