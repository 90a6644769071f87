"""A link that locks an account, clicked many times at once, at a running server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from accounts.lock_links import new_link
from accounts.models import User
from authgate.models import AuditEvent
from tests.factories import UserFactory
from tests.front.conftest import database, pattern  # noqa: F401
from tests.front.serving import Database, Portal

CLICKS = 12


@pytest.fixture(scope="module")
def portal(
    database: Database,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Portal]:
    made = Portal(tmp_path_factory.mktemp("portal"), database)
    try:
        yield made.start()
    finally:
        made.stop()


def click(portal: Portal, path: str) -> int:
    body = f"csrfmiddlewaretoken={'a' * 32}".encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: sso.example.com\r\nX-Forwarded-Proto: https\r\n"
        f"Origin: https://sso.example.com\r\nCookie: __Host-ikd_csrf={'a' * 32}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with portal.connect() as one:
        one.send(head.encode() + body)
        return one.reply().status


def test_one_of_many_simultaneous_clicks_counts_and_no_log_has_the_token(portal: Portal) -> None:
    user = UserFactory(username="alice", email="alice@example.com", verified=True)
    path = urlsplit(new_link(user.pk, user.email)).path

    with ThreadPoolExecutor(CLICKS) as clicks:
        statuses = Counter(clicks.map(lambda _: click(portal, path), range(CLICKS)))

    assert statuses == {302: 1, 404: CLICKS - 1}
    assert AuditEvent.objects.filter(kind="account_locked").count() == 1
    assert not User.objects.get(pk=user.pk).is_active
    assert path.split("/")[-2] not in portal.log.read_text()
