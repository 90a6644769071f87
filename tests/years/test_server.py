"""A real portal with two processes for pages deletes old rows by itself."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from authgate.models import AuditEvent, Lease
from tests.front.serving import Cast, Database, Portal, eventually
from tests.years import rows


@pytest.mark.server
def test_a_portal_deletes_old_rows_by_itself(database: Database, people: Cast, tmp_path: Path) -> None:
    AuditEvent.objects.bulk_create(rows.event("refused") for _ in range(300))
    AuditEvent.objects.update(at=timezone.now() - timedelta(days=60))
    AuditEvent.objects.bulk_create([rows.event("refused")])
    portal = Portal(tmp_path, database, IKD_TIDY_EVERY="1", IKD_PAGE_WORKERS="2").start()
    try:
        # The round writes its log line at its end, after the events are deleted.
        has_logged = eventually(lambda: '"refusals": ' in portal.log.read_text())
    finally:
        portal.stop()

    assert has_logged
    assert AuditEvent.objects.count() == 1
    assert Lease.objects.filter(name="tidy").count() == 1
