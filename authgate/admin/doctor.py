"""The admin's pages of the doctor: the last report of one or all applications, and a button for a new run."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext

from authgate import audit, leases
from authgate.admin.audited import is_row_id
from authgate.doctor import rounds
from authgate.doctor.findings import Finding, Level
from authgate.doctor.words import LEVELS, label_of, text_of
from authgate.models import Application, DoctorReport
from authgate.peer import client_address

PERMISSIONS = ("authgate.run_doctor", "authgate.view_application")
CSS_CLASSES = {Level.PASS: "success", Level.WARN: "warning", Level.FAIL: "error"}


def application_page(request: HttpRequest, key: int) -> HttpResponse:
    """Show the last report of an application. A POST runs the doctor first."""
    _require_permissions(request)
    found = Application.objects.filter(pk=key).first() if is_row_id(str(key)) else None
    if found is None:
        raise Http404
    if request.method == "POST":
        if (holder := _begun(request, found)) is not None:
            rounds.run([found], holder=holder, with_portal=False)
        return HttpResponseRedirect(request.path)
    reports = DoctorReport.objects.filter(application=found)
    title = gettext("Proxy test of %s") % found.name
    return _page(request, title, [_shown(report) for report in reports], application=found)


def page_of_all(request: HttpRequest) -> HttpResponse:
    """Show the last reports of all applications and of the portal. A POST starts a run for all."""
    _require_permissions(request)
    if request.method == "POST":
        if (holder := _begun(request, None)) is not None:
            rounds.start_run(list(Application.objects.order_by("name")), holder)
            messages.info(request, gettext("The test is running. Reload this page in a minute."))
        return HttpResponseRedirect(request.path)
    reports = DoctorReport.objects.select_related("application").order_by("application__name")
    shown = sorted((_shown(report) for report in reports), key=lambda each: each["level"] == Level.PASS)
    return _page(request, gettext("Proxy tests"), shown, application=None)


def _require_permissions(request: HttpRequest) -> None:
    if not request.user.has_perms(PERMISSIONS):
        raise PermissionDenied


def _begun(request: HttpRequest, application: Application | None) -> str | None:
    """Take the lease for a run and record the run. Return the lease's holder, or None if a run must wait."""
    holder = rounds.new_holder()
    try:
        rounds.require_pause()
        rounds.hold(holder)
    except rounds.Busy:
        messages.warning(request, gettext("A test is running or has just ended. Try again in ten seconds."))
        return None
    try:
        audit.record(
            "doctor_run",
            actor=request.user.get_username(),
            application=application.name if application else "",
            address=client_address(request),
        )
    except Exception:
        leases.release(rounds.LEASE, holder)
        raise
    return holder


def _page(
    request: HttpRequest, title: str, reports: list[dict[str, Any]], *, application: Application | None
) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    context = {
        **admin.site.each_context(request),
        "title": title,
        "opts": Application._meta,
        "application": application,
        "reports": reports,
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/doctor.html", context)


def _shown(report: DoctorReport) -> dict[str, Any]:
    """Return a report for the template: problems one by one, passed tests together."""
    findings = rounds.findings_of(report)
    application = report.application
    return {
        "name": application.name if application else gettext("The portal itself"),
        "url": reverse("admin:authgate_application_doctor", args=[application.pk]) if application else "",
        "at": report.at,
        "level": report.level,
        "level_words": LEVELS[Level(report.level)] if report.level in LEVELS else report.level,
        "problems": [_finding_shown(finding) for finding in findings if finding.level is not Level.PASS],
        "passed": [_finding_shown(finding) for finding in findings if finding.level is Level.PASS],
    }


def _finding_shown(finding: Finding) -> dict[str, Any]:
    return {
        "css_class": CSS_CLASSES[finding.level],
        "level": LEVELS[finding.level],
        "label": label_of(finding),
        "text": text_of(finding),
        "line": finding.line,
        "origin": finding.origin,
    }
