"""Uploaded pictures. The portal re-encodes them, so that nothing else in a file is stored or served."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import models
from django.utils.translation import gettext as _

from authgate.models import new_icon_key

LARGEST_UPLOAD = 2_000_000
MOST_PIXELS = 16_000_000
"""Pixels of a picture, at most. A file of a few kilobytes can declare a picture that fills the memory."""
FORMATS = ("PNG", "JPEG", "WEBP")
CONTENT_TYPE = "image/webp"


def reencoded(upload: UploadedFile[bytes], box: tuple[int, int]) -> bytes:
    """Return the picture as WebP, at most as large as `box`. Raises ValidationError with the fix."""
    from PIL import Image, ImageOps  # imported here, because only uploads need its 3 MB

    if (upload.size or 0) > LARGEST_UPLOAD:
        raise ValidationError(_("The picture is larger than 2 MB. Use a smaller one."))
    try:
        with Image.open(upload, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValidationError(_("The picture has more than 16 million pixels. Use a smaller one."))
            drawn = ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        message = _(
            "The file is not a valid PNG, JPEG or WebP picture. SVG is not accepted, because it can "
            "contain scripts. Export it as PNG."
        )
        raise ValidationError(message) from None
    drawn.thumbnail(box)
    content = BytesIO()
    drawn.save(content, "WEBP", quality=88)
    return content.getvalue()


class PictureField(forms.FileField):
    """An optional upload. Its value is the picture as `reencoded` returns it, or None.

    A form names it `<name>_file`, and has a checkbox `remove_<name>`.
    """

    def __init__(self, label: Any, help_text: Any, *, box: tuple[int, int]) -> None:
        widget = forms.FileInput(attrs={"accept": ",".join(f"image/{name.lower()}" for name in FORMATS)})
        super().__init__(label=label, required=False, help_text=help_text, widget=widget)
        self.box = box

    def clean(self, data: Any, initial: Any = None) -> bytes | None:
        upload = super().clean(data, initial)
        return reencoded(upload, self.box) if upload else None


@dataclass(frozen=True, slots=True)
class PictureChange:
    """A change that a form makes to a picture: a new picture, or its removal."""

    content: bytes | None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest() if self.content else ""


def picture_change(form: forms.BaseForm, name: str) -> PictureChange | None:
    """Return a form's change of the picture, or None if the form leaves it unchanged."""
    content: bytes | None = form.cleaned_data.get(f"{name}_file")
    return PictureChange(content) if content or form.cleaned_data.get(f"remove_{name}") else None


def save_picture(rows: models.Manager[Any], form: forms.BaseForm, name: str, **owner: Any) -> None:
    """Replace or remove an owner's picture. A new picture has a new key, and therefore a new URL."""
    change = picture_change(form, name)
    if change is None:
        return
    if change.content:
        rows.update_or_create(**owner, defaults={"content": change.content, "key": new_icon_key()})
    else:
        rows.filter(**owner).delete()
