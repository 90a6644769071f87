"""Applying a file: all or nothing, validated like the forms, and without changes when repeated."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from accounts.models import AccessRequest, Group, GroupMapping, Identity, Upstream, User
from authgate import leases
from authgate.models import Application, AuditEvent, Origin, Rule
from ikd_portal.configuration_file.plan import ConfigurationFile, Outdated, apply_plan, make_plan
from ikd_portal.configuration_file.reconciler import LEASE
from ikd_portal.models import ManagedObject
from openid.grants import digest
from openid.models import Client, ClientSecret
from tests.configuration_file.conftest import Apply
from tests.factories import ApplicationFactory, GroupFactory, UpstreamFactory

pytestmark = pytest.mark.django_db

WIKI = """
groups:
  staff: {second_factor: true}
  guests:
applications:
  Wiki:
    description: The wiki
    origins: [https://wiki.example.net]
    rules:
      - {path: /, groups: [staff]}
      - {path: /public/, who: everyone, methods: [post, get]}
"""
CAMPUS = """
identity_providers:
  campus:
    name: Campus
    issuer: https://id.example.com
    client_id: portal
"""


def refused(apply: Apply, text: str, *options: str) -> str:
    with pytest.raises(CommandError) as error:
        apply(text, *options)
    return str(error.value)


def test_a_file_is_applied_and_changes_nothing_the_second_time(apply: Apply, alice: User) -> None:
    said = apply(WIKI)
    events = AuditEvent.objects.count()

    assert "Applied: 2 added, 1 changed." in said  # alice's group existed
    wiki = Application.objects.get()
    assert [origin.value for origin in wiki.origins.all()] == ["https://wiki.example.net"]
    assert [(rule.path, rule.methods) for rule in wiki.rules.all()] == [("/", ""), ("/public", "GET POST")]
    assert Group.objects.get(name="staff").strict_group
    assert apply(WIKI).endswith("Nothing to change.\n")
    assert AuditEvent.objects.count() == events


def test_a_plan_names_the_affected_people_and_changes_nothing(apply: Apply, alice: User, bob: User) -> None:
    said = apply(WIKI, command="plan")

    assert "+ application Wiki" in said
    assert "Gains access: Wiki /: alice\n" in said
    assert "Gains access: Wiki /public: everyone, without signing in, alice, bob" in said
    assert "People affected: 2." in said
    assert not Application.objects.exists()
    assert not AuditEvent.objects.exists()
    assert not ManagedObject.objects.exists()


def test_nothing_is_applied_without_yes_or_a_terminal(file: Path) -> None:
    file.write_text(f"version: 1\n{WIKI}")

    with pytest.raises(CommandError, match="repeat with --yes"):
        call_command("apply", str(file), stdout=StringIO())

    assert not Application.objects.exists()


def test_one_problem_prevents_everything_from_being_applied(apply: Apply) -> None:
    told = refused(apply, f"{WIKI}  Shop:\n    origins: [https://shop.example.net/path]\n")

    assert "portal.yaml:14: https://shop.example.net/path: An origin ends after the name and port" in told
    assert not Application.objects.exists()
    assert not Group.objects.exists()


WRONG = {
    "an unknown group": ("applications:\n  W:\n    rules:\n    - groups: [nobody]\n", 5, "no group 'nobody'"),
    "an unknown user": ("applications:\n  W:\n    owners: [nobody]\n", 4, "There is no user 'nobody'."),
    "a path with a query": ("applications:\n  W:\n    rules:\n    - path: /a?b\n", 5, "Remove the ?"),
    "paths of two cases": (
        "applications:\n  W:\n    rules:\n    - {path: /a}\n    - {path: /A}\n",
        4,
        "Spell both the same way",
    ),
    "http": ("applications:\n  W:\n    origins:\n    - http://a.example.net\n", 5, "Use https://"),
    "an origin twice": (
        "applications:\n  W:\n    origins:\n    - https://a.example.net\n    - https://A.example.net:443/\n",
        6,
        "here twice, first in line 5",
    ),
    "an origin of two applications": (
        "applications:\n  V: {origins: [https://a.example.net]}\n  W:\n    origins:\n    - https://a.example.net\n",
        6,
        "belongs to the application “V”",
    ),
    "the portal's host": (
        "applications:\n  W:\n    origins: [https://sso.example.com:8443]\n",
        4,
        "same host",
    ),
    "a hidden character": ('applications:\n  W:\n    description: "a\\u202eb"\n', 4, "invisible"),
    "a hidden character of a name": ('groups:\n  "a\\u200bb": {}\n', 3, "invisible"),
    "a long name": (f"groups:\n  {'a' * 200}: {{}}\n", 3, "at most 150 characters"),
    "minutes below one": (
        "applications:\n  W:\n    rules:\n    - {path: /, factor_minutes: 0}\n",
        5,
        "greater than or equal to 1",
    ),
    "a provider without a name": ("identity_providers:\n  a: {client_id: x}\n", 3, "name:"),
    "a redirect URI without https": (
        "applications:\n  W:\n    clients:\n      abc:\n        redirect_uris: [http://a.example/cb]\n",
        6,
        "must begin with https://",
    ),
    "a mapping without a group": (
        CAMPUS + "    group_mappings:\n    - {claim: a, value: b}\n",
        8,
        "group: ",
    ),
    "a variable that is not for secrets": (
        CAMPUS + "    client_secret: {environment: IKD_SECRET_KEY}\n",
        7,
        "begins with PORTAL_SECRET_",
    ),
    "a variable that is not there": (
        CAMPUS + "    client_secret: {environment: PORTAL_SECRET_NONE}\n",
        7,
        "The environment has no PORTAL_SECRET_NONE",
    ),
    "a file elsewhere": (CAMPUS + "    client_secret: {file: /proc/self/environ}\n", 7, "secrets must be in"),
    "a file above": (CAMPUS + "    client_secret: {file: ../../etc/passwd}\n", 7, "secrets must be in"),
    "a file that is not there": (CAMPUS + "    client_secret: {file: none}\n", 7, "cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_reported_with_its_line(apply: Apply, name: str) -> None:
    text, line, words = WRONG[name]

    told = refused(apply, text.lstrip())

    assert f"portal.yaml:{line}: " in told
    assert words in told
    assert not Application.objects.exists()


def test_objects_and_fields_outside_the_file_are_not_changed(apply: Apply) -> None:
    ApplicationFactory(name="Wiki", category="Old", origins=["https://old.example.net"], groups=["staff"])
    ApplicationFactory(name="Other", origins=["https://other.example.net"])

    apply("applications:\n  Wiki: {in_launcher: false}\n", "--prune")

    wiki = Application.objects.get(name="Wiki")
    assert (wiki.category, wiki.in_launcher) == ("Old", False)
    assert wiki.origins.count() == wiki.rules.count() == 1
    assert Application.objects.filter(name="Other").exists()


def test_unchanged_rules_keep_their_rows(apply: Apply) -> None:
    apply(WIKI)
    before = {rule.path: rule.pk for rule in Rule.objects.all()}

    said = apply(WIKI.replace("groups: [staff]", "groups: [staff, guests]"))

    assert 'groups: ["staff"] → ["guests", "staff"]' in said
    assert {rule.path: rule.pk for rule in Rule.objects.all()} == before


def test_an_origin_can_move_between_applications(apply: Apply) -> None:
    apply(WIKI)

    apply("applications:\n  Docs: {origins: [https://wiki.example.net]}\n  Wiki: {origins: []}\n")

    assert Origin.objects.get().application.name == "Docs"


def test_the_default_provider_can_change_in_one_apply(apply: Apply) -> None:
    UpstreamFactory(slug="old", is_default=True)

    apply(CAMPUS + "    is_default: true\n  old: {is_default: false}\n")

    assert Upstream.objects.get(is_default=True).slug == "campus"


def test_prune_deletes_only_objects_of_an_earlier_apply(apply: Apply) -> None:
    ApplicationFactory(name="By hand", groups=["by hand"])
    apply(WIKI + CAMPUS)

    kept = apply("groups:\n  staff:\n")
    said = apply("groups:\n  staff:\n", "--prune")

    assert "No longer in the file, and kept without --prune: application Wiki" in kept
    assert "- application Wiki" in said
    assert [each.name for each in Application.objects.all()] == ["By hand"]
    assert {group.name for group in Group.objects.all()} == {"by hand", "staff"}
    assert not Upstream.objects.exists()


def test_prune_lists_the_links_that_are_deleted_with_a_provider(apply: Apply, alice: User) -> None:
    apply(CAMPUS)
    Identity.objects.create(upstream=Upstream.objects.get(), subject="a", user=alice)

    assert "links to users: 1 → 0" in apply("", "--prune", command="plan")


def test_a_group_in_a_remaining_rule_is_not_pruned(apply: Apply) -> None:
    apply(WIKI)

    told = refused(apply, "applications:\n  Wiki:\n    rules:\n      - groups: [staff]\n", "--prune")

    assert "portal.yaml:5: The group 'staff' would be deleted" in told


def test_the_last_group_that_an_application_receives_is_not_pruned(apply: Apply) -> None:
    apply(WIKI)
    other = ApplicationFactory(name="Other")
    other.named_groups.add(Group.objects.get(name="guests"))

    told = refused(apply, WIKI.replace("  guests:\n", ""), "--prune")

    assert "Other receives only the group 'guests'" in told


def test_an_application_renamed_by_hand_is_renamed_back(apply: Apply) -> None:
    apply(WIKI)
    key = Application.objects.get().pk
    Application.objects.update(name="Renamed")

    apply(WIKI)

    assert Application.objects.get(pk=key).name == "Wiki"


def test_a_renamed_object_is_not_pruned_under_its_old_name(apply: Apply) -> None:
    apply(WIKI)
    Application.objects.update(name="Renamed")

    apply(WIKI.replace("Wiki:", "Renamed:"), "--prune")

    assert Application.objects.get().name == "Renamed"


def test_a_locked_down_application_stays_locked_down(apply: Apply) -> None:
    text = "applications:\n  Wiki: {enabled: true, category: New}\n"
    apply(text)
    Application.objects.update(enabled=False, locked_down_at=timezone.now())

    said = apply(text.replace("New", "Newer"))

    wiki = Application.objects.get()
    assert "Wiki is locked down, and stays so" in said
    assert (wiki.enabled, wiki.category) == (False, "Newer")
    assert wiki.locked_down_at is not None


def test_a_grant_of_an_access_request_is_not_changed(apply: Apply, alice: User) -> None:
    apply(WIKI)
    wiki = Application.objects.get()
    grant = Rule.objects.create(application=wiki, path="/", note="alice: granted by carol")
    grant.users.add(alice)
    AccessRequest.objects.create(application=wiki, user=alice, asked_at=timezone.now(), grant=grant)

    assert "Nothing to change." in apply(WIKI)
    assert Rule.objects.filter(pk=grant.pk).exists()


def test_a_plan_is_not_applied_after_another_change(apply: Apply, file: Path) -> None:
    apply(WIKI)
    file.write_text("version: 1\n" + WIKI.replace("The wiki", "Our wiki"))
    read = ConfigurationFile.read(file)
    plan = make_plan(read, prunes=False)
    Application.objects.update(description="Meanwhile")

    with pytest.raises(Outdated):
        apply_plan(read, plan, prunes=False)
    assert Application.objects.get().description == "Meanwhile"


def test_only_one_process_can_apply_a_file_at_a_time(apply: Apply) -> None:
    leases.hold(LEASE, "another process", 60)

    assert "Another process is applying a file" in refused(apply, WIKI)
    assert not Application.objects.exists()


# ---- secrets ----------------------------------------------------------------------------------------------

SECRET = "a-secret-of-thirty-two-characters"
CLIENT = """
applications:
  Wiki:
    clients:
      wiki-client:
        redirect_uris: [https://wiki.example.net/cb]
        secrets: [{environment: PORTAL_SECRET_WIKI}]
"""


def test_secrets_come_from_variables_and_files_and_appear_nowhere_else(
    apply: Apply, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PORTAL_SECRET_WIKI", SECRET)
    (file.parent / "campus").write_text("secret-of-campus\n")

    said = apply(CLIENT + CAMPUS + "    client_secret: {file: campus}\n")

    assert bytes(ClientSecret.objects.get().digest) == digest(SECRET)
    assert Upstream.objects.get().client_secret.reveal() == "secret-of-campus"
    told = said + caplog.text + str(list(AuditEvent.objects.values())) + str(ManagedObject.objects.values())
    assert SECRET not in told
    assert "secret-of-campus" not in told
    assert "Nothing to change." in apply(CLIENT + CAMPUS + "    client_secret: {file: campus}\n")


def test_a_secret_is_replaced_and_the_old_one_stops_working(
    apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_SECRET_WIKI", SECRET)
    apply(CLIENT)
    monkeypatch.setenv("PORTAL_SECRET_WIKI", SECRET[::-1])

    apply(CLIENT)

    assert [bytes(each.digest) for each in ClientSecret.objects.all()] == [digest(SECRET[::-1])]
    assert AuditEvent.objects.filter(kind="openid_secret_deleted").count() == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CLIENT, "The secret is too short"),
        (CLIENT + "        kind: public\n", "has no secrets"),
    ],
    ids=["short", "public"],
)
def test_wrong_secrets_of_clients_are_refused(
    apply: Apply, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.setenv("PORTAL_SECRET_WIKI", "short")

    told = refused(apply, text)

    assert words in told
    assert not Client.objects.exists()


def test_a_new_issuer_does_not_receive_the_secret_of_the_old_one(apply: Apply) -> None:
    UpstreamFactory(slug="campus", issuer="https://old.example.com")

    assert "name client_secret, too" in refused(apply, CAMPUS)


def test_a_symbolic_link_cannot_leave_the_folder_of_secrets(apply: Apply, file: Path) -> None:
    (file.parent / "link").symlink_to("/etc/hostname")

    assert "secrets must be in" in refused(apply, CAMPUS + "    client_secret: {file: link}\n")


# ---- what is left behind ----------------------------------------------------------------------------------


def test_an_apply_leaves_the_same_events_as_the_administration(apply: Apply) -> None:
    apply(WIKI)
    apply(WIKI.replace("The wiki", "Our wiki").replace("groups: [staff]", "who: signed_in"))

    event = AuditEvent.objects.get(kind="changed")
    assert (event.actor, event.subject) == ("manage.py", "Wiki")
    assert event.details["object"] == "authgate.application"
    told = {"field": "description", "label": "description", "old": "The wiki", "new": "Our wiki"}
    assert told in event.details["values"]
    assert AuditEvent.objects.filter(kind="configuration_applied").count() == 2
    assert AuditEvent.objects.filter(kind="added", details__object="accounts.group").count() == 2


def test_a_group_mapping_in_a_file_counts_as_made_by_a_superuser(apply: Apply) -> None:
    GroupFactory(name="staff")

    apply(CAMPUS + "    group_mappings:\n    - {claim: groups, value: s, group: staff}\n")

    assert GroupMapping.objects.get().made_by_superuser


def test_a_client_of_another_application_is_not_taken_over(apply: Apply) -> None:
    owner = ApplicationFactory(name="Owner")
    Client.objects.create(application=owner, client_id="abc", redirect_uris="https://a.example/cb")

    told = refused(apply, "applications:\n  Wiki:\n    clients:\n      abc: {}\n")

    assert "belongs to the application “Owner”" in told


def test_https_cannot_be_required_while_http_origins_are_left(apply: Apply) -> None:
    apply("applications:\n  W: {without_https: true, origins: [http://a.example.net]}\n")

    assert "Use https://" in refused(apply, "applications:\n  W:\n    without_https: false\n")
