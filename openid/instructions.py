"""Settings to enter in widely used applications, as data for an admin page and the docs.

Values are templates: `$issuer`, `$client_id`, `$secret`, `$scopes`, and `$site`, the address of the
application. No real secret is ever filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

METADATA = "$issuer/.well-known/openid-configuration"
EVERYTHING = "openid profile email groups"


@dataclass(frozen=True, slots=True)
class Instructions:
    """How to set up an application. `settings` are names and values in the application's own words.

    `tried` is the version that the tests run, or "" if they run none. `place` is where the application's
    administrator enters the settings.
    """

    slug: str
    name: str
    place: str
    redirect_uris: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    scopes: str = EVERYTHING
    example: str = ""
    tried: str = ""
    post_logout_uri: str = ""
    backchannel_logout_uri: str = ""
    note: _StrPromise | str = ""

    @property
    def site(self) -> str:
        """The address of the application in examples."""
        return self.example or f"https://{self.slug}.example.com"


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a template with its values filled in."""
    return Template(text).safe_substitute(values)


APPLICATIONS = (
    Instructions(
        "oauth2-proxy",
        "oauth2-proxy",
        "oauth2-proxy.cfg",
        ("$site/oauth2/callback",),
        (
            ("provider", "oidc"),
            ("oidc_issuer_url", "$issuer"),
            ("client_id", "$client_id"),
            ("client_secret_file", "/etc/oauth2-proxy/client-secret"),
            ("redirect_url", "$site/oauth2/callback"),
            ("code_challenge_method", "S256"),
            ("scope", "$scopes"),
        ),
        example="https://wiki.example.com",
        tried="7.15.6",
    ),
    Instructions(
        "mod-auth-openidc",
        "Apache, mod_auth_openidc",
        "site.conf",
        ("$site/openid/callback",),
        (
            ("OIDCProviderMetadataURL", METADATA),
            ("OIDCClientID", "$client_id"),
            ("OIDCClientSecret", "$secret"),
            ("OIDCRedirectURI", "$site/openid/callback"),
            ("OIDCScope", '"$scopes"'),
            ("OIDCPKCEMethod", "S256"),
            ("OIDCRemoteUserClaim", "preferred_username"),
            ("OIDCSessionType", "server-cache"),
        ),
        example="https://wiki.example.com",
        tried="2.4.12.3",
        post_logout_uri="$site/signed-out",
        backchannel_logout_uri="$site/openid/callback?logout=backchannel",
    ),
    Instructions(
        "miniflux",
        "Miniflux",
        "miniflux.conf",
        ("$site/oauth2/oidc/callback",),
        (
            ("BASE_URL", "$site/"),
            ("OAUTH2_PROVIDER", "oidc"),
            ("OAUTH2_OIDC_PROVIDER_NAME", "Portal"),
            ("OAUTH2_OIDC_DISCOVERY_ENDPOINT", "$issuer"),
            ("OAUTH2_CLIENT_ID", "$client_id"),
            ("OAUTH2_CLIENT_SECRET_FILE", "/etc/miniflux/client-secret"),
            ("OAUTH2_REDIRECT_URL", "$site/oauth2/oidc/callback"),
            ("OAUTH2_USER_CREATION", "1"),
        ),
        scopes="openid profile email",
        example="https://feeds.example.com",
        tried="2.3.5",
    ),
    Instructions(
        "grafana",
        "Grafana",
        ".env",
        ("$site/login/generic_oauth",),
        (
            ("GF_SERVER_ROOT_URL", "$site"),
            ("GF_AUTH_GENERIC_OAUTH_ENABLED", "true"),
            ("GF_AUTH_GENERIC_OAUTH_NAME", "Portal"),
            ("GF_AUTH_GENERIC_OAUTH_CLIENT_ID", "$client_id"),
            ("GF_AUTH_GENERIC_OAUTH_CLIENT_SECRET", "$secret"),
            ("GF_AUTH_GENERIC_OAUTH_SCOPES", "$scopes"),
            ("GF_AUTH_GENERIC_OAUTH_AUTH_URL", "$issuer/openid/authorize"),
            ("GF_AUTH_GENERIC_OAUTH_TOKEN_URL", "$issuer/openid/token"),
            ("GF_AUTH_GENERIC_OAUTH_API_URL", "$issuer/openid/userinfo"),
            ("GF_AUTH_GENERIC_OAUTH_USE_PKCE", "true"),
            ("GF_AUTH_GENERIC_OAUTH_LOGIN_ATTRIBUTE_PATH", "preferred_username"),
            ("GF_AUTH_GENERIC_OAUTH_GROUPS_ATTRIBUTE_PATH", "groups"),
        ),
        note=_("GF_AUTH_GENERIC_OAUTH_ROLE_ATTRIBUTE_PATH assigns roles by group."),
    ),
    Instructions(
        "nextcloud",
        "Nextcloud, user_oidc",
        "OpenID Connect user backend",
        ("$site/apps/user_oidc/code",),
        (
            ("Identifier", "Portal"),
            ("Client ID", "$client_id"),
            ("Client secret", "$secret"),
            ("Discovery endpoint", METADATA),
            ("Scope", "$scopes"),
        ),
        note=_("Keep use_pkce set to true in config.php."),
    ),
    Instructions(
        "paperless",
        "Paperless-ngx",
        ".env",
        ("$site/accounts/oidc/portal/login/callback/",),
        (
            ("PAPERLESS_APPS", "allauth.socialaccount.providers.openid_connect"),
            (
                "PAPERLESS_SOCIALACCOUNT_PROVIDERS",
                '{"openid_connect":{"OAUTH_PKCE_ENABLED":true,"SCOPE":["openid","profile","email"],"APPS":['
                '{"provider_id":"portal","name":"Portal","client_id":"$client_id","secret":"$secret",'
                '"settings":{"server_url":"$issuer"}}]}}',
            ),
        ),
        scopes="openid profile email",
    ),
    Instructions(
        "proxmox",
        "Proxmox VE",
        "Datacenter, Permissions, Realms",
        ("$site",),
        (
            ("Issuer URL", "$issuer"),
            ("Realm", "portal"),
            ("Client ID", "$client_id"),
            ("Client Key", "$secret"),
            ("Scopes", "$scopes"),
            ("Groups Claim", "groups"),
        ),
        example="https://proxmox.example.com:8006",
        note=_(
            "Register each address under which browsers open Proxmox VE, with its port and without a path."
        ),
    ),
    Instructions(
        "immich",
        "Immich",
        "Administration, Settings, OAuth",
        ("$site/auth/login", "$site/user-settings", "$site/api/oauth/mobile-redirect"),
        (
            ("Issuer URL", "$issuer"),
            ("Client ID", "$client_id"),
            ("Client Secret", "$secret"),
            ("Token Endpoint Auth Method", "client_secret_basic"),
            ("Scope", "$scopes"),
            ("Mobile Redirect URI Override", "$site/api/oauth/mobile-redirect"),
        ),
        scopes="openid profile email",
    ),
    Instructions(
        "jellyfin",
        "Jellyfin, SSO-Auth",
        "Dashboard, Plugins, SSO-Auth",
        ("$site/sso/OID/redirect/portal",),
        (
            ("Name of the OID Provider", "portal"),
            ("OID Endpoint", "$issuer"),
            ("OpenID Client ID", "$client_id"),
            ("OID Secret", "$secret"),
            ("Enabled", "yes"),
            ("Role Claim", "groups"),
            ("Request Additional Scopes", "groups"),
            ("Set default username claim", "preferred_username"),
        ),
        scopes="openid profile groups",
    ),
    Instructions(
        "vaultwarden",
        "Vaultwarden",
        ".env",
        ("$site/identity/connect/oidc-signin",),
        (
            ("DOMAIN", "$site"),
            ("SSO_ENABLED", "true"),
            ("SSO_AUTHORITY", "$issuer"),
            ("SSO_CLIENT_ID", "$client_id"),
            ("SSO_CLIENT_SECRET", "$secret"),
            ("SSO_PKCE", "true"),
            ("SSO_SCOPES", "profile email offline_access"),
        ),
        scopes="openid profile email offline_access",
        note=_("The master password stays: the portal does not replace it."),
    ),
    Instructions(
        "pgadmin",
        "pgAdmin 4",
        "config_local.py, OAUTH2_CONFIG",
        ("$site/oauth2/authorize",),
        (
            ("OAUTH2_NAME", "portal"),
            ("OAUTH2_CLIENT_ID", "$client_id"),
            ("OAUTH2_CLIENT_SECRET", "$secret"),
            ("OAUTH2_SERVER_METADATA_URL", METADATA),
            ("OAUTH2_SCOPE", "$scopes"),
            ("OAUTH2_USERNAME_CLAIM", "preferred_username"),
            ("OAUTH2_CHALLENGE_METHOD", "S256"),
            ("OAUTH2_RESPONSE_TYPE", "code"),
        ),
        scopes="openid profile email",
        note=_("Add oauth2 to AUTHENTICATION_SOURCES."),
    ),
    Instructions(
        "bookstack",
        "BookStack",
        ".env",
        ("$site/oidc/callback",),
        (
            ("AUTH_METHOD", "oidc"),
            ("OIDC_NAME", "Portal"),
            ("OIDC_ISSUER", "$issuer"),
            ("OIDC_ISSUER_DISCOVER", "true"),
            ("OIDC_CLIENT_ID", "$client_id"),
            ("OIDC_CLIENT_SECRET", "$secret"),
            ("OIDC_ADDITIONAL_SCOPES", "groups"),
            ("OIDC_GROUPS_CLAIM", "groups"),
        ),
    ),
    Instructions(
        "open-webui",
        "Open WebUI",
        ".env",
        ("$site/oauth/oidc/callback",),
        (
            ("WEBUI_URL", "$site"),
            ("ENABLE_OAUTH_SIGNUP", "true"),
            ("OPENID_PROVIDER_URL", METADATA),
            ("OAUTH_PROVIDER_NAME", "Portal"),
            ("OAUTH_CLIENT_ID", "$client_id"),
            ("OAUTH_CLIENT_SECRET", "$secret"),
            ("OAUTH_SCOPES", "$scopes"),
            ("OAUTH_CODE_CHALLENGE_METHOD", "S256"),
        ),
        scopes="openid profile email",
    ),
)

WITHOUT_PKCE = ("Gitea", "Forgejo", "Mattermost", "Portainer")
"""Applications that sent no PKCE challenge when this list was written. The portal refuses them."""


def named(slug: str) -> Instructions | None:
    return next((each for each in APPLICATIONS if each.slug == slug), None)
