"""The portal's name, colour and logo, and how browsers keep them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client

from accounts.branding import brand
from accounts.models import Brand, User
from authgate.pictures import PictureChange, reencoded
from tests.accounts.signing_in import sign_in
from tests.uploads import picture

PAGE = "/accounts/login/"
ACCENT = "/brand/accent.css"
LOGO = "/brand/logo"


def make_brand(**fields: Any) -> None:
    Brand.objects.update_or_create(id=1, defaults=fields)
    brand.forget()


def test_without_a_brand_the_portal_has_its_own_name_and_colours(client: Client, db: None) -> None:
    body = client.get(PAGE).content.decode()

    assert "<title>Sign in · ikD Portal</title>" in body
    assert ACCENT not in body
    assert client.get(ACCENT).content == b"/* The portal's own colours. */\n"


def test_the_brands_name_is_on_every_page_as_text(client: Client, carol: User) -> None:
    make_brand(name="Acme <b>& Sons")
    sign_in(client, "carol")

    for page in ("/", "/admin/", "/no-such-page"):
        body = client.get(page).content.decode()
        assert "Acme &lt;b&gt;&amp; Sons" in body
        assert "ikD Portal" not in body


def test_the_accent_colour_is_in_a_separate_style_sheet(client: Client, db: None) -> None:
    make_brand(accent="#9c2b1f")

    body, sheet = client.get(PAGE).content.decode(), client.get(ACCENT)

    assert f'href="{ACCENT}?v={brand.current().version}"' in body
    assert "--accent: light-dark(#9c2b1f, " in sheet.content.decode()
    assert sheet.headers["Content-Type"] == "text/css; charset=utf-8"


@pytest.mark.parametrize("path", [ACCENT, LOGO])
def test_a_browser_with_the_newest_version_gets_304(client: Client, db: None, path: str) -> None:
    etag = client.get(path).headers["ETag"]

    assert client.get(path, HTTP_IF_NONE_MATCH=etag).status_code == 304
    make_brand(accent="#234a83")
    assert client.get(path, HTTP_IF_NONE_MATCH=etag).status_code == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [("?v=now", "immutable"), ("", "max-age=60"), ("?v=another", "no-cache")],
    ids=["this version", "no version", "another version"],
)
def test_only_a_url_with_the_current_version_is_cached_permanently(
    client: Client, db: None, query: str, expected: str
) -> None:
    query = query.replace("now", brand.current().version)

    assert expected in client.get(f"{LOGO}{query}").headers["Cache-Control"]


def test_a_logo_opened_directly_runs_no_script_and_loads_nothing(client: Client, db: None) -> None:
    own = client.get(LOGO)
    content = reencoded(picture(), (400, 80))
    make_brand(logo=content, logo_digest=PictureChange(content).digest)
    uploaded = client.get(LOGO)

    assert own.headers["Content-Type"] == "image/svg+xml"
    assert (uploaded.headers["Content-Type"], uploaded.content) == ("image/webp", content)
    for answer in (own, uploaded):
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_default_logo_has_the_accent_colour(client: Client, db: None) -> None:
    make_brand(accent="#9c2b1f")

    assert b"#9c2b1f" in client.get(LOGO).content
    assert b"#14594f" not in client.get(LOGO).content


def test_the_database_refuses_a_second_brand(db: None) -> None:
    from django.db import IntegrityError

    with pytest.raises(IntegrityError):
        Brand.objects.create(id=2)


def test_the_last_brand_stays_in_use_while_the_database_is_away(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_brand(name="Acme")
    brand.current()
    monkeypatch.setattr(brand, "REMEMBERED_FOR", 0.0)

    with connection.execute_wrapper(raise_database_error):
        assert brand.current().name == "Acme"


def raise_database_error(*_: Any) -> None:
    raise DatabaseError
