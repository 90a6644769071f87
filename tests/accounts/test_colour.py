"""Text stays readable with any accent colour that an administrator chooses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.branding.colour import DARK_SURFACES, LIGHT_SURFACES, contrast, dark_shades, light_shades

READABLE_CONTRAST = 4.5
COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("#000000", "#ffffff", 21.0), ("#ffffff", "#ffffff", 1.0), ("#777777", "#ffffff", 4.48)],
    ids=["most", "none", "just too little"],
)
def test_contrast_is_calculated_as_in_wcag(one: str, other: str, expected: float) -> None:
    assert contrast(one, other) == pytest.approx(expected, abs=0.01)


@settings(deadline=None)
@given(COLOURS)
def test_any_colour_is_made_readable_in_light_mode(accent: str) -> None:
    shades = light_shades(accent)

    assert all(contrast(shades.accent, each) >= READABLE_CONTRAST for each in (*LIGHT_SURFACES, shades.tint))
    assert contrast(shades.on_accent, shades.accent) >= READABLE_CONTRAST
    assert contrast(shades.on_accent, shades.strong) >= READABLE_CONTRAST


@settings(deadline=None)
@given(COLOURS)
def test_any_colour_is_made_readable_in_dark_mode(accent: str) -> None:
    shades = dark_shades(accent)

    assert all(contrast(shades.accent, each) >= READABLE_CONTRAST for each in (*DARK_SURFACES, shades.tint))
    assert contrast(shades.on_accent, shades.accent) >= READABLE_CONTRAST
    assert contrast(shades.on_accent, shades.strong) >= READABLE_CONTRAST


@pytest.mark.parametrize("accent", ["#14594f", "#234a83", "#9c2b1f"])
def test_a_readable_colour_is_not_changed(accent: str) -> None:
    assert light_shades(accent).accent == accent


def test_the_surface_colours_equal_those_of_the_style_sheet() -> None:
    style_sheet = (Path(__file__).parents[2] / "static" / "colours.css").read_text()

    for light, dark in zip(LIGHT_SURFACES, DARK_SURFACES, strict=True):
        assert f"light-dark({light}, {dark})" in style_sheet
