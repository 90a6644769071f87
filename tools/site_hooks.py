"""Hooks of MkDocs. Links from docs/ to files outside become text, because the site lacks these files."""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^]]*)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Return the page's text without links that leave docs/."""
    return markdown if "/" in page.file.src_uri else OUTSIDE.sub(r"\1", markdown)
