"""Translations for tests: the messages in the sources, and a catalogue that marks each translated text."""

from __future__ import annotations

import gettext
import os
import shutil
import subprocess
import sys
from pathlib import Path

import allauth
import django

ROOT = Path(__file__).resolve().parent.parent
CHINESE = ROOT / "locale" / "zh_Hans" / "LC_MESSAGES"
SOURCES = ("accounts", "authgate", "openid", "ikd_portal", "templates", "manage.py")
THEIRS = (
    *sorted(Path(django.__file__).parent.glob("contrib/*/locale/zh_Hans/LC_MESSAGES/django.mo")),
    Path(django.__file__).parent / "conf/locale/zh_Hans/LC_MESSAGES/django.mo",
    Path(allauth.__file__).parent / "locale/zh_Hans/LC_MESSAGES/django.mo",
)
OPENS, CLOSES = "⟦", "⟧"

Key = str | tuple[str, int]


def catalogue(compiled: Path) -> dict[Key, str]:
    """Return the messages of a compiled catalogue. Plural forms are found by message and number."""
    with compiled.open("rb") as file:
        found: dict[Key, str] = dict(gettext.GNUTranslations(file)._catalog)  # type: ignore[attr-defined]
    found.pop("", None)
    return found


def compiled(source: Path, into: Path) -> dict[Key, str]:
    """Compile a catalogue and check its formats. Raises CalledProcessError with msgfmt's output."""
    subprocess.run(["msgfmt", "--check", "-o", into, source], check=True, capture_output=True, text=True)
    return catalogue(into)


def to_translate(folder: Path) -> set[Key]:
    """Return every message that makemessages finds in a copy of the sources."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    (folder / "locale").mkdir()
    ours = {"DJANGO_SETTINGS_MODULE": "ikd_portal.settings", "IKD_VAR": str(folder / "var")}
    command = [sys.executable, "manage.py", "makemessages", "-l", "zh_Hans"]
    subprocess.run(command, cwd=folder, env=os.environ | ours, check=True, capture_output=True, text=True)
    found = folder / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
    subprocess.run(["msgen", "-o", folder / "all.po", found], check=True)
    subprocess.run(["msgfmt", "-o", folder / "all.mo", folder / "all.po"], check=True)
    return set(catalogue(folder / "all.mo"))


def marking(folder: Path) -> Path:
    """Write a catalogue with marks around every Chinese translation, and return its locale folder."""
    every: dict[Key, str] = {}
    for source in (*THEIRS, CHINESE / "django.mo"):
        every |= catalogue(source)
    place = folder / "zh_Hans" / "LC_MESSAGES"
    place.mkdir(parents=True)
    (place / "django.po").write_text(_as_source(every), encoding="utf-8")
    subprocess.run(["msgfmt", "-o", place / "django.mo", place / "django.po"], check=True)
    shutil.copy(CHINESE / "djangojs.mo", place)
    return folder


def _as_source(every: dict[Key, str]) -> str:
    entries = ['msgid ""', 'msgstr ""', r'"Content-Type: text/plain; charset=UTF-8\n"']
    entries.append(r'"Plural-Forms: nplurals=1; plural=0;\n"')
    for key, translation in every.items():
        message, number = key if isinstance(key, tuple) else (key, None)
        context, separator, text = message.rpartition("\x04")
        entry = f"\nmsgctxt {_quoted(context)}" if separator else ""
        entry += f"\nmsgid {_quoted(text)}\n"
        if number is None:
            entry += "msgstr"
        else:
            entry += f"msgid_plural {_quoted(text)}\nmsgstr[0]"
        words = translation.strip("\n")
        entries.append(f"{entry} {_quoted(translation.replace(words, OPENS + words + CLOSES))}")
    return "\n".join(entries)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def outside_marks(text: str) -> str:
    """Return the parts of a text outside all marks."""
    depth, left = 0, []
    for character in text:
        if character == OPENS:
            depth += 1
        elif character == CLOSES:
            depth -= 1
        elif depth <= 0:
            left.append(character)
    return "".join(left)
