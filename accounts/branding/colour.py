"""Readable shades of an accent colour, for text and for the background of a button's label.

The minimum contrast is 4.5 to 1 (WCAG 2.2, success criterion 1.4.3). The surfaces are those of
static/colours.css.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

MINIMUM_CONTRAST = 4.5
STEP = 0.005
LIGHT_SURFACES = ("#ffffff", "#f4f2ec")
DARK_SURFACES = ("#1a2220", "#111715")
TINT = 0.12
"""The share of the accent in the tint. The tint is also a background for text in the accent."""

RGB = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Shades:
    """An accent in one of the two colour schemes."""

    accent: str
    strong: str
    tint: str
    on_accent: str


def light_shades(accent: str) -> Shades:
    """Return the accent for the light scheme, darkened until it is readable."""
    readable = _until_readable(accent, LIGHT_SURFACES, -STEP)
    return Shades(readable, _mix(readable, "#000000", 0.24), _mix("#ffffff", readable, TINT), "#ffffff")


def dark_shades(accent: str) -> Shades:
    """Return the accent for the dark scheme, lightened until it is readable."""
    readable = _until_readable(accent, DARK_SURFACES, STEP)
    return Shades(readable, _mix(readable, "#ffffff", 0.3), _mix("#1a2220", readable, TINT), "#0b1412")


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _until_readable(accent: str, surfaces: tuple[str, ...], step: float) -> str:
    hue, lightness, saturation = colorsys.rgb_to_hls(*_rgb(accent))
    while not _is_readable(accent, surfaces) and 0 < lightness + step < 1:
        lightness += step
        accent = _hexadecimal(colorsys.hls_to_rgb(hue, lightness, saturation))
    return accent


def _is_readable(accent: str, surfaces: tuple[str, ...]) -> bool:
    tint = _mix(surfaces[0], accent, TINT)
    return all(contrast(accent, surface) >= MINIMUM_CONTRAST for surface in (*surfaces, tint))


def _luminance(colour: str) -> float:
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in _rgb(colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mix(one: str, other: str, share: float) -> str:
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(_rgb(one), _rgb(other), strict=True))
    return _hexadecimal((red, green, blue))


def _rgb(colour: str) -> RGB:
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue


def _hexadecimal(rgb: RGB) -> str:
    return "#" + "".join(f"{round(each * 255):02x}" for each in rgb)
