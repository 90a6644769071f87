"""Files as administrators upload them."""

from __future__ import annotations

from io import BytesIO

from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image, PngImagePlugin

SECRET = "the photographer's home address"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def picture(
    kind: str = "PNG", size: tuple[int, int] = (300, 200), name: str = "icon.png"
) -> SimpleUploadedFile:
    """Return a picture with text metadata."""
    content, info = BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("Comment", SECRET)
    more = {"pnginfo": info, "compress_level": 1} if kind == "PNG" else {}
    Image.new("RGB", size, "#c04020").save(content, kind, **more)
    return SimpleUploadedFile("icon.png", content.getvalue())


def file(content: bytes, name: str = "icon.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, content_type="image/png")
