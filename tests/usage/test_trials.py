"""Rules on trial: they change no answer, and the changes that they would make are counted."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from hashlib import sha256
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.access_requests import requests as access_requests
from accounts.delegation import applications as delegated
from accounts.models import AccessRequest, User
from authgate.check.memory import Memory, Session
from authgate.check.pipeline import check
from authgate.cookies import gate_name
from authgate.decision.rules import Filters, Subject
from authgate.decision.target import Target
from authgate.models import Application, Rule, TrialCount
from authgate.usage.trials import results
from authgate.worker import loader
from authgate.worker.tallies import SAMPLES_LIMIT, Sample, Tallies
from authgate.worker.trials import compared, write_trials
from authgate.worker.usage import tallies
from authgate.worker.write_behind import writer
from tests.authgate.asking import WIKI, facts, forwarded, raw_endpoint, signed_in
from tests.factories import RuleFactory, UserFactory

FAR = time.time() + 1e6
PATHS = ["/", "/a", "/a/b", "/A", "/admin", "/%61", "/ü", "//a"]

stored_rules = st.builds(
    lambda path, exact, methods, networks, who, factor, minutes, passkey, ends: [
        path, exact, methods, networks, who, factor, minutes, passkey, ends,
    ],
    st.sampled_from(PATHS),
    st.booleans(),
    st.sampled_from(["", "GET", "POST MKCOL", "?"]),
    st.sampled_from(["", "192.0.2.0/24", "198.51.100.0/24", "none"]),
    st.sampled_from(["everyone", "signed_in", "chosen", "nonsense"]),
    st.booleans(),
    st.sampled_from([None, 5]),
    st.booleans(),
    st.sampled_from([None, timezone.now() - timedelta(days=1), timezone.now() + timedelta(days=1)]),
)  # fmt: skip
subjects = st.sampled_from(
    [
        None,
        Subject(1, "uuid-1", "alice", groups=((1, "staff"),)),
        Subject(1, "uuid-1", "alice", groups=((1, "staff"),), second_factor=True),
        Subject(2, "uuid-2", "bob", groups=((2, "guests"),)),
    ]
)
asked = st.tuples(
    st.sampled_from([*PATHS, "/a/b/c", "/admin/x", "/%2e%2e/a", "/x?y=z", "/" + "x" * 2000]),
    st.sampled_from(["GET", "POST", "HEAD", "MKCOL"]),
    st.sampled_from(["nginx", "traefik"]),
    st.sampled_from(["", "allowed_groups=staff"]),
)
ROW = (7, "Wiki", True, "", False, "", 0, *["username", False, False, False, False, False, False, "bearer"])


def references_of(named: dict[int, str]) -> Any:
    groups = {key: [group] for key, group in named.items()}
    return {"group": groups, "user": {}, "named": {}, "owner": {}, "team": {}}


def compiled(rules: list[tuple[list[Any], bool]], named: dict[int, str]) -> Any:
    rows = [(number, *rule, only_watch, 7) for number, (rule, only_watch) in enumerate(rules, 1)]
    references = references_of(named)
    return loader._application(ROW, rows, references)


def answer_of(application: Any, subject: Subject | None, request: tuple[str, str, str, str]) -> Any:
    path, method, proxy, query = request
    memory = Memory(loader.gate_settings(), bytes)
    memory.applications[WIKI] = application
    memory.issuers = frozenset()
    cookie = ""
    if subject is not None:
        cookie = f"{gate_name(WIKI).decode()}={'t' * 43}"
        memory.sessions[sha256(b"t" * 43).digest()] = Session(WIKI, 1, subject, FAR, FAR)
    described = facts(f"{WIKI}{path}", check=f"/authgate/{proxy}", query=query, method=method, cookie=cookie)
    found = check(described._replace(now=1e9), memory)
    fields = ("status", "headers", "body", "refusal", "sign_in_id", "token_id", "echo")
    return {name: getattr(found, name, None) for name in fields} | {"kind": type(found)}


@given(
    st.lists(stored_rules, max_size=4),
    st.lists(st.tuples(st.integers(0, 4), stored_rules), min_size=1, max_size=3),
    st.dictionaries(st.integers(1, 7), st.sampled_from(["1", "2"])),
    subjects,
    st.lists(asked, min_size=1, max_size=4),
)
def test_rules_on_trial_change_no_byte_of_any_answer(
    deciding: list[Any], watching: list[Any], named: dict[int, str], subject: Any, requests: list[Any]
) -> None:
    rules = [(rule, False) for rule in deciding]
    for place, rule in watching:
        rules.insert(min(place, len(rules)), (rule, True))
    numbers = [number for number, (_, only_watch) in enumerate(rules, 1) if not only_watch]
    rows = [(number, *rules[number - 1][0], False, 7) for number in numbers]
    references = references_of(named)

    with_trials, without = compiled(rules, named), loader._application(ROW, rows, references)

    assert (with_trials.watched, without.watched) == (True, False)
    for request in requests:
        assert answer_of(with_trials, subject, request) == answer_of(without, subject, request)


@pytest.mark.parametrize("value", [2, "", "t", 0, 1])
def test_a_rule_with_an_unreadable_trial_mark_grants_nothing(value: Any) -> None:
    rule = ["/", False, "", "", "everyone", False, None, False, None]

    application = compiled([(rule, value)], {})

    assert answer_of(application, None, ("/", "GET", "nginx", ""))["status"] == 403


# ---- what is counted --------------------------------------------------------------------------------------


def ask(path: str = "/", cookie: str = "", method: str = "GET") -> int:
    headers = forwarded(f"{WIKI}{path}", method=method)
    return raw_endpoint("/authgate/nginx", headers, cookie=cookie).status_code


def write() -> None:
    writer._write_usage()


@pytest.mark.django_db
def test_each_change_is_counted_by_user(wiki: Application, alice: User, bob: User) -> None:
    alices, bobs = signed_in(alice), signed_in(bob)
    narrower = RuleFactory(application=wiki, path="/admin", who="chosen", groups=["admins"], only_watch=True)
    wider = RuleFactory(application=wiki, path="/", who="chosen", groups=["guests"], only_watch=True)
    stronger = RuleFactory(
        application=wiki, path="/pay", who="chosen", groups=["staff"], second_factor=True, only_watch=True
    )

    statuses = [ask(path, alices) for path in ("/", "/admin/x", "/admin/x", "/pay")]
    statuses += [ask("/", bobs), ask("/admin", bobs), ask("/admin")]
    write()

    assert statuses == [200, 200, 200, 200, 403, 403, 401]
    found = results(wiki.pk)
    assert set(found) == {narrower.pk, wider.pk, stronger.pk}
    assert found[narrower.pk].of("refused").requests == {alice.pk: 2}
    assert found[narrower.pk].of("none").requests == {alice.pk: 2, bob.pk: 2}
    assert found[narrower.pk].of("none").of_visitors == 1
    assert found[wider.pk].of("admitted").requests == {bob.pk: 2}
    assert found[stronger.pk].of("asked").requests == {alice.pk: 1}
    assert [(each.compared, each.different) for each in found.values()].count((7, 2)) == 2
    assert found[stronger.pk].different == 1


@pytest.mark.django_db
def test_results_begin_again_when_the_rule_changes(wiki: Application, bob: User) -> None:
    bobs = signed_in(bob)
    rule = RuleFactory(application=wiki, path="/", who="chosen", groups=["guests"], only_watch=True)
    ask("/", bobs)
    write()
    assert results(wiki.pk)[rule.pk].different == 1

    rule.groups.clear()
    assert results(wiki.pk)[rule.pk].since is None
    ask("/", bobs)
    write()

    assert results(wiki.pk)[rule.pk].of("none").requests == {bob.pk: 1}


@pytest.mark.django_db
def test_nothing_is_sampled_without_a_rule_on_trial(wiki: Application, alice: User) -> None:
    assert ask("/", signed_in(alice)) == 200

    assert tallies.take_samples() == ({}, Counter())


@pytest.mark.django_db
def test_requests_beyond_the_limit_are_counted_as_not_compared(wiki: Application) -> None:
    rule = RuleFactory(application=wiki, path="/x", only_watch=True)
    many = Tallies()
    context: Any = type("Context", (), {})()
    context.application = loader.load_one(wiki.pk)
    context.query = type("Query", (), {"filters": None})
    for number in range(SAMPLES_LIMIT + 30):
        context.target = Target(WIKI, "GET", f"/{number}?secret", "192.0.2.1")
        many.watch(context, None)
    assert not any("secret" in str(sample) for sample in many._samples)

    write_trials(many)

    result = results(wiki.pk)[rule.pk]
    assert (result.compared, result.left_out) == (SAMPLES_LIMIT, 30)


@pytest.mark.django_db
def test_the_checks_filters_apply_with_and_without_the_trial(wiki: Application, bob: User) -> None:
    RuleFactory(application=wiki, path="/", who="chosen", groups=["guests"], only_watch=True)
    [trial] = loader.load_trials([wiki.pk])
    subject = loader.subject_of(bob)
    target = Target(WIKI, "GET", "/", "192.0.2.1", "/")
    samples = [(Sample(wiki.pk, subject, target, Filters(frozenset({"staff"}))), 3)]

    assert compared(trial, samples, time.time()) == {(trial.rule, trial.version, bob.pk, "none"): 3}


@pytest.mark.django_db
def test_an_application_with_only_rules_on_trial_is_closed(alice: User, bob: User, wiki: Application) -> None:
    wiki.rules.update(only_watch=True)

    assert ask("/", signed_in(alice)) == 403


@pytest.mark.django_db
def test_a_rule_on_trial_does_not_grant_a_request_for_access(
    wiki: Application, alice: User, bob: User
) -> None:
    rule = wiki.rules.get()
    request = AccessRequest.objects.create(
        application=wiki, user=bob, rule=rule, path="/", words="", asked_at=timezone.now()
    )
    Rule.objects.filter(pk=rule.pk).update(only_watch=True)

    with pytest.raises(access_requests.Answered):
        access_requests.grant(request, alice, next(iter(access_requests.PERIODS)), "", None)
    assert Rule.objects.count() == 1


@pytest.mark.django_db
def test_migrating_backwards_disarms_rules_on_trial(wiki: Application, alice: User) -> None:
    trial = RuleFactory(application=wiki, path="/admin", who="everyone", only_watch=True)
    migration = import_module("authgate.migrations.0021_trial_rules")

    migration.disarm_trials(apps, connection.schema_editor())

    Rule.objects.update(only_watch=False)
    assert ask("/admin") == 401
    assert ask(f"/undone-trial-{trial.pk}") == 403


# ---- pages ------------------------------------------------------------------------------------------------


def url(wiki: Application) -> str:
    return f"/admin/authgate/application/{wiki.pk}/trials/"


@pytest.mark.django_db
def test_the_page_names_users_and_its_basis(
    wiki: Application, alice: User, bob: User, carols: Client
) -> None:
    RuleFactory(
        application=wiki, path="/admin", who="chosen", groups=["<b>admins"], only_watch=True, note="<i>try"
    )
    ask("/admin", signed_in(alice))
    write()

    page = carols.get(url(wiki)).content.decode()
    form = carols.get(f"/admin/authgate/application/{wiki.pk}/change/").content.decode()

    assert "Would be refused: 1 request" in page and "alice" in page and "bob" not in page
    assert "1 request compared" in page and "<i>try" not in page
    assert "1 of 1 request would be decided differently" in form
    assert url(wiki) in form


@pytest.mark.django_db
def test_the_page_needs_the_permission_and_an_application(
    wiki: Application, carols: Client, browser_of: Any
) -> None:
    staff = browser_of(UserFactory(username="pat", is_staff=True))

    assert staff.get(url(wiki)).status_code == 403
    assert "No rule of this application is on trial." in carols.get(url(wiki)).content.decode()
    for number in ("0", "999999999999999999999", "12345"):
        assert carols.get(f"/admin/authgate/application/{number}/trials/").status_code == 404
    assert TrialCount.objects.count() == 0


@pytest.mark.django_db
def test_the_configuration_file_keeps_the_mark(wiki: Application, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.rules.update(only_watch=True)

    call_command("export")

    assert "only_watch: true" in capsys.readouterr().out


@pytest.mark.django_db
def test_owners_do_not_change_rules_on_trial(wiki: Application, alice: User, bob: User) -> None:
    rule = wiki.rules.get()
    wiki.owners.add(bob)
    wiki.rules.update(only_watch=True)

    with pytest.raises(Rule.DoesNotExist):
        delegated.remove(rule, "group", rule.groups.get().pk, owner=bob, address=None)
