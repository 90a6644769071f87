"""Whatever an administrator chooses, it can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.branding.colour import DARK_SURFACES, LIGHT_SURFACES, contrast, dark_shades, light_shades

ENOUGH = 4.5
COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("#000000", "#ffffff", 21.0), ("#ffffff", "#ffffff", 1.0), ("#777777", "#ffffff", 4.48)],
    ids=["most", "none", "just too little"],
)
def test_contrast_is_wcags(one: str, other: str, expected: float) -> None:
    assert contrast(one, other) == pytest.approx(expected, abs=0.01)


@settings(deadline=None)
@given(COLOURS)
def test_any_colour_is_made_readable_by_light(accent: str) -> None:
    shades = light_shades(accent)

    assert all(contrast(shades.accent, each) >= ENOUGH for each in (*LIGHT_SURFACES, shades.tint))
    assert contrast(shades.on_accent, shades.accent) >= ENOUGH
    assert contrast(shades.on_accent, shades.strong) >= ENOUGH


@settings(deadline=None)
@given(COLOURS)
def test_any_colour_is_made_readable_in_the_dark(accent: str) -> None:
    shades = dark_shades(accent)

    assert all(contrast(shades.accent, each) >= ENOUGH for each in (*DARK_SURFACES, shades.tint))
    assert contrast(shades.on_accent, shades.accent) >= ENOUGH
    assert contrast(shades.on_accent, shades.strong) >= ENOUGH


@pytest.mark.parametrize("accent", ["#14594f", "#234a83", "#9c2b1f"])
def test_a_colour_that_can_be_read_stays_as_it_is(accent: str) -> None:
    assert light_shades(accent).accent == accent


def test_the_surfaces_are_those_of_the_style_sheet() -> None:
    style_sheet = (Path(__file__).parents[2] / "static" / "colours.css").read_text()

    for light, dark in zip(LIGHT_SURFACES, DARK_SURFACES, strict=True):
        assert f"light-dark({light}, {dark})" in style_sheet
