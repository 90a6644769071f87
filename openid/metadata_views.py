"""Documents that clients read first: the discovery document and the key set."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.second_factor.middleware import asks_for_factor
from openid import keys, policy
from openid.cross_origin import from_any_page
from openid.protocol import assertions, client_authentication, device, signed
from openid.protocol.authorization import SCOPES


@asks_for_factor
@from_any_page
@require_safe
def configuration(request: HttpRequest) -> HttpResponse:
    """Return the provider's metadata (OpenID Connect Discovery, section 3). It does not depend on Host."""
    secrets = [method for method in client_authentication.METHODS if method != "none"]
    document: dict[str, Any] = {
        "issuer": settings.IKD_PORTAL_ORIGIN,
        "authorization_endpoint": _url("openid_authorize"),
        "device_authorization_endpoint": _url("openid_device_authorization"),
        "token_endpoint": _url("openid_token"),
        "userinfo_endpoint": _url("openid_userinfo"),
        "introspection_endpoint": _url("openid_introspect"),
        "revocation_endpoint": _url("openid_revoke"),
        "end_session_endpoint": _url("openid_logout"),
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "jwks_uri": _url("openid_keys"),
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", device.GRANT_TYPE],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [signed.ALGORITHM],
        "token_endpoint_auth_methods_supported": list(client_authentication.METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(assertions.ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": secrets,
        "revocation_endpoint_auth_methods_supported": list(client_authentication.METHODS),
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": list(policy.ACR_VALUES),
        "claims_supported": ["sub", "name", "preferred_username", "email", "email_verified", "groups"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
    }
    return _public(document, "application/json")


@asks_for_factor
@from_any_page
@require_safe
def key_set(request: HttpRequest) -> HttpResponse:
    """Return the public keys for ID tokens and logout tokens."""
    return _public(keys.key_set(), "application/jwk-set+json")


def _url(name: str) -> str:
    return f"{settings.IKD_PORTAL_ORIGIN}{reverse(name)}"


def _public(document: dict[str, Any], content_type: str) -> HttpResponse:
    response = HttpResponse(json.dumps(document), content_type=content_type)
    response["Cache-Control"] = f"public, max-age={keys.KEY_SET_MAX_AGE}"
    return response
