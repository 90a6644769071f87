"""The behaviour table: one row for each case of a check. It runs against the view and behind each real proxy.

A row has a request and its outcome. tests/test_behaviour.py says how each answer style shows an outcome.
tests/proxies/test_behaviour.py says what clients get from a real proxy.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

from django.utils import timezone

from accounts.machines.api_tokens import make_token
from accounts.models import ApiToken, User
from authgate.check.credentials import new_token
from authgate.models import Application, Rule, SignIn
from authgate.sign_ins import begin_sign_in, open_gate
from tests.factories import ApplicationFactory, RuleFactory, UserFactory

PORTAL = "sso.example.com"
SITES = {"app": "app.example.com", "wiki": "wiki.example.org", "ops": "ops.example.com"}
CODE = "A" * 43
"""A code with the form of a one-time code that the portal never issued."""

RECENT = 600
"""Minutes within which some rules require a second factor. frank and grace used one at their sign-in."""

NAVIGATION = {
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
}
OLD_BROWSER = {"Accept": "text/html,*/*;q=0.8"}
FETCH = {
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Accept": "*/*",
}
GIT = {"User-Agent": "git/2.39.5", "Accept": "*/*", "Pragma": "no-cache"}
OLD_IMAGE = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept": "image/*,*/*;q=0.8"}
FRAME = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}
WEB_VIEW = {"X-Requested-With": "com.example.app"}
WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


class Outcome(Enum):
    OPEN = "let through, nobody named"
    NAMED = "let through under the name of who is signed in"
    SIGN_IN = "a page: to the portal, and back"
    SIGN_IN_AFTER_FORM = "a form sent without a sign-in: to the portal where a proxy can redirect"
    FRAMED = "a page in another site's frame: 401, a link that opens a tab where a proxy can show one"
    TOLD = "a program: 401, and where one may sign in"
    ASKED_FOR_BASIC = "a program: 401 with the challenges that the application chose"
    REFUSED = "a page: 403 with its number"
    TOLD_REFUSED = "a program: 403 with its number"
    WITHOUT_CODE = "to the same URL without the code"
    BY_CREDENTIAL = "let through under the name of a token's owner; the token goes no further"
    PASSED_ON = "let through, with the application's own Authorization"
    WRONG_CREDENTIAL = "a program: 401, and not where one may sign in"


@dataclass(frozen=True, slots=True)
class Row:
    """A request and its outcome. `query` is the check's own; `status` is the outcome in the status style."""

    name: str
    outcome: Outcome
    path: str = "/"
    who: str = ""
    method: str = "GET"
    site: str = "app"
    headers: dict[str, str] = field(default_factory=lambda: NAVIGATION)
    query: str = ""
    status: Outcome | None = None
    authorization: str = ""
    """A program's header. `{token}` is replaced by a token of alice for the app, `{basic}` by it as Basic."""


O = Outcome  # noqa: E741
ROWS = (
    # ---- allowed ----
    Row("a member opens a page", O.NAMED, who="alice"),
    Row("a guest opens a page", O.NAMED, who="bob"),
    Row("a member asks for the head of a page", O.NAMED, who="alice", method="HEAD"),
    Row("a member sends a form", O.NAMED, "/form", "alice", "POST"),
    Row("a member deletes", O.NAMED, "/thing/1", "alice", "DELETE", headers=FETCH),
    Row("a member uses a method of no standard", O.NAMED, "/thing/1", "alice", "MKACTIVITY", headers=FETCH),
    Row("a member's script fetches", O.NAMED, "/data?x=1", "alice", headers=FETCH),
    Row("a member's WebSocket", O.NAMED, "/live/feed", "alice", headers=WEBSOCKET),
    Row("a member at another site", O.NAMED, "/page", "alice", site="wiki"),
    Row("a member in a group's scope", O.NAMED, "/staff/rota", "alice"),
    Row("a member at a group's site", O.NAMED, "/", "alice", site="ops"),
    Row("a public path without a sign-in", O.OPEN, "/open/news"),
    Row("a public path itself", O.OPEN, "/open"),
    Row("a public path, fetched", O.OPEN, "/open/feed.json", headers=FETCH),
    Row("a public path with a sign-in", O.NAMED, "/open/news", "bob"),
    Row("a path read in one way only", O.NAMED, "/a%20b/%C3%A9", "alice"),
    Row("GET where a rule grants GET", O.NAMED, "/read/it", "alice"),
    Row("HEAD where a rule grants GET", O.NAMED, "/read/it", "alice", "HEAD"),
    # ---- a page without a sign-in ----
    Row("a page", O.SIGN_IN, "/deep/page?x=1&y=%23&x=2"),
    Row("the head of a page", O.SIGN_IN, "/page", method="HEAD"),
    Row("a page in an old browser", O.SIGN_IN, "/page", headers=OLD_BROWSER),
    Row("a page at another site", O.SIGN_IN, "/", site="wiki"),
    Row("a page in a group's scope", O.SIGN_IN, "/staff/rota"),
    Row("beside a public path", O.SIGN_IN, "/opener"),
    Row("a public path left by dots", O.SIGN_IN, "/open/../page"),
    Row("a public path left by encoded dots", O.SIGN_IN, "/open/%2e%2e/page"),
    Row("a page in an Android WebView", O.SIGN_IN, "/page", headers=OLD_BROWSER | WEB_VIEW),
    Row(
        "a form in an Android WebView",
        O.SIGN_IN_AFTER_FORM,
        "/form",
        "",
        "POST",
        headers=OLD_BROWSER | WEB_VIEW,
    ),
    Row("a page in another site's frame", O.FRAMED, "/page?x=1", headers=NAVIGATION | FRAME),
    Row("a form in another site's frame", O.FRAMED, "/page?x=1", "", "POST", headers=NAVIGATION | FRAME),
    Row("a form", O.SIGN_IN_AFTER_FORM, "/form", method="POST"),
    Row("a form of an old browser", O.SIGN_IN_AFTER_FORM, "/form", method="POST", headers=OLD_BROWSER),
    # ---- a program without a sign-in ----
    Row("a fetch", O.TOLD, "/data", headers=FETCH),
    Row("a fetch that accepts a page", O.TOLD, "/data", headers=FETCH | {"Accept": "text/html"}),
    Row(
        "an old browser's script",
        O.TOLD,
        "/data",
        headers=OLD_BROWSER | {"X-Requested-With": "XMLHttpRequest"},
    ),
    Row("a program that wants JSON", O.TOLD, "/data", headers={"Accept": "application/json"}),
    Row("a program that wants anything", O.TOLD, "/data", headers={"Accept": "*/*"}),
    Row("a program that says nothing", O.TOLD, "/data", headers={}),
    Row("an image of a page", O.TOLD, "/i.png", headers={"Sec-Fetch-Mode": "no-cors", "Accept": "image/*"}),
    Row("server-sent events", O.TOLD, "/live/x", headers=FETCH | {"Accept": "text/event-stream"}),
    Row("a WebSocket", O.TOLD, "/live/feed", headers=WEBSOCKET),
    Row("a WebSocket that says it navigates", O.TOLD, "/live/feed", headers=NAVIGATION | WEBSOCKET),
    Row(
        "a preflight",
        O.TOLD,
        "/data",
        method="OPTIONS",
        headers=FETCH | {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"},
    ),
    Row("a program's form", O.TOLD, "/data", method="POST", headers=FETCH),
    Row("a program with a method of no standard", O.TOLD, "/data", method="MKACTIVITY", headers=FETCH),
    Row("an API", O.TOLD, "/api/items", headers=FETCH),
    Row("two words for a navigation", O.TOLD, "/page", headers={"Sec-Fetch-Mode": "navigate, cors"}),
    Row("git at a site that asks for Basic", O.ASKED_FOR_BASIC, site="ops", headers=GIT),
    Row("WebDAV at a site that asks for Basic", O.ASKED_FOR_BASIC, "/x", "", "PROPFIND", "ops", headers={}),
    Row("a script at a site that asks for Basic", O.TOLD, site="ops", headers=FETCH),
    Row("an old browser's image there", O.TOLD, site="ops", headers=OLD_IMAGE),
    Row("a page at a site that asks for Basic", O.SIGN_IN, site="ops"),
    # ---- refused ----
    Row("a guest in a group's scope", O.REFUSED, "/staff/rota", "bob"),
    Row("a guest at a group's site", O.REFUSED, "/", "bob", site="ops"),
    Row("a guest's script in a group's scope", O.TOLD_REFUSED, "/staff/rota", "bob", headers=FETCH),
    Row("a guest in a group's scope, other letters", O.REFUSED, "/STAFF/rota", "bob"),
    Row("a guest in a group's scope, encoded", O.REFUSED, "/%73taff/rota", "bob"),
    Row("a guest in a group's scope, by dots", O.REFUSED, "/x/../staff/rota", "bob"),
    Row("a guest in a group's scope, by a parameter", O.REFUSED, "/x;/../staff;v=1/rota", "bob"),
    Row("a form where a rule grants GET", O.REFUSED, "/read/it", "alice", "POST"),
    # ---- refused at once, because no user could be allowed ----
    Row("a rule that expired, nobody signed in", O.REFUSED, "/old"),
    Row("a rule that expired", O.REFUSED, "/old", "alice"),
    Row("a network that is not the client's", O.REFUSED, "/office"),
    Row("a form where a rule grants GET, nobody signed in", O.REFUSED, "/read/it", method="POST"),
    Row("a script where nobody could be allowed", O.TOLD_REFUSED, "/old", headers=FETCH),
    # ---- a code in the URL ----
    Row("a code of nobody's", O.SIGN_IN, f"/page?a=1&ikdcode={CODE}&b=2"),
    Row("a code, signed in", O.WITHOUT_CODE, f"/page?a=1&ikdcode={CODE}", "alice", status=O.NAMED),
    Row(
        "a code, the head of a page", O.WITHOUT_CODE, f"/page?ikdcode={CODE}", method="HEAD", status=O.SIGN_IN
    ),
    Row("a code, fetched", O.TOLD, f"/page?ikdcode={CODE}", headers=FETCH),
    Row(
        "a code, fetched, signed in", O.TOLD, f"/page?ikdcode={CODE}", "alice", headers=FETCH, status=O.NAMED
    ),
    Row(
        "a code in a form's address",
        O.TOLD,
        f"/page?ikdcode={CODE}",
        method="POST",
        status=O.SIGN_IN_AFTER_FORM,
    ),
    Row("what is no code", O.NAMED, "/page?ikdcode=short", "alice"),
    Row("a code in another parameter", O.NAMED, f"/page?xikdcode={CODE}", "alice"),
    # ---- a recent second factor, or a passkey ----
    Row("a recent code", O.NAMED, "/recent", "grace"),
    Row("a recent passkey", O.NAMED, "/recent/x", "frank", headers=FETCH),
    Row("no second factor where a recent one is wanted", O.SIGN_IN, "/recent?x=1", "alice"),
    Row("the same, fetched", O.TOLD, "/recent", "alice", headers=FETCH),
    Row("the same, a form", O.SIGN_IN_AFTER_FORM, "/recent", "alice", "POST"),
    Row("the same, a WebSocket", O.TOLD, "/recent/feed", "alice", headers=WEBSOCKET),
    Row("a recent passkey where one is wanted", O.NAMED, "/key", "frank"),
    Row("a recent code and an old passkey there", O.SIGN_IN, "/key", "grace"),
    Row("the same passkey, fetched", O.TOLD, "/key/x", "grace", headers=FETCH),
    Row(
        "a token where a second factor is wanted",
        O.TOLD_REFUSED,
        "/recent",
        headers={},
        authorization="Bearer {token}",
    ),
    # ---- credentials of machines ----
    Row("a token", O.BY_CREDENTIAL, "/data", "alice", headers={}, authorization="Bearer {token}"),
    Row("a token, in a page", O.BY_CREDENTIAL, "/page", "alice", authorization="Bearer {token}"),
    Row("a token, other letters", O.BY_CREDENTIAL, "/x", "alice", headers={}, authorization="bEARER {token}"),
    Row("a token as Basic", O.BY_CREDENTIAL, "/data", "alice", headers={}, authorization="Basic {basic}"),
    Row(
        "a token sends a form",
        O.BY_CREDENTIAL,
        "/x",
        "alice",
        "POST",
        headers={},
        authorization="Bearer {token}",
    ),
    Row(
        "a token in a group's scope",
        O.BY_CREDENTIAL,
        "/staff/x",
        "alice",
        headers={},
        authorization="Bearer {token}",
    ),
    Row(
        "a token on a public path",
        O.BY_CREDENTIAL,
        "/open",
        "alice",
        headers={},
        authorization="Bearer {token}",
    ),
    Row(
        "a token's WebSocket",
        O.BY_CREDENTIAL,
        "/live/x",
        "alice",
        headers=WEBSOCKET,
        authorization="Bearer {token}",
    ),
    Row(
        "a token at another site", O.WRONG_CREDENTIAL, site="wiki", headers={}, authorization="Bearer {token}"
    ),
    Row("a token, cut short", O.WRONG_CREDENTIAL, "/x", headers={}, authorization="Bearer ikd_0123"),
    Row("a token, in a page, cut short", O.WRONG_CREDENTIAL, "/page", authorization="Bearer ikd_0123"),
    Row("a token of nobody's", O.WRONG_CREDENTIAL, "/x", headers={}, authorization="Bearer {nobody}"),
    Row("a token that ended", O.WRONG_CREDENTIAL, "/x", headers={}, authorization="Bearer {ended}"),
    Row(
        "a token of nobody's, at an API",
        O.WRONG_CREDENTIAL,
        "/api/x",
        headers={},
        authorization="Bearer {nobody}",
    ),
    Row(
        "a token of nobody's, on a public path",
        O.WRONG_CREDENTIAL,
        "/open",
        headers={},
        authorization="Bearer {nobody}",
    ),
    Row("a token in another scheme", O.WRONG_CREDENTIAL, "/x", headers={}, authorization="Token {token}"),
    Row(
        "a token where nobody could be allowed",
        O.TOLD_REFUSED,
        "/old",
        headers={},
        authorization="Bearer {token}",
    ),
    Row(
        "a guest's token in a group's scope",
        O.TOLD_REFUSED,
        "/staff/x",
        headers={},
        authorization="Bearer {guest}",
    ),
    Row("an application's own Basic", O.PASSED_ON, "/x", "alice", headers={}, authorization="Basic eDp5"),
    Row(
        "an application's own Bearer",
        O.PASSED_ON,
        "/x",
        "alice",
        headers={},
        authorization="Bearer eyJhIjoxfQ.e30.c2ln",
    ),
    Row("an application's own, public", O.PASSED_ON, "/open", headers={}, authorization="Basic eDp5"),
    Row(
        "an application's own, at an API",
        O.PASSED_ON,
        "/api/x",
        "alice",
        headers={},
        authorization="Basic eDp5",
    ),
    Row("an application's own, not signed in", O.TOLD, "/x", headers={}, authorization="Basic eDp5"),
    Row("an application's own, in a page, not signed in", O.SIGN_IN, "/page", authorization="Basic eDp5"),
    # ---- the check's own filters ----
    Row("a filter that admits", O.NAMED, who="alice", query="allowed_groups=staff"),
    Row("a filter with several groups", O.NAMED, who="alice", query="allowed_groups=ops,staff"),
    Row("a filter that does not admit", O.REFUSED, who="bob", query="allowed_groups=staff"),
    Row("a filter in other letters", O.REFUSED, who="alice", query="allowed_groups=Staff"),
    Row("a filter never widens", O.REFUSED, "/staff/x", "bob", query="allowed_groups=guests"),
    Row(
        "a filter asks for a sign-in on a public path", O.SIGN_IN, "/open/news", query="allowed_groups=staff"
    ),
    Row("a filter on a public path", O.REFUSED, "/open/news", "bob", query="allowed_groups=staff"),
    Row("a filter on addresses", O.NAMED, who="alice", query="allowed_emails=alice@example.com"),
    Row("a filter on other addresses", O.REFUSED, who="bob", query="allowed_emails=alice@example.com"),
    Row("a filter on a domain", O.NAMED, who="alice", query="allowed_email_domains=example.com"),
    Row("a filter on domains below", O.NAMED, who="alice", query="allowed_email_domains=.example.com"),
    Row("a filter on a near domain", O.REFUSED, who="alice", query="allowed_email_domains=ample.com"),
    Row("an address that nobody verified", O.REFUSED, who="erin", query="allowed_emails=erin@example.com"),
    Row(
        "two filters that admit",
        O.NAMED,
        who="alice",
        query="allowed_groups=staff&allowed_email_domains=example.com",
    ),
    Row(
        "two filters of which one admits",
        O.REFUSED,
        who="alice",
        query="allowed_groups=staff&allowed_emails=x@y.z",
    ),
)


def create_people_and_sites(port: str = "") -> None:
    """Create the users and applications of the rows. `port` is `:8443` or empty."""
    UserFactory(username="alice", email="alice@example.com", verified=True, groups=["staff"])
    UserFactory(username="bob", email="bob@example.com", verified=True, groups=["guests"])
    UserFactory(username="erin", email="erin@example.com")
    UserFactory(username="frank", email="frank@example.com", verified=True)
    UserFactory(username="grace", email="grace@example.com", verified=True)
    app = ApplicationFactory(name="App", origins=[f"https://{SITES['app']}{port}"], who=Rule.Who.SIGNED_IN)
    RuleFactory(application=app, path="/open", who=Rule.Who.EVERYONE)
    RuleFactory(application=app, path="/public", who=Rule.Who.EVERYONE)
    RuleFactory(application=app, path="/staff", who=Rule.Who.CHOSEN, groups=["staff"])
    RuleFactory(application=app, path="/staff/lounge", who=Rule.Who.SIGNED_IN)
    RuleFactory(application=app, path="/old", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    RuleFactory(application=app, path="/office", networks="203.0.113.0/24")
    RuleFactory(application=app, path="/read", methods="GET")
    RuleFactory(application=app, path="/recent", factor_minutes=RECENT)
    RuleFactory(application=app, path="/key", passkey=True, factor_minutes=RECENT)
    wiki = f"https://{SITES['wiki']}{port}"
    ApplicationFactory(name="Wiki", origins=[wiki], who=Rule.Who.SIGNED_IN, identity_jwt=True)
    ops = f"https://{SITES['ops']}{port}"
    ApplicationFactory(
        name="Operations",
        origins=[ops],
        groups=["staff"],
        access_token=True,
        id_token=True,
        challenges=Application.Challenges.BOTH,
    )


def token_for(username: str, origin: str) -> str:
    """Sign a user in, and return the gate token of their browser on an origin."""
    sign_in = begin_sign_in(
        User.objects.get(username=username),
        session_digest=f"{username} {origin}",
        address="127.0.0.1",
        user_agent="a browser",
        methods=["password"],
        keep=False,
    )
    now = timezone.now()
    SignIn.objects.filter(pk=sign_in.pk, user__username__in=["frank", "grace"]).update(second_factor_at=now)
    for who, at in (("frank", now), ("grace", now - timedelta(minutes=RECENT + 1))):
        SignIn.objects.filter(pk=sign_in.pk, user__username=who).update(passkey_at=at)
    return open_gate(sign_in, origin)


def api_tokens() -> dict[str, str]:
    """Create the API tokens of the rows, and return each by its placeholder."""
    app = Application.objects.get(name="App")
    made = {
        name: make_token(User.objects.get(username=who), name, [app], 3600)[1]
        for name, who in (("token", "alice"), ("guest", "bob"), ("ended", "alice"))
    }
    ApiToken.objects.filter(name="ended").update(ended_at=timezone.now())
    basic = base64.b64encode(f":{made['token']}".encode()).decode()
    return made | {"basic": basic, "nobody": new_token()}
