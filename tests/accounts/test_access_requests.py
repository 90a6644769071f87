"""Access requests: who may ask, who may answer, what a grant contains, and when it ends."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.access_requests import requests
from accounts.models import AccessRequest, User
from authgate.check.memory import RefusedPage
from authgate.decision.evaluation import decide
from authgate.decision.rules import Verdict
from authgate.decision.target import Target
from authgate.models import Application, AuditEvent, Rule
from authgate.pages.refused import render_refused
from authgate.worker import loader
from tests.accounts.conftest import PORTAL
from tests.accounts.signing_in import begin_session
from tests.factories import ApplicationFactory, GroupFactory, RuleFactory, UserFactory

pytestmark = pytest.mark.django_db

PAYROLL = "https://pay.example.com"
ASK = "/access/ask/?" + urlencode({"page": f"{PAYROLL}/slips"})


@pytest.fixture(autouse=True)
def empty_cache(db: None) -> None:
    cache.clear()


@pytest.fixture
def olga(db: None) -> User:
    return UserFactory(username="olga", email="olga@example.com", verified=True)


@pytest.fixture
def payroll(olga: User) -> Application:
    application = ApplicationFactory(name="Payroll", origins=[PAYROLL], groups=["accountants"])
    application.owners.set([olga])
    return application


def verdict_of(user: User, path: str = "/slips", method: str = "GET") -> Verdict:
    application = loader.load_application(PAYROLL)
    assert application is not None
    target = Target(PAYROLL, method, path, "192.0.2.1")
    return decide(application, target, loader.subject_of(user), timezone.now().timestamp()).verdict


def asked(client: Client, who: str = "bob", words: str = "month end") -> AccessRequest:
    client.cookies.clear()
    begin_session(client, who)
    client.post(ASK, {"words": words})
    return AccessRequest.objects.latest("pk")


def answer(client: Client, request: AccessRequest, answer: str, who: str = "olga", words: str = "") -> Any:
    client.cookies.clear()
    begin_session(client, who)
    url = f"/access/requests/{request.pk}/"
    shown = (client.get(url).context or {}).get("shown", "")
    return client.post(url, {"answer": answer, "words": words, "shown": shown})


# ---- asking ----


def test_the_refused_page_links_to_the_request_form(client: Client, bob: User, payroll: Application) -> None:
    page = RefusedPage("x", Target(PAYROLL, "GET", "/slips", ""), "Payroll", "bob", "no rule admits")
    (link,) = set(re.findall(rf'href="({PORTAL}/access/ask/[^"]+)"', render_refused(page).decode()))
    begin_session(client, "bob")

    shown = client.get(link.removeprefix(PORTAL).replace("&amp;", "&"))

    assert "Ask for access to Payroll" in shown.content.decode()


@pytest.mark.parametrize(("username", "reason"), [("", "no rule admits"), ("bob", "application disabled")])
def test_the_refused_page_has_no_link_if_a_request_cannot_help(username: str, reason: str) -> None:
    page = RefusedPage("x", Target(PAYROLL, "GET", "/slips", ""), "Payroll", username, reason)

    assert b"/access/ask/" not in render_refused(page)


def test_the_owners_get_a_mail_with_a_link_to_the_request(
    client: Client, bob: User, payroll: Application
) -> None:
    payroll.owner_groups.set([GroupFactory(name="heads")])
    UserFactory(username="hans", email="hans@example.com", groups=["heads"])
    UserFactory(username="gone", email="gone@example.com", groups=["heads"], is_active=False)
    request = asked(client)

    assert sorted(message.to[0] for message in mail.outbox) == ["hans@example.com", "olga@example.com"]
    body = str(mail.outbox[0].body)
    assert f"{PORTAL}/access/requests/{request.pk}/" in body
    assert "bob" in body and "Payroll" in body and "month end" in body
    assert AuditEvent.objects.get(kind="access_requested").actor == "bob"


def test_a_second_request_sends_no_mail(client: Client, bob: User, payroll: Application) -> None:
    asked(client)
    client.post(ASK, {"words": "again"})

    assert AccessRequest.objects.count() == 1
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("page", ["", "x", "https://evil.example/", f"{PAYROLL}.evil.example/", PORTAL])
def test_access_to_a_page_of_no_application_cannot_be_requested(
    client: Client, bob: User, payroll: Application, page: str
) -> None:
    begin_session(client, "bob")

    assert client.post("/access/ask/?" + urlencode({"page": page}), {"words": ""}).status_code == 404
    assert not AccessRequest.objects.exists()


def nobody_owns(application: Application, bob: User) -> None:
    application.owners.clear()


def bob_alone_owns(application: Application, bob: User) -> None:
    application.owners.set([bob])


def bob_has_access(application: Application, bob: User) -> None:
    bob.groups.add(GroupFactory(name="accountants"))


def switched_off(application: Application, bob: User) -> None:
    Application.objects.update(enabled=False)


def another_network(application: Application, bob: User) -> None:
    application.rules.update(networks="198.51.100.0/24")


def expired(application: Application, bob: User) -> None:
    application.rules.update(expires_at=timezone.now())


@pytest.mark.parametrize(
    "change",
    [nobody_owns, bob_alone_owns, bob_has_access, switched_off, another_network, expired],
    ids=lambda each: each.__name__,
)
def test_a_user_cannot_ask_where_group_membership_would_not_help(
    client: Client, bob: User, payroll: Application, change: Any
) -> None:
    change(payroll, bob)
    begin_session(client, "bob")

    assert client.post(ASK, {"words": ""}).status_code == 404
    assert not AccessRequest.objects.exists()


# ---- answering ----


@pytest.mark.parametrize(
    ("period", "length"),
    [("hour", timedelta(hours=1)), ("day", timedelta(days=1)), ("month", timedelta(days=30))],
)
def test_granted_access_ends_at_its_time(
    client: Client, bob: User, payroll: Application, period: str, length: timedelta
) -> None:
    now = timezone.now().replace(microsecond=0)
    request = asked(client)
    with time_machine.travel(now, tick=False):
        answer(client, request, period)

    for seconds, verdict in ((-1, Verdict.ALLOW), (0, Verdict.REFUSE)):
        with time_machine.travel(now + length + timedelta(seconds=seconds), tick=False):
            assert verdict_of(bob) is verdict
    request.refresh_from_db()
    assert (request.answer, request.answered_by, request.until) == ("granted", "olga", now + length)
    event = AuditEvent.objects.get(kind="access_granted")
    assert (event.actor, event.subject, event.application) == ("olga", "bob", "Payroll")


def test_permanent_access_has_no_end_and_is_marked(client: Client, bob: User, payroll: Application) -> None:
    request = asked(client)

    answer(client, request, "forever", words="Welcome")

    request.refresh_from_db()
    assert request.grant is not None
    assert (request.grant.expires_at, list(request.grant.users.all())) == (None, [bob])
    assert request.grant.note == "bob: granted by olga"
    assert mail.outbox[-1].to == ["bob@example.com"] and "Welcome" in str(mail.outbox[-1].body)


def test_a_grant_copies_path_and_conditions_of_the_rule_for_this_user_alone(
    client: Client, alice: User, bob: User, payroll: Application
) -> None:
    ends = timezone.now() + timedelta(minutes=5)
    RuleFactory(
        application=payroll,
        path="/slips",
        who=Rule.Who.CHOSEN,
        groups=["accountants"],
        methods="GET",
        second_factor=True,
        expires_at=ends,
    )

    answer(client, asked(client), "forever")

    rule = Rule.objects.get(note__startswith="bob:")
    assert (rule.path, rule.methods, rule.second_factor, rule.expires_at) == ("/slips", "GET", True, ends)
    assert list(rule.groups.all()) == []
    assert verdict_of(bob) is Verdict.STEP_UP
    assert verdict_of(bob, method="POST") is Verdict.REFUSE
    assert verdict_of(bob, "/") is Verdict.REFUSE
    assert verdict_of(alice) is Verdict.REFUSE


def test_a_declined_user_reads_the_reason_and_may_ask_again(
    client: Client, bob: User, payroll: Application
) -> None:
    answer(client, asked(client), "no", words="Ask me in May.")

    assert verdict_of(bob) is Verdict.REFUSE
    assert "Ask me in May." in str(mail.outbox[-1].body)
    assert AuditEvent.objects.filter(kind="access_declined", actor="olga", subject="bob").exists()
    asked(client)
    assert AccessRequest.objects.count() == 2


@pytest.mark.parametrize("who", ["bob", "alice", "sam"])
def test_only_owners_and_superusers_can_answer(
    client: Client, alice: User, bob: User, payroll: Application, who: str
) -> None:
    UserFactory(username="sam", is_staff=True)
    request = asked(client)

    assert answer(client, request, "forever", who=who).status_code == 404
    assert client.get(f"/access/requests/{request.pk}/").status_code == 404
    assert verdict_of(bob) is Verdict.REFUSE


@pytest.mark.parametrize("is_superuser", [True, False])
def test_nobody_can_grant_their_own_request(
    client: Client, bob: User, payroll: Application, is_superuser: bool
) -> None:
    payroll.owners.add(bob)
    User.objects.filter(pk=bob.pk).update(is_superuser=is_superuser, is_staff=is_superuser)
    request = asked(client)

    assert answer(client, request, "forever", who="bob").status_code == 404
    assert verdict_of(bob) is Verdict.REFUSE


def test_a_former_owner_cannot_answer(client: Client, bob: User, payroll: Application) -> None:
    request = asked(client)
    payroll.owners.clear()

    assert answer(client, request, "day").status_code == 404


def test_the_first_of_two_answers_counts(client: Client, bob: User, olga: User, payroll: Application) -> None:
    first = asked(client)
    second = AccessRequest.objects.get(pk=first.pk)
    requests.decline(first, olga, "", None)

    with pytest.raises(requests.Answered):
        requests.grant(second, olga, "forever", "", None)
    answer(client, second, "forever")

    assert verdict_of(bob) is Verdict.REFUSE


def test_a_rule_deleted_meanwhile_is_not_granted(client: Client, bob: User, payroll: Application) -> None:
    request = asked(client)
    payroll.rules.all().delete()

    answer(client, request, "day")

    request.refresh_from_db()
    assert (request.answer, Rule.objects.count()) == ("", 0)


@pytest.mark.parametrize("given", ["", "year", "999", "granted"])
def test_an_unknown_answer_is_refused(client: Client, bob: User, payroll: Application, given: str) -> None:
    request = asked(client)

    assert answer(client, request, given).status_code == 200
    request.refresh_from_db()
    assert request.answered_at is None


def test_a_form_on_another_site_cannot_answer(client: Client, bob: User, payroll: Application) -> None:
    request = asked(client)
    client.cookies.clear()
    begin_session(client, "olga")
    client.handler.enforce_csrf_checks = True

    assert client.post(f"/access/requests/{request.pk}/", {"answer": "day"}).status_code == 403
    assert verdict_of(bob) is Verdict.REFUSE


def test_administrators_see_the_list_of_requests(
    client: Client, bob: User, carol: User, payroll: Application
) -> None:
    request = asked(client)
    client.cookies.clear()
    begin_session(client, "carol")

    page = client.get("/admin/accounts/accessrequest/").content.decode()

    assert f"/access/requests/{request.pk}/" in page


# ---- what a grant changes, before it is given ----


def test_the_page_shows_what_the_user_gains(client: Client, bob: User, payroll: Application) -> None:
    RuleFactory(application=payroll, path="/slips", who=Rule.Who.CHOSEN, groups=["accountants"])
    request = asked(client)
    client.cookies.clear()
    begin_session(client, "olga")

    page = client.get(f"/access/requests/{request.pk}/")

    assert page.context["paths"] == ["/slips"]
    assert "bob can then open in Payroll:" in page.content.decode()


@pytest.mark.parametrize("period", ["hour", "forever"])
def test_a_grant_is_not_saved_if_its_effect_has_changed(
    client: Client, bob: User, payroll: Application, period: str
) -> None:
    request = asked(client)
    client.cookies.clear()
    begin_session(client, "olga")
    url = f"/access/requests/{request.pk}/"
    shown = client.get(url).context["shown"]
    bob.groups.add(GroupFactory(name="accountants"))

    again = client.post(url, {"answer": period, "shown": shown})

    assert "Nothing was granted" in again.content.decode()
    assert "Nothing changes" in again.content.decode()
    request.refresh_from_db()
    assert request.answered_at is None and Rule.objects.count() == 1
    assert client.post(url, {"answer": period, "shown": again.context["shown"]}).status_code == 302
    assert Rule.objects.count() == 2


def test_a_grant_that_affects_many_needs_a_ticked_box(
    client: Client, bob: User, payroll: Application, settings: Any
) -> None:
    settings.IKD_CONFIRM_PEOPLE = 1
    request = asked(client)

    assert b'name="_sure"' in answer(client, request, "hour").content
    assert Rule.objects.count() == 1

    url = f"/access/requests/{request.pk}/"
    fields = {"answer": "hour", "shown": client.get(url).context["shown"], "_sure": "yes"}
    assert client.post(url, fields).status_code == 302
    assert Rule.objects.count() == 2


def test_a_decline_needs_no_ticked_box(
    client: Client, bob: User, payroll: Application, settings: Any
) -> None:
    settings.IKD_CONFIRM_PEOPLE = 1

    assert answer(client, asked(client), "no").status_code == 302


def test_an_owner_sees_that_maintenance_refuses_the_user(
    client: Client, bob: User, payroll: Application
) -> None:
    request = asked(client)
    Application.objects.filter(pk=payroll.pk).update(maintenance=True)
    client.cookies.clear()
    begin_session(client, "olga")

    assert "under maintenance" in client.get(f"/access/requests/{request.pk}/").content.decode()


@pytest.mark.parametrize("why", ["rule", "user"])
def test_a_request_that_can_no_longer_be_granted_says_so(
    client: Client, bob: User, payroll: Application, why: str
) -> None:
    request = asked(client)
    if why == "rule":
        payroll.rules.all().delete()
    else:
        User.objects.filter(pk=bob.pk).update(is_active=False)
    client.cookies.clear()
    begin_session(client, "olga")

    assert "You cannot grant it" in client.get(f"/access/requests/{request.pk}/").content.decode()
