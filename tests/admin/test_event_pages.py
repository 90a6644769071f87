"""Audit and configuration events on the administration's pages: words, links, old and new values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts.models import Upstream, User
from authgate import audit
from authgate.models import Application, AuditEvent, ConfigurationEvent
from tests.admin.forms import errors_in, save
from tests.factories import ApplicationFactory, GroupFactory, UserFactory

EVENTS = "/admin/authgate/auditevent/"
MISTAKES = "/admin/authgate/configurationevent/"
CHINESE = {"HTTP_ACCEPT_LANGUAGE": "zh-hans"}


def page_of(client: Client, event: AuditEvent | ConfigurationEvent, **headers: Any) -> str:
    place = EVENTS if isinstance(event, AuditEvent) else MISTAKES
    return text(client.get(f"{place}{event.pk}/change/", **headers).content.decode())


def text(page: str) -> str:
    """Return a page without the white space between its parts."""
    return re.sub(r"\s+", " ", page)


def mistake(**facts: Any) -> ConfigurationEvent:
    now = timezone.now()
    given = {"contract": "nginx", "origin": "", "count": 3, "first_at": now, "last_at": now, **facts}
    return ConfigurationEvent.objects.create(**given)


def changed() -> AuditEvent:
    return AuditEvent.objects.filter(kind="changed").latest("pk")


# ---- words ------------------------------------------------------------------------------------------------


def test_an_event_is_shown_in_words_with_its_machine_name(carols: Client) -> None:
    event = audit.record("sign_in_limited", reason="too many attempts")

    list_page, page = carols.get(EVENTS).content.decode(), page_of(carols, event)

    for shown in (list_page, page):
        assert "Too many sign-in attempts" in shown
        assert ">sign_in_limited</code>" in shown
        assert "There were too many attempts." in shown
    assert "Further attempts must wait." in page
    assert ">too many attempts</code>" in page


def test_an_event_is_shown_in_the_readers_language(carols: Client) -> None:
    event = audit.record("refused", reason="no rule admits", details={"failed": [[7, "network"]]})

    page = page_of(carols, event, **CHINESE)

    assert "拒绝访问" in page and "此路径的规则均不允许该用户访问。" in page
    assert "规则适用于其他网络。" in page
    assert ">no rule admits</code>" in page and ">network</code>" in page


def test_an_event_of_an_unknown_kind_is_shown_and_escaped(carols: Client) -> None:
    event = audit.record("<b>new</b>", reason="<i>why</i>", details={"failed": [[1]], "changes": "x"})

    page = page_of(carols, event)

    assert "&lt;b&gt;new&lt;/b&gt;" in page and "&lt;i&gt;why&lt;/i&gt;" in page
    assert "<b>new" not in page and "<i>why" not in page


def test_the_filter_names_kinds_in_words(carols: Client) -> None:
    audit.record("factors_reset")
    audit.record("refused")

    page = carols.get(EVENTS, {"kind__exact": "factors_reset"})

    assert [event.kind for event in page.context["cl"].result_list] == ["factors_reset"]
    assert "Event: <strong>An administrator reset the second factors</strong>" in page.content.decode()


def test_users_read_the_same_words_on_their_own_page(
    alice: User, browser_of: Callable[[User], Client]
) -> None:
    audit.record("password_changed", subject="alice", reason="by a link in a mail")
    audit.record("sign_out", subject="alice", reason="https://secret-host.example")

    page = browser_of(alice).get("/accounts/events/").content.decode()

    assert "The password was changed" in page and "With the link in an e-mail." in page
    assert "secret-host" not in page


# ---- links ------------------------------------------------------------------------------------------------


def test_an_event_links_to_the_rows_that_it_names(carols: Client, alice: User, carol: User) -> None:
    wiki = ApplicationFactory(name="Wiki")
    event = audit.record("refused", actor="carol", subject="alice", application="Wiki")

    for page in (carols.get(EVENTS).content.decode(), page_of(carols, event)):
        assert f'href="/admin/accounts/user/{alice.pk}/change/"' in page
        assert f'href="/admin/accounts/user/{carol.pk}/change/"' in page
        assert f'href="/admin/authgate/application/{wiki.pk}/change/"' in page


def test_an_event_links_to_the_changed_row_by_its_key(carols: Client) -> None:
    wiki = ApplicationFactory(name="Wiki")
    about = {"object": "authgate.application", "key": wiki.pk}
    audit.record("changed", actor="carol", subject="Its former name", details=about)

    assert f'href="/admin/authgate/application/{wiki.pk}/change/"' in carols.get(EVENTS).content.decode()


@pytest.mark.parametrize(
    "about",
    [
        {"object": "authgate.application", "key": 4711},
        {"object": "authgate.signingkey", "key": 1},
        {"object": "no.such", "key": 1},
        {"object": "nonsense", "key": 1},
        {"object": "accounts.user", "key": "1 OR 1=1"},
        {"object": ["accounts.user"], "key": True},
        [],
    ],
)
def test_a_deleted_row_is_named_without_a_link(carols: Client, about: Any) -> None:
    event = audit.record("deleted", actor="carol", subject="Wiki", details=about)

    page = page_of(carols, event)

    assert ">Wiki</bdi>" in page
    assert ">Wiki</bdi></a>" not in page


def test_a_later_user_with_the_same_name_is_not_linked(carols: Client) -> None:
    event = audit.record("sign_in", subject="newcomer")
    AuditEvent.objects.filter(pk=event.pk).update(at=timezone.now() - timedelta(days=1))
    UserFactory(username="newcomer")

    assert ">newcomer</bdi></a>" not in carols.get(EVENTS).content.decode()


def test_no_event_links_to_a_page_that_the_reader_may_not_open(
    alice: User, bob: User, browser_of: Callable[[User], Client]
) -> None:
    ApplicationFactory(name="Wiki")
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    alice.user_permissions.set(Permission.objects.filter(codename="view_auditevent"))
    audit.record(
        "refused", actor="bob", application="Wiki", details={"object": "accounts.user", "key": bob.pk}
    )

    page = browser_of(alice).get(EVENTS).content.decode()

    assert ">Wiki</bdi>" in page and ">bob</bdi>" in page
    assert "/admin/accounts/user/" not in page and "/admin/authgate/application/" not in page


# ---- old and new values -----------------------------------------------------------------------------------


def test_a_change_shows_old_and_new_values(carols: Client, alice: User) -> None:
    ops, guests = GroupFactory(name="ops"), GroupFactory(name="guests")
    alice.groups.set([guests])
    url = f"/admin/accounts/user/{alice.pk}/change/"

    response = save(carols, url, groups=[ops.pk], display_name="Alice P. Liddell")
    page = page_of(carols, changed())

    assert errors_in(response) == ""
    assert re.search(r"Groups</strong>: added <bdi[^>]*>ops</bdi> removed <bdi[^>]*>guests</bdi>", page)
    assert re.search(r"Display name</strong>: <bdi>[^<]*</bdi> → <bdi>Alice P. Liddell</bdi>", page)


def test_a_change_is_shown_in_the_readers_language(carols: Client) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"])

    response = save(
        carols, f"/admin/authgate/application/{wiki.pk}/change/", enabled=None, user_header="uuid"
    )
    assert errors_in(response) == ""
    page = page_of(carols, changed(), **CHINESE)

    assert "<bdi>是</bdi> → <bdi>否</bdi>" in page
    assert "<bdi>uuid</bdi>" not in page  # the page shows the labels of the form instead


def test_changed_rows_of_an_inline_table_are_shown(carols: Client) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"])
    url = f"/admin/authgate/application/{wiki.pk}/change/"

    save(carols, url, **{"origins-0-value": "https://kb.example.com"})
    page = page_of(carols, changed())

    assert "<bdi>https://wiki.example.com</bdi> → <bdi>https://kb.example.com</bdi>" in page


def test_no_secret_is_shown(carols: Client, caplog: pytest.LogCaptureFixture) -> None:
    provider = Upstream.objects.create(
        kind=Upstream.Kind.OIDC, name="Campus", slug="campus", issuer="https://id.example.com", client_id="x"
    )

    response = save(
        carols, f"/admin/accounts/upstream/{provider.pk}/change/", client_secret="0ld-s3cr3t", client_id="y"
    )
    save(carols, f"/admin/accounts/upstream/{provider.pk}/change/", client_secret="n3w-s3cr3t")
    # PostgreSQL sorts the keys of an object.
    said = json.dumps(list(AuditEvent.objects.values("details")), default=str, sort_keys=True) + caplog.text

    assert errors_in(response) == ""
    assert "client_secret" in said and '"new": "y", "old": "x"' in said
    assert "s3cr3t" not in said and "gAAAA" not in said


def test_long_values_are_truncated(carols: Client) -> None:
    provider = Upstream.objects.create(
        kind=Upstream.Kind.OIDC, name="Campus", slug="campus", issuer="https://id.example.com", client_id="x"
    )
    values = "\n".join(f"value-{number}" for number in range(200))

    url = f"/admin/accounts/upstream/{provider.pk}/change/"
    response = save(carols, url, second_factor_values=values)

    assert errors_in(response) == ""
    assert 200 < len(json.dumps(changed().details)) < 1_000


def test_an_event_in_the_old_format_names_its_fields(carols: Client) -> None:
    changes = [{"changed": {"fields": ["Groups", "Display name"]}}]
    event = audit.record("changed", details={"object": "accounts.user", "key": 1, "changes": changes})

    assert "Changed Groups and Display name." in page_of(carols, event)


def test_hostile_values_are_escaped(carols: Client, alice: User) -> None:
    save(carols, f"/admin/accounts/user/{alice.pk}/change/", display_name="<script>alert(1)</script>")

    page = page_of(carols, changed())

    assert "<script>alert" not in page and "<bdi>&lt;script&gt;" in page


# ---- configuration events ---------------------------------------------------------------------------------


def test_a_mistake_says_what_is_wrong_where_and_which_line_fixes_it(carols: Client) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://*.example.com"])
    event = mistake(origin="https://wiki.example.com", reason="x-forwarded-uri missing")

    list_page, page = carols.get(MISTAKES).content.decode(), page_of(carols, event)

    for shown in (list_page, page):
        assert "The proxy does not send x-forwarded-uri." in shown
        assert ">x-forwarded-uri missing</code>" in shown
        assert f'href="/admin/authgate/application/{wiki.pk}/change/"' in shown
    assert "<pre>proxy_set_header X-Forwarded-Uri $request_uri;</pre>" in page


def test_a_mistake_is_shown_in_chinese(carols: Client) -> None:
    page = page_of(carols, mistake(contract="traefik", reason="peer is no trusted proxy"), **CHINESE)

    assert "非受信任代理的程序请求了检查。" in page
    assert "IKD_TRUSTED_PROXIES=" in page


def test_a_mistake_of_an_unknown_kind_is_shown_and_escaped(carols: Client) -> None:
    event = mistake(contract="<b>", origin="not an origin", reason="<script>alert(1)</script>")

    page = page_of(carols, event)

    assert "<script>alert" not in page and "&lt;script&gt;" in page
    assert carols.get(MISTAKES).status_code == 200
    assert Application.objects.count() == 0
