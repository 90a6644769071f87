"""Reading a CAS server's answers and logout requests."""

from __future__ import annotations

import pytest

from accounts.upstreams.cas.flow import TicketRefused, parse_person, parse_ticket, ticket_ended_by
from accounts.upstreams.errors import ErrorPage, ProviderError

NS = "xmlns:cas='http://www.yale.edu/tp/cas'"


def success(inner: str, root: str = "cas:serviceResponse", namespace: str = NS) -> bytes:
    verdict = f"<cas:authenticationSuccess>{inner}</cas:authenticationSuccess>"
    return f"<{root} {namespace}>{verdict}</{root}>".encode()


def test_an_answer_has_the_user_and_lists_of_attributes() -> None:
    person = parse_person(
        success(
            "<cas:user>\n  alice </cas:user><cas:attributes><cas:mail>a@example.com</cas:mail>"
            "<cas:memberOf>staff</cas:memberOf><cas:memberOf>ops</cas:memberOf><cas:empty/></cas:attributes>"
        )
    )

    assert person.user == "alice"
    assert person.attributes == {"mail": ["a@example.com"], "memberOf": ["staff", "ops"], "empty": [""]}


def test_an_attribute_called_user_in_front_is_not_the_user() -> None:
    person = parse_person(
        success("<cas:attributes><cas:user>admin</cas:user></cas:attributes><cas:user>eve</cas:user>")
    )

    assert person.user == "eve"


def test_a_comment_does_not_cut_the_users_name() -> None:
    assert parse_person(success("<cas:user>admin<!-- -->istrator</cas:user>")).user == "administrator"


def test_only_top_level_attributes_in_the_cas_namespace_count() -> None:
    person = parse_person(
        success(
            "<cas:user>eve</cas:user><cas:attributes>"
            "<cas:memberOf>a<cas:memberOf>staff</cas:memberOf></cas:memberOf>"
            "<memberOf>staff</memberOf><x:memberOf xmlns:x='urn:x'>staff</x:memberOf></cas:attributes>"
            "<cas:other><cas:attributes><cas:memberOf>staff</cas:memberOf></cas:attributes></cas:other>"
        )
    )

    assert person.attributes == {}


ALICE = "<cas:user>alice</cas:user>"
BOMB = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10 if n else 'x'}'>" for n in range(9))
HOSTILE = {
    "empty": b"",
    "html": b"<!doctype html><html><body><p>Sign in<br></body></html>",
    "json": b'{"serviceResponse": {"authenticationSuccess": {"user": "alice"}}}',
    "cas 1": b"yes\nalice\n",
    "no namespace": success(ALICE, namespace="").replace(b"cas:", b""),
    "wrong namespace": success(ALICE, namespace="xmlns:cas='http://evil.example/cas'"),
    "other root": success(ALICE, root="cas:response"),
    "no verdict": f"<cas:serviceResponse {NS}/>".encode(),
    "user without verdict": f"<cas:serviceResponse {NS}>{ALICE}</cas:serviceResponse>".encode(),
    "verdict wrapped": f"<cas:serviceResponse {NS}><cas:x>".encode()
    + success(ALICE)
    + b"</cas:x></cas:serviceResponse>",
    "two verdicts": success(ALICE).replace(
        b"</cas:serviceResponse>", b"<cas:authenticationFailure/></cas:serviceResponse>"
    ),
    "no user": success(""),
    "empty user": success("<cas:user> \n</cas:user>"),
    "two users": success("<cas:user>eve</cas:user><cas:user>alice</cas:user>"),
    "user with an element": success("<cas:user>alice<cas:x/>bob</cas:user>"),
    "user of a line too many": success("<cas:user>alice\nadmin</cas:user>"),
    "long user": success(f"<cas:user>{'a' * 256}</cas:user>"),
    "user as attribute only": success("<cas:attributes><cas:user>alice</cas:user></cas:attributes>"),
    "by a proxy": success(ALICE + "<cas:proxies><cas:proxy>https://x</cas:proxy></cas:proxies>"),
    "by a proxy, no name": success(ALICE + "<cas:proxies/>"),
    "by a proxy, deeper": success(ALICE + "<cas:x><cas:proxies/></cas:x>"),
    "entity bomb": f"<!DOCTYPE x [{BOMB}]>".encode() + success("<cas:user>&e8;</cas:user>"),
    "external entity": b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"
    + success("<cas:user>&e;</cas:user>"),
    "external document type": b"<!DOCTYPE x SYSTEM 'http://127.0.0.1:1/x.dtd'>" + success(ALICE),
    "unknown encoding": b"<?xml version='1.0' encoding='klingon'?>" + success(ALICE),
    "cut off": success(ALICE)[:-5],
    "garbage behind": success(ALICE) + b"<x/>",
    "deeply nested": b"<a>" * 60_000 + b"</a>" * 60_000,
    "deeply nested within": success("<cas:x>" * 30_000 + "</cas:x>" * 30_000),
    "attributes without end": success(
        "<cas:user>alice</cas:user><cas:attributes>" + "<cas:a/>" * 1001 + "</cas:attributes>"
    ),
    "NUL": success("<cas:user>al\0ice</cas:user>"),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_names_no_user(body: bytes) -> None:
    with pytest.raises(ProviderError):
        parse_person(body)


@pytest.mark.parametrize(
    ("code", "known", "page"),
    [
        ("INVALID_TICKET", "INVALID_TICKET", ErrorPage.STALE),
        ("INVALID_SERVICE", "INVALID_SERVICE", ErrorPage.BROKEN),
        ("INTERNAL_ERROR", "INTERNAL_ERROR", ErrorPage.UNAVAILABLE),
        ("ST-1-the-ticket", "", ErrorPage.BROKEN),
    ],
)
def test_only_known_failure_codes_are_shown(code: str, known: str, page: ErrorPage) -> None:
    verdict = f"<cas:authenticationFailure code='{code}'>ST-1-the-ticket</cas:authenticationFailure>"

    with pytest.raises(TicketRefused) as told:
        parse_person(f"<cas:serviceResponse {NS}>{verdict}</cas:serviceResponse>".encode())

    assert (told.value.code, told.value.page) == (known, page)
    assert "ST-1-the-ticket" not in told.value.reason


GOOD_TICKETS = {
    "of the specification": ("ST-1856339-aA5Yuvrxzpv8Tau1cYQ7", "ST-"),
    "with a host": ("ST-12-ab_cd-cas.example.com", "ST-"),
    "another prefix": ("SRV_77", "SRV_"),
    "any prefix": ("77", ""),
}
BAD_TICKETS = {
    "none": ("", "ST-"),
    "of a proxy": ("PT-1-abc", "ST-"),
    "of a proxy, any prefix": ("PT-1-abc", ""),
    "granting": ("TGT-1-abc", ""),
    "lower case": ("st-1-abc", "ST-"),
    "prefix further on": ("xST-1-abc", "ST-"),
    "too long": ("ST-" + "a" * 510, "ST-"),
    "line break": ("ST-1\n", "ST-"),
    "NUL": ("ST-1\0", "ST-"),
    "parameter": ("ST-1&service=x", "ST-"),
    "fragment": ("ST-1#x", "ST-"),
    "path": ("ST-1/../x", "ST-"),
    "percent": ("ST-1%41", "ST-"),
    "full width": ("ST-\uff11", "ST-"),
    "space": ("ST-1 2", "ST-"),
}


@pytest.mark.parametrize(("ticket", "prefix"), GOOD_TICKETS.values(), ids=GOOD_TICKETS)
def test_a_ticket_with_the_right_form_is_sent_to_the_server(ticket: str, prefix: str) -> None:
    assert parse_ticket(ticket, prefix) == ticket


@pytest.mark.parametrize(("ticket", "prefix"), BAD_TICKETS.values(), ids=BAD_TICKETS)
def test_a_ticket_with_another_form_is_not_sent(ticket: str, prefix: str) -> None:
    with pytest.raises(ProviderError):
        parse_ticket(ticket, prefix)


def logout(inner: str, root: str = "samlp:LogoutRequest") -> str:
    names = (
        "xmlns:samlp='urn:oasis:names:tc:SAML:2.0:protocol' "
        "xmlns:saml='urn:oasis:names:tc:SAML:2.0:assertion'"
    )
    return f"<{root} {names} ID='1' Version='2.0'><saml:NameID>@NOT_USED@</saml:NameID>{inner}</{root}>"


INDEX = "<samlp:SessionIndex>ST-1-abc</samlp:SessionIndex>"


@pytest.mark.parametrize(
    "text",
    [
        logout(INDEX),
        "<?xml version='1.0' encoding='UTF-8'?>\n" + logout(INDEX),
        "  " + logout("\n<samlp:SessionIndex>\n ST-1-abc\n</samlp:SessionIndex>"),
    ],
    ids=["plain", "with its encoding", "with space"],
)
def test_a_logout_request_names_its_ticket(text: str) -> None:
    assert ticket_ended_by(text) == "ST-1-abc"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ST-1-abc",
        "<LogoutRequest><SessionIndex>ST-1-abc</SessionIndex></LogoutRequest>",
        logout(INDEX, root="samlp:LogoutResponse"),
        logout(INDEX + "<samlp:SessionIndex>ST-2</samlp:SessionIndex>"),
        logout(f"<samlp:x>{INDEX}</samlp:x>"),
        logout("<samlp:SessionIndex>ST-1 or 1=1</samlp:SessionIndex>"),
        logout(f"<samlp:SessionIndex>ST-{'a' * 600}</samlp:SessionIndex>"),
        f"<!DOCTYPE x [{BOMB}]>" + logout("<samlp:SessionIndex>&e8;</samlp:SessionIndex>"),
        "<?xml version='1.0' encoding='UTF-16'?>" + logout(INDEX),
        "\ud800",
    ],
    ids=[
        "empty",
        "bare",
        "namespace",
        "response",
        "two",
        "deeper",
        "odd",
        "long",
        "bomb",
        "encoding",
        "surrogate",
    ],
)
def test_any_other_request_ends_nothing(text: str) -> None:
    assert ticket_ended_by(text) is None
