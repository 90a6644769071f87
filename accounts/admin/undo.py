"""Checks before the undo of a change of a user: two users must not have the same name or address."""

from __future__ import annotations

from typing import Any

from accounts.admin.forms import free_address, refuse_taken_name
from authgate.journal.undo import register_check


def _refuse_taken(user: dict[str, Any]) -> None:
    refuse_taken_name(user["username"], user["id"])
    free_address(user["email"], user["id"])


def _refuse_taken_address(address: dict[str, Any]) -> None:
    free_address(address["email"], address["user_id"])


register_check("accounts_user", _refuse_taken)
register_check("account_emailaddress", _refuse_taken_address)
