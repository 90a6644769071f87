"""Mails as a mail server receives them, and the log line for a refused mail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.mail import send_mail
from PIL import Image

from accounts import mails
from accounts.branding import brand
from accounts.models import Brand
from accounts.smtp import own_name
from tests.accounts.mail_server import MailServer, mail_server
from tests.factories import UserFactory
from tests.front.conftest import database, pattern  # noqa: F401
from tests.front.serving import ROOT, Database, Portal, eventually

FACTS = {"username": "alice", "address": "203.0.113.7"}


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    """A mail server that receives mails of this process, by the backend that IKD_MAIL_URL selects."""
    with mail_server() as server:
        settings.EMAIL_BACKEND = "accounts.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server


@pytest.fixture(scope="module")
def portal(
    database: Database,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Portal, MailServer]]:
    for name in ("alice", "refused"):
        user = UserFactory(username=name, email=f"{name}@example.com", verified=True)
        user.set_password("correct horse battery staple")
        user.save(update_fields=["password"])
    with mail_server() as server:
        folder = tmp_path_factory.mktemp("portal")
        made = Portal(folder, database, IKD_MAIL_URL=f"smtp://127.0.0.1:{server.port}")
        try:
            yield made.start(), server
        finally:
            made.stop()


def ask_for_a_password(portal: Portal, address: str) -> int:
    body = urlencode({"email": address, "csrfmiddlewaretoken": "a" * 32}).encode()
    head = (
        "POST /accounts/password/reset/ HTTP/1.1\r\nHost: sso.example.com\r\nX-Forwarded-Proto: https\r\n"
        f"Origin: https://sso.example.com\r\nCookie: __Host-ikd_csrf={'a' * 32}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with portal.connect() as one:
        one.send(head.encode() + body)
        return one.reply().status


def test_the_portal_sends_under_its_own_name_and_marks_its_mails(portal: tuple[Portal, MailServer]) -> None:
    running, server = portal
    assert ask_for_a_password(running, "alice@example.com") == 302
    assert eventually(lambda: len(server.raw) == 1)

    (mail,) = server.mails
    assert set(server.hellos) == {"sso.example.com"}
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@sso.example.com>")
    assert mail["To"] == "alice@example.com"
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None and html is not None
    (link,) = set(
        re.findall(r"https://sso\.example\.com/accounts/password/reset/key/\S+/", text.get_content())
    )
    assert html.get_content().count(link) == 3
    assert "ikD Portal" in html.get_content() and "ikD Portal" in text.get_content()


def test_a_refused_mail_is_logged_with_the_servers_reply(portal: tuple[Portal, MailServer]) -> None:
    running, server = portal
    assert ask_for_a_password(running, "refused@example.com") == 302

    def refusals() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in running.log.read_text().splitlines()]
        return [line for line in lines if line["message"] == "mail_not_sent"]

    assert eventually(lambda: bool(refusals()))
    (line,) = refusals()
    assert (line["level"], line["logger"]) == ("error", "ikd.mails")
    assert re.fullmatch("[0-9a-f]{12}", line["request"])
    assert line["event"] == {
        "mail": "password_reset",
        "server": f"127.0.0.1:{server.port}",
        "code": 550,
        "reply": "5.1.1 <…>: Recipient address rejected 5.1.1 User unknown\x1b[2K in local table",
    }
    assert "refused@example.com" not in running.log.read_text()


def test_mails_sent_by_django_are_marked_too(server: MailServer) -> None:
    send_mail("s", "b", None, ["alice@example.com"])
    send_mail("s", "b", None, ["alice@example.com"])

    assert [mail["Auto-Submitted"] for mail in server.mails] == ["auto-generated"] * 2
    assert len({mail["Message-ID"] for mail in server.mails}) == 2


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("https://sso.example.com:8443", "sso.example.com"),
        ("https://192.0.2.7", "[192.0.2.7]"),
        ("https://[2001:db8::7]", "[IPv6:2001:db8::7]"),
    ],
)
def test_ehlo_sends_the_portals_host(origin: str, name: str, settings: Any) -> None:
    settings.IKD_PORTAL_ORIGIN = origin

    assert own_name() == name


def test_ehlo_does_not_send_localhost_if_the_portal_runs_there(settings: Any) -> None:
    from django.core.mail.utils import DNS_NAME

    settings.IKD_PORTAL_ORIGIN = "http://localhost:8000"

    assert own_name() == DNS_NAME.get_fqdn()


@pytest.mark.django_db
def test_an_unreachable_mail_server_is_logged_in_one_line_without_a_secret(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "accounts.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", 1, 2

    mails.send("new_device", "alice@example.com", FACTS)

    (record,) = caplog.records
    assert record.event == {  # type: ignore[attr-defined]
        "mail": "new_device",
        "server": "127.0.0.1:1",
        "reason": "ConnectionRefusedError: [Errno 111] Connection refused",
    }


@pytest.mark.django_db
@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize("kind", mails.KINDS)
def test_every_mail_has_the_brand_a_button_and_both_colour_schemes(
    kind: str, language: str, mailoutbox: list[Any]
) -> None:
    Brand.objects.create(name="Acme <Sign-on>", accent="#7a1fa2")
    brand.forget()
    path = "/invitation/x/" if kind == "invitation" else ""

    mails.queue(mails.send, kind, "alice@example.com", FACTS, path, language=language)

    (mail,) = mailoutbox
    html, light, dark = str(mail.alternatives[0][0]), *brand.current().shades
    assert "Acme &lt;Sign-on&gt;" in html and "Acme <Sign-on>" in mail.body
    assert '<meta name="color-scheme" content="light dark">' in html
    assert light.accent in html.partition("@media (prefers-color-scheme: dark)")[2]
    assert dark.accent in html.partition("@media (prefers-color-scheme: dark)")[2].partition("</style>")[0]
    assert mail.extra_headers["Auto-Submitted"] == "auto-generated"
    assert "http" not in re.sub(
        r'https://sso\.example\.com[^"<]*', "", html
    )  # nothing is loaded from elsewhere


@pytest.mark.django_db
def test_an_uploaded_logo_is_attached_to_the_mail_as_png(server: MailServer) -> None:
    content = BytesIO()
    Image.new("RGBA", (900, 300), "#7a1fa2").save(content, "WEBP")
    Brand.objects.create(name="Acme", logo=content.getvalue(), logo_digest="d" * 64)
    brand.forget()

    mails.send("new_device", "alice@example.com", FACTS)

    (mail,) = server.mails
    assert mail.get_content_type() == "multipart/related"
    alternatives, logo = mail.iter_parts()
    assert alternatives.get_content_type() == "multipart/alternative"
    assert (logo.get_content_type(), logo["Content-ID"]) == ("image/png", "<logo>")
    assert logo.get_content_disposition() == "inline"
    with Image.open(BytesIO(logo.get_payload(decode=True))) as picture:  # type: ignore[arg-type]
        assert (picture.format, picture.size) == ("PNG", (216, 72))


def test_mails_have_the_same_default_accent_as_pages() -> None:
    colours = Path(ROOT / "static" / "colours.css").read_text()

    for light, dark in zip(
        *[[each.accent, each.strong, each.on_accent, each.tint] for each in brand.DEFAULT_SHADES], strict=True
    ):
        assert f"light-dark({light}, {dark})" in colours
