"""The doctor's pages: who may open and run it, what the pages show, and when a run has to wait."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User
from authgate import leases
from authgate.doctor import rounds
from authgate.models import Application, AuditEvent, DoctorReport
from tests.admin.conftest import PortalClient
from tests.factories import ApplicationFactory, UserFactory

pytestmark = pytest.mark.django_db

ALL = "/admin/authgate/application/doctor/"
PROBLEM = {
    "test": "protected",
    "level": "fail",
    "reason": "unchecked",
    "values": {"path": "/<b>", "status": "200"},
    "line": "include ikd/site.conf;",
    "origin": "https://wiki.example.com",
}


@pytest.fixture
def wiki(settings: Any) -> Application:
    """An application with a proxy that does not listen."""
    settings.IKD_DOCTOR_NETWORKS = ["127.0.0.0/8"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return ApplicationFactory(name="Wiki", origins=[f"https://localhost:{port}"])


@pytest.fixture
def pat(db: None) -> User:
    """Staff who may see applications."""
    pat = UserFactory(username="pat", is_staff=True)
    pat.user_permissions.set(Permission.objects.filter(codename="view_application"))
    return pat


def page_of(application: Application) -> str:
    return f"/admin/authgate/application/{application.pk}/doctor/"


def report(application: Application | None, *findings: dict[str, Any], ago: int = 60) -> DoctorReport:
    at, level = timezone.now() - timedelta(seconds=ago), findings[0]["level"] if findings else "pass"
    return DoctorReport.objects.create(application=application, at=at, level=level, findings=list(findings))


def test_running_the_doctor_needs_its_own_permission(
    wiki: Application, pat: User, browser_of: Callable[[User], Client]
) -> None:
    client = browser_of(pat)
    urls = [ALL, page_of(wiki)]
    refused = [ask(url).status_code for url in urls for ask in (client.get, client.post)]
    change_page = client.get(f"/admin/authgate/application/{wiki.pk}/change/").content.decode()
    pat.user_permissions.add(Permission.objects.get(codename="run_doctor"))

    assert refused == [403] * 4
    assert page_of(wiki) not in change_page
    assert [client.get(url).status_code for url in urls] == [200, 200]
    assert page_of(wiki) in client.get(f"/admin/authgate/application/{wiki.pk}/change/").content.decode()
    assert not DoctorReport.objects.exists()


def test_the_doctors_permission_alone_shows_no_application(
    wiki: Application, pat: User, browser_of: Callable[[User], Client]
) -> None:
    pat.user_permissions.set(Permission.objects.filter(codename="run_doctor"))

    assert browser_of(pat).get(page_of(wiki)).status_code == 403
    assert browser_of(pat).post(ALL).status_code == 403


def test_an_unknown_application_is_not_found(carols: Client, wiki: Application) -> None:
    for number in (wiki.pk + 1, 10**18, 10**30):
        assert carols.get(f"/admin/authgate/application/{number}/doctor/").status_code == 404


def test_a_run_needs_a_csrf_token(carol: User, wiki: Application) -> None:
    client = PortalClient(HTTP_HOST="sso.example.com", enforce_csrf_checks=True)
    client.force_login(carol, backend="accounts.backends.PasswordBackend")

    assert client.post(page_of(wiki)).status_code == 403
    assert not DoctorReport.objects.exists()


@pytest.mark.parametrize("method", ["put", "delete", "patch", "options"])
def test_other_methods_run_nothing(method: str, carols: Client, wiki: Application) -> None:
    for url in (ALL, page_of(wiki)):
        assert getattr(carols, method)(url).status_code == 405
    assert not DoctorReport.objects.exists()


def test_the_button_runs_the_doctor_and_leaves_an_event(carols: Client, wiki: Application) -> None:
    answer = carols.post(page_of(wiki), follow=True)

    assert "refused or timed out" in answer.content.decode()
    assert DoctorReport.objects.get().level == "fail"
    [event] = AuditEvent.objects.filter(kind="doctor_run")
    assert (event.actor, event.application) == ("carol", "Wiki")
    assert leases.hold(rounds.LEASE, "another", 1)


def test_a_second_run_has_to_wait(carols: Client, wiki: Application) -> None:
    report(wiki, PROBLEM, ago=2)
    just_now = carols.post(page_of(wiki), follow=True).content.decode()
    DoctorReport.objects.update(at=timezone.now() - timedelta(minutes=1))
    leases.hold(rounds.LEASE, "another", 60)
    beside_another = carols.post(ALL, follow=True).content.decode()

    for page in (just_now, beside_another):
        assert "Try again in ten seconds" in page
    assert not AuditEvent.objects.filter(kind="doctor_run").exists()


def test_a_run_of_all_begins_after_the_page_is_sent(
    carols: Client, wiki: Application, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        answer = carols.post(ALL, follow=True)

    assert "The test is running" in answer.content.decode()
    assert len(callbacks) == 1
    assert not leases.hold(rounds.LEASE, "another", rounds.LEASE_SECONDS)


def test_a_report_shows_the_problem_and_the_line_as_text(carols: Client, wiki: Application) -> None:
    report(wiki, PROBLEM)
    report(None)
    for url in (ALL, page_of(wiki)):
        page = carols.get(url).content.decode()
        assert "/&lt;b&gt; answered 200 without a check." in page
        assert "<code>include ikd/site.conf;</code>" in page


def test_problems_are_on_the_first_page(
    carols: Client, wiki: Application, pat: User, browser_of: Callable[[User], Client]
) -> None:
    report(wiki, PROBLEM)
    report(None)
    page = carols.get("/admin/").content.decode()

    assert "The last test found problems: Wiki." in page
    assert f'href="{ALL}"' in page
    assert "The last test found problems" not in browser_of(pat).get("/admin/").content.decode()


def test_a_disabled_application_is_not_on_the_first_page(carols: Client, wiki: Application) -> None:
    report(wiki, PROBLEM)
    wiki.enabled = False
    wiki.save()

    assert "The last test found problems" not in carols.get("/admin/").content.decode()


def test_many_reports_need_no_more_queries(carols: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        report(ApplicationFactory(name=f"Application {number}"), PROBLEM)
    carols.get(ALL)

    with django_assert_max_num_queries(8):
        carols.get(ALL)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("10.0.0.5:8080", "10.0.0.5:8080"), (" App:80 ", "app:80"), ("[::1]:9001", "[::1]:9001")],
)
def test_an_address_behind_the_proxy_is_saved_in_canonical_form(typed: str, kept: str) -> None:
    application = ApplicationFactory(name="Wiki")
    application.backend = typed
    application.full_clean()

    assert application.backend == kept


@pytest.mark.parametrize(
    "typed",
    ["app", "app:", ":80", "http://app:80", "app:0", "app:70000", "a b:80", "app:80/x", "u@app:80", "::1"],
)
def test_an_invalid_address_is_refused(typed: str) -> None:
    application = ApplicationFactory(name="Wiki")
    application.backend = typed

    with pytest.raises(Exception, match="Enter a host and a port"):
        application.full_clean()
