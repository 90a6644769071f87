"""Accepted values for the path, query, method and client address of a request."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.check.contracts import forwarded_client
from authgate.decision.paths import has_one_variant
from authgate.decision.target import (
    BadTarget,
    client_from,
    code_in,
    method_from,
    uri_and_plain_path,
    uri_from,
    without_code,
)
from authgate.handover import with_code

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
CODE = "C" * 43
URIS = {
    "the root": (b"/", "/"),
    "a query": (b"/a?b=c&b", "/a?b=c&b"),
    "an empty query": (b"/a?", "/a?"),
    "raw UTF-8": (b"/caf\xc3\xa9?q=\xe4\xb8\xad", "/caf%C3%A9?q=%E4%B8%AD"),
    "raw bytes that are no UTF-8": (b"/\xff\x80", "/%FF%80"),
    "encoded bytes stay as they are": (b"/%ff%C3%a9%zz", "/%ff%C3%a9%zz"),
    "two slashes in front": (b"//evil.example/", "//evil.example/"),
    "a backslash": (b"/\\evil.example", "/\\evil.example"),
    "a comma": (b"/a,b", "/a,b"),
    "user info": (b"/@evil.example", "/@evil.example"),
    "10 kB": (b"/" + b"a" * 10_000, "/" + "a" * 10_000),
    "1,001 parameters": (b"/?" + b"a&" * 1001, "/?" + "a&" * 1001),
}
NO_URI = {
    "nothing": b"",
    "absolute form": b"https://wiki.example.com/",
    "a star": b"*",
    "authority form": b"wiki.example.com:443",
    "relative": b"page",
    "a query alone": b"?a",
    "a space": b"/a b",
    "a tab": b"/a\tb",
    "a line end": b"/a\n",
    "CR LF": b"/a\r\nx: y",
    "NUL": b"/a\x00",
    "escape": b"/\x1b",
    "DEL": b"/\x7f",
    "a control character in the query": b"/a?\x01",
}


@pytest.mark.parametrize(("raw", "uri"), URIS.values(), ids=URIS)
def test_a_uri_is_kept_byte_for_byte(raw: bytes, uri: str) -> None:
    assert uri_from(raw) == uri


@pytest.mark.parametrize("raw", NO_URI.values(), ids=NO_URI)
def test_an_invalid_uri_is_refused(raw: bytes) -> None:
    with pytest.raises(BadTarget):
        uri_from(raw)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "M-SEARCH", "VERSION-CONTROL", "X_1", "A" * 32])
def test_any_well_formed_method_is_accepted(method: str) -> None:
    assert method_from(method) == method


@pytest.mark.parametrize(
    "method", ["", "get", "Get", "GET,POST", "GET ", "G\u00c9T", "1GET", "-", "A" * 33, "GET\n", "\x00"]
)
def test_an_invalid_method_is_refused(method: str) -> None:
    with pytest.raises(BadTarget):
        method_from(method)


CLIENTS = {
    "one": (b"192.0.2.1", 0, "192.0.2.1"),
    "the last counts": (b"10.0.0.1, 192.0.2.1", 0, "192.0.2.1"),
    "no space": (b"10.0.0.1,192.0.2.1", 0, "192.0.2.1"),
    "tabs around": (b"10.0.0.1,\t192.0.2.1\t", 0, "192.0.2.1"),
    "junk further left": (b"<script>, 192.0.2.1", 0, "192.0.2.1"),
    "junk bytes further left": (b"\xff\x00,,, 192.0.2.1", 0, "192.0.2.1"),
    "one hop": (b"10.0.0.1, 192.0.2.1, 10.9.9.9", 1, "192.0.2.1"),
    "two hops": (b"192.0.2.1, 10.9.9.9, 10.8.8.8", 2, "192.0.2.1"),
    "junk of a nearer hop": (b"192.0.2.1, junk", 1, "192.0.2.1"),
    "IPv6": (b"2001:DB8:0::1", 0, "2001:db8::1"),
    "a port, as Azure's Application Gateway writes it": (b"203.0.113.7:41234", 0, "203.0.113.7"),
    "a port in the middle": (b"198.51.100.1, 203.0.113.7:41234, 10.0.0.1", 1, "203.0.113.7"),
    "brackets": (b"[2001:db8::7]", 0, "2001:db8::7"),
    "brackets and a port, as AWS writes it": (b"[2001:DB8::7]:41234", 0, "2001:db8::7"),
    "quotes": (b'"203.0.113.7"', 0, "203.0.113.7"),
    "quotes, brackets and a port": (b'"[2001:db8:0:0::7]:41234"', 0, "2001:db8::7"),
    "an obfuscated port": (b'"[2001:db8::7]:_gazonk"', 0, "2001:db8::7"),
    "a zone": (b"fe80::1%eth0", 0, "fe80::1"),
    "a zone of a VLAN": (b"fe80::1%br-lan.100@if7", 0, "fe80::1"),
    "a zone as a number": (b"fe80::1%1", 0, "fe80::1"),
    "a zone as in a URI": (b"[fe80::1%25eth0]:80", 0, "fe80::1"),
    "IPv4 mapped into IPv6": (b"::ffff:203.0.113.7", 0, "203.0.113.7"),
    "IPv4 mapped into IPv6, in hexadecimal": (b"::FFFF:cb00:7107", 0, "203.0.113.7"),
    "IPv4 mapped into IPv6, with a port": (b"[::ffff:203.0.113.7]:41234", 0, "203.0.113.7"),
    "an IPv6 address whose end looks like a port": (b"2001:db8::7:4123", 0, "2001:db8::7:4123"),
    "500 octets": (b"1.1.1.1," * 62 + b"1.1.1.1", 0, "1.1.1.1"),
}
NO_CLIENT = {
    "10 kB, which would be remembered": (b"1.1.1.1," * 1_250 + b"192.0.2.1", 0),
    "nothing": (b"", 0),
    "only a comma": (b",", 0),
    "junk at the right": (b"192.0.2.1, junk", 0),
    "empty at the right": (b"192.0.2.1,", 0),
    "unknown": (b"unknown", 0),
    "unknown, with a port": (b"unknown:80", 0),
    "hidden": (b"_hidden", 0),
    "hidden, with a port": (b'"_SEVKISEK:_port"', 0),
    "nginx's word for a Unix socket": (b"unix:", 0),
    "a socket's path": (b"/run/ikd.sock", 0),
    "Caddy's word for a Unix socket": (b"@", 0),
    "empty before a hop": (b"203.0.113.7, , 10.0.0.1", 1),
    "a port alone": (b":80", 0),
    "no port after the colon": (b"192.0.2.1:", 0),
    "a port of six digits": (b"192.0.2.1:412345", 0),
    "a port that is a word": (b"192.0.2.1:http", 0),
    "two ports": (b"192.0.2.1:80:80", 0),
    "IPv4 in brackets": (b"[192.0.2.1]:80", 0),
    "IPv4 with a zone": (b"192.0.2.1%eth0", 0),
    "an empty zone": (b"fe80::1%", 0),
    "a zone with a space": (b"fe80::1%a b", 0),
    "an open bracket": (b"[2001:db8::7", 0),
    "a bracket too many": (b"2001:db8::7]", 0),
    "nothing in brackets": (b"[]", 0),
    "nothing in quotes": (b'""', 0),
    "one quote": (b'"192.0.2.1', 0),
    "quotes in quotes": (b'""192.0.2.1""', 0),
    "a host's name": (b"client.example.com", 0),
    "a pair of RFC 7239": (b"for=192.0.2.1", 0),
    "with a zone of any text": (b"fe80::1%\x01<b>", 0),
    "octal": (b"0300.0.2.1", 0),
    "a number": (b"3221225985", 0),
    "a network": (b"192.0.2.0/24", 0),
    "other digits": ("١٩٢.0.2.1".encode(), 0),
    "NUL": (b"192.0.2.1\x00", 0),
    "fewer than hops": (b"192.0.2.1", 1),
    "as many as hops": (b"192.0.2.1, 192.0.2.2", 2),
    "a number of hops below none": (b"10.0.0.1, 192.0.2.1", -1),
    "a space inside": (b"192.0.2.1 192.0.2.2", 0),
}


@pytest.mark.parametrize(("value", "hops", "client"), CLIENTS.values(), ids=CLIENTS)
def test_the_client_is_the_address_that_the_nearest_proxy_saw(value: bytes, hops: int, client: str) -> None:
    assert forwarded_client(value, hops) == client


@pytest.mark.parametrize(("value", "hops"), NO_CLIENT.values(), ids=NO_CLIENT)
def test_an_invalid_address_is_refused(value: bytes, hops: int) -> None:
    with pytest.raises(BadTarget):
        forwarded_client(value, hops)


addresses = st.ip_addresses()
ports = st.integers(0, 65_535).map(lambda port: f":{port}")


@given(addresses, ports)
def test_an_address_is_read_without_quotes_brackets_and_port(address: Address, port: str) -> None:
    bare = client_from(str(address))
    bracketed = f"[{address}]" if address.version == 6 else str(address)

    for written in (f"{bracketed}{port}", bracketed, f'"{bracketed}{port}"', f'"{address}"'):
        assert client_from(written) == bare
    assert ipaddress.ip_address(bare) == (getattr(address, "ipv4_mapped", None) or address)


@given(st.text(st.sampled_from('0123456789abcdef.:[]%"_ ,xg'), max_size=30))
def test_any_text_is_an_address_or_refused_without_an_error(text: str) -> None:
    try:
        found = client_from(text)
    except BadTarget:
        return

    assert str(ipaddress.ip_address(found)) == found
    assert "%" not in found


# ---- codes in the query -----------------------------------------------------------------------------------

WITH_A_CODE = {
    "alone": (f"/a?ikdcode={CODE}", "/a"),
    "first": (f"/a?ikdcode={CODE}&b", "/a?b"),
    "last": (f"/a?b&ikdcode={CODE}", "/a?b"),
    "between": (f"/a?b&ikdcode={CODE}&c", "/a?b&c"),
    "after an empty query": (f"/a?&ikdcode={CODE}", "/a?"),
    "before an ampersand": (f"/a?ikdcode={CODE}&", "/a?"),
    "twice": (f"/a?ikdcode={CODE}&b&ikdcode={CODE}", "/a?b"),
    "beside its own near miss": (f"/a?ikdcode={CODE}x&ikdcode={CODE}", f"/a?ikdcode={CODE}x"),
    "bytes that a parser changes": (
        f"/x?a&b=&c=%20+x&d=%zz&e=%ff&f=1;2&f=3&%61=1&ikdcode={CODE}&g=a/b:c",
        "/x?a&b=&c=%20+x&d=%zz&e=%ff&f=1;2&f=3&%61=1&g=a/b:c",
    ),
    "among 1,001 parameters": ("/?" + "a&" * 1001 + f"ikdcode={CODE}", "/?" + "a&" * 1000 + "a"),
    "a question mark in the query": (f"/a?b?c&ikdcode={CODE}", "/a?b?c"),
}
WITHOUT_A_CODE = {
    "too short": f"/a?ikdcode={CODE[1:]}",
    "too long": f"/a?ikdcode={CODE}C",
    "other letters": f"/a?ikdcode={CODE[1:]}.",
    "empty": "/a?ikdcode=",
    "no value": "/a?ikdcode",
    "encoded name": f"/a?%69kdcode={CODE}",
    "other case": f"/a?IKDCODE={CODE}",
    "longer name": f"/a?xikdcode={CODE}",
    "in a value": f"/a?b=ikdcode={CODE}",
    "in the path": f"/ikdcode={CODE}",
    "in a path of parameters": f"/a&ikdcode={CODE}",
    "after a semicolon": f"/a?b;ikdcode={CODE}",
    "in the fragment": f"/a?b#ikdcode={CODE}",
    "with a line end": f"/a?ikdcode={CODE}%0a",
}


@pytest.mark.parametrize(("uri", "clean"), WITH_A_CODE.values(), ids=WITH_A_CODE)
def test_a_code_is_found_and_removed(uri: str, clean: str) -> None:
    assert code_in(uri) == CODE
    assert without_code(uri) == clean


@pytest.mark.parametrize("uri", WITHOUT_A_CODE.values(), ids=WITHOUT_A_CODE)
def test_other_parameters_of_the_application_stay_unchanged(uri: str) -> None:
    assert code_in(uri) is None
    assert without_code(uri) == uri


@pytest.mark.parametrize(
    "uri", ["/", "/?", "/a?b", "/a?b&", "/a?&", "/a??", "/?a=1&a=1", *WITHOUT_A_CODE.values()]
)
def test_adding_and_removing_a_code_changes_nothing(uri: str) -> None:
    assert code_in(with_code(uri, CODE)) == CODE
    assert without_code(with_code(uri, CODE)) == uri


PIECES = [
    "/",
    "?",
    "&",
    "=",
    "a",
    "%",
    "%26",
    ";",
    "+",
    "ikdcode",
    f"ikdcode={CODE}x",
    f"ikdcode={CODE[1:]}",
    "\\",
    "é",
]
uris = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: "/" + "".join(pieces))


@given(st.one_of(uris, st.text(max_size=60).map(lambda text: f"/{text}")))
def test_a_code_can_be_added_to_and_removed_from_every_address(uri: str) -> None:
    if code_in(uri) is None:
        assert code_in(with_code(uri, CODE)) == CODE
        assert without_code(with_code(uri, CODE)) == uri


@given(st.lists(st.sampled_from([*PIECES, f"ikdcode={CODE}", f"&ikdcode={CODE}&"]), max_size=12))
def test_no_well_formed_code_is_left(pieces: list[str]) -> None:
    clean = without_code("/" + "".join(pieces))

    assert code_in(clean) is None
    assert without_code(clean) == clean


@given(st.one_of(st.binary(max_size=40), st.text("/.a%A;?#~\\", max_size=12).map(str.encode)))
def test_the_single_scan_finds_the_same_as_two_scans(raw: bytes) -> None:
    raw = b"/" + raw
    try:
        uri = uri_from(raw)
    except BadTarget:
        with pytest.raises(BadTarget):
            uri_and_plain_path(raw)
        return

    path = uri.partition("?")[0]
    plain_path = path if raw.isascii() and has_one_variant(path) else None
    assert uri_and_plain_path(raw) == (uri, plain_path)
