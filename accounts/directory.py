"""The gate's directory of users, which answers the calls of `authgate.people` from this app's tables."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists

from accounts import email_addresses
from accounts.machines import api_tokens, jwt_credentials, loader
from accounts.upstreams.application_tokens import tokens_of
from accounts.upstreams.provider_sign_out import sign_out_url
from authgate.check.memory import Memory, Program, Tokens
from authgate.check.request import RequestHeaders


class Directory:
    """Implements `authgate.people.People`."""

    def has_verified_address(self, user: str) -> Exists:
        return email_addresses.has_verified_address(user)

    def load_tokens(self, digests: list[bytes]) -> dict[bytes, Program]:
        return loader.load_tokens(digests)

    def token_named(self, user_id: int, name: str) -> bytes | None:
        return loader.token_named(user_id, name)

    def load_issuers(self) -> frozenset[str]:
        return loader.load_issuers()

    def load_credential(
        self, key: bytes, headers: RequestHeaders, memory: Memory
    ) -> tuple[Program | None, bool]:
        return jwt_credentials.load_program(key, headers, memory)

    def touch_tokens(self, tokens: list[int], at: datetime) -> None:
        api_tokens.touch(tokens, at)

    def provider_tokens(self, sign_in_id: int | None) -> Tokens:
        return tokens_of(sign_in_id)

    def provider_sign_out(self, sign_in_id: int | None, then: str | None) -> str | None:
        return sign_out_url(sign_in_id, then)
