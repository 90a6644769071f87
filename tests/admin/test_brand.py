"""The brand in the admin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.branding import brand
from accounts.models import Brand
from authgate.models import AuditEvent
from tests.admin.forms import errors_in, messages_in, save
from tests.factories import UserFactory
from tests.uploads import SVG, file, picture

PAGE = "/admin/accounts/brand/1/change/"


@pytest.mark.django_db(transaction=True)
def test_a_new_name_and_colour_apply_at_once_and_leave_an_event(carols: Client) -> None:
    carols.get("/")
    save(carols, PAGE, name="Acme", accent="#9C2B1F")

    assert (brand.current().name, brand.current().accent) == ("Acme", "#9c2b1f")
    assert AuditEvent.objects.get(kind="changed").details["object"] == "accounts.brand"


def test_a_pale_colour_is_saved_with_the_note_that_it_is_shown_darker(carols: Client) -> None:
    save(carols, PAGE, name="Acme", accent="#ffe680")

    assert "too pale to read on white" in messages_in(carols)
    assert Brand.objects.get().accent == "#ffe680"


@pytest.mark.parametrize("accent", ["red", "#fff", "#14594f}", "14594f", "#14594g", "#14594f\n;x"])
def test_an_invalid_colour_is_not_saved(carols: Client, accent: str) -> None:
    answer = save(carols, PAGE, name="Acme", accent=accent)

    assert "six hexadecimal digits" in errors_in(answer) or "7 characters" in errors_in(answer)
    assert not Brand.objects.exists()


def test_a_logo_is_encoded_again_and_can_be_removed(carols: Client) -> None:
    save(carols, PAGE, logo_file=picture(size=(800, 200)))
    kept = Brand.objects.get()
    save(carols, PAGE, remove_logo="on")

    assert bytes(kept.logo or b"").startswith(b"RIFF")
    assert Brand.objects.get().logo is None
    assert Brand.objects.get().logo_digest == ""


def test_an_svg_is_refused_with_advice(carols: Client) -> None:
    answer = save(carols, PAGE, logo_file=file(SVG, "logo.svg"))

    assert "Export it as PNG" in errors_in(answer)


def test_the_list_redirects_to_the_only_brand(carols: Client) -> None:
    assert carols.get("/admin/accounts/brand/").headers["Location"] == PAGE
    assert carols.get("/admin/accounts/brand/2/change/").status_code == 302
    assert carols.get("/admin/accounts/brand/add/").status_code == 403


def test_changing_the_brand_needs_its_permission(db: None, browser_of: Callable[..., Client]) -> None:
    pat = UserFactory(username="pat", is_staff=True)
    pat.user_permissions.set(Permission.objects.filter(codename="view_brand"))
    pats = browser_of(pat)

    answer = pats.post(PAGE, {"name": "Evil"})

    assert pats.get(PAGE).status_code == 200
    assert answer.status_code == 403
    assert not Brand.objects.exists()
