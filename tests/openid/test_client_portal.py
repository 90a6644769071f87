"""Another portal as a client: its users sign in with this one as their identity provider."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from openid.models import Client, LogoutDelivery
from tests.front.serving import eventually
from tests.openid.installation import Provider, new_user, register_client, sign_in, sign_out_at
from tests.upstreams.real import add_upstream

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def other(
    running_provider: Provider, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Provider]:
    """The other portal, on another host name: cookies are shared by all ports of a host."""
    folder = tmp_path_factory.mktemp("other")
    other = Provider.start(folder, host="127.0.0.1")
    pages = f"{other.url}/upstreams/campus"
    with django_db_blocker.unblock(), running_provider.rows():
        client = register_client(
            "Other portal",
            client_id="portal",
            redirect_uris=f"{pages}/callback",
            post_logout_uris=f"{other.url}/signed-out",
            backchannel_logout_uri=f"{pages}/backchannel-logout",
        )
    told = add_upstream(other.portal, folder, "campus", running_provider.url, client.secret, url=other.url)
    assert [line for line in told.splitlines()[1:] if not line.lstrip().startswith("good")] == [], told
    yield other
    other.stop()


def is_signed_in(page: Page, portal: Provider) -> bool:
    return page.request.get(f"{portal.url}/accounts/providers/", max_redirects=0).status == 200


def enter(page: Page, other: Provider) -> User:
    """Sign a new user in at the other portal."""
    person = new_user("staff")
    page.goto(f"{other.url}/accounts/login/")
    page.get_by_role("link", name="Sign in with Campus").click()
    sign_in(page, person)
    expect(page.locator(".who")).to_contain_text(person.display_name)
    assert page.url.startswith(other.url)
    return person


def was_told(person: User) -> bool:
    """Return whether the other portal accepted the message that a user's session ended."""
    return LogoutDelivery.objects.filter(subject=str(person.uuid), answer="taken").exists()


def test_signing_out_here_ends_the_session_there(provider: Provider, other: Provider, page: Page) -> None:
    person = enter(page, other)
    before = is_signed_in(page, other)

    sign_out_at(provider, page)

    assert before
    assert eventually(lambda: was_told(person))
    assert not is_signed_in(page, other)


def test_a_user_disabled_here_is_signed_out_there_after_the_recheck(
    provider: Provider, other: Provider, page: Page
) -> None:
    person = enter(page, other)

    User.objects.filter(pk=person.pk).update(is_active=False)

    assert eventually(lambda: was_told(person))
    assert not is_signed_in(page, other)


def test_signing_out_there_signs_out_here(provider: Provider, other: Provider, page: Page) -> None:
    enter(page, other)

    sign_out_at(other, page)

    assert not is_signed_in(page, provider)
    page.goto(provider.url)
    expect(page).to_have_url(re.compile("/accounts/login/"))


def test_a_user_without_access_is_refused_here(provider: Provider, other: Provider, page: Page) -> None:
    page.goto(f"{other.url}/accounts/login/")
    page.get_by_role("link", name="Sign in with Campus").click()
    sign_in(page, new_user("guests"))

    expect(page.locator("h1")).to_contain_text("Other portal")
    assert (
        Client.objects.get(client_id="portal").grants.filter(sign_in__user__groups__name="guests").count()
        == 0
    )
    assert not is_signed_in(page, other)
