"""PyPI's django-cas-server as the provider of a real portal."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests
from django.core.cache import cache
from django.test import Client

from accounts.models import ClaimMapping, GroupMapping, Upstream, User
from accounts.upstreams.cas.flow import TicketRefused, examine_cas, service_url, validate_ticket
from accounts.upstreams.findings import Level
from tests.accounts.signing_in import is_signed_in
from tests.factories import GroupFactory, UpstreamFactory
from tests.upstreams.cas_server import asked_in, path_of, redirect_from_portal
from tests.upstreams.real_cas import PASSWORD, USER, RealCas, start_real_cas

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCas]:
    started = start_real_cas(tmp_path_factory.mktemp("cas"))
    yield started
    started.server.stop()


@pytest.fixture(params=[2, 3], ids=["CAS 2", "CAS 3"])
def campus(request: pytest.FixtureRequest, real: RealCas, db: None) -> Upstream:
    cache.clear()
    return UpstreamFactory(
        kind=Upstream.Kind.CAS,
        slug="campus",
        server_url=real.url,
        cas_version=request.param,
        allow_private=True,
        trusted_email_domains="example.com",
    )


def sign_in_there(location: str, browser: requests.Session | None = None) -> str:
    """Fill in the server's form, and return the address to which it sends the browser back."""
    browser = browser or requests.Session()
    page = browser.get(location, timeout=60)
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    form |= {"username": USER, "password": PASSWORD}
    assert {"csrfmiddlewaretoken", "lt", "service"} <= set(form), page.text
    form["service"] = form["service"].replace("&amp;", "&")
    answer = browser.post(location, form, allow_redirects=False, timeout=60)
    assert answer.status_code == 302, answer.text
    return answer.headers["Location"]


def test_a_user_signs_in_with_attributes(client: Client, campus: Upstream) -> None:
    group = GroupFactory(name="staff")
    GroupMapping.objects.create(upstream=campus, claim="memberOf", value="staff", group=group)
    ClaimMapping.objects.create(upstream=campus, claim="mail", field=ClaimMapping.Field.EMAIL)

    arrived = client.get(path_of(sign_in_there(redirect_from_portal(client, next="/x"))))

    assert arrived["Location"] == "https://sso.example.com/x"
    assert is_signed_in(client)
    user = User.objects.get()
    assert (user.username, user.email, list(user.groups.all())) == (USER, "meetbill@example.com", [group])


def test_a_ticket_is_refused_twice_or_for_another_service(client: Client, campus: Upstream) -> None:
    location = redirect_from_portal(client)
    service, ticket = asked_in(location)["service"], asked_in(sign_in_there(location))["ticket"]
    assert validate_ticket(campus, service, ticket).user == USER
    with pytest.raises(TicketRefused, match="INVALID_TICKET"):
        validate_ticket(campus, service, ticket)

    another = asked_in(sign_in_there(redirect_from_portal(client)))["ticket"]
    with pytest.raises(TicketRefused, match="INVALID_SERVICE"):
        validate_ticket(campus, service_url(campus, "another"), another)


def test_the_server_passes_the_test(campus: Upstream) -> None:
    assert {finding.level for finding in examine_cas(campus)} == {Level.GOOD}


def test_signing_out_of_the_portal_signs_out_at_the_server_and_returns(
    client: Client, campus: Upstream
) -> None:
    there, other = requests.Session(), Client(HTTP_HOST="sso.example.com")
    client.get(path_of(sign_in_there(redirect_from_portal(client), there)))
    assert is_signed_in(client)
    assert there.get(redirect_from_portal(other), allow_redirects=False).is_redirect

    on = client.post("/accounts/logout/")["Location"]
    answer = there.get(client.get(path_of(on))["Location"], allow_redirects=False)

    assert answer.headers["Location"] == "https://sso.example.com/signed-out"
    assert not is_signed_in(client)
    assert 'name="lt"' in there.get(redirect_from_portal(other), allow_redirects=False).text
