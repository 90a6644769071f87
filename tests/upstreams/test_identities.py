"""People link and unlink providers themselves: freshly confirmed, and never another's."""

from __future__ import annotations

import time

import time_machine

from accounts.models import Identity, Upstream, User
from tests.accounts import signing_in
from tests.accounts.conftest import PortalClient
from tests.factories import UserFactory
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import reason, sign_in

PAGE = "/accounts/providers/"
LINK = f"{PAGE}link/campus/"


def unlink(identity: Identity) -> str:
    return f"{PAGE}unlink/{identity.pk}/"


def test_a_person_links_a_provider(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    signing_in.sign_in(client, "alice")

    client.get(provider.sign_in(client.post(LINK)["Location"], {"sub": "1"}))

    assert Identity.objects.get().user == alice
    assert "Campus" in client.get(PAGE).content.decode()


def test_anothers_identity_cannot_be_taken(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, bob: User
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=bob)
    signing_in.sign_in(client, "alice")

    answer = client.get(provider.sign_in(client.post(LINK)["Location"], {"sub": "1"}))

    assert answer.status_code == 403 and "another account" in reason()
    assert Identity.objects.get().user == bob


def test_linking_that_ends_in_another_sign_in_links_nothing(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, bob: User
) -> None:
    signing_in.sign_in(client, "alice")
    left = client.post(LINK)
    client.post("/accounts/logout/")
    signing_in.sign_in(client, "bob")

    assert client.get(provider.sign_in(left["Location"], {"sub": "1"})).status_code == 400
    assert not Identity.objects.exists()


def test_linking_asks_for_a_fresh_proof(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    signing_in.sign_in(client, "alice")

    with time_machine.travel(time.time() + 301, tick=True):
        answer = client.post(LINK)

    assert answer["Location"].startswith("/accounts/reauthenticate/")


def test_only_a_post_links_or_unlinks(client: PortalClient, upstream: Upstream, alice: User) -> None:
    identity = Identity.objects.create(upstream=upstream, subject="1", user=alice)
    signing_in.sign_in(client, "alice")

    assert client.get(LINK).status_code == client.get(unlink(identity)).status_code == 405


def test_unlinking_ends_what_came_by_it(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    identity = Identity.objects.create(upstream=upstream, subject="1", user=alice)
    sign_in(other_browser, provider, {"sub": "1"})
    signing_in.sign_in(client, "alice")
    was_signed_in = signing_in.is_signed_in(other_browser)

    client.post(unlink(identity))

    assert was_signed_in and not signing_in.is_signed_in(other_browser)
    assert signing_in.is_signed_in(client)


def test_anothers_identity_cannot_be_unlinked(
    client: PortalClient, upstream: Upstream, alice: User, bob: User
) -> None:
    identity = Identity.objects.create(upstream=upstream, subject="1", user=bob)
    signing_in.sign_in(client, "alice")

    assert client.post(unlink(identity)).status_code == 404
    assert Identity.objects.exists()


def test_the_last_way_in_stays(client: PortalClient, provider: Provider, upstream: Upstream) -> None:
    sign_in(client, provider, {"sub": "1"})

    client.post(unlink(Identity.objects.get()))

    assert Identity.objects.exists()


def test_people_without_a_password_confirm_by_their_provider(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider, {"sub": "1"})
    with time_machine.travel(time.time() + 301, tick=True):
        asked = client.post(LINK)["Location"]
        left = client.post(asked, {"upstream": "campus"})["Location"]
        stale = client.get(provider.sign_in(left, {"sub": "1", "auth_time": int(time.time()) - 200}))
        left = client.post(asked, {"upstream": "campus"})["Location"]
        client.get(provider.sign_in(left, {"sub": "1", "auth_time": int(time.time())}))
        answer = client.post(LINK)

    assert asked == f"{PAGE}confirm/" and "max_age=0" in left
    assert stale.status_code == 502 and "auth_time" in reason()
    assert answer["Location"].startswith(provider.issuer)


def test_nobody_confirms_with_anothers_identity(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider, {"sub": "1"})
    Identity.objects.create(upstream=upstream, subject="2", user=UserFactory())
    left = client.post(f"{PAGE}confirm/", {"upstream": "campus"})["Location"]

    answer = client.get(provider.sign_in(left, {"sub": "2", "auth_time": int(time.time())}))

    assert answer.status_code == 403


def test_the_sign_in_page_offers_enabled_providers(client: PortalClient, upstream: Upstream) -> None:
    page = client.get("/accounts/login/", {"next": "/?x=1"}).content.decode()
    Upstream.objects.update(enabled=False)
    without = client.get("/accounts/login/").content.decode()

    assert "Sign in with Campus" in page and "/upstreams/campus/start?next=" in page
    assert "Campus" not in without


def test_a_default_goes_straight_there_and_administrators_get_the_form(
    client: PortalClient, upstream: Upstream, carol: User
) -> None:
    Upstream.objects.update(is_default=True)

    straight = client.get("/accounts/login/", {"next": "/?x=1"})
    form = client.get("/accounts/login/?local=1")
    signed_in = signing_in.sign_in(client, "carol", page="/accounts/login/?local=1")

    assert straight["Location"].startswith("/upstreams/campus/start?next=")
    assert form.status_code == 200 and signed_in.status_code == 302
