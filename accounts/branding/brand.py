"""The portal's name, accent colour and logo, cached for every page."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError

from accounts.branding.colour import Shades, dark_shades, light_shades
from accounts.models import Brand

DEFAULT_SHADES = (
    Shades("#14594f", "#0d453d", "#e4f0ea", "#ffffff"),
    Shades("#7fd3bb", "#a2e4d0", "#1d332d", "#0b221d"),
)
"""The portal's own accent in light and in dark, as in static/colours.css."""

REMEMBERED_FOR = 5.0
"""Seconds for which a process uses the same brand without a query."""


@dataclass(frozen=True, slots=True)
class BrandStyle:
    name: str = "ikD Portal"
    accent: str = ""
    logo_digest: str = ""

    @property
    def version(self) -> str:
        """Return a text for URLs that changes with the style sheet or the logo."""
        return hashlib.sha256(f"{self.accent} {self.logo_digest}".encode()).hexdigest()[:12]

    @property
    def shades(self) -> tuple[Shades, Shades]:
        """Return the accent for the light and for the dark scheme."""
        return (light_shades(self.accent), dark_shades(self.accent)) if self.accent else DEFAULT_SHADES


_remembered: tuple[float, BrandStyle] = (0.0, BrandStyle())


def current() -> BrandStyle:
    """Return the brand, at most 5 seconds old.

    If the database cannot be reached, return the last known brand.
    """
    global _remembered
    read_at, look = _remembered
    now = time.monotonic()
    if read_at and now - read_at < REMEMBERED_FOR:
        return look
    # Set before the query. While the database is down, only one page in five seconds waits for it.
    _remembered = (now, look)
    look = _read(look)
    _remembered = (now, look)
    return look


def forget() -> None:
    global _remembered
    _remembered = (0.0, BrandStyle())


def _read(known: BrandStyle) -> BrandStyle:
    try:
        row = Brand.objects.values_list("name", "accent", "logo_digest").first()
    except DatabaseError:
        return known
    return BrandStyle(*row) if row else BrandStyle()


def style_sheet(look: BrandStyle) -> str:
    """Return the CSS rules that replace the portal's own accent."""
    if not look.accent:
        return "/* The portal's own colours. */\n"
    light, dark = look.shades
    pairs = {
        "--accent": (light.accent, dark.accent),
        "--accent-strong": (light.strong, dark.strong),
        "--on-accent": (light.on_accent, dark.on_accent),
        "--tint": (light.tint, dark.tint),
        "--good": (light.accent, dark.accent),
    }
    lines = [f"  {name}: light-dark({by_day}, {by_night});" for name, (by_day, by_night) in pairs.items()]
    return "\n".join([":root {", *lines, "}", ""])


def own_logo(look: BrandStyle) -> bytes:
    """Return the portal's own logo, in the accent colour."""
    drawing = (settings.BASE_DIR / "static" / "logo.svg").read_text()
    if look.accent:
        light, _ = look.shades
        drawing = drawing.replace("#14594f", light.accent).replace("#bfe6d8", light.tint)
    return drawing.encode()
