"""Users link and unlink providers themselves: after confirming who they are, and never another user's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from accounts.models import Identity, Upstream, UpstreamSession, User
from authgate.models import SignIn
from tests.accounts import signing_in
from tests.accounts.conftest import PortalClient
from tests.factories import UpstreamFactory, UserFactory
from tests.second_factor.factors import STEP, add_app, code, submit_code
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import reason, sign_in

PAGE = "/accounts/providers/"
LINK = f"{PAGE}link/campus/"


def unlink(identity: Identity) -> str:
    return f"{PAGE}unlink/{identity.pk}/"


def test_a_user_links_a_provider(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    signing_in.sign_in(client, "alice")

    client.get(provider.sign_in(client.post(LINK)["Location"], {"sub": "1"}))

    assert Identity.objects.get().user == alice
    assert "Campus" in client.get(PAGE).content.decode()


def test_another_users_identity_cannot_be_linked(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, bob: User
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=bob)
    signing_in.sign_in(client, "alice")

    answer = client.get(provider.sign_in(client.post(LINK)["Location"], {"sub": "1"}))

    assert answer.status_code == 403 and "another account" in reason()
    assert Identity.objects.get().user == bob


def test_linking_fails_if_another_user_has_signed_in_meanwhile(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, bob: User
) -> None:
    signing_in.sign_in(client, "alice")
    left = client.post(LINK)
    client.post("/accounts/logout/")
    signing_in.sign_in(client, "bob")

    assert client.get(provider.sign_in(left["Location"], {"sub": "1"})).status_code == 400
    assert not Identity.objects.exists()


def test_linking_requires_a_recent_confirmation(
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


def test_unlinking_ends_sign_ins_by_the_provider(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    identity = Identity.objects.create(upstream=upstream, subject="1", user=alice)
    sign_in(other_browser, provider, {"sub": "1"})
    signing_in.sign_in(client, "alice")
    was_signed_in = signing_in.is_signed_in(other_browser)

    client.post(unlink(identity))

    assert was_signed_in and not signing_in.is_signed_in(other_browser)
    assert signing_in.is_signed_in(client)


def test_another_users_identity_cannot_be_unlinked(
    client: PortalClient, upstream: Upstream, alice: User, bob: User
) -> None:
    identity = Identity.objects.create(upstream=upstream, subject="1", user=bob)
    signing_in.sign_in(client, "alice")

    assert client.post(unlink(identity)).status_code == 404
    assert Identity.objects.exists()


def test_the_last_way_to_sign_in_cannot_be_unlinked(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider, {"sub": "1"})

    client.post(unlink(Identity.objects.get()))

    assert Identity.objects.exists()


def test_a_disabled_provider_does_not_count_as_a_way_to_sign_in(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider, {"sub": "1"})
    off = UpstreamFactory(enabled=False)
    Identity.objects.create(upstream=off, subject="1", user=User.objects.get())

    client.post(unlink(Identity.objects.get(upstream=upstream)))

    assert Identity.objects.filter(upstream=upstream).exists()


def test_one_of_two_ways_to_sign_in_can_be_unlinked(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider, {"sub": "1"})
    other = Identity.objects.create(upstream=UpstreamFactory(), subject="1", user=User.objects.get())

    client.post(unlink(other))

    assert Identity.objects.get().upstream == upstream


def test_a_providers_answer_about_one_user_is_not_stored_with_another_users_sign_in(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, bob: User
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=alice)
    add_app(alice)
    sign_in(client, provider, {"sub": "1"})
    half_way = client.session
    del half_way["account_login"]
    half_way.save()

    signing_in.sign_in(client, "bob")

    assert signing_in.is_signed_in(client)
    assert SignIn.objects.get().user == bob
    assert not UpstreamSession.objects.exists()


def test_users_without_a_password_confirm_with_their_provider(
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

    assert asked == f"{PAGE}confirm/"
    assert stale.status_code == 502 and "auth_time" in reason()
    assert answer["Location"].startswith(provider.issuer)


def authelia_asks(location: str, *, authenticated: float, requested: float) -> bool:
    """Return whether Authelia asks the user to confirm their identity before it continues."""
    asked = parse_qs(urlsplit(location).query)
    if "login" in asked.get("prompt", []) and authenticated < requested:
        return True
    age = int(asked["max_age"][0]) if "max_age" in asked else None
    return age is not None and (age == 0 or authenticated + age < requested)


def test_a_provider_asks_the_user_to_confirm_once(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider, {"sub": "1"})
    left, now = client.post(f"{PAGE}confirm/", {"upstream": "campus"})["Location"], time.time()

    assert authelia_asks(left, authenticated=now - 5, requested=now)
    assert not authelia_asks(left, authenticated=now + 5, requested=now)
    assert "max_age" in parse_qs(urlsplit(left).query), "only then auth_time is required"


def test_a_user_cannot_confirm_with_another_users_identity(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider, {"sub": "1"})
    Identity.objects.create(upstream=upstream, subject="2", user=UserFactory())
    left = client.post(f"{PAGE}confirm/", {"upstream": "campus"})["Location"]

    answer = client.get(provider.sign_in(left, {"sub": "2", "auth_time": int(time.time())}))

    assert answer.status_code == 403


MEANWHILE: dict[str, tuple[Callable[[], object], str]] = {
    "the provider switched off": (lambda: Upstream.objects.update(enabled=False), "switched off"),
    "the sign-in ended": (lambda: SignIn.objects.update(ended_at=timezone.now()), "sign-in ended"),
    "the user disabled": (lambda: User.objects.update(is_active=False), "sign-in ended"),
}


def while_it_is_asked(provider: Provider, change: Callable[[], object]) -> None:
    """Change something at the portal while it waits for the provider's tokens."""
    honest = provider._token

    def late(*asked: Any) -> Any:
        change()
        connection.close()
        return honest(*asked)

    provider._token = late  # type: ignore[method-assign]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("change", "why"), MEANWHILE.values(), ids=MEANWHILE)
@pytest.mark.parametrize("page", [LINK, f"{PAGE}confirm/"], ids=["link", "confirm"])
def test_a_providers_answer_after_such_a_change_is_refused(
    client: PortalClient,
    provider: Provider,
    upstream: Upstream,
    alice: User,
    page: str,
    change: Callable[[], object],
    why: str,
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=alice)
    signing_in.sign_in(client, "alice")
    left = client.post(page, {"upstream": "campus"})["Location"]
    while_it_is_asked(provider, change)

    answer = client.get(
        provider.sign_in(left, {"sub": "2" if page == LINK else "1", "auth_time": int(time.time())})
    )

    assert answer.status_code in (400, 403) and why in reason()
    assert Identity.objects.count() == 1
    assert "reauthenticated" not in str(client.session.get("account_authentication_methods"))


@pytest.mark.parametrize("page", [LINK, f"{PAGE}confirm/"], ids=["link", "confirm"])
def test_a_provider_that_is_off_when_the_browser_comes_back_is_not_asked(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, page: str
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=alice)
    signing_in.sign_in(client, "alice")
    path = provider.sign_in(client.post(page, {"upstream": "campus"})["Location"], {"sub": "1"})
    Upstream.objects.update(enabled=False)

    assert client.get(path).status_code == 404
    assert not provider.forms


GONE: dict[str, Callable[[], object]] = {
    "the provider switched off": lambda: Upstream.objects.update(enabled=False),
    "the identity unlinked": lambda: Identity.objects.all().delete(),
    "the identity another's": lambda: Identity.objects.update(user=UserFactory()),
}


@pytest.mark.parametrize("change", GONE.values(), ids=GONE)
def test_the_second_factor_cannot_complete_a_sign_in_by_a_removed_provider(
    client: PortalClient,
    provider: Provider,
    upstream: Upstream,
    alice: User,
    change: Callable[[], object],
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=alice)
    secret = add_app(alice)
    step = sign_in(client, provider, {"sub": "1"})
    change()

    answer = submit_code(client, code(secret))

    assert step["Location"].startswith(STEP)
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/")
    assert not signing_in.is_signed_in(client) and not SignIn.objects.exists()


def test_the_second_factor_completes_a_sign_in_by_a_provider(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=alice)
    secret = add_app(alice)
    sign_in(client, provider, {"sub": "1"})

    submit_code(client, code(secret))

    assert signing_in.is_signed_in(client)
    assert SignIn.objects.get().upstream_session.upstream == upstream


def confirm(client: PortalClient, provider: Provider, **person: Any) -> Any:
    left = client.post(f"{PAGE}confirm/", {"upstream": "campus"})["Location"]
    return client.get(provider.sign_in(left, {"sub": "1", "auth_time": int(time.time()), **person}))


def test_a_provider_cannot_replace_the_second_factor(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User
) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=alice)
    signing_in.sign_in(client, "alice")
    left = client.post(f"{PAGE}confirm/", {"upstream": "campus"})["Location"]
    add_app(alice)

    answer = client.get(provider.sign_in(left, {"sub": "1", "auth_time": int(time.time())}))
    page = client.get(f"{PAGE}confirm/")

    assert answer.status_code == 403 and "second factor" in reason()
    assert page["Location"].startswith("/accounts/reauthenticate/?next=")
    assert client.get("/accounts/second-factor/app/remove/").status_code == 302


@pytest.mark.parametrize("amr", [["pwd"], ["pwd", "otp"]], ids=["password there", "code there"])
def test_a_provider_trusted_for_second_factors_can_replace_it(
    client: PortalClient, provider: Provider, upstream: Upstream, alice: User, amr: list[str]
) -> None:
    Upstream.objects.update(second_factor_values="otp")
    Identity.objects.create(upstream=upstream, subject="1", user=alice)
    signing_in.sign_in(client, "alice")
    add_app(alice)

    answer = confirm(client, provider, amr=amr)

    is_trusted = "otp" in amr
    assert answer.status_code == (302 if is_trusted else 403)
    remove = client.get("/accounts/second-factor/app/remove/")
    assert remove.status_code == (200 if is_trusted else 302)
    assert SignIn.objects.get().second_factor_at is None


def test_a_user_with_a_second_factor_and_no_password_confirms_with_it_to_link(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider, {"sub": "1"})
    add_app(User.objects.get())

    with time_machine.travel(time.time() + 301, tick=True):
        answer = client.post(LINK)

    assert answer["Location"].startswith("/accounts/reauthenticate/")


def test_the_sign_in_page_offers_enabled_providers(client: PortalClient, upstream: Upstream) -> None:
    page = client.get("/accounts/login/", {"next": "/?x=1"}).content.decode()
    Upstream.objects.update(enabled=False)
    without = client.get("/accounts/login/").content.decode()

    assert "Sign in with Campus" in page and "/upstreams/campus/start?next=" in page
    assert "Campus" not in without


def test_a_default_provider_skips_the_form_except_for_administrators(
    client: PortalClient, upstream: Upstream, carol: User
) -> None:
    Upstream.objects.update(is_default=True)

    straight = client.get("/accounts/login/", {"next": "/?x=1"})
    form = client.get("/accounts/login/?local=1")
    signed_in = signing_in.sign_in(client, "carol", page="/accounts/login/?local=1")

    assert straight["Location"].startswith("/upstreams/campus/start?next=")
    assert form.status_code == 200 and signed_in.status_code == 302
