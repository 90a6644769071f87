"""Runs of the doctor, one at a time, with stored reports; and the thread that starts them."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from authgate import leases
from authgate.doctor.examination import examine
from authgate.doctor.findings import Finding, Level, finding_from, worst
from authgate.models import Application, DoctorReport
from authgate.worker import stale_connections

log = logging.getLogger("ikd.doctor")

LEASE = "doctor"
LEASE_SECONDS = 180.0
"""Seconds that one application may take. After them, another run may begin."""

PAUSE = 10
"""Seconds between two runs that administrators start."""

LOOKS_EVERY = 300.0
"""Seconds between two times at which the thread tests whether a run is due."""

Examine = Callable[[], Iterable[Finding]]
examinations_of_the_portal: list[Examine] = []
"""Tests of the portal itself, which the apps above the gate add."""


class Busy(Exception):
    """Another run has not ended, or ended only seconds ago."""


def run(
    applications: Iterable[Application], *, holder: str = "", with_portal: bool = True
) -> list[DoctorReport]:
    """Examine applications and the portal itself. Store and return the reports. Raises Busy."""
    holder = holder or new_holder()
    reports = []
    try:
        for application in applications:
            hold(holder)
            reports.append(_keep(application, _examined(application)))
        if with_portal:
            hold(holder)
            reports.append(_keep(None, examine_portal()))
    finally:
        leases.release(LEASE, holder)
    return reports


def examine_portal() -> list[Finding]:
    """Return the findings about the portal itself."""
    return [finding for examination in examinations_of_the_portal for finding in examination()]


def hold(holder: str) -> None:
    """Take or extend the lease for a run. Raises Busy."""
    if not leases.hold(LEASE, holder, LEASE_SECONDS):
        raise Busy


def require_pause() -> None:
    """Raise Busy if a report is only seconds old."""
    if DoctorReport.objects.filter(at__gte=timezone.now() - timedelta(seconds=PAUSE)).exists():
        raise Busy


def start_run(applications: list[Application], holder: str) -> None:
    """Start a run in a thread after the caller's transaction commits. The caller holds the lease."""
    thread = threading.Thread(
        target=_run_alone, args=(applications, holder), name="ikd-doctor-run", daemon=True
    )
    transaction.on_commit(thread.start)


def findings_of(report: DoctorReport) -> list[Finding]:
    """Return the findings of a report, serious ones first. Findings from another version are left out."""
    found = []
    for values in report.findings:
        with suppress(KeyError, ValueError, TypeError):
            found.append(finding_from(values))
    return sorted(found, key=lambda finding: ("fail", "warn", "pass").index(finding.level.value))


def new_holder() -> str:
    return secrets.token_hex(8)


def _examined(application: Application) -> list[Finding]:
    """Return the findings about an application. An error in its tests does not end the run."""
    try:
        return examine(application)
    except Exception:
        log.exception("the doctor could not test an application")
        return [Finding("connection", Level.FAIL, "error")]


def _keep(application: Application | None, findings: list[Finding]) -> DoctorReport:
    values = {
        "at": timezone.now(),
        "level": worst(findings).value,
        "findings": [finding.as_values() for finding in findings],
    }
    report, _ = DoctorReport.objects.update_or_create(application=application, defaults=values)
    log.info(
        "doctor",
        extra={"event": {"application": application.name if application else "", "level": report.level}},
    )
    return report


# ---- in the background ------------------------------------------------------------------------------------


def start() -> None:
    """Start the thread if the settings ask for it. Call this once, after the worker has forked."""
    if settings.IKD_DOCTOR_EVERY:
        threading.Thread(target=_run_when_due, name="ikd-doctor", daemon=True).start()


def _run_when_due() -> None:
    while True:
        time.sleep(LOOKS_EVERY)
        close_old_connections()
        stale_connections.close_stale()
        try:
            if is_due():
                run(Application.objects.order_by("pk"))
        except Busy:
            pass
        except Exception:
            log.exception("the doctor goes on after an error")
        finally:
            connection.close()


def is_due() -> bool:
    """Return whether the last run is old enough. Each run ends with a report about the portal itself."""
    since = timezone.now() - timedelta(seconds=settings.IKD_DOCTOR_EVERY)
    return not DoctorReport.objects.filter(application=None, at__gte=since).exists()


def _run_alone(applications: list[Application], holder: str) -> None:
    try:
        run(applications, holder=holder)
    except Exception:
        log.exception("a run of the doctor failed")
    finally:
        close_old_connections()
