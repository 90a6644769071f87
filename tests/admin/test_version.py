"""The version in the footer of the administration."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User
from ikd_portal import __version__


@pytest.mark.parametrize("page", ["/admin/", "/admin/accounts/user/", "/admin/authgate/application/add/"])
@pytest.mark.parametrize(("language", "words"), [("en", "Version"), ("zh-hans", "版本")])
def test_staff_see_the_version_in_the_footer(carols: Client, page: str, language: str, words: str) -> None:
    html = carols.get(page, headers={"accept-language": language}).text

    assert f'<p class="version">{words} {__version__}</p>' in html


@pytest.mark.parametrize("page", ["/admin/", "/", "/accounts/"])
def test_other_users_do_not_see_the_version(
    bob: User, browser_of: Callable[[User], Client], page: str
) -> None:
    assert __version__ not in browser_of(bob).get(page).text
