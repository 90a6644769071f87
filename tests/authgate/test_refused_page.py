"""A cached refused page equals one that is rendered for the request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.check.memory import RefusedPage
from authgate.decision.target import Target
from authgate.pages import refused
from tests.authgate.asking import WIKI

texts = st.text(max_size=8) | st.sampled_from(["<script>", "a&b", "'\"", "{{ page }}", "%2F", "/"])
uris = st.none() | st.text("/.?&'\"<>%2F;=+~", max_size=200).map(lambda rest: f"/{rest}")


@given(texts, texts, uris, st.sampled_from(["", "0123456789ab"]), st.sampled_from(["", "zh-Hans", "de"]))
def test_a_cached_page_equals_a_rendered_one(
    application: str, username: str, uri: str | None, decision_id: str, languages: str
) -> None:
    target = Target(WIKI, "GET", uri, "198.51.100.7")
    page = RefusedPage(decision_id, target, application, username, "no rule admits", languages)

    found = [refused.render_refused(page) for _ in range(2)]

    assert set(found) == {refused._rendered(page, refused.preferred_language(languages)).encode()}


@pytest.mark.parametrize("origin", [WIKI, "https://other.example.com"])
def test_a_cached_page_is_for_one_origin_and_user(origin: str) -> None:
    pages = [
        RefusedPage("0" * 12, Target(origin, "GET", "/a", ""), "Wiki", name) for name in ("alice", "bob")
    ]

    found = [refused.render_refused(page).decode() for page in pages]

    assert "alice" in found[0] and "alice" not in found[1]
    assert all(origin.partition("://")[2] in page for page in found)
