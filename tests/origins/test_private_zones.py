"""The domains for which Chromium accepts a cookie: what IKD_SHARED_COOKIE_DOMAINS may name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.exceptions import ValidationError
from playwright.sync_api import Browser, Page

from authgate.validation import canonical_cookie_domains
from tests.origins.pages import Pages

pytestmark = pytest.mark.browser

TAKEN = ["apps.lan", "corp.internal", "office.home.arpa", "nas.local", "cluster.local", "svc.cluster.local"]
REFUSED = ["lan", "internal", "home.arpa", "local", "test", "corp", "co.uk"]


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    pages = Pages()
    yield pages
    pages.shutdown()
    pages.server_close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with chromium.new_context() as context:
        yield context.new_page()


def accepts_a_cookie(page: Page, pages: Pages, domain: str) -> bool:
    """Return whether a browser at a host below `domain` keeps a cookie for the whole domain."""
    pages.answers["GET", "/set"] = (200, {"Set-Cookie": f"shared=1; Path=/; Domain={domain}"}, "set")
    page.goto(f"http://wiki.{domain}:{pages.server_address[1]}/set")
    return page.evaluate("document.cookie") == "shared=1"


@pytest.mark.parametrize("domain", TAKEN)
def test_a_domain_in_a_private_zone_can_share_a_cookie(page: Page, pages: Pages, domain: str) -> None:
    assert accepts_a_cookie(page, pages, domain)
    assert canonical_cookie_domains((domain,)) == (domain,)


@pytest.mark.parametrize("domain", REFUSED)
def test_a_whole_private_zone_cannot_share_a_cookie(page: Page, pages: Pages, domain: str) -> None:
    assert not accepts_a_cookie(page, pages, domain)
    with pytest.raises(ValidationError):
        canonical_cookie_domains((domain,))


@pytest.mark.parametrize("zone", ["lan", "internal", "home.arpa", "local"])
def test_the_message_for_a_private_zone_names_the_cure(zone: str) -> None:
    with pytest.raises(ValidationError, match="use a domain below it"):
        canonical_cookie_domains((zone,))
