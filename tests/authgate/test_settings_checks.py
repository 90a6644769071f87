from __future__ import annotations

import pytest
from pytest_django import Settings

from authgate.checks import check_settings

MISTAKES = {
    "a network with host bits": ("IKD_TRUSTED_PROXIES", ["10.0.0.1/8"], "authgate.E001"),
    "a name": ("IKD_TRUSTED_PROXIES", ["127.0.0.1", "proxy.example.com"], "authgate.E001"),
    "an unknown contract": ("IKD_OAUTH2_CONTRACT", "caddy", "authgate.E002"),
    "hops below zero": ("IKD_FORWARDED_HOPS", -1, "authgate.E003"),
}


@pytest.mark.parametrize(("name", "value", "id"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_settings_is_reported_with_its_fix(
    name: str, value: object, id: str, settings: Settings
) -> None:
    setattr(settings, name, value)

    assert [message.id for message in check_settings()] == [id]


def test_the_default_settings_are_valid() -> None:
    assert check_settings() == []
