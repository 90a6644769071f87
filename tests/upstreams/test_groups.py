"""Groups of a provider: synchronised without using a local group, and kept if the provider omits them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission

from accounts.models import ClaimMapping, GroupMapping, Identity, Upstream, UpstreamGroup, User
from accounts.upstreams import groups as groups_module
from accounts.upstreams.groups import update_groups
from accounts.upstreams.oidc.recheck_worker import recheck_due
from authgate.models import AuditEvent, SignIn
from authgate.sign_ins import open_gate
from tests.accounts.conftest import PortalClient
from tests.authgate.asking import WIKI, ask, facts, header
from tests.factories import ApplicationFactory, GroupFactory, UpstreamFactory, UserFactory
from tests.upstreams.cas_server import CasServer
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import START, sign_in


@pytest.fixture
def taking_all(upstream: Upstream) -> Upstream:
    upstream.groups_claim = "groups"
    upstream.save()
    return upstream


@pytest.fixture
def erin(taking_all: Upstream) -> User:
    user = UserFactory(username="erin")
    Identity.objects.create(upstream=taking_all, subject="1", user=user)
    return user


def follow(upstream: Upstream, user: User, **claims: Any) -> set[str]:
    update_groups(upstream, user, claims)
    return {group.name for group in user.groups.all()}


def reasons(kind: str) -> list[str]:
    return list(AuditEvent.objects.filter(kind=kind).order_by("pk").values_list("reason", flat=True))


# ---- taking all -------------------------------------------------------------------------------------------


def test_an_application_receives_groups_and_address_without_mappings(
    client: PortalClient, provider: Provider, taking_all: Upstream
) -> None:
    ApplicationFactory(origins=[WIKI], who="signed_in")
    Upstream.objects.update(trusted_email_domains="", trusts_every_address=True)

    sign_in(client, provider, {"sub": "1", "groups": ["crew", "ops"], "email": "erin@anywhere.example"})
    cookie = f"__Host-ikd_gate={open_gate(SignIn.objects.get(), WIKI)}"

    asked = {"check": "/authgate/traefik", "cookie": cookie}
    answer = ask(facts(f"{WIKI}/", query="allowed_groups=crew", **asked))
    assert answer.status == 200
    assert header(answer, b"x-auth-request-groups") == b"crew,ops"
    assert header(answer, b"x-auth-request-email") == b"erin@anywhere.example"
    assert ask(facts(f"{WIKI}/", query="allowed_groups=board", **asked)).status == 403


def test_users_join_and_leave_groups_with_the_claim(taking_all: Upstream, erin: User) -> None:
    erin.groups.add(GroupFactory(name="own"))

    assert follow(taking_all, erin, groups=["crew", "ops"]) == {"crew", "ops", "own"}
    assert follow(taking_all, erin, groups=["ops", "new"]) == {"new", "ops", "own"}
    assert follow(taking_all, erin, groups=[]) == {"own"}
    assert Group.objects.filter(name="crew").exists(), "rules may name it"


LIKE_OPS = ["ops", "OPS", "Ops", "\uff4f\uff50\uff53", "ops ", " ops", "op\u200bs", "ops\n", "ops\x00"]


@pytest.mark.parametrize("sent", LIKE_OPS)
def test_a_local_group_is_never_used(taking_all: Upstream, erin: User, sent: str) -> None:
    GroupFactory(name="ops")

    assert follow(taking_all, erin, groups=[sent]) == set()
    assert Group.objects.count() == 1


def test_a_group_of_another_provider_is_never_used(taking_all: Upstream, erin: User) -> None:
    other = UpstreamFactory(slug="other", groups_claim="groups")
    follow(other, UserFactory(), groups=["ops"])

    assert follow(taking_all, erin, groups=["ops", "Ops"]) == set()
    assert any("another group has this name" in reason for reason in reasons("group_not_taken"))


def test_a_renamed_group_stays_the_providers_and_a_local_one_is_not_used(
    taking_all: Upstream, erin: User
) -> None:
    follow(taking_all, erin, groups=["crew"])
    Group.objects.filter(name="crew").update(name="sailors")
    GroupFactory(name="crew")

    assert follow(taking_all, erin, groups=["crew"]) == {"sailors"}


def test_a_mapping_can_still_use_a_local_group(taking_all: Upstream, erin: User) -> None:
    GroupMapping.objects.create(
        upstream=taking_all, claim="groups", value="ops", group=GroupFactory(name="ops"), mode="mirror"
    )

    assert follow(taking_all, erin, groups=["ops"]) == {"ops"}
    assert follow(taking_all, erin, groups=[]) == set()


def test_a_group_with_permissions_is_never_assigned(taking_all: Upstream, erin: User) -> None:
    follow(taking_all, erin, groups=["crew"])
    Group.objects.get(name="crew").permissions.add(Permission.objects.first())

    assert follow(taking_all, erin, groups=["crew"]) == set()
    assert not erin.is_staff and not erin.is_superuser


def test_names_are_prefixed_and_filtered_by_the_patterns(taking_all: Upstream, erin: User) -> None:
    taking_all.groups_prefix, taking_all.groups_pattern = "campus-", "ops\nportal-*\n"
    GroupFactory(name="ops")

    found = follow(taking_all, erin, groups=["ops", "portal-a", "Portal-b", "xportal-c", "other"])

    assert found == {"campus-ops", "campus-portal-a"}


ODD: list[Any] = [None, 7, True, {"a": 1}, [7, None, {}, []], ["", "x" * 301, "a\x00", "\ud800"]]


@pytest.mark.parametrize("groups", ODD, ids=repr)
def test_odd_claims_create_no_group(taking_all: Upstream, erin: User, groups: Any) -> None:
    assert follow(taking_all, erin, groups=groups) == set()
    assert not Group.objects.exists()


def test_a_provider_cannot_fill_the_database(
    taking_all: Upstream, erin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups_module, "MOST_OF_A_PERSON", 5)
    monkeypatch.setattr(groups_module, "MOST_OF_A_PROVIDER", 8)

    assert len(follow(taking_all, erin, groups=[f"a{n}" for n in range(50)])) == 5
    follow(taking_all, UserFactory(), groups=[f"b{n}" for n in range(50)])

    assert Group.objects.count() == 8
    assert {reason.partition(" than")[0] for reason in reasons("group_not_taken")} == {
        "more groups",
        "the provider has more groups",
    }


def test_groups_are_updated_when_the_provider_is_asked_again(
    client: PortalClient, provider: Provider, taking_all: Upstream
) -> None:
    sign_in(client, provider, {"sub": "1", "groups": ["crew"]})
    Upstream.objects.update(recheck_every=1)
    for person in provider.people.values():
        person["groups"] = []
    SignIn.objects.get().upstream_session.__class__.objects.update(checked_at="2020-01-01T00:00:00Z")

    assert recheck_due() == 1
    assert not User.objects.get().groups.exists()


def test_hundreds_of_groups_make_few_queries(
    taking_all: Upstream, erin: User, django_assert_max_num_queries: Any
) -> None:
    many = [f"group-{number}" for number in range(300)]
    follow(taking_all, UserFactory(), groups=many)

    with django_assert_max_num_queries(12):
        assert len(follow(taking_all, erin, groups=many)) == 300


def test_deleting_a_provider_keeps_its_groups(taking_all: Upstream, erin: User) -> None:
    follow(taking_all, erin, groups=["crew"])

    taking_all.delete()

    assert Group.objects.filter(name="crew").exists() and not UpstreamGroup.objects.exists()


# ---- claims that the provider left out --------------------------------------------------------------------

LEFT_OUT: dict[str, dict[str, Any]] = {
    "distributed claims": {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://graph.example.com/groups"}},
    },
    "no source": {"_claim_names": {"groups": "src1"}},
    "an empty list beside it": {"_claim_names": {"groups": "src1"}, "groups": []},
    "Entra's implicit flow": {"hasgroups": True},
    "as text": {"hasgroups": "true"},
    "a numbered source": {"groups:src1": {"endpoint": "https://graph.example.com"}},
    "a link, as in SAML": {"http://schemas.microsoft.com/claims/groups.link": "https://graph.example.com"},
}
PLAIN: dict[str, dict[str, Any]] = {
    "absent": {},
    "empty": {"groups": []},
    "nothing": {"groups": None},
    "another value": {"groups": ["other"]},
    "another value beside a sign": {"groups": ["other"], "_claim_names": {"groups": "src1"}},
    "another claim left out": {"_claim_names": {"address": "src1"}},
    "no map of names": {"_claim_names": ["groups"]},
    "a sign that denies": {"hasgroups": False},
    "a claim that begins alike": {"groups_src": ["x"]},
}


@pytest.mark.parametrize("claims", LEFT_OUT.values(), ids=LEFT_OUT)
@pytest.mark.parametrize("way", ["mapping", "all"])
def test_an_omitted_claim_changes_nothing(
    client: PortalClient, provider: Provider, upstream: Upstream, way: str, claims: dict[str, Any]
) -> None:
    wants_crew(upstream, way)
    sign_in(client, provider, {"sub": "1", "groups": ["crew"]})

    client.post("/accounts/logout/")
    sign_in(client, provider, {"sub": "1", **claims})

    assert [group.name for group in User.objects.get().groups.all()] == ["crew"]
    event = AuditEvent.objects.get(kind="groups_withheld")
    assert "left out the claim groups" in event.reason and event.details == {"upstream": "campus"}
    assert event.subject == User.objects.get().username


@pytest.mark.parametrize("claims", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("way", ["mapping", "all"])
def test_an_absent_or_empty_claim_removes_groups(
    upstream: Upstream, way: str, claims: dict[str, Any]
) -> None:
    erin = UserFactory()
    wants_crew(upstream, way)
    assert "crew" in follow(upstream, erin, groups=["crew"])

    assert "crew" not in follow(upstream, erin, **claims)
    assert not AuditEvent.objects.filter(kind="groups_withheld").exists()


def wants_crew(upstream: Upstream, way: str) -> None:
    if way == "all":
        upstream.groups_claim = "groups"
        upstream.save()
    else:
        group = GroupFactory(name="crew")
        GroupMapping.objects.create(
            upstream=upstream, claim="groups", value="crew", group=group, mode="mirror"
        )


def test_a_claim_inside_an_omitted_claim_changes_nothing(upstream: Upstream) -> None:
    erin, group = UserFactory(groups=["boss"]), GroupFactory(name="boss")
    GroupMapping.objects.create(
        upstream=upstream, claim="realm_access.roles", value="boss", group=group, mode="mirror"
    )

    assert follow(upstream, erin, _claim_names={"realm_access": "src1"}) == {"boss"}
    assert follow(upstream, erin, realm_access={"roles": []}) == set()


def test_userinfo_with_other_sources_does_not_hide_the_id_token(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    wants_crew(upstream, "mapping")
    sign_in(client, provider, {"sub": "1", "groups": ["crew"]})
    client.post("/accounts/logout/")
    provider.claims["_claim_names"] = {"groups": "src1"}
    provider.userinfo = {"_claim_names": {"address": "src1"}}

    sign_in(client, provider, {"sub": "1"})

    assert User.objects.get().groups.count() == 1


# ---- addresses --------------------------------------------------------------------------------------------

ADDRESSES: dict[str, tuple[dict[str, Any], str]] = {
    "no word on it": ({"email": "erin@anywhere.example"}, "erin@anywhere.example"),
    "verified": ({"email": "erin@anywhere.example", "email_verified": True}, "erin@anywhere.example"),
    "not verified": ({"email": "erin@anywhere.example", "email_verified": False}, ""),
    "not verified, as text": ({"email": "erin@anywhere.example", "email_verified": "false"}, ""),
    "no address": ({"email": "erin"}, ""),
    "letters that fold": ({"email": "erin@\u212aelvin.example"}, ""),
}


@pytest.mark.parametrize(("claims", "address"), ADDRESSES.values(), ids=ADDRESSES)
def test_every_address_of_a_trusted_provider_is_stored(
    client: PortalClient, provider: Provider, upstream: Upstream, claims: dict[str, Any], address: str
) -> None:
    Upstream.objects.update(trusted_email_domains="", trusts_every_address=True)

    sign_in(client, provider, {"sub": "1", **claims})

    assert User.objects.get().email == address


def test_an_address_of_a_trusted_cas_server_is_stored_unless_called_unverified(
    client: PortalClient, server: CasServer, campus: Upstream
) -> None:
    Upstream.objects.update(trusts_every_address=True)
    ClaimMapping.objects.create(upstream=campus, claim="mail", field="email")
    found = []
    for user, word in (("erin", ["false"]), ("frank", ["true"]), ("grace", [])):
        attributes = {"mail": [f"{user}@anywhere.example"], "email_verified": word}
        back, _ = server.issue(client.get(START)["Location"], user, **attributes)
        client.get(back.removeprefix("https://sso.example.com"))
        client.post("/accounts/logout/")
        found.append(User.objects.get(username=user).email)

    assert found == ["", "frank@anywhere.example", "grace@anywhere.example"]


def test_a_mapped_claim_of_a_trusted_provider_is_stored(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    Upstream.objects.update(trusts_every_address=True)
    ClaimMapping.objects.create(upstream=upstream, claim="upn", field="email")

    sign_in(client, provider, {"sub": "1", "upn": "erin@anywhere.example", "email_verified": False})

    assert User.objects.get().email == "erin@anywhere.example"


def test_an_account_without_an_address_gets_it_later_but_not_another_users(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    erin = UserFactory(email="")
    Identity.objects.create(upstream=upstream, subject="1", user=erin)
    Upstream.objects.update(trusts_every_address=True)

    sign_in(client, provider, {"sub": "1", "email": "alice@example.com"})
    erin.refresh_from_db()
    taken_from_alice = erin.email
    client.post("/accounts/logout/")
    sign_in(client, provider, {"sub": "1", "email": "erin@anywhere.example"})
    erin.refresh_from_db()

    assert (taken_from_alice, erin.email) == ("", "erin@anywhere.example")


def test_a_trusted_provider_cannot_link_a_privileged_account(
    client: PortalClient, provider: Provider, upstream: Upstream, carol: User
) -> None:
    Upstream.objects.update(trusts_every_address=True, linking="email")

    answer = sign_in(client, provider, {"sub": "1", "email": carol.email})

    assert answer.status_code == 403
    assert not Identity.objects.filter(user=carol).exists()
