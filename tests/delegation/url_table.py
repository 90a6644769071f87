"""The users who may open each URL. A route without a row here fails test_every_url.py."""

from __future__ import annotations

from tests.delegation.kinds import ALL, ANONYMOUS, KINDS, MANAGER, OWNER, SINGLE, SUPERUSER

EVERYONE = frozenset(KINDS)
SIGNED_IN = EVERYONE - {ANONYMOUS}
STAFF = frozenset((*SINGLE, ALL, SUPERUSER))
SUPER = frozenset((SUPERUSER,))
ANSWERS = frozenset((OWNER, SUPERUSER))
OWNS, MANAGES = frozenset((OWNER,)), frozenset((MANAGER,))
NOBODY: frozenset[str] = frozenset()
"""For URLs that need a link's secret, a client's credential and another method, or a row of the user."""


def any_of(*permissions: str) -> frozenset[str]:
    """Return the kinds of staff with one of these permissions, including all permissions and superusers."""
    return frozenset(permissions) & STAFF | {ALL, SUPERUSER}


def of_model(app: str, model: str, **changed: frozenset[str]) -> dict[str, frozenset[str]]:
    """Return the rows of a model's admin pages. `changed` replaces rows that differ from Django's."""
    view = any_of(f"{app}.view_{model}", f"{app}.change_{model}")
    rows = {
        "": view,
        "add/": any_of(f"{app}.add_{model}"),
        "<path:object_id>/history/": view,
        "<path:object_id>/delete/": any_of(f"{app}.delete_{model}"),
        "<path:object_id>/change/": view,
        "<path:object_id>/": STAFF,
    }
    rows |= {
        {"list": "", "add": "add/", "delete": "<path:object_id>/delete/"}[name]: who
        for name, who in changed.items()
    }
    return {f"admin/{app}/{model}/{path}": who for path, who in rows.items()}


MODELS = {
    **of_model("authgate", "application"),
    **of_model("authgate", "configurationevent", add=NOBODY),
    **of_model("authgate", "auditevent", add=NOBODY, delete=NOBODY),
    **of_model("authgate", "journalentry", add=NOBODY, delete=NOBODY),
    **of_model("authgate", "signin", add=NOBODY, delete=NOBODY),
    **of_model("authgate", "gatesession", add=NOBODY, delete=NOBODY),
    **of_model("accounts", "accessrequest", add=NOBODY, delete=NOBODY),
    **of_model("accounts", "accessreview", add=NOBODY, delete=NOBODY),
    **of_model("accounts", "accessreviewentry", add=NOBODY, delete=NOBODY),
    **of_model("accounts", "apitoken", add=NOBODY, delete=NOBODY),
    **of_model("accounts", "brand", list=STAFF, add=NOBODY, delete=NOBODY),
    # Only superusers delete privileged groups and users, and their identities.
    **of_model("accounts", "group", delete=SUPER),
    **of_model("accounts", "invitation"),
    **of_model("accounts", "upstream", add=SUPER, delete=SUPER),
    **of_model("accounts", "identity", delete=SUPER),
    **of_model("accounts", "user", add=frozenset((ALL, SUPERUSER)), delete=SUPER),
    **of_model("openid", "client", add=NOBODY, delete=NOBODY),
}
"""The admin pages of models, for rows of a superuser and a group with every permission."""

EXPLAINS = any_of("authgate.explain_access")
VIEWS_CLIENT = any_of("openid.view_client")
ADMIN = {
    "admin": EVERYONE,  # leads on to admin/
    "admin/logout": EVERYONE,  # leads on to accounts/logout/
    "admin/": STAFF,
    "admin/search/": STAFF,
    "admin/login/": STAFF,
    "admin/logout/": STAFF,
    "admin/password_change/": STAFF,
    "admin/password_change/done/": STAFF,
    "admin/autocomplete/": NOBODY,  # without a field to complete
    "admin/jsi18n/": STAFF,
    "admin/r/<path:content_type_id>/<path:object_id>/": NOBODY,
    r"admin/^(?P<app_label>authgate|accounts|auth|openid)/$": frozenset(
        kind for kind in STAFF if kind.startswith("accounts.") or kind in (ALL, SUPERUSER)
    ),
    r"admin/(?P<url>.*)$": NOBODY,
    "admin/authgate/application/explain/": EXPLAINS,
    "admin/authgate/application/access/": EXPLAINS,
    "admin/authgate/application/opened-by/<int:key>/": EXPLAINS,
    "admin/authgate/application/<int:key>/access/": EXPLAINS,
    "admin/authgate/application/unused-access/": EXPLAINS,
    "admin/authgate/application/<int:key>/unused-access/": frozenset((ALL, SUPERUSER)),
    "admin/authgate/application/<int:key>/trials/": EXPLAINS,
    "admin/authgate/application/doctor/": frozenset((ALL, SUPERUSER)),
    "admin/authgate/application/<int:key>/doctor/": frozenset((ALL, SUPERUSER)),
    "admin/authgate/journalentry/<int:key>/undo/": frozenset((ALL, SUPERUSER)),
    "admin/accounts/accessreview/<int:key>/csv/": any_of("accounts.view_accessreview"),
    "admin/accounts/user/import/": frozenset((ALL, SUPERUSER)),
    "admin/authgate/application/<int:key>/proxy/": any_of(
        "authgate.view_application", "authgate.change_application"
    ),
    "admin/accounts/upstream/<int:key>/test/": STAFF,  # by POST, and only superusers
    "admin/accounts/user/<id>/password/": SUPER,
    "admin/openid/client/<int:key>/secrets/": any_of("openid.change_client"),
    "admin/openid/client/proof/sign-in/<int:key>/": frozenset((ALL, SUPERUSER)),
    "admin/openid/client/proof/user/<int:key>/": frozenset((ALL, SUPERUSER)),
    "admin/openid/client/<int:key>/setup/": VIEWS_CLIENT,
    "admin/openid/client/<int:key>/preview/": frozenset((ALL, SUPERUSER)),
}
FOR_EVERYONE = (
    "^accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]{1,13})-(?P<key>[0-9A-Za-z-]{1,100})/$",
    *("brand/accent.css", "brand/logo", "accounts/login/", "accounts/logout/", "accounts/inactive/"),
    *("accounts/password/reset/", "accounts/password/reset/sent/", "accounts/password/reset/changed/"),
    *("accounts/addresses/confirm/<str:key>/", "accounts/locked/", "accounts/login/passkey/"),
    *("upstreams/<slug:slug>/start", "upstreams/<slug:slug>/callback"),
    *("upstreams/<slug:slug>/backchannel-logout", "language/", "signed-out", "signed-out/provider"),
    *("continue", "enter", ".well-known/jwks.json", ".well-known/openid-configuration"),
    *("openid/keys.json", "openid/authorize", "openid/consent", "openid/device_authorization"),
    *("openid/device/answer", "openid/token", "openid/introspect", "openid/logout"),
    *("openid/logout/confirmed", "openid/revoke"),
)
FOR_NOBODY = (
    # URLs with a random key, or the secret of a link.
    *("icons/<str:key>", "icons/providers/<str:key>", "accounts/lock/<str:token>/"),
    *("invitation/<str:token>/", "first-administrator/<str:token>", "openid/device/qr.svg"),
    # Disabled by a setting, redirects to the sign-in, or needs a bearer token.
    *("register/", "auth/ssologin", "openid/userinfo"),
    # Users here lack a page to ask for, a code or key to remove, or codes to show.
    *("access/ask/", "accounts/second-factor/app/remove/", "accounts/second-factor/codes/"),
    *("accounts/second-factor/passkeys/<int:pk>/rename/", "accounts/second-factor/passkeys/<int:pk>/remove/"),
)
EACH_SIGNED_IN = (
    *("", "favourites/<int:application>", "accounts/password/change/", "accounts/reauthenticate/"),
    *("accounts/", "accounts/profile/", "accounts/sessions/", "accounts/sessions/end-others/"),
    *("accounts/sessions/<uuid:uuid>/end/", "accounts/events/", "accounts/addresses/", "accounts/managed/"),
    *("accounts/tokens/", "accounts/tokens/new/", "accounts/tokens/<int:pk>/end/", "accounts/providers/"),
    *("accounts/providers/confirm/", "accounts/providers/link/<slug:slug>/"),
    *("accounts/providers/unlink/<int:key>/", "accounts/second-factor/", "accounts/second-factor/needed/"),
    *("accounts/second-factor/passkey-needed/", "accounts/second-factor/sign-in/"),
    *("accounts/second-factor/device/", "accounts/second-factor/devices/forget/"),
    *("accounts/second-factor/devices/<int:pk>/forget/", "accounts/second-factor/code/"),
    *("accounts/second-factor/passkey/", "accounts/second-factor/app/"),
    *("accounts/second-factor/passkeys/add/", "accounts/second-factor/codes/new/", "auth/verification"),
    *("switch-account", "accounts/applications/", "accounts/applications/<int:pk>/end/", "openid/device"),
)
DELEGATED = {
    "access/requests/<int:pk>/": ANSWERS,
    "accounts/managed/applications/<int:pk>/": OWNS,
    "accounts/managed/applications/<int:pk>/people/": OWNS,
    "accounts/managed/applications/<int:pk>/events/": OWNS,
    "accounts/managed/reviews/<int:pk>/": ANSWERS,
    "accounts/managed/rules/<int:pk>/": OWNS,
    "accounts/managed/groups/<int:pk>/": MANAGES,
}

TABLE = {
    **dict.fromkeys(FOR_EVERYONE, EVERYONE),
    **dict.fromkeys(FOR_NOBODY, NOBODY),
    **dict.fromkeys(EACH_SIGNED_IN, SIGNED_IN),
    **DELEGATED,
    **ADMIN,
    **MODELS,
}
