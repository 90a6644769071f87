"""The QR code of an authenticator app, read as strict apps read it."""

from __future__ import annotations

import base64
import itertools
import re
import subprocess
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest
from django.test import Client
from hypothesis import example, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from accounts.branding import brand
from accounts.models import Brand, User
from accounts.second_factor.adapter import FactorAdapter
from accounts.second_factor.key_uri import LONGEST_ACCOUNT, LONGEST_ISSUER, account_of, issuer_of, key_uri
from tests.accounts.signing_in import sign_in
from tests.factories import PASSWORD
from tests.front.serving import program

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
PAGE = "/accounts/second-factor/app/"

UNRESERVED = r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+"
KEY_URI = re.compile(rf"otpauth://totp/({UNRESERVED}):({UNRESERVED})\?([^#]+)")


class Key(NamedTuple):
    issuer: str
    account: str
    parameters: dict[str, str]


def read_strictly(uri: str) -> Key:
    """Return the contents of a key URI, strictly by its format. Raises AssertionError."""
    match = KEY_URI.fullmatch(uri)
    assert match is not None, uri
    pairs = [re.fullmatch(rf"([a-z]+)=({UNRESERVED})", pair) for pair in match[3].split("&")]
    assert all(pairs)
    parameters = {pair[1]: unquote(pair[2], errors="strict") for pair in pairs if pair}
    assert len(parameters) == len(pairs)
    issuer, account = (unquote(text, errors="strict") for text in match.groups()[:2])
    assert issuer == parameters["issuer"] and ":" not in issuer + account
    assert issuer == issuer.strip() and account == account.strip()
    assert re.fullmatch("[A-Z2-7]+", parameters["secret"])
    assert base64.b32decode(parameters["secret"] + "=" * (-len(parameters["secret"]) % 8))
    return Key(issuer, account, parameters)


ORIGINS = [
    "https://sso.example.com",
    "https://sso.example.com:8443",
    "http://localhost:8000",
    "https://[2001:db8::1]",
    "https://[2001:db8::1]:8443",
    "https://xn--bcher-kva.example",
    "https://" + ".".join(["x" * 60] * 4) + ".example:65535",
]
NAMES = [
    "ikD Portal",
    "统一登录",
    "🔐" * 60,
    "Acme: SSO & more",
    "a/b?c#d%20+",
    ":",
    "\u202eevil",
    "\uff21\uff1a\uff22",
    "n" * 60,
]
USERS = ["alice", "a:b", "ålice@example.com", "王" * 150, ":", "x" * 150, "a+b/c?d&e=f", "%3A", "\u202e"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_every_name_and_address_makes_a_strict_key_uri(origin: str) -> None:
    for name, username in itertools.product(NAMES, USERS):
        uri = key_uri(SECRET, issuer_of(name, origin), account_of(username, "fallback"))

        key = read_strictly(uri)

        assert key.parameters["secret"] == SECRET
        assert (key.parameters["digits"], key.parameters["period"]) == ("6", "30")
        assert len(uri) < 700


@settings_of_hypothesis(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.sampled_from(ORIGINS), st.text(max_size=150))
@example("\ud800", ORIGINS[0], "\ud800")
def test_any_text_makes_a_strict_key_uri(name: str, origin: str, username: str) -> None:
    key = read_strictly(key_uri(SECRET, issuer_of(name, origin), account_of(username, "fallback")))

    assert key.account and key.issuer
    assert len(key.issuer.encode()) <= LONGEST_ISSUER and len(key.account.encode()) <= LONGEST_ACCOUNT


@pytest.mark.parametrize(
    ("name", "origin", "issuer"),
    [
        ("ikD Portal", "https://sso.example.com", "ikD Portal sso.example.com"),
        ("Acme: SSO", "https://sso.example.com:8443", "Acme SSO sso.example.com 8443"),
        ("统一登录", "https://[2001:db8::1]:8443", "统一登录 2001-db8--1 8443"),
        ("::", "http://localhost:8000", "localhost 8000"),
    ],
)
def test_an_app_shows_the_portal_by_name_and_host(name: str, origin: str, issuer: str) -> None:
    assert issuer_of(name, origin) == issuer


# ---- the picture ----


def decode(svg: str, folder: Path) -> str:
    """Return what a scanner reads from the QR code on a page."""
    scanner = program("zbarimg", "zbar-tools")
    [size] = [float(value) for value in re.findall(r'viewBox="0 0 ([0-9.]+) [0-9.]+"', svg)]
    squares = [tuple(map(float, each)) for each in re.findall(r"M([\d.]+),([\d.]+)H([\d.]+)V([\d.]+)H", svg)]
    scale = 6 * 10
    picture = Image.new("1", (int(size * scale / 10) + 1,) * 2, 1)
    draw = ImageDraw.Draw(picture)
    for left, top, right, bottom in squares:
        corners = [round(value * scale / 10) for value in (left, top, right, bottom)]
        draw.rectangle((corners[0], corners[1], corners[2] - 1, corners[3] - 1), fill=0)
    path = folder / "code.png"
    picture.save(path)
    only_qr = ("-Sdisable", "-Sqrcode.enable", "-Sbinary")  # in some pictures it also finds a bar code
    done = subprocess.run(
        [scanner, "--raw", "--quiet", *only_qr, path], capture_output=True, check=True, timeout=30
    )
    return done.stdout.decode().strip()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "username"), [("ikD Portal", "alice"), (NAMES[2], USERS[3]), ("\u7edf\u4e00: Acme", "a:b")]
)
def test_a_scanner_reads_the_picture_on_the_page(
    client: Client, alice: User, tmp_path: Path, name: str, username: str
) -> None:
    Brand.objects.create(name=name)
    brand.forget()
    sign_in(client, "alice")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    User.objects.update(username=username)

    page = client.get(PAGE)

    brand.forget()
    key = read_strictly(decode(page.context["totp_svg"], tmp_path))
    assert page.context["totp_svg"] in page.content.decode()
    assert key.parameters["secret"] == page.context["form"].secret
    assert key.issuer == issuer_of(name, "https://sso.example.com")


def test_a_scanner_reads_the_picture_with_the_longest_names(tmp_path: Path) -> None:
    uri = key_uri(SECRET, issuer_of(NAMES[2], ORIGINS[-1]), account_of(USERS[3], ""))

    assert decode(FactorAdapter().build_totp_svg(uri), tmp_path) == uri
