"""The running server begins due reviews, mails the owners, and closes finished tasks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from accounts.access_reviews import reviews
from accounts.access_reviews.rounds import FIRST_AFTER
from accounts.models import AccessReview, AccessReviewEntry, User
from authgate.models import AuditEvent
from tests.accounts.mail_server import mail_server
from tests.delegation.test_review_databases import a_due_wiki
from tests.factories import ApplicationFactory
from tests.feed.conftest import cluster, database, pattern, vendor  # noqa: F401
from tests.front.serving import Database, Portal

PATIENCE = 10 * FIRST_AFTER


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until a condition holds. The limit allows for a machine that is five times slower."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_the_server_begins_a_review_and_closes_a_task(
    database: Database,  # noqa: F811
    tmp_path: Path,
) -> None:
    wiki, olga, bob = a_due_wiki()
    User.objects.filter(pk=olga.pk).update(email="olga@example.com")
    done = reviews.begin(ApplicationFactory(name="Done", origins=["https://done.example.com"], users=[bob]))
    assert done is not None
    done.application.rules.all().delete()  # type: ignore[union-attr]  # it has one
    done.entries.update(answer="remove", task_open=True, remaining=[{"kind": "everyone"}])

    with mail_server() as mails:
        portal = Portal(
            tmp_path,
            database,
            IKD_REVIEW_ACCESS_DAYS="365",
            IKD_MAIL_URL=f"smtp://127.0.0.1:{mails.port}",
            IKD_PAGE_WORKERS="2",
        ).start()
        try:
            wait_for(lambda: bool(mails.mails))
            wait_for(lambda: not AccessReviewEntry.objects.filter(task_open=True).exists())
        finally:
            portal.stop()

    review = AccessReview.objects.get(application=wiki)
    assert (review.asked, review.people, review.begun_by) == (["olga"], 1, "")
    assert [sent["To"] for sent in mails.mails] == ["olga@example.com"]
    body = mails.mails[0].get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert re.search(rf"https://sso.example.com/accounts/managed/reviews/{review.pk}/", text)
    assert AuditEvent.objects.filter(kind="access_review_begun", application="Wiki").count() == 1
    assert AuditEvent.objects.filter(kind="access_task_closed", subject="bob").count() == 1
