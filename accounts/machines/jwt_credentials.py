"""The look-up of programs' credentials that are not in memory, in the database."""

from __future__ import annotations

from typing import Any

from accounts.factors import lacks_factor
from accounts.machines import loader
from accounts.models import Identity, Upstream
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.oidc.metadata import Source, verify_token
from accounts.upstreams.oidc.signed_tokens import PROGRAM_TOKEN, NotYetValid, UnknownKey, validate_for_program
from authgate.check.credentials import TOKEN_KIND, credential_in, issuer_of
from authgate.check.memory import Memory, Program, Unknown
from authgate.check.request import RequestHeaders
from authgate.worker.loader import subject_of


def load_program(key: bytes, headers: RequestHeaders, memory: Memory) -> tuple[Program | None, bool]:
    """Return the program of a credential, or None, and whether memory may keep this answer."""
    if key[:1] == TOKEN_KIND:
        return loader.load_tokens([key[1:]]).get(key[1:]), True
    issuers = loader.load_issuers() if isinstance(memory.issuers, Unknown) else memory.issuers
    credential = credential_in(headers, issuers)
    if credential is None or credential.key != key or not credential.jwt:
        return None, False
    return _of_jwt(credential.jwt)


def _of_jwt(token: bytes) -> tuple[Program | None, bool]:
    """Return the program of a trusted provider's JWT, or None, and whether memory may keep this answer.

    Memory may not keep the refusal of a token that is not valid yet, or that has an unknown key. The portal
    may accept such a token a moment later.
    """
    lasts = True
    for upstream in loader.trusted_upstreams().filter(issuer=issuer_of(token) or ""):
        try:
            claims, _ = verify_token(upstream, token.decode("ascii"), PROGRAM_TOKEN, Source.CLIENT)
            validate_for_program(claims, Upstream.client_ids_at(upstream.issuer))
        except ProviderError as error:
            is_passing = isinstance(error, NotYetValid | UnknownKey) or error.page is ErrorPage.UNAVAILABLE
            lasts = lasts and not is_passing
            continue
        return _of_subject(upstream, claims), True
    return None, lasts


def _of_subject(upstream: Upstream, claims: dict[str, Any]) -> Program | None:
    """Return the program of the user linked to a subject, unless the user lacks a required second factor.

    Never find users by name or address, and never create one.
    """
    subject = claims["sub"]
    identity = (
        Identity.objects.select_related("user")
        .filter(upstream=upstream, subject=subject, user__is_active=True)
        .exclude(lacks_factor("user"))
        .first()
    )
    if identity is None or identity.subject != subject:
        return None
    return Program(
        subject=subject_of(identity.user),
        expires_at=float(claims["exp"]) + PROGRAM_TOKEN.leeway,
    )
