"""manage.py doctor: its output, stored reports and refused arguments."""

from __future__ import annotations

import json
import socket
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from authgate import leases
from authgate.doctor import rounds
from authgate.doctor.findings import Level
from authgate.doctor.lines import LINES
from authgate.doctor.words import REASONS, TESTS
from authgate.models import Application, DoctorReport
from ikd_portal.management.commands import doctor as command
from tests.factories import ApplicationFactory, UpstreamFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def closed(settings: Any) -> Application:
    """An application with a proxy that does not listen."""
    settings.IKD_DOCTOR_NETWORKS = ["127.0.0.0/8"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return ApplicationFactory(name="Closed", origins=[f"https://localhost:{port}"])


def run(*arguments: str) -> tuple[str, int]:
    """Return the output and the exit status."""
    out = StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except SystemExit as exit:
        return out.getvalue(), int(str(exit.code))
    return out.getvalue(), 0


def test_the_command_prints_what_failed_and_exits_with_1(closed: Application) -> None:
    printed, status = run("Closed")

    assert status == 1
    assert "Failed: Connection. The connection to https://localhost" in printed
    assert DoctorReport.objects.get().level == "fail"


def test_the_command_without_names_tests_every_application_and_the_portal(
    closed: Application, settings: Any
) -> None:
    UpstreamFactory(name="Broken", issuer="https://name.invalid")
    UpstreamFactory(name="Off", issuer="https://name.invalid", enabled=False)
    printed, status = run("--json")

    found = json.loads(printed)
    assert status == 1
    assert set(found) == {"Closed", ""}
    assert [(each["test"], each["level"]) for each in found[""]] == [("provider", "fail"), ("mail", "pass")]
    assert set(DoctorReport.objects.values_list("application__name", "level")) == {
        ("Closed", "fail"),
        (None, "fail"),
    }


def test_a_private_address_is_refused_with_the_setting_that_allows_it(
    closed: Application, settings: Any
) -> None:
    settings.IKD_DOCTOR_NETWORKS = []
    printed, status = run("Closed")

    assert status == 1
    assert "IKD_DOCTOR_NETWORKS=" in printed


def test_an_unreachable_mail_server_is_reported(settings: Any) -> None:
    settings.EMAIL_BACKEND = "accounts.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    printed, status = run()

    assert status == 1
    assert "Failed: E-mail." in printed


def test_an_application_without_an_address_is_a_warning(settings: Any) -> None:
    ApplicationFactory(name="None")
    ApplicationFactory(name="Many", origins=["https://*.apps.example.com"])
    printed, status = run("None", "Many", "None")

    assert status == 0
    assert printed.count("Warning: Connection.") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["Nobody's"], "No application is named"), (["--path", "x"], "A path begins with /")],
)
def test_a_wrong_argument_is_named(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run(*arguments)


def test_a_second_run_is_refused_while_another_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "WAITS", 0)
    leases.hold(rounds.LEASE, "another", 60)

    with pytest.raises(CommandError, match="Another run"):
        run()


def test_an_unreachable_application_behind_the_proxy_passes(closed: Application) -> None:
    closed.backend = "127.0.0.1:1"
    closed.full_clean()
    closed.save()
    printed, _ = run("Closed")

    assert "Passed: Application behind the proxy." in printed


def test_an_error_in_one_test_does_not_end_the_run(closed: Application) -> None:
    broken = ApplicationFactory(name="Broken")
    Application.objects.filter(pk=broken.pk).update(backend="no address")
    printed, status = run("Broken", "Closed")

    assert status == 1
    assert "The test ended with an error." in printed
    assert DoctorReport.objects.count() == 2


def test_a_run_is_due_when_the_last_one_is_old(settings: Any) -> None:
    settings.IKD_DOCTOR_EVERY = 3600
    assert rounds.is_due()
    DoctorReport.objects.create(at=timezone.now(), level="pass")
    assert not rounds.is_due()
    DoctorReport.objects.update(at=timezone.now() - timezone.timedelta(hours=2))
    assert rounds.is_due()


def test_readable_findings_of_another_versions_report_are_shown() -> None:
    good = {"test": "gone", "level": "fail", "reason": "gone %(x)s", "values": {}, "line": "", "origin": ""}
    report = DoctorReport(at=timezone.now(), level="fail", findings=[{}, None, {"level": "odd"}, good])

    [finding] = rounds.findings_of(report)
    assert command.text_of(finding) == "gone %(x)s"
    assert finding.level is Level.FAIL


def test_every_fix_is_for_a_known_proxy_and_every_text_has_words() -> None:
    assert set(LINES) == {"nginx", "traefik", "caddy", "haproxy", "envoy", "ingress-nginx"}
    assert all(str(text) for text in REASONS.values())
    assert all(str(name) and str(sentence) for name, sentence in TESTS.values())
