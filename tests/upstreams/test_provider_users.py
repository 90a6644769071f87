"""The user of a provider's answer: found by (provider, subject), and by no claim that can be forged."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Permission

from accounts.models import ClaimMapping, GroupMapping, Identity, Upstream, User
from authgate.models import SignIn
from tests.accounts.conftest import PortalClient
from tests.accounts.signing_in import is_signed_in
from tests.factories import GroupFactory, UserFactory
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import reason, sign_in

ALICES = {"sub": "1", "preferred_username": "alice", "email": "alice@example.com", "email_verified": True}


def allow_linking(upstream: Upstream) -> None:
    upstream.linking = Upstream.Linking.VERIFIED_EMAIL
    upstream.save()


def linked_user(subject: str = "1") -> User:
    return Identity.objects.get(subject=subject).user


def test_the_first_sign_in_creates_an_account_and_the_next_finds_it(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    person = {"sub": "7", "preferred_username": "erin", "name": "Erin", "email": "erin@example.com"}
    sign_in(client, provider, {**person, "email_verified": True})
    sign_in(other_browser, provider, {**person, "preferred_username": "another name"})

    erin = User.objects.get()
    assert (erin.username, erin.display_name, erin.email) == ("erin", "Erin", "erin@example.com")
    assert not erin.has_usable_password() and not erin.is_staff and not erin.is_superuser
    assert [s.methods for s in SignIn.objects.all()] == [["upstream"], ["upstream"]]


def test_the_providers_answer_is_stored_encrypted(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.claims |= {"sid": "session-there", "amr": ["pwd", "otp"], "acr": "gold"}
    Upstream.objects.update(second_factor_values="otp", max_lifetime=60)

    sign_in(client, provider)

    sign_in_row = SignIn.objects.get()
    kept = sign_in_row.upstream_session
    assert (kept.sid, kept.methods, kept.context, kept.has_second_factor) == (
        "session-there", ["pwd", "otp"], "gold", True,
    )  # fmt: skip
    assert kept.access_token.reveal().startswith("access-")
    assert kept.refresh_token.reveal().startswith("refresh-")
    assert (sign_in_row.expires_at - sign_in_row.started_at).total_seconds() < 61
    assert "upstream_arrival" not in client.session


@pytest.mark.parametrize("link", [False, True], ids=["no linking", "linking by address"])
def test_a_claimed_name_does_not_open_another_users_account(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, link: bool
) -> None:
    if link:
        allow_linking(upstream)

    sign_in(client, provider, {"sub": "1", "preferred_username": "Alice"})

    assert linked_user() != alice
    assert linked_user().username == "Alice-2"


UNBELIEVED: dict[str, dict[str, Any]] = {
    "not verified": {"email_verified": False},
    "verified is not said": {"email_verified": None},
    "verified is a text": {"email_verified": "true"},
    "verified is a number": {"email_verified": 1},
    "of another domain": {"email": "alice@example.org"},
    "of a domain below": {"email": "alice@evil.example.com"},
    "two at signs": {"email": "alice@evil.org@example.com"},
    "a list": {"email": ["alice@example.com"]},
    "another spelling": {"email": "\uff41lice@example.com"},
}


@pytest.mark.parametrize("claims", UNBELIEVED.values(), ids=UNBELIEVED)
def test_an_untrusted_address_opens_no_account(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, claims: dict[str, Any]
) -> None:
    allow_linking(upstream)
    EmailAddress.objects.create(user=alice, email="alice@example.org", verified=True)

    sign_in(client, provider, {**ALICES, **claims})

    assert linked_user() != alice
    assert linked_user().email == ""


def test_a_trusted_address_links_if_the_administrator_allows_it(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    allow_linking(upstream)

    sign_in(client, provider, {**ALICES, "email": "Alice@Example.com"})

    assert linked_user() == alice


def test_without_linking_a_trusted_address_creates_another_account(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    sign_in(client, provider, ALICES)

    assert linked_user() != alice
    assert linked_user().email == ""


def test_an_address_that_the_portal_has_not_verified_links_no_account(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    allow_linking(upstream)
    squatter = UserFactory(username="squatter", email="alice@example.com", verified=False)

    sign_in(client, provider, ALICES)

    assert linked_user() != squatter


def test_an_address_of_two_users_links_neither(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, bob: User
) -> None:
    allow_linking(upstream)
    EmailAddress.objects.create(user=bob, email="ALICE@example.com", verified=True)

    sign_in(client, provider, ALICES)

    assert linked_user() not in (alice, bob)


def test_an_address_with_a_similar_letter_links_no_account(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    allow_linking(upstream)
    kate = UserFactory(username="kate", email="kate@example.com", verified=True)

    sign_in(client, provider, {**ALICES, "email": "\u212aate@example.com"})

    assert linked_user() != kate
    assert linked_user().email == ""


def test_a_privileged_user_is_not_linked_by_an_address(
    client: PortalClient, provider: Provider, upstream: Upstream, carol: User
) -> None:
    allow_linking(upstream)

    answer = sign_in(client, provider, {**ALICES, "email": "carol@example.com"})

    assert answer.status_code == 403
    assert "power" in reason()
    assert not Identity.objects.exists()


def test_a_disabled_user_is_refused(
    client: PortalClient, provider: Provider, upstream: Upstream, dave: User
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=dave)

    answer = sign_in(client, provider, ALICES)

    assert answer.status_code == 403 and "disabled" in reason()
    assert not is_signed_in(client)


def test_a_provider_that_creates_no_accounts_refuses_new_users(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    Upstream.objects.update(create_users=False)

    assert sign_in(client, provider, ALICES).status_code == 403
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("claimed", "given"),
    [
        ("bob", "bob"),
        ("ALICE", "ALICE-2"),
        ("alice@example.com", "alice-2"),
        ("\uff41lice", "alice-2"),
        ("a b/c", "a-b-c"),
        ("", "erin"),
        ("!!!", "person"),
        ("x" * 500, "x" * 100),
        (".", "person"),
        ("..", "person"),
        ("admin", "person"),
        ("ROOT", "person"),
        ("Admin_2@example.com", "person"),
        ("\uff41dmin", "person"),
        ("\u0430lice", "alice-2"),
        ("\u0131nfo", "info"),
        ("al\u0131ce", "alice-2"),
        ("\u0441\u0443\u0455\u043e\u0440", "cysop"),
        ("\u0455\u0443\u0455\u043e\u0440", "person"),
        ("алиса", "алиса"),
        ("爱丽丝", "爱丽丝"),
        ("alice\uff20example.com", "alice-2"),
        ("alice\ufe6bexample.com", "alice-2"),
        ("a\u202eb\x00c", "a-b-c"),
        ("\ufdfa", "صلى-الله-عليه-وسلم"),
    ],
)
def test_a_new_account_gets_a_free_name(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, claimed: str, given: str
) -> None:
    sign_in(client, provider, {"sub": "1", "preferred_username": claimed, "email": "erin@example.net"})

    assert linked_user().username == given


def test_userinfo_of_another_user_is_refused(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.userinfo = {"sub": "somebody else"}

    assert sign_in(client, provider).status_code == 502
    assert "(sub)" in reason()


def test_groups_follow_the_claims(client: PortalClient, provider: Provider, upstream: Upstream) -> None:
    groups = {name: GroupFactory(name=name) for name in ("everybody", "crew", "mirrored", "gone", "own")}
    for claim, value, name, mode in (
        ("", "", "everybody", "add"),
        ("groups", "crew", "crew", "add"),
        ("realm.roles", "boss", "mirrored", "mirror"),
        ("groups", "gone", "gone", "mirror"),
    ):
        GroupMapping.objects.create(
            upstream=upstream, claim=claim, value=value, group=groups[name], mode=mode, made_by_superuser=True
        )
    erin = UserFactory(groups=["gone", "own"])
    Identity.objects.create(upstream=upstream, subject="1", user=erin)

    sign_in(client, provider, {"sub": "1", "groups": ["crew"], "realm": {"roles": ["boss"]}})

    assert {group.name for group in erin.groups.all()} == {"everybody", "crew", "mirrored", "own"}


@pytest.mark.parametrize("by_superuser", [False, True])
def test_a_privileged_group_is_assigned_only_by_a_superusers_mapping(
    client: PortalClient, provider: Provider, upstream: Upstream, by_superuser: bool
) -> None:
    group = GroupFactory(name="admins")
    group.permissions.add(Permission.objects.first())
    GroupMapping.objects.create(upstream=upstream, group=group, made_by_superuser=by_superuser)

    sign_in(client, provider, {"sub": "1"})

    assert linked_user().groups.exists() is by_superuser


@pytest.mark.parametrize("claim", ["is_staff", "is_superuser"])
def test_no_claim_gives_staff_rights(
    client: PortalClient, provider: Provider, upstream: Upstream, claim: str
) -> None:
    ClaimMapping.objects.create(upstream=upstream, claim=claim, field="display_name")

    sign_in(client, provider, {"sub": "1", claim: True})

    assert not linked_user().is_staff and not linked_user().is_superuser


def test_only_mapped_fields_of_an_existing_account_change(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=alice)
    person = {**ALICES, "name": "New", "email": "new@example.com"}
    sign_in(client, provider, person)
    before = (linked_user().display_name, linked_user().email)
    client.post("/accounts/logout/")
    ClaimMapping.objects.create(upstream=upstream, claim="name", field="display_name")
    ClaimMapping.objects.create(upstream=upstream, claim="email", field="email")

    sign_in(client, provider, person)

    assert before == ("Alice", "alice@example.com")
    assert (linked_user().display_name, linked_user().email) == ("New", "new@example.com")


def test_a_trusted_address_is_not_taken_from_another_user(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, bob: User
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=bob)
    ClaimMapping.objects.create(upstream=upstream, claim="email", field="email")

    sign_in(client, provider, ALICES)

    bob.refresh_from_db()
    assert bob.email == "bob@example.com"


def verified(address: str, word: object = True) -> dict[str, Any]:
    return {"email": address, "email_verified": word}


ERIN, TYPED = "erin@example.com", "boss@example.com"
ADDRESSES: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str, str]] = {
    # name: claims of the ID token, claims of userinfo (None: no userinfo), the mapped claim, and the stored
    # address
    "both in the ID token": (verified(ERIN), {}, "", ERIN),
    "both in the ID token, without userinfo": (verified(ERIN), None, "", ERIN),
    "both in userinfo": ({}, verified(ERIN), "", ERIN),
    "both in both": (verified(ERIN), verified(ERIN), "", ERIN),
    "userinfo's verified, the ID token's not": (verified(TYPED, False), verified(ERIN), "", ERIN),
    "the ID token's verified, userinfo's not": (verified(ERIN), verified(TYPED, False), "", ""),
    "the ID token's verified, userinfo silent on its own": (verified(ERIN), {"email": TYPED}, "", ""),
    "the address in userinfo, the word elsewhere": ({"email_verified": True}, {"email": TYPED}, "", ""),
    "the address in the ID token, the word elsewhere": ({"email": TYPED}, {"email_verified": True}, "", ""),
    "taken back by userinfo without an address": (verified(ERIN), {"email_verified": False}, "", ERIN),
    "no address in userinfo but an empty claim": (verified(ERIN), {"email": None}, "", ""),
    "a word that is text": (verified(ERIN, "true"), {}, "", ""),
    "mapped from the claim email": (verified(ERIN), {}, "email", ERIN),
    "mapped from another claim": ({**verified(ERIN), "mail": TYPED}, {}, "mail", ""),
    "mapped from another claim of userinfo": (verified(ERIN), {"mail": TYPED}, "mail", ""),
    "mapped from another claim, the word alone": ({"mail": TYPED, "email_verified": True}, {}, "mail", ""),
}


@pytest.mark.parametrize(("id_token", "userinfo", "mapped", "taken"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_is_trusted_if_its_own_source_says_verified(
    client: PortalClient,
    provider: Provider,
    upstream: Upstream,
    id_token: dict[str, Any],
    userinfo: dict[str, Any] | None,
    mapped: str,
    taken: str,
) -> None:
    provider.claims, provider.userinfo = id_token, userinfo
    if mapped:
        ClaimMapping.objects.create(upstream=upstream, claim=mapped, field="email")

    sign_in(client, provider, {"sub": "1", "preferred_username": "erin"})

    assert linked_user().email == taken
    assert [row.email for row in EmailAddress.objects.filter(verified=True)] == [taken] * bool(taken)


def test_the_address_of_a_privileged_user_stays(
    client: PortalClient, provider: Provider, upstream: Upstream, carol: User
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=carol)
    ClaimMapping.objects.create(upstream=upstream, claim="email", field="email")

    sign_in(client, provider, {"sub": "1", **verified("new@example.com")})

    carol.refresh_from_db()
    assert carol.email == "carol@example.com"
    assert list(EmailAddress.objects.values_list("email", flat=True)) == ["carol@example.com"]


def test_a_second_address_of_another_user_is_not_taken_either(
    client: PortalClient, provider: Provider, upstream: Upstream, bob: User
) -> None:
    EmailAddress.objects.create(user=bob, email=ERIN, verified=False)

    sign_in(client, provider, {"sub": "1", "preferred_username": "erin", **verified(ERIN)})

    assert linked_user().email == ""


@pytest.mark.parametrize(
    ("name", "shown"),
    [(" Er\u202ein\x00 ", "Erin"), ("x" * 200, "x" * 150), ("  ", "Alice"), (7, "Alice"), (None, "Alice")],
    ids=["marks that nobody sees", "long", "blank", "a number", "none"],
)
def test_a_mapped_name_is_cleaned_and_never_emptied(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, name: object, shown: str
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=alice)
    ClaimMapping.objects.create(upstream=upstream, claim="name", field="display_name")
    provider.claims["name"] = name

    sign_in(client, provider, {"sub": "1"})

    assert linked_user().display_name == shown


def test_a_provider_can_shorten_sign_ins_but_not_lengthen_them(
    client: PortalClient, provider: Provider, upstream: Upstream, settings: Any
) -> None:
    Upstream.objects.update(max_lifetime=10 * 365 * 86400)

    sign_in(client, provider)

    row = SignIn.objects.get()
    assert (row.expires_at - row.started_at).total_seconds() < settings.IKD_SIGN_IN_LIFETIME + 60


def test_a_sign_in_by_a_provider_is_not_kept_for_longer(
    client: PortalClient, provider: Provider, upstream: Upstream, settings: Any
) -> None:
    begun = client.session
    begun.set_expiry(settings.IKD_KEEP_SIGNED_IN_LIFETIME)
    begun.save()

    sign_in(client, provider)

    row = SignIn.objects.get()
    assert (row.expires_at - row.started_at).total_seconds() <= settings.IKD_SIGN_IN_LIFETIME
    assert client.session.get_expire_at_browser_close()


@pytest.mark.parametrize(
    ("said", "counts"),
    [({"amr": ["pwd", "otp"]}, True), ({"acr": "otp"}, True), ({"amr": ["pwd"], "acr": "1"}, False)],
    ids=["amr", "acr", "neither"],
)
def test_a_trusted_claim_counts_as_second_factor(
    client: PortalClient, provider: Provider, upstream: Upstream, said: dict[str, Any], counts: bool
) -> None:
    Upstream.objects.update(second_factor_values="otp\nmfa")

    sign_in(client, provider, {"sub": "1", **said})

    row = SignIn.objects.get()
    assert (row.second_factor_at is not None) is counts
    assert ("upstream_second_factor" in row.methods) is counts
