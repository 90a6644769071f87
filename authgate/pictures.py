"""Uploaded pictures, drawn again: other content of a file is neither kept nor served."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _
from PIL import Image, ImageOps

LARGEST_UPLOAD = 2_000_000
MOST_PIXELS = 16_000_000
"""A file of a few kilobytes may claim to be a picture that fills the machine's memory."""
FORMATS = ("PNG", "JPEG", "WEBP")
CONTENT_TYPE = "image/webp"


def redrawn(upload: UploadedFile[bytes], box: tuple[int, int]) -> bytes:
    """Return the picture as WebP, no larger than `box`. Raises ValidationError with the remedy."""
    if (upload.size or 0) > LARGEST_UPLOAD:
        raise ValidationError(_("The picture is larger than 2 MB: make it smaller."))
    try:
        with Image.open(upload, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValidationError(_("The picture has more than 16 million pixels: make it smaller."))
            drawn = ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        message = _(
            "That is no PNG, JPEG or WebP picture, or a broken one. "
            "SVG is not taken, since it may carry scripts: export it as PNG."
        )
        raise ValidationError(message) from None
    drawn.thumbnail(box)
    content = BytesIO()
    drawn.save(content, "WEBP", quality=88)
    return content.getvalue()


def upload_field(label: Any, help_text: Any) -> forms.FileField:
    """Return an optional form field for a picture."""
    accepted = ",".join(f"image/{name.lower()}" for name in FORMATS)
    widget = forms.FileInput(attrs={"accept": accepted})
    return forms.FileField(label=label, required=False, help_text=help_text, widget=widget)


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
