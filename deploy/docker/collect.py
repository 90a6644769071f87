"""Collects the image's contents in two folders: Debian's packages for Python, and the portal.

It runs while the image is built, with the Python of the base image.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

WANTED = ("python3", "ca-certificates", "tzdata")
# Programs that packages need only during their installation.
LEFT_OUT = {"debconf", "dpkg", "install-info", "mailcap", "openssl", "perl", "perl-base"}
UNUSED = re.compile(
    r"/usr/share/(?:bash-completion|debhelper|info|lintian|locale|man|pixmaps|applications|python3?/)"
    r"|/usr/share/(?:bug|doc-base|binfmts)/|/usr/lib/valgrind/|/usr/share/doc/.+/(?!copyright$)[^/]+$"
    r"|/usr/lib/[^/]+/gconv/|/usr/share/ca-certificates/|/usr/bin/(?:py3clean|py3compile|pdb|pydoc|pygettext|2to3)"
    r"|/(?:usr/)?sbin/|/etc/(?:init|cron|default|ca-certificates)"
)
PORTAL = Path("/opt/ikd-portal")
LANGUAGES = {"en", "zh_Hans"}
"""Those that a browser can choose: LANGUAGES of the settings."""

SOURCES = {".po", ".pyx", ".pxd", ".c", ".h", ".pyi"}
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
FIELD = re.compile(r"^([\w-]+): (.*(?:\n .*)*)", re.MULTILINE)


def main() -> None:
    image = Path(sys.argv[1])
    _collect_system(image / "system")
    _collect_portal(image / "portal")
    for path in sorted(image.rglob("*"), reverse=True):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def _collect_system(root: Path) -> None:
    packages = _installed()
    for name in ("bin", "lib", "lib64"):  # links into /usr, as in every Debian
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in sorted(_with_dependencies(packages)):
        _copy_package(name, root)
        status = root / "var/lib/dpkg/status.d" / name
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text(packages[name]["text"])  # scanners read this folder if there is no dpkg
    certificates = root / "etc/ssl/certs/ca-certificates.crt"
    certificates.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile("/etc/ssl/certs/ca-certificates.crt", certificates)
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/:/nonexistent\nikd:x:10001:0:ikD Portal:/data:/nonexistent\n"
    )
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    subprocess.run(["ldconfig", "-r", root, "-X"], check=True)
    shutil.rmtree(root / "var/cache", ignore_errors=True)
    _compile(root / "usr/lib")


def _installed() -> dict[str, dict[str, str]]:
    """Return the fields of installed packages by name, and by the names that they provide."""
    found = {}
    for text in Path("/var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(FIELD.findall(text)) | {"text": text.strip() + "\n"}
        if " installed" in fields.get("Status", ""):
            provided = [each.split()[0] for each in fields.get("Provides", "").split(",") if each.strip()]
            found |= {name: fields for name in provided if name not in found} | {fields["Package"]: fields}
    return found


def _with_dependencies(packages: dict[str, dict[str, str]]) -> set[str]:
    found, left = set(), list(WANTED)
    while left:
        fields = packages[left.pop()]
        if (name := fields["Package"]) in found:
            continue
        found.add(name)
        needed = f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}"
        for alternatives in needed.split(","):
            names = [re.split(r"[ :(]", each.strip())[0] for each in alternatives.split("|")]
            there = [packages[each]["Package"] for each in names if each in packages]
            left += [each for each in there[:1] if each not in LEFT_OUT]
    return found


def _copy_package(name: str, root: Path) -> None:
    listed = subprocess.run(["dpkg", "-L", name], check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        source, target = Path(line), root / line[1:]
        if (
            UNUSED.search(line)
            or (source.is_dir() and not source.is_symlink())
            or not os.path.lexists(source)
        ):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            shutil.copy2(source, target, follow_symlinks=False)


def _collect_portal(root: Path) -> None:
    target = root / PORTAL.relative_to("/")
    shutil.copytree(PORTAL, target, symlinks=True)
    for path in sorted(target.rglob("*")):
        if path.is_file() and path.suffix in SOURCES:
            path.unlink()
        elif path.parent.name == "locale" and path.is_dir() and path.name not in LANGUAGES:
            shutil.rmtree(path)
    _compile(target)
    data = root / "data"
    data.mkdir()
    data.chmod(0o770)  # group 0 is the group of every user without another one


def _compile(folder: Path) -> None:
    """Compile all modules, because the file system is read-only and no start could store the result."""
    compileall.compile_dir(
        folder,
        quiet=2,
        force=True,
        stripdir=str(folder),
        prependdir="/",
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    main()
