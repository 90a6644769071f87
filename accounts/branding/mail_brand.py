"""The brand in mails: its colours, and its logo in a format that mail programs show."""

from __future__ import annotations

from email.mime.image import MIMEImage
from functools import lru_cache
from io import BytesIO

from accounts.branding.brand import BrandStyle
from accounts.models import Brand

LOGO_HEIGHT = 36
"""CSS pixels. The picture has twice as many, for dense screens."""

WIDEST_LOGO = 240


def logo_part(look: BrandStyle) -> MIMEImage | None:
    """Return the uploaded logo as a part of a mail, or None. Mail programs show no SVG."""
    content = _png(look.logo_digest) if look.logo_digest else None
    if content is None:
        return None
    part = MIMEImage(content, "png")
    part.add_header("Content-ID", "<logo>")
    part.add_header("Content-Disposition", "inline", filename="logo.png")
    return part


@lru_cache(maxsize=2)
def _png(digest: str) -> bytes | None:
    """Return the logo as PNG: several mail programs show no WebP."""
    row = Brand.objects.filter(logo_digest=digest).values_list("logo", flat=True).first()
    if not row:
        return None
    from PIL import Image  # few portals have a logo

    content = BytesIO()
    with Image.open(BytesIO(bytes(row)), formats=("WEBP",)) as picture:
        drawn = picture.convert("RGBA")
    drawn.thumbnail((2 * WIDEST_LOGO, 2 * LOGO_HEIGHT))
    drawn.save(content, "PNG", optimize=True)
    return content.getvalue()
