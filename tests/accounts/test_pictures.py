"""Uploaded pictures are encoded again, or refused."""

from __future__ import annotations

import zlib
from io import BytesIO

import pytest
from django.core.exceptions import ValidationError
from PIL import Image

from authgate.pictures import LARGEST_UPLOAD, reencoded
from tests.uploads import SECRET, SVG, file, picture

BOX = (128, 128)


def png_head(width: int, height: int) -> bytes:
    """Return the head of a PNG that claims this size."""
    head = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + head + zlib.crc32(head).to_bytes(4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_becomes_a_small_webp_of_the_same_shape(kind: str) -> None:
    content = reencoded(picture(kind), BOX)

    drawn = Image.open(BytesIO(content))
    assert (drawn.format, drawn.size) == ("WEBP", (128, 85))


def test_only_the_visible_pixels_are_kept() -> None:
    assert SECRET.encode() in picture().read()
    assert SECRET.encode() not in reencoded(picture(), BOX)


def test_bytes_after_the_picture_in_its_file_are_dropped() -> None:
    content = reencoded(file(picture().read() + b"<script>alert(1)</script>"), BOX)

    assert b"script" not in content


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (SVG, "Export it as PNG"),
        (b"<html><script>alert(1)</script>", "not a valid PNG, JPEG or WebP"),
        (picture("GIF").read(), "not a valid PNG, JPEG or WebP"),
        (b"", "not a valid PNG, JPEG or WebP"),
        (picture().read()[:60], "not a valid PNG, JPEG or WebP"),
        (png_head(100_000, 100_000), "smaller|not a valid PNG"),
        (picture(size=(5_000, 4_000)).read(), "16 million"),
        (bytes(LARGEST_UPLOAD + 1), "larger than 2 MB"),
    ],
    ids=["SVG", "HTML", "GIF", "empty", "cut off", "bomb", "many pixels", "many octets"],
)
def test_a_dangerous_or_broken_picture_is_refused_with_advice(content: bytes, advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        reencoded(file(content), BOX)
