from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from django.db.models.signals import pre_save
from django.test import Client
from django.utils import timezone

from accounts.models import User
from authgate.models import Application, AuditEvent, Icon, Origin, Rule
from tests.admin.forms import confirm, errors_in, messages_in, save
from tests.factories import ApplicationFactory, GroupFactory, RuleFactory
from tests.uploads import SVG, file, picture

ADD = "/admin/authgate/application/add/"


def change(application: Application) -> str:
    return f"/admin/authgate/application/{application.pk}/change/"


def rows(prefix: str, name: str, *values: str, before: int = 0, **more: Any) -> dict[str, Any]:
    """Return the fields of an inline form for new rows, after `before` existing rows."""
    fields: dict[str, Any] = {f"{prefix}-TOTAL_FORMS": before + len(values)}
    for number, value in enumerate(values, start=before):
        fields[f"{prefix}-{number}-{name}"] = value
        fields |= {f"{prefix}-{number}-{key}": each for key, each in more.items()}
    return fields


def origins(*values: str, before: int = 0) -> dict[str, Any]:
    return rows("origins", "value", *values, before=before)


def rules(*paths: str, before: int = 0, who: str = "signed_in", **more: Any) -> dict[str, Any]:
    return rows("rules", "path", *paths, before=before, who=who, **more)


def test_an_application_is_created_with_its_origins_and_rules(carols: Client, alice: User) -> None:
    staff = GroupFactory(name="staff")

    response = save(
        carols,
        ADD,
        name="Wiki",
        **origins("https://WIKI.example.com/", "https://*.wiki.example.com"),
        **rules("/", "/Admin/", who="chosen", groups=[staff.pk], users=[alice.pk], methods="get head"),
    )

    wiki = Application.objects.get(name="Wiki")
    rule = wiki.rules.get(path="/Admin")
    assert errors_in(response) == ""
    assert [origin.value for origin in wiki.origins.all()] == [
        "https://*.wiki.example.com",
        "https://wiki.example.com",
    ]
    assert (rule.methods, list(rule.groups.all()), list(rule.users.all())) == ("GET", [staff], [alice])


@pytest.mark.parametrize("staff", ["sams", "carols"])
def test_staff_with_the_permission_create_applications_too(
    request: pytest.FixtureRequest, staff: str
) -> None:
    save(
        request.getfixturevalue(staff), ADD, name="Wiki", **origins("https://wiki.example.com"), **rules("/")
    )

    assert Application.objects.get().origins.count() == 1


REFUSED = {
    "no origin": (origins("wiki.example.com"), "Include the scheme"),
    "the portal": (origins("https://sso.example.com"), "address of the portal"),
    "the portal's host": (origins("https://sso.example.com:8443"), "such as app.example.com"),
    "a public suffix": (origins("https://*.co.uk"), "other people"),
    "plain http": (origins("http://wiki.example.com"), "allow use without https"),
    "taken": (origins("https://Taken.example.com:443"), "belongs to the application “Other”"),
    "twice": (origins("https://wiki.example.com", "https://wiki.example.com"), "twice"),
    "twice in two spellings": (origins("https://wiki.example.com", "https://WIKI.example.com:443"), "twice"),
    "a bad path": (rules("/a//b"), "Use a single /"),
    "a bad method": (rules("/", methods="GET;"), "is not a method"),
    "a bad network": (rules("/", networks="10.0.0.5/8"), "10.0.0.0/8 for the whole network"),
    "two letter cases": (rules("/admin", "/Admin"), "also a rule for /admin,"),
    "two letter cases, far apart": (rules("/ADMIN", "/x", "/Admin"), "also a rule for /ADMIN,"),
    "two letter cases beyond ASCII": (rules("/straße", "/STRASSE"), "also a rule for /straße,"),
    "no name": ({"name": ""}, "required"),
    "an unknown user": (rules("/", who="chosen", users=["4711"]), "valid choice"),
    "a bad number of rows": ({"rules-TOTAL_FORMS": "x"}, "ManagementForm"),
}


@pytest.mark.parametrize(("fields", "words"), REFUSED.values(), ids=REFUSED)
def test_invalid_values_are_refused_with_the_fix(carols: Client, fields: dict[str, Any], words: str) -> None:
    ApplicationFactory(name="Other", origins=["https://taken.example.com"])

    response = save(carols, ADD, **{"name": "Wiki", **fields})

    assert words in errors_in(response)
    assert not Application.objects.filter(name="Wiki").exists()


@pytest.mark.parametrize("first", ["", "on"], ids=["both prefixes", "one exact"])
def test_paths_of_prefix_and_exact_rules_must_agree_in_letter_case(carols: Client, first: str) -> None:
    fields = {**rules("/admin", "/Admin"), "rules-0-exact": first or None}

    response = save(carols, ADD, name="Wiki", **fields)

    assert "also a rule for /admin," in errors_in(response)


def test_one_path_may_have_several_rules_both_prefix_and_exact(carols: Client) -> None:
    response = save(
        carols, ADD, name="Wiki", **rules("/admin", "/admin", "/admin"), **{"rules-1-exact": "on"}
    )

    assert errors_in(response) == ""


def test_a_new_rule_may_not_differ_from_a_saved_one_in_letter_case_only(carols: Client) -> None:
    wiki = ApplicationFactory()
    RuleFactory(application=wiki, path="/Admin")

    response = save(carols, change(wiki), **rules("/admin", before=1))

    assert "also a rule for /Admin," in errors_in(response)


def test_all_rules_of_a_path_may_change_their_letter_case_at_once(carols: Client) -> None:
    wiki = ApplicationFactory()
    RuleFactory.create_batch(2, application=wiki, path="/Admin")

    response = save(carols, change(wiki), **{"rules-0-path": "/admin", "rules-1-path": "/admin"})

    assert errors_in(response) == ""
    assert {rule.path for rule in wiki.rules.all()} == {"/admin"}


def test_a_rule_may_replace_a_rule_in_another_letter_case(carols: Client) -> None:
    wiki = ApplicationFactory()
    RuleFactory(application=wiki, path="/Admin")

    response = save(carols, change(wiki), **rules("/admin", before=1), **{"rules-0-DELETE": "on"})

    assert errors_in(response) == ""
    assert [rule.path for rule in wiki.rules.all()] == ["/admin"]


def test_plain_http_needs_the_applications_check_box(carols: Client) -> None:
    made = save(carols, ADD, name="Demo", without_https="on", **origins("http://app.localhost"))

    taken_back = save(carols, change(Application.objects.get()), without_https=None)

    assert errors_in(made) == ""
    assert "allow use without https" in errors_in(taken_back)


def test_the_check_box_can_be_cleared_along_with_the_http_origin(carols: Client) -> None:
    demo = ApplicationFactory(without_https=True, origins=["http://app.localhost"])

    response = save(carols, change(demo), without_https=None, **{"origins-0-DELETE": "on"})

    assert errors_in(response) == ""


WARNED = {
    "chosen without anybody": (rules("/ops", who="chosen"), "The rule for /ops gives no user access"),
    "chosen and yet for all": (rules("/ops", groups=["{staff}"]), "have no effect"),
    "expired": (
        rules("/ops", expires_at_0="2020-01-01", expires_at_1="00:00"),
        "The rule for /ops has expired",
    ),
    "no rule": ({}, "no rule, so no user has access"),
}


@pytest.mark.parametrize(
    "taken", ["https://nas.example.com", "https://nas.example.com:9443", "http://nas.example.com:80"]
)
def test_another_application_on_the_same_host_causes_a_warning(carols: Client, taken: str) -> None:
    ApplicationFactory(name="Photos", origins=[taken], who="signed_in")
    ApplicationFactory(name="Near", origins=["https://nas.example.com.org:1"], who="signed_in")

    save(carols, ADD, name="Files", **origins("https://nas.example.com:8443"), **rules("/", who="signed_in"))

    assert "is on the same host as the application “Photos”" in messages_in(carols)


def test_several_ports_of_one_application_cause_no_warning(carols: Client) -> None:
    own = origins("https://nas.example.com", "https://nas.example.com:8443")
    save(carols, ADD, name="Files", **own, **rules("/", who="signed_in"))

    assert "on the same host as" not in messages_in(carols)


@pytest.mark.parametrize(("fields", "words"), WARNED.values(), ids=WARNED)
def test_likely_mistakes_are_saved_with_a_warning(carols: Client, fields: dict[str, Any], words: str) -> None:
    staff = GroupFactory(name="staff")
    fields = {key: [staff.pk] if value == ["{staff}"] else value for key, value in fields.items()}

    save(carols, ADD, name="Wiki", **fields)

    assert words in messages_in(carols)
    assert Application.objects.filter(name="Wiki").exists()


def test_a_rule_that_expires_later_causes_no_warning(carols: Client) -> None:
    tomorrow = timezone.now() + timedelta(days=1)

    save(carols, ADD, name="Wiki", **rules("/", expires_at_0=f"{tomorrow:%Y-%m-%d}", expires_at_1="00:00"))

    assert "rule" not in messages_in(carols)


def test_every_change_of_an_application_is_recorded(carols: Client) -> None:
    save(carols, ADD, name="Wiki", **origins("https://wiki.example.com"), **rules("/"))
    wiki = Application.objects.get()
    save(carols, change(wiki), **rules("/admin", before=1))
    confirm(carols, carols.post(f"/admin/authgate/application/{wiki.pk}/delete/", {"post": "yes"}))

    events = AuditEvent.objects.exclude(kind="sign_in").order_by("pk")
    assert [(event.kind, event.actor, event.subject) for event in events] == [
        ("added", "carol", "Wiki"),
        ("changed", "carol", "Wiki"),
        ("deleted", "carol", "Wiki"),
    ]
    assert events[1].details["changes"] == [
        {"added": {"name": "rule", "object": "/admin → any signed-in user"}}
    ]


def test_a_deleted_application_is_recorded_from_the_list_too(carols: Client) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], who="signed_in")

    chosen = {"_selected_action": wiki.pk, "action": "delete_selected", "post": "yes"}
    confirm(carols, carols.post("/admin/authgate/application/", chosen))

    assert AuditEvent.objects.filter(kind="deleted", subject="Wiki").exists()


@pytest.mark.parametrize("term", ["Wiki", "wiki.example"])
def test_applications_are_found_by_name_and_origin(carols: Client, term: str) -> None:
    ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"])
    ApplicationFactory(name="Other", origins=["https://other.example.com"])

    page = carols.get("/admin/authgate/application/", {"q": term})

    assert [str(found) for found in page.context["cl"].result_list] == ["Wiki"]


def test_the_list_shows_origins_and_counts_rules(carols: Client) -> None:
    wiki = ApplicationFactory(origins=["https://a.example.com", "https://b.example.com"], who="signed_in")
    RuleFactory.create_batch(2, application=wiki)

    page = carols.get("/admin/authgate/application/").content.decode()

    assert ">https://a.example.com</bdi>" in page and ">https://b.example.com</bdi>" in page
    assert '<td class="field-rule_count">3</td>' in page


@pytest.mark.usefixtures("known_brand")
def test_the_list_of_applications_needs_the_same_queries_for_many(
    carols: Client, django_assert_num_queries: Any
) -> None:
    for number in range(50):
        ApplicationFactory(origins=[f"https://{number}.example.com"], who="signed_in")

    with django_assert_num_queries(8):
        carols.get("/admin/authgate/application/")


@pytest.mark.long
def test_the_form_of_an_application_needs_few_queries_for_each_rule(
    carols: Client, alice: User, django_assert_max_num_queries: Any
) -> None:
    wiki = ApplicationFactory(origins=["https://wiki.example.com"])
    for number in range(50):
        RuleFactory(application=wiki, path=f"/{number}", who="chosen", groups=["staff"], users=[alice])

    with django_assert_max_num_queries(2 * 50 + 19):
        carols.get(change(wiki))


def test_the_later_of_two_who_save_the_same_origin_gets_an_error_message(carols: Client) -> None:
    other = ApplicationFactory(name="Other")

    def save_first(sender: Any, instance: Origin, **kwargs: Any) -> None:
        Origin.objects.bulk_create([Origin(application=other, value=instance.value)])

    pre_save.connect(save_first, sender=Origin)
    try:
        response = save(carols, ADD, name="Wiki", **origins("https://wiki.example.com"))
    finally:
        pre_save.disconnect(save_first, sender=Origin)

    assert (response.status_code, response["Location"]) == (302, ADD)
    assert "nothing was saved" in messages_in(carols)
    assert not Application.objects.filter(name="Wiki").exists()


def test_a_rule_stays_after_its_group_is_deleted_and_admits_nobody(carols: Client) -> None:
    staff = GroupFactory(name="staff")
    rule = RuleFactory(application=ApplicationFactory(), who=Rule.Who.CHOSEN, groups=["staff"])

    carols.post(f"/admin/accounts/group/{staff.pk}/delete/", {"post": "yes"})

    rule.refresh_from_db()
    assert (rule.who, rule.groups.count()) == (Rule.Who.CHOSEN, 0)


def test_the_second_of_two_who_save_sees_the_form_again_and_can_save(carols: Client) -> None:
    """After the database refuses a row, the form is validated again. Here the conflict is gone by then."""
    refusals = [IntegrityError("taken")]

    def refuse_once(sender: Any, **kwargs: Any) -> None:
        if refusals:
            raise refusals.pop()

    pre_save.connect(refuse_once, sender=Origin)
    try:
        save(carols, ADD, name="Wiki", **origins("https://wiki.example.com"), **rules("/"))
    finally:
        pre_save.disconnect(refuse_once, sender=Origin)

    assert [str(origin) for origin in Application.objects.get().origins.all()] == ["https://wiki.example.com"]


# ---- icons ------------------------------------------------------------------------------------------------


def test_an_icon_is_encoded_again_replaced_and_removed(carols: Client) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.net"], groups=["staff"])
    page = f"/admin/authgate/application/{wiki.pk}/change/"

    save(carols, page, icon_file=picture())
    first = Icon.objects.get(application=wiki)
    save(carols, page, icon_file=picture(size=(100, 100)))
    second = Icon.objects.get(application=wiki)
    save(carols, page, remove_icon="on")

    assert bytes(first.content).startswith(b"RIFF")
    assert first.key != second.key
    assert not Icon.objects.exists()


def test_an_icon_that_may_carry_scripts_is_refused(carols: Client) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.net"], groups=["staff"])

    answer = save(carols, f"/admin/authgate/application/{wiki.pk}/change/", icon_file=file(SVG, "icon.svg"))

    assert "Export it as PNG" in errors_in(answer)
    assert not Icon.objects.exists()


def test_the_deletion_page_lists_related_rows_without_join_tables(carols: Client) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.org"], groups=["staff"])

    page = carols.get(f"/admin/authgate/application/{wiki.pk}/delete/").content.decode()

    assert "https://wiki.example.org" in page
    assert "relationship" not in page
    assert "Rule_groups" not in page
