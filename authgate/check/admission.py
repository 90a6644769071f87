"""The answer that lets a request in, with identity headers for the application."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from itertools import chain
from typing import Any

from authgate.check.context import Context
from authgate.check.contracts import STATUS, Contract
from authgate.check.memory import ANSWERS_LIMIT, Memory, Picked, Principal, Session, Tokens
from authgate.check.missing import Missing, MissingSigner, MissingTokens
from authgate.check.responses import LONGEST_HEADERS, Answer, Headers, misconfigured
from authgate.check.tally import ALLOWED, NOBODY, NOT_COUNTED, Tally
from authgate.decision.rules import Application, Decision, Subject

IDENTITY_LIFETIME = 120
"""Seconds for which a signed identity is valid. After half of them, it is signed again."""

OURS: Headers = (
    (b"x-auth-credential", b"portal"),
    (b"x-envoy-auth-headers-to-remove", b"authorization"),
)
"""Make nginx and Envoy remove Authorization, because it was for the portal."""

TOKENS: Headers = ((b"x-auth-authorization", b"tokens"),)
"""Makes nginx set Authorization to the value in the answer."""

LONGEST_ECHO = 16_384

PICKED_LIMIT = 32
"""Tallies of a cached answer, by rule and method."""

_UNFIT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TO_ENCODE = re.compile(rb"[^\x20-\x7e]|%|\A +| +\Z")


def admit(
    context: Context, principal: Principal | None, decision: Decision, memory: Memory
) -> Answer | Missing | None:
    """Return the answer that lets this principal into this application, or None if its headers are too long.

    It is cached with the principal, or in memory for visitors who are not signed in. Its tally is that of
    the decision and the method.
    """
    application, target, now = context.application, context.target, context.now
    kept = (memory.public if principal is None else principal.allowed).get(target.origin)
    if kept is not None and kept[0] is application and now < kept[2]:
        answer = kept[1]
        tally = answer.tally
        if tally.decision is not decision or tally.method != target.method:
            again = kept[3].get((decision.rule, target.method))
            if again is None or again.decision is not decision:
                again = _new_tally(context, principal, decision, memory, kept[3])
            answer.tally = again
        return answer
    return _build(context, principal, decision, memory)


def _build(
    context: Context, principal: Principal | None, decision: Decision, memory: Memory
) -> Answer | Missing | None:
    """Return a new answer that lets a principal in, and cache it."""
    application, target, now = context.application, context.target, context.now
    headers, good_until = identity_headers(application, principal.subject if principal else None), math.inf
    if application.identity_jwt:
        signed = b""
        if principal is not None:
            if not memory.signer:
                return MissingSigner()
            signed = memory.signer.sign(identity_claims(context, principal, memory), now)
            good_until = now + IDENTITY_LIFETIME / 2
        headers += ((b"x-ikd-jwt", signed),)
    if application.gets_tokens:
        tokens = principal.tokens if principal is not None else None
        if isinstance(principal, Session):
            if tokens is None or now >= tokens.good_until:
                return MissingTokens(principal)
            good_until = min(good_until, tokens.good_until)
        headers += token_headers(application, tokens)
    if is_too_long(headers):
        return None
    tally = _new_tally(context, principal, decision, memory, None)
    made = _made(application, principal, headers, tally)
    allowed = memory.public if principal is None else principal.allowed
    if len(allowed) >= ANSWERS_LIMIT:
        allowed.clear()
    allowed[target.origin] = (application, made, good_until, Picked())
    return made


def _made(application: Application, principal: Principal | None, headers: Headers, tally: Tally) -> Answer:
    """Return the answer with these headers."""
    if principal is None:
        return Answer(200, headers, tally=tally)
    if principal.is_program and not application.id_token:
        headers += OURS
    return Answer(200, headers, sign_in_id=principal.sign_in_id, token_id=principal.token_id, tally=tally)


def _new_tally(
    context: Context, principal: Principal | None, decision: Decision, memory: Memory, picked: Picked | None
) -> Tally:
    """Return the tally of a cached answer to this request, and add it to `picked`.

    `picked` is None for a new answer, which contains its first tally. Most answers need no other.
    """
    if memory.tallies is None:
        return NOT_COUNTED
    application, subject = context.application, None if principal is None else principal.subject
    if application.watched:  # this tally fits no other request, so each one gets here
        return memory.tally(context, subject, decision, ALLOWED)
    person = NOBODY if subject is None else subject.user_id
    tally = memory.tallies.kept(application.id, person, decision, context.target.method)
    if picked is not None:
        if len(picked) >= PICKED_LIMIT:
            picked.clear()
        picked[decision.rule, tally.method] = tally
    return tally


def with_authorization(allowed: Answer, contract: Contract, value: bytes, memory: Memory) -> Answer:
    """Return the answer with the application's own Authorization, or a refusal if it cannot be returned.

    Proxies such as Traefik copy the header from the answer, and would remove it otherwise. At the URLs of
    oauth2-proxy it is left out, because configurations for oauth2-proxy may trust a returned header. For
    nginx a long one is left out, because nginx passes it on itself.
    """
    if contract.prefix != "/authgate":
        return allowed
    headers = (*allowed.headers, (b"authorization", value))
    is_status = contract.style is STATUS
    if _UNFIT.search(value) or (not is_status and len(value) > LONGEST_ECHO):
        return misconfigured(contract, memory, "authorization cannot be given back")
    if is_status and is_too_long(headers):
        return allowed
    sign_in, token = allowed.sign_in_id, allowed.token_id
    return Answer(200, headers, b"", None, sign_in, token, value, allowed.wire, allowed.tally)


def header_value(text: str, *, comma: bool = False) -> bytes:
    """Return text as a header value in printable ASCII. Other bytes, `%` and outer spaces become %XX."""
    raw = text.encode("utf-8", "surrogatepass")
    encoded = _TO_ENCODE.sub(lambda match: b"".join(b"%%%02X" % byte for byte in match[0]), raw)
    return encoded.replace(b",", b"%2C") if comma else encoded


def identity_headers(application: Application | None, subject: Subject | None) -> Headers:
    """Return the identity headers of an allowed request. All are present, and empty for visitors."""
    user = username = email = groups = name = b""
    if subject is not None:
        username, email = header_value(subject.username), header_value(subject.email)
        name = header_value(subject.display_name)
        user = username
        if application is not None and application.user_header == "uuid":
            user = subject.uuid.encode()
        groups = _groups_value(tuple(groups_for(application, subject)))
    headers = [
        (b"x-auth-request-user", user),
        (b"x-auth-request-email", email),
        (b"x-auth-request-groups", groups),
        (b"x-auth-request-preferred-username", username),
    ]
    if application is not None and application.remote_headers:
        headers += [(b"remote-user", user), (b"remote-email", email)]
        headers += [(b"remote-groups", groups), (b"remote-name", name)]
    if application is not None and application.forwarded_user_header:
        headers.append((b"x-forwarded-user", user))
    if application is not None and application.username_header:
        headers.append((b"username", username))
    return tuple(headers)


def identity_claims(context: Context, principal: Principal, memory: Memory) -> dict[str, Any]:
    """Return the claims of X-Ikd-Jwt. The JWT is valid on one origin, for IDENTITY_LIFETIME."""
    subject = principal.subject
    claims: dict[str, Any] = {
        "iss": memory.settings.portal_origin,
        "aud": context.target.origin,
        "sub": subject.uuid,
        "iat": int(context.now),
        "exp": int(min(context.now + IDENTITY_LIFETIME, principal.expires_at, subject.groups_until)),
        "preferred_username": subject.username,
        "name": subject.display_name,
        "groups": groups_for(context.application, subject),
    }
    return claims | ({"email": subject.email} if subject.email else {})


def token_headers(application: Application, tokens: Tokens | None) -> Headers:
    """Return the headers with a provider's tokens, for an application that gets them.

    If there are none, the proxy removes a client's own values.
    """
    headers: Headers = ()
    if application.access_token:
        headers += ((b"x-auth-request-access-token", tokens.access if tokens else b""),)
    if application.id_token:
        headers += OURS
    if application.id_token and tokens and tokens.id:
        headers += ((b"authorization", b"Bearer " + tokens.id), *TOKENS)
    return headers


def groups_for(application: Application | None, subject: Subject) -> list[str]:
    """Return the sorted names of a subject's groups that an application receives."""
    named = None if application is None else application.named_groups
    return sorted([name for _, name in subject.groups if named is None or name in named])


@lru_cache(maxsize=512)
def _groups_value(names: tuple[str, ...]) -> bytes:
    """Return groups as a header value. All users in the same groups share one object."""
    return b",".join([header_value(name, comma=True) for name in names])


def is_too_long(headers: Headers) -> bool:
    return sum(map(len, chain.from_iterable(headers))) + 4 * len(headers) > LONGEST_HEADERS
