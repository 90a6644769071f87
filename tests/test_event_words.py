"""Every event and reason of the code has words, and every proxy mistake has its cure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils import translation

from authgate.check import contracts
from authgate.configuration_words import LINES, LINES_FOR_ALL, MISTAKES, fixing_line, mistake_words
from authgate.event_words import EVENTS, REASONS, Phrases, label_of, reason_words, sentence_of
from authgate.models import AuditEvent, ConfigurationEvent
from tests import event_names
from tests.catalogues import ROOT

PART = "one-two"
CONTRACTS = {
    contract.name: contract
    for contract in (
        contracts.NGINX,
        contracts.INGRESS_NGINX,
        contracts.TRAEFIK,
        contracts.CADDY,
        contracts.HAPROXY,
        contracts.ENVOY,
        contracts.OAUTH2_NGINX,
        contracts.OAUTH2_TRAEFIK,
        contracts.ENDPOINT,
        *contracts.OAUTH2_ENDPOINT.values(),
    )
}
HEADERS = {
    "nginx": contracts.FORWARDED,
    "caddy": contracts.FORWARDED,
    "haproxy": contracts.FORWARDED,
    "traefik": contracts.FORWARDED,
    "oauth2 traefik": contracts.FORWARDED,
    "envoy": contracts.SENT,
    "ingress-nginx": contracts.ORIGINAL,
    "oauth2 nginx": contracts.HOST_AND_SCHEME,
    "endpoint": contracts.ADDRESS,
    "oauth2 endpoint": contracts.HOST_AND_SCHEME | contracts.ADDRESS,
}


def test_every_kind_of_event_has_words() -> None:
    assert event_names.kinds() - set(EVENTS) == set()


def test_words_exist_only_for_kinds_that_the_code_writes() -> None:
    assert set(EVENTS) - event_names.kinds() == set()


def test_every_reason_of_an_audit_event_has_words() -> None:
    found = event_names.audit_reasons() | event_names.decisions()

    lacking = {reason for reason in found if not reason_words(reason.replace("{}", PART))}

    assert lacking - set(MISTAKES) == set()


def test_every_reason_of_a_configuration_event_has_words() -> None:
    names = {reason.replace("{}", PART) for reason in event_names.configuration_reasons()}

    assert {name for name in names if not mistake_words(name)} == set()


def test_names_are_found_in_the_code() -> None:
    """If the search of the code found nothing, every test would pass."""
    assert {"sign_in_limited", "refused", "factors_reset"} <= event_names.kinds()
    assert {"no rule admits", "group", "network"} <= event_names.decisions()
    assert {"the answer has {} twice", "wrong password"} <= event_names.audit_reasons()
    assert {"{} missing", "unknown origin", "path"} <= event_names.configuration_reasons()


def test_names_fit_into_their_columns() -> None:
    kind, reason = (AuditEvent._meta.get_field(name).max_length for name in ("kind", "reason"))
    mistake = ConfigurationEvent._meta.get_field("reason").max_length
    longest_header = max(len(name) for names in HEADERS.values() for name in names)

    assert max(map(len, EVENTS)) <= (kind or 0)
    assert max(map(len, REASONS)) <= (reason or 0)
    assert max(len(name.replace("{}", "x" * longest_header)) for name in MISTAKES) <= (mistake or 0)


@pytest.mark.parametrize("words", [reason_words, mistake_words], ids=["reasons", "mistakes"])
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_part_that_varies_is_shown(words: Phrases, language: str) -> None:
    with translation.override(language):
        shown = {name: words(name.replace("{}", PART)) for name in words.words}

    assert {name for name, text in shown.items() if "%s" in text or (PART in text) != ("{}" in name)} == set()


def test_chinese_words_are_chinese() -> None:
    with translation.override("zh-hans"):
        said = [label_of(kind) + sentence_of(kind) for kind in EVENTS]
        said += [str(words) for words in (*REASONS.values(), *MISTAKES.values())]

    assert [text for text in said if not re.search(r"[\u4e00-\u9fff]", text)] == []


@pytest.mark.parametrize("name", ["", "made up by nobody", "the", "{}", "the  cannot be read", "%s"])
def test_an_unknown_name_has_no_words(name: str) -> None:
    assert reason_words(name) == ""
    assert mistake_words(name) == ""
    assert label_of(name) == name


def test_parts_with_percent_signs_are_shown_as_they_are() -> None:
    assert reason_words("the provider refused: %s %(x)d") == "The provider refused: %s %(x)d."


# ---- cures ------------------------------------------------------------------------------------------------


def test_every_contract_has_its_lines() -> None:
    assert set(LINES) == set(CONTRACTS) == set(HEADERS)


@pytest.mark.parametrize("contract", HEADERS)
@pytest.mark.parametrize("fault", ["missing", "doubled"])
def test_each_header_that_a_contract_reads_has_a_line(contract: str, fault: str) -> None:
    lines = {name: fixing_line(contract, f"{name.decode()} {fault}") for name in HEADERS[contract]}

    assert {name for name, line in lines.items() if not line} == set()


def test_the_cure_for_a_header_is_the_line_that_sets_it() -> None:
    line = fixing_line("nginx", "x-forwarded-uri missing")

    assert line == "proxy_set_header X-Forwarded-Uri $request_uri;"


WITHOUT_A_LINE = {
    "authorization cannot be given back",
    "location",
    "identity headers too long",
    "tokens too long for the headers",
    "no rule covers the path",
    "the portal's host at another port or scheme",
}
"""Mistakes that no line of a proxy cures. Their words say where else to look."""


def test_every_mistake_has_a_line_for_some_proxy() -> None:
    lacking = {
        name
        for name in MISTAKES
        if not any(fixing_line(contract, name.replace("{}", "x-forwarded-uri")) for contract in LINES)
    }

    assert lacking == WITHOUT_A_LINE


def test_lines_are_those_of_the_published_configurations() -> None:
    published = "".join(
        path.read_text(errors="replace")
        for folder in ("deploy", "docs")
        for path in sorted(Path(ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix != ".png"
    )
    lines = {line for table in LINES.values() for line in table.values()}
    plain = {re.sub(r"\?(port=8443|allow_portal=true)|:8443$", "", line) for line in lines}

    assert {line for line in plain if line not in published and "?port" not in line} <= {
        "import ikd_protected /authgate/caddy 127.0.0.1:9001",
        "address: http://127.0.0.1:8000/oauth2/auth",
    }
    assert set(LINES_FOR_ALL) <= set(MISTAKES)
