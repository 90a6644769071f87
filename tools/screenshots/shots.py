"""The pages to take, and how the browser opens them."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page

from tools.screenshots.site import Shot, Site, fill_in


def at(path: str) -> Callable[[Page, Site], object]:
    return lambda page, site: page.goto(site.portal + path)


def of_row(path: str, kind: str) -> Callable[[Page, Site], object]:
    return lambda page, site: page.goto(f"{site.portal}/admin/{path}/{site.keys[kind]}/change/")


def to_application(name: str) -> Callable[[Page, Site], object]:
    return lambda page, site: page.goto(f"{site.applications[name]}/")


def wrong_password(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/accounts/login/")
    fill_in(page, "bob", "not the password")


def too_many_attempts(page: Page, site: Site) -> None:
    for _ in range(7):
        page.goto(f"{site.portal}/accounts/login/")
        fill_in(page, "dave", "not the password")


def stale_form(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/accounts/login/")
    page.context.clear_cookies()
    fill_in(page, "bob", "whatever")


def searching(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/")
    page.locator("input[type=search]").fill("engin")


def signing_out(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/accounts/logout/")
    page.locator("main button[type=submit]").first.click()


def confirmed(path: str) -> Callable[[Page, Site], object]:
    """Open, as alice, a page that asks for the password again."""

    def come(page: Page, site: Site) -> None:
        page.goto(f"{site.portal}/accounts/reauthenticate/?next={path}")
        page.locator("input[name=password]").fill(site.passwords["alice"])
        page.locator("main form:has(input[name=password]) button").first.click()
        page.wait_for_url(f"{site.portal}{path}")

    return come


def tested_provider(page: Page, site: Site) -> None:
    of_row("accounts/upstream", "provider")(page, site)
    page.locator("form[action$='/test/'] [type=submit], [formaction$='/test/']").first.click()


def framed(page: Page, site: Site) -> None:
    """Show a protected site inside another page, where browsers send it no cookie."""
    page.goto(f"{site.portal}/healthz")
    page.set_content(
        f'<h1>Intranet</h1><iframe src="{site.applications["wiki"]}/" width="90%" height="500"></iframe>'
    )
    page.wait_for_timeout(1000)


def new_token(page: Page, site: Site) -> None:
    confirmed("/accounts/tokens/new/")(page, site)
    page.locator("input[name=name]").fill("backup")
    page.locator("input[name=applications]").first.check()
    page.locator("main button[type=submit]").first.click()


SHOTS = (
    Shot("sign-in", "", at("/accounts/login/")),
    Shot("sign-in-for-an-application", "", to_application("wiki"), in_docs=True),
    Shot("sign-in-wrong-password", "", wrong_password),
    Shot("sign-in-too-many-attempts", "", too_many_attempts),
    Shot("form-too-old", "", stale_form),
    Shot("inactive", "", at("/accounts/inactive/")),
    Shot("not-found", "", at("/no-such-page")),
    Shot("broken-link", "", at("/continue?state=x")),
    Shot("first-administrator-too-late", "", at("/first-administrator/x")),
    Shot("no-cookies", "", lambda page, site: page.goto(site.no_cookies)),
    Shot("launcher", "alice", at("/"), in_docs=True),
    Shot("launcher-searched", "alice", searching),
    Shot("launcher-empty", "erin", at("/")),
    Shot("account", "alice", at("/accounts/")),
    Shot("profile", "alice", at("/accounts/profile/")),
    Shot("addresses", "alice", confirmed("/accounts/addresses/")),
    Shot("sessions", "alice", at("/accounts/sessions/")),
    Shot("events", "alice", at("/accounts/events/")),
    Shot("connected-applications", "alice", at("/accounts/applications/")),
    Shot("tokens", "alice", confirmed("/accounts/tokens/")),
    Shot("token-new", "alice", confirmed("/accounts/tokens/new/")),
    Shot("token-shown-once", "alice", new_token),
    Shot("providers", "alice", confirmed("/accounts/providers/")),
    Shot("second-factors", "alice", confirmed("/accounts/second-factor/")),
    Shot("second-factor-app", "alice", confirmed("/accounts/second-factor/app/")),
    Shot("password-reset", "", at("/accounts/password/reset/")),
    Shot("invitation-over", "", at("/invitation/x/")),
    Shot("password-change", "alice", at("/accounts/password/change/")),
    Shot("confirm", "alice", at("/accounts/reauthenticate/")),
    Shot("switch-account", "alice", at("/switch-account")),
    Shot("sign-out", "alice", at("/accounts/logout/")),
    Shot("refused", "bob", to_application("ops")),
    Shot("framed", "", framed),
    Shot("not-staff", "bob", at("/admin/")),
    Shot("signed-out", "bob", signing_out),
    Shot("admin", "carol", at("/admin/"), in_docs=True),
    Shot("admin-application", "carol", of_row("authgate/application", "application")),
    Shot("admin-application-new", "carol", at("/admin/authgate/application/add/")),
    Shot("admin-user", "carol", of_row("accounts/user", "user")),
    Shot("admin-sign-in", "carol", of_row("authgate/signin", "sign-in")),
    Shot("admin-group", "carol", of_row("accounts/group", "group")),
    Shot("admin-provider", "carol", of_row("accounts/upstream", "provider")),
    Shot("admin-provider-tested", "carol", tested_provider),
    Shot("admin-invitation", "carol", at("/admin/accounts/invitation/add/")),
    Shot("admin-brand", "carol", at("/admin/accounts/brand/1/change/")),
)

LISTS = tuple(
    Shot(f"admin-{name}", "carol", at(f"/admin/{path}/"))
    for name, path in (
        ("applications", "authgate/application"),
        ("users", "accounts/user"),
        ("groups", "accounts/group"),
        ("sign-ins", "authgate/signin"),
        ("gate-sessions", "authgate/gatesession"),
        ("events", "authgate/auditevent"),
        ("mistakes", "authgate/configurationevent"),
        ("providers", "accounts/upstream"),
        ("identities", "accounts/identity"),
        ("tokens", "accounts/apitoken"),
        ("invitations", "accounts/invitation"),
    )
)
"""The admin's lists, taken once a whole company is in the database."""


def of_key(path: str) -> Callable[[Page, Site], object]:
    """Open a page with keys of the company's rows in its path, such as `{change}`."""
    return lambda page, site: page.goto(site.portal + path.format_map(site.keys))


def managing(path: str) -> Callable[[Page, Site], object]:
    """Open a page for owners as alice, who has just confirmed her password."""
    return lambda page, site: confirmed(f"/accounts/managed/{path}".format_map(site.keys))(page, site)


def submit(page: Page) -> None:
    page.locator("#content input[type=submit].default").first.click()


def explained(page: Page, site: Site) -> None:
    """Explain a refusal of a path with several variants."""
    page.goto(f"{site.portal}/admin/authgate/application/explain/")
    path = f"{'a-long-path/' * 9}..%2fadmin"
    page.locator("input[name=url]").fill(f"{site.applications['ops']}/{path}")
    page.locator("input[name=person]").fill("bob")
    submit(page)


def explained_simply(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/admin/authgate/application/explain/")
    page.locator("input[name=url]").fill(f"{site.applications['ops']}/")
    page.locator("input[name=person]").fill("alice")
    submit(page)


def effect(page: Page, site: Site) -> None:
    """Open an application to everyone."""
    of_key("/admin/authgate/application/{company application}/change/")(page, site)
    page.locator("select[name=rules-0-who]").select_option("everyone")
    page.locator("select[name=rules-1-who]").select_option("signed_in")
    page.locator("input[name=_save]").click()


def effect_of_owner(page: Page, site: Site) -> None:
    """Begin the maintenance of an application as its owner."""
    managing("applications/{company application}/")(page, site)
    page.locator("main input[name=maintenance]").check()
    page.locator("main form:has(input[name=maintenance]) button").first.click()


def effect_of_action(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/admin/accounts/user/?q=jensen")
    for box in page.locator("input.action-select").all()[:4]:
        box.check()
    page.locator("select[name=action]").first.select_option("disable")
    page.locator("#changelist button[name=index]").first.click()


def question(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/admin/accounts/user/")
    for box in page.locator("input.action-select").all()[:9]:
        box.check()
    page.locator("select[name=action]").first.select_option("end_sign_ins")
    page.locator("#changelist button[name=index]").first.click()


def imported(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/admin/accounts/user/import/")
    names = "\n".join(f"newcomer{number},Newcomer {number},n{number}@example.com," for number in range(9))
    lines = ("wang.xiuying,王秀英,w@example.com,研发部;releases", "alice,,,", "bad name,,x,")
    page.locator("textarea").fill("\n".join(("username,display_name,email,groups", names, *lines)))
    submit(page)


def asking_for_access(page: Page, site: Site) -> None:
    page.goto(f"{site.applications['ops']}/")
    page.locator("a[href*='/access/ask/']").click()


def previewed(page: Page, site: Site) -> None:
    of_key("/admin/openid/client/{client}/preview/")(page, site)
    page.locator("#content input[name=person]").fill("bob")
    page.locator("#content input[type=submit]").first.click()


def new_secret(page: Page, site: Site) -> None:
    of_key("/admin/openid/client/{client}/secrets/")(page, site)
    page.locator("#content [type=submit]").first.click()


def consented(page: Page, site: Site) -> None:
    page.goto(site.portal + site.links["consent"])


def device(page: Page, site: Site) -> None:
    asked = {"client_id": site.links["device"], "scope": "openid profile groups"}
    page.goto(f"{site.portal}/openid/device")
    options = "{method: 'POST', body: new URLSearchParams(form)}"
    send = f"async form => (await fetch('/openid/device_authorization', {options})).json()"
    begun = page.evaluate(send, asked)
    page.goto(f"{site.portal}/openid/device?user_code={begun['user_code']}")
    page.locator("main form button").first.click()


def lock_link(page: Page, site: Site) -> None:
    page.goto(site.links["lock"])


EMPTY = tuple(
    Shot(f"empty-{name}", who, way)
    for name, who, way in (
        ("admin", "carol", at("/admin/")),
        ("requests", "carol", at("/admin/accounts/accessrequest/")),
        ("reviews", "carol", at("/admin/accounts/accessreview/")),
        ("people-in-reviews", "carol", at("/admin/accounts/accessreviewentry/")),
        ("changes", "carol", at("/admin/authgate/journalentry/?q=nothing-like-this")),
        ("unused-access", "carol", at("/admin/authgate/application/unused-access/")),
        ("trials", "carol", of_key("/admin/authgate/application/{application}/trials/")),
        ("doctor", "carol", of_key("/admin/authgate/application/{application}/doctor/")),
        ("doctor-all", "carol", at("/admin/authgate/application/doctor/")),
        ("clients", "carol", at("/admin/openid/client/")),
        ("opened-by", "carol", of_key("/admin/authgate/application/opened-by/{nobody}/")),
        ("search", "carol", at("/admin/search/?q=nothing-like-this")),
        ("proof", "carol", of_key("/admin/openid/client/proof/user/{nobody}/")),
        ("explain", "carol", at("/admin/authgate/application/explain/?decision=x")),
        ("import", "carol", at("/admin/accounts/user/import/")),
        ("managed", "alice", confirmed("/accounts/managed/")),
        ("sign-in-at-device", "alice", at("/openid/device")),
        ("lock-spent", "", at("/accounts/lock/x/")),
        ("locked", "", at("/accounts/locked/")),
        ("connected-applications", "bob", at("/accounts/applications/")),
    )
)
"""Pages without content yet."""

COMPANY = tuple(
    Shot(name, who, way, in_docs=name == "admin-explained")
    for name, who, way in (
        ("admin-glance", "carol", at("/admin/")),
        ("admin-search", "carol", at("/admin/search/?q=grafana")),
        ("admin-explained", "carol", explained_simply),
        ("admin-explained-refusal", "carol", explained),
        ("admin-who-can-open", "carol", of_key("/admin/authgate/application/{company application}/access/")),
        ("admin-opened-by", "carol", of_key("/admin/authgate/application/opened-by/{user}/")),
        ("admin-effect", "carol", effect),
        ("admin-effect-of-action", "carol", effect_of_action),
        ("admin-question", "carol", question),
        ("admin-changes", "carol", at("/admin/authgate/journalentry/")),
        ("admin-change", "carol", of_key("/admin/authgate/journalentry/{change}/change/")),
        ("admin-undo", "carol", of_key("/admin/authgate/journalentry/{change}/undo/")),
        ("admin-trials", "carol", of_key("/admin/authgate/application/{company application}/trials/")),
        ("admin-tightening", "carol", at("/admin/authgate/application/unused-access/?days=30")),
        ("admin-reviews", "carol", at("/admin/accounts/accessreview/")),
        ("admin-review", "carol", of_key("/admin/accounts/accessreview/{review}/change/")),
        ("admin-people-in-reviews", "carol", at("/admin/accounts/accessreviewentry/")),
        ("admin-proxy", "carol", of_key("/admin/authgate/application/{company application}/proxy/")),
        ("admin-doctor", "carol", of_key("/admin/authgate/application/{company application}/doctor/")),
        ("admin-doctor-all", "carol", at("/admin/authgate/application/doctor/")),
        (
            "admin-big-application",
            "carol",
            of_key("/admin/authgate/application/{company application}/change/"),
        ),
        (
            "admin-locked-application",
            "carol",
            of_key("/admin/authgate/application/{locked application}/change/"),
        ),
        ("admin-locked-user", "carol", of_key("/admin/accounts/user/{locked user}/change/")),
        ("admin-proof", "carol", of_key("/admin/openid/client/proof/user/{user}/")),
        ("admin-requests", "carol", at("/admin/accounts/accessrequest/")),
        ("admin-request", "carol", of_key("/admin/accounts/accessrequest/{answered request}/change/")),
        ("admin-import", "carol", imported),
        ("admin-clients", "carol", at("/admin/openid/client/")),
        ("admin-client", "carol", of_key("/admin/openid/client/{client}/change/")),
        ("admin-client-secrets", "carol", new_secret),
        ("admin-client-setup", "carol", of_key("/admin/openid/client/{client}/setup/?for=paperless")),
        ("admin-client-preview", "carol", previewed),
        ("admin-big-group", "carol", of_key("/admin/accounts/group/{managed group}/change/")),
        ("managed", "alice", managing("")),
        ("managed-application", "alice", managing("applications/{company application}/")),
        ("managed-effect", "alice", effect_of_owner),
        ("managed-people", "alice", managing("applications/{company application}/people/")),
        ("managed-events", "alice", managing("applications/{company application}/events/")),
        ("managed-rule", "alice", managing("rules/{managed rule}/")),
        ("managed-group", "alice", managing("groups/{managed group}/")),
        ("access-review", "alice", managing("reviews/{review}/")),
        ("access-request", "alice", of_key("/access/requests/{request}/")),
        ("access-request-answered", "alice", of_key("/access/requests/{answered request}/")),
        ("access-ask", "bob", asking_for_access),
        ("consent", "alice", consented),
        ("device", "alice", device),
        ("connected-applications-full", "alice", at("/accounts/applications/")),
        ("lock-account", "", lock_link),
    )
)
"""Pages about a whole company, taken once it is in the database."""
