"""The Cookie header: names must match byte for byte, and a name that occurs twice is ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.sign_in.middleware import cookies_in
from authgate.cookies import attributes_of, set_cookie

GATE = "__Host-ikd_gate"
EXACT = {
    "alone": "__Host-ikd_gate=v",
    "beside those of other ports": "__Host-ikd_gate_8443=x; __Host-ikd_gate=v; __Host-ikd_gate_9443=y",
    "before that of another port": "__Host-ikd_gate=v; __Host-ikd_gate_8443=x",
    "among others": "a=b; __Host-ikd_gate=v; c=d",
    "no space": "a=b;__Host-ikd_gate=v;c=d",
    "spaces and tabs": "a=b;  \t__Host-ikd_gate \t=\t v ;",
    "empty pairs": ";;; ;__Host-ikd_gate=v;;",
    "others broken": "a; =; =b; __Host-ikd_gate=v; \x00=\xff",
    "others doubled": "a=1; a=2; __Host-ikd_gate=v; a=3",
    "beside other case": "__host-ikd_gate=x; __Host-ikd_gate=v; __HOST-IKD_GATE=y",
    "beside an em space": "\u2003__Host-ikd_gate=x; __Host-ikd_gate=v",
    "beside a no-break space": "\u00a0__Host-ikd_gate=x; __Host-ikd_gate=v; __Host-ikd_gate\u00a0=x",
    "beside an ideographic space": "\u3000__Host-ikd_gate=x; __Host-ikd_gate=v",
    "beside NEL": "\x85__Host-ikd_gate=x; __Host-ikd_gate=v",
    "beside separators of C0": "\x1c__Host-ikd_gate=x; \x0b__Host-ikd_gate=x; __Host-ikd_gate=v",
    "beside NUL": "\x00__Host-ikd_gate=x; __Host-ikd_gate=v",
    "beside quotes": '"__Host-ikd_gate"=x; __Host-ikd_gate=v',
    "beside a name without value": "__Host-ikd_gate; __Host-ikd_gate=v",
    "in another's value": "a=__Host-ikd_gate=x; __Host-ikd_gate=v",
}
NONE = {
    "nothing": "",
    "no equals sign": "__Host-ikd_gate",
    "another prefix": "__Secure-ikd_gate=v",
    "no prefix": "ikd_gate=v",
    "another port's": "__Host-ikd_gate_8443=v",
    "other case": "__host-ikd_gate=v",
    "em space": "\u2003__Host-ikd_gate=v",
    "no-break space": "\u00a0__Host-ikd_gate=v",
    "no-break space behind": "__Host-ikd_gate\u00a0=v",
    "NEL": "\x85__Host-ikd_gate=v",
    "vertical tab": "\x0b__Host-ikd_gate=v",
    "line end": "\n__Host-ikd_gate=v",
    "NUL": "\x00__Host-ikd_gate=v",
    "quoted": '"__Host-ikd_gate"=v',
    "comma for semicolon": "a=b, __Host-ikd_gate=v",
    "twice": "__Host-ikd_gate=v; __Host-ikd_gate=w",
    "twice the same": "__Host-ikd_gate=v; __Host-ikd_gate=v",
    "twice with spaces": "__Host-ikd_gate=v;\t__Host-ikd_gate =w",
    "three times": "__Host-ikd_gate=v; __Host-ikd_gate=v; __Host-ikd_gate=v",
    "twice, one empty": "__Host-ikd_gate=; __Host-ikd_gate=v",
    "cut off": "__Host-ikd_gat",
    "underscores for hyphens": "__Host_ikd_gate=v",
}


def gate(*lines: bytes) -> str | None:
    return cookies_in([(b"cookie", line) for line in lines]).get(GATE)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("line", EXACT.values(), ids=EXACT)
def test_a_cookie_with_the_exact_name_is_read(line: str, encoding: str) -> None:
    assert gate(line.encode(encoding, "replace")) == "v"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("line", NONE.values(), ids=NONE)
def test_a_cookie_with_another_name_is_ignored(line: str, encoding: str) -> None:
    assert gate(line.encode(encoding, "replace")) is None


def test_a_name_in_two_headers_occurs_twice() -> None:
    assert gate(b"__Host-ikd_gate=v", b"a=b; __Host-ikd_gate=w") is None


def test_split_cookie_headers_of_http_2_are_read_as_one() -> None:
    assert gate(b"a=b", b"__Host-ikd_gate=v") == "v"


def test_other_headers_are_not_read_for_cookies() -> None:
    assert cookies_in([(b"cookie2", b"a=b"), (b"set-cookie", b"a=b"), (b"x-cookie", b"a=b")]) == {}


def test_a_value_is_read_byte_for_byte() -> None:
    value = bytes(set(range(256)) - set(b"; \t"))

    assert cookies_in([(b"cookie", b"a=" + value)])["a"].encode("latin-1") == value


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_bytes_are_read_without_an_error(lines: list[bytes]) -> None:
    found = cookies_in([(b"cookie", line) for line in lines])

    pairs = [pair.partition(b"=") for line in lines for pair in line.split(b";")]
    names = [name.strip(b" \t") for name, separator, _ in pairs if separator]
    assert {name.encode("latin-1") for name in found} == {name for name in names if names.count(name) == 1}


@pytest.mark.parametrize(
    ("name", "is_https", "domain"),
    [
        ("__Host-ikd_portal", True, "example.com"),
        ("__Host-ikd_portal", False, ""),
        ("__Secure-ikd_shared", False, "example.com"),
    ],
    ids=["of one host, with a domain", "of one host, without https", "secure, without https"],
)
def test_no_cookie_is_set_with_a_prefix_that_its_attributes_break(
    name: str, is_https: bool, domain: str
) -> None:
    """A browser would drop such a cookie without a message."""
    with pytest.raises(ValueError, match=name):
        attributes_of(name, is_https=is_https, domain=domain)


def test_every_cookie_is_hidden_from_scripts_and_other_sites() -> None:
    _, octets = set_cookie("https://wiki.example.com", "gate", "v", max_age=0)
    line = octets.decode()

    assert line == "__Host-ikd_gate=v; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
