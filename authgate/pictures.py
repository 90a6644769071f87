"""Uploaded pictures, drawn again: nothing else that a file carries is stored or served."""

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
"""A file of a few kilobytes may claim to be a picture that fills the machine's memory."""
FORMATS = ("PNG", "JPEG", "WEBP")
CONTENT_TYPE = "image/webp"


def redrawn(upload: UploadedFile[bytes], box: tuple[int, int]) -> bytes:
    """Return the picture as WebP, no larger than `box`. Raise ValidationError with what to do instead."""
    from PIL import Image, ImageOps  # 3 MB that only uploads need

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
    """An upload that may be left empty. Its value is the picture as `redrawn` returns it, or None.

    In a form it is named `<name>_file`, beside a box `remove_<name>`.
    """

    def __init__(self, label: Any, help_text: Any, *, box: tuple[int, int]) -> None:
        widget = forms.FileInput(attrs={"accept": ",".join(f"image/{name.lower()}" for name in FORMATS)})
        super().__init__(label=label, required=False, help_text=help_text, widget=widget)
        self.box = box

    def clean(self, data: Any, initial: Any = None) -> bytes | None:
        upload = super().clean(data, initial)
        return redrawn(upload, self.box) if upload else None


@dataclass(frozen=True, slots=True)
class PictureChange:
    """What a form says of a picture: another one, or none."""

    content: bytes | None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest() if self.content else ""


def picture_change(form: forms.BaseForm, name: str) -> PictureChange | None:
    """Return what to do with the picture, or None to leave it as it is."""
    content: bytes | None = form.cleaned_data.get(f"{name}_file")
    return PictureChange(content) if content or form.cleaned_data.get(f"remove_{name}") else None


def save_picture(rows: models.Manager[Any], form: forms.BaseForm, name: str, **owner: Any) -> None:
    """Replace or remove the one picture of an owner. A new picture has a new key, so a new address."""
    change = picture_change(form, name)
    if change is None:
        return
    if change.content:
        rows.update_or_create(**owner, defaults={"content": change.content, "key": new_icon_key()})
    else:
        rows.filter(**owner).delete()
