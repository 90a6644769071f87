"""Licences of shipped packages are known and allowed, and docs/licences.md lists them."""

from __future__ import annotations

from email.message import Message
from importlib import metadata

import pytest

from tools import licences
from tools.locks import ROOT, read_lock

NAMES = [each.name for each in read_lock(ROOT / "requirements.lock")]


@pytest.mark.parametrize("name", NAMES)
def test_the_licence_is_allowed(name: str) -> None:
    assert licences.is_allowed(licences.licence_of(name))


def test_the_page_lists_the_licences() -> None:
    """If this fails, read what changed, then run `python -m tools.licences`."""
    assert licences.PAGE.read_text() == licences.page()


@pytest.mark.parametrize(
    "expression",
    ["GPL-3.0-only", "AGPL-3.0-or-later", "MIT AND GPL-2.0-only", "Proprietary", "SSPL-1.0 OR BUSL-1.1"],
)
def test_other_licences_are_not_allowed(expression: str) -> None:
    assert not licences.is_allowed(expression)


def test_one_allowed_alternative_is_enough() -> None:
    assert licences.is_allowed("GPL-3.0-only OR MIT")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("License", "see the file"),
        ("License", ""),
        ("Classifier", "License :: Other/Proprietary License"),
        ("License-Expression", "MIT WITH (something)"),
    ],
)
def test_an_unknown_licence_is_an_error(header: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata._adapters import Message as Adapted

    about = Message()
    about["Name"], about[header] = "x", value
    monkeypatch.setattr(metadata, "metadata", lambda name: Adapted(about))

    with pytest.raises(LookupError):
        licences.licence_of("x")
