"""Authorization requests (Core, section 3.1.2.1), and where their answers go."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from openid.protocol import pkce, redirect_uris
from openid.protocol.errors import AuthorizationError, Unredirectable
from openid.protocol.parameters import Parameters

SCOPES = ("openid", "profile", "email", "groups", "offline_access")
PROMPTS = frozenset(("none", "login", "consent", "select_account"))
LONGEST_NONCE = 512
LONGEST_STATE = 4096
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_MAX_AGE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """The facts about a client that a request is validated against. `scopes` are those it may have."""

    client_id: str
    redirect_uris: tuple[str, ...]
    is_public: bool
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answer goes: a registered redirect URI, with the client's `state`."""

    redirect_uri: str
    state: str


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid request. `max_age` is in seconds; one of the values in `essential_acr` is required."""

    client_id: str
    place: Place
    scopes: tuple[str, ...]
    challenge: str
    nonce: str = ""
    prompts: frozenset[str] = frozenset()
    max_age: int | None = None
    id_token_hint: str = ""
    essential_acr: frozenset[str] | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the portal must not ask the user anything."""
        return "none" in self.prompts


def place_of(parameters: Parameters, client: ClientFacts) -> Place:
    """Return where to send the answer. Raises Unredirectable (6749, section 3.1.2.4)."""
    uri = parameters.get("redirect_uri")
    if not uri:
        raise Unredirectable("the request names no redirect URI, or several")
    if not redirect_uris.matches(uri, client.redirect_uris, is_public=client.is_public):
        raise Unredirectable("the redirect URI is not registered for the application")
    state = parameters.get("state")
    return Place(uri, state if len(state) <= LONGEST_STATE else "")


def parse(parameters: Parameters, client: ClientFacts, place: Place) -> AuthorizationRequest:
    """Return the request. Raises AuthorizationError if any parameter is wrong."""
    _refuse_unsupported(parameters)
    prompts = _prompts(parameters.get("prompt"))
    return AuthorizationRequest(
        client_id=client.client_id,
        place=place,
        scopes=_scopes(parameters.get("scope"), client),
        challenge=_challenge(parameters),
        nonce=_nonce(parameters.get("nonce")),
        prompts=prompts,
        max_age=_max_age(parameters.get("max_age")),
        id_token_hint=parameters.get("id_token_hint"),
        essential_acr=_essential_acr(parameters.get("claims")),
    )


def _refuse_unsupported(parameters: Parameters) -> None:
    if parameters.doubled:
        raise AuthorizationError("invalid_request", "a parameter came more than once")
    if len(parameters.get("state")) > LONGEST_STATE:
        raise AuthorizationError("invalid_request", "state is too long")
    for name in ("request", "request_uri"):
        if parameters.get(name):
            raise AuthorizationError(f"{name}_not_supported", f"{name} is not supported")
    if parameters.get("registration"):
        raise AuthorizationError("registration_not_supported", "registration is not supported")
    response_type = parameters.get("response_type")
    if not response_type:
        raise AuthorizationError("invalid_request", "response_type is missing")
    if response_type != "code":
        raise AuthorizationError("unsupported_response_type", "only the response type code is supported")
    if parameters.get("response_mode") not in ("", "query"):
        raise AuthorizationError("invalid_request", "only the response mode query is supported")


def _scopes(text: str, client: ClientFacts) -> tuple[str, ...]:
    """Return the known scopes that the client may have. Other scopes are ignored (Core, section 3.1.2.1)."""
    asked = text.split(" ") if text else []
    if any(not _SCOPE.fullmatch(each) for each in asked):
        raise AuthorizationError("invalid_scope", "scope cannot be read")
    if "openid" not in asked:
        raise AuthorizationError("invalid_scope", "the scope openid is missing")
    return tuple(each for each in SCOPES if each in asked and (each == "openid" or each in client.scopes))


def _challenge(parameters: Parameters) -> str:
    challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
    if not challenge:
        raise AuthorizationError("invalid_request", "code_challenge is missing")
    if method != "S256":
        raise AuthorizationError("invalid_request", "code_challenge_method must be S256")
    if not pkce.is_challenge(challenge):
        raise AuthorizationError("invalid_request", "code_challenge is no SHA-256 in base64url")
    return challenge


def _nonce(text: str) -> str:
    if len(text) > LONGEST_NONCE:
        raise AuthorizationError("invalid_request", "nonce is too long")
    return text


def _prompts(text: str) -> frozenset[str]:
    prompts = frozenset(text.split())
    if not prompts <= PROMPTS:
        raise AuthorizationError("invalid_request", "prompt has a value that is not known")
    if "none" in prompts and len(prompts) > 1:
        raise AuthorizationError("invalid_request", "prompt has none beside another value")
    return prompts


def _max_age(text: str) -> int | None:
    if not text:
        return None
    if not _MAX_AGE.fullmatch(text):
        raise AuthorizationError("invalid_request", "max_age is no number of seconds")
    return int(text)


def _essential_acr(text: str) -> frozenset[str] | None:
    """Return acr values, one of which the client requires (Core, section 5.5.1.1), or None."""
    if not text:
        return None
    try:
        claims = json.loads(text)
    except (ValueError, RecursionError):
        raise AuthorizationError("invalid_request", "claims is no JSON") from None
    wanted = claims.get("id_token") if isinstance(claims, dict) else None
    acr = wanted.get("acr") if isinstance(wanted, dict) else None
    if not isinstance(acr, dict) or acr.get("essential") is not True:
        return None
    values = acr.get("values", [acr.get("value")])
    found = values if isinstance(values, list) else []
    named = frozenset(each for each in found if isinstance(each, str))
    return named or None


def answer_url(place: Place, issuer: str, **parameters: str) -> str:
    """Return the URL that sends an answer to the client. Every answer names the issuer (9207, section 2)."""
    answer = {name: text for name, text in parameters.items() if text}
    answer |= {"state": place.state} if place.state else {}
    return redirect_uris.with_parameters(place.redirect_uri, {**answer, "iss": issuer})
