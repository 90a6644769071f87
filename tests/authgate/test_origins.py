"""The origin of a scheme and a host: exactly one spelling, or none."""

from __future__ import annotations

import pytest

from authgate.decision.target import BadTarget, is_within, origin_from, origin_of

CANONICAL = {
    "as it should be": ("https", "wiki.example.com", "https://wiki.example.com"),
    "mixed case": ("HTTPS", "WiKi.Example.COM", "https://wiki.example.com"),
    "trailing dot": ("https", "wiki.example.com.", "https://wiki.example.com"),
    "trailing dot and port": ("https", "wiki.example.com.:8443", "https://wiki.example.com:8443"),
    "default port of https": ("https", "wiki.example.com:443", "https://wiki.example.com"),
    "default port of http": ("http", "wiki.example.com:80", "http://wiki.example.com"),
    "port of the other scheme": ("https", "wiki.example.com:80", "https://wiki.example.com:80"),
    "highest port": ("https", "a:65535", "https://a:65535"),
    "WebSocket": ("ws", "wiki.example.com", "http://wiki.example.com"),
    "secure WebSocket": ("WSS", "wiki.example.com:443", "https://wiki.example.com"),
    "underscore": ("https", "my_app.example.com", "https://my_app.example.com"),
    "IDN as A-label": ("https", "xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    "IPv4": ("https", "192.0.2.1:8443", "https://192.0.2.1:8443"),
    "IPv6": ("https", "[2001:DB8::1]", "https://[2001:db8::1]"),
    "IPv6 spelled out": ("https", "[2001:db8:0:0:0:0:0:1]:443", "https://[2001:db8::1]"),
    "IPv6 with IPv4 inside": ("https", "[::ffff:192.0.2.1]", "https://[::ffff:c000:201]"),
}
NO_ORIGIN = {
    "no host": ("https", ""),
    "only a dot": ("https", "."),
    "two trailing dots": ("https", "wiki.example.com.."),
    "empty label": ("https", "wiki..example.com"),
    "leading dot": ("https", ".example.com"),
    "leading hyphen": ("https", "-a.example.com"),
    "wildcard": ("https", "*.example.com"),
    "port 0": ("https", "a:0"),
    "port too high": ("https", "a:65536"),
    "port with a leading zero": ("https", "a:0443"),
    "port empty": ("https", "a:"),
    "port of letters": ("https", "a:https"),
    "port with a sign": ("https", "a:+443"),
    "port in other digits": ("https", "a:٤٤٣"),
    "two ports": ("https", "a:443:443"),
    "no scheme": ("", "a"),
    "another scheme": ("ftp", "a"),
    "scheme with a letter that folds to ASCII": ("http\u017f", "a"),
    "two schemes": ("https,http", "a"),
    "scheme and space": ("https ", "a"),
    "two hosts": ("https", "a.example.com,b.example.com"),
    "two hosts and a space": ("https", "a.example.com, b.example.com"),
    "user info": ("https", "wiki.example.com@evil.example"),
    "user and password": ("https", "a:b@evil.example"),
    "path": ("https", "a/b"),
    "query": ("https", "a?b"),
    "fragment": ("https", "a#b"),
    "backslash": ("https", "a\\b"),
    "percent": ("https", "a%2eb"),
    "space in front": ("https", " a"),
    "space behind": ("https", "a "),
    "tab": ("https", "a\tb"),
    "line end": ("https", "a\n"),
    "NUL": ("https", "a\x00"),
    "DEL": ("https", "a\x7f"),
    "raw UTF-8": ("https", "b\xc3\xbccher.example"),
    "raw latin-1": ("https", "b\xfccher.example"),
    "letter that folds to ASCII": ("https", "wi\u212ai.example.com"),
    "full stop of another script": ("https", "wiki\u3002example.com"),
    "IPv6 without brackets": ("https", "2001:db8::1"),
    "IPv6 open": ("https", "[2001:db8::1"),
    "IPv6 with a zone": ("https", "[fe80::1%eth0]"),
    "IPv6 with an encoded zone": ("https", "[fe80::1%25eth0]"),
    "IPv6 that is none": ("https", "[2001:db8::g]"),
    "IPv4 in brackets": ("https", "[192.0.2.1]"),
    "IPvFuture": ("https", "[v1.a]"),
    "label of 64": ("https", "a" * 64),
    "254 characters": ("https", ".".join(["a" * 63] * 4)),
    "10 kB": ("https", "a" * 10_000),
    "10 kB of labels": ("https", "a." * 5_000),
}


@pytest.mark.parametrize(("scheme", "authority", "origin"), CANONICAL.values(), ids=CANONICAL)
def test_an_origin_has_one_canonical_spelling(scheme: str, authority: str, origin: str) -> None:
    assert origin_from(scheme, authority) == origin


@pytest.mark.parametrize(("scheme", "authority", "origin"), CANONICAL.values(), ids=CANONICAL)
def test_a_canonical_origin_is_not_changed(scheme: str, authority: str, origin: str) -> None:
    assert origin_of(origin) == origin


@pytest.mark.parametrize(("scheme", "authority"), NO_ORIGIN.values(), ids=NO_ORIGIN)
def test_an_invalid_origin_is_refused(scheme: str, authority: str) -> None:
    with pytest.raises(BadTarget):
        origin_from(scheme, authority)


@pytest.mark.parametrize(
    "text", ["", "wiki.example.com", "//wiki.example.com", "https:wiki", "https://a/", "https://"]
)
def test_any_other_text_is_not_an_origin(text: str) -> None:
    with pytest.raises(BadTarget):
        origin_of(text)


@pytest.mark.parametrize(
    ("address", "network", "expected"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:a01:203", "10.0.0.0/8", True),
        ("::ffff:11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "::/0", False),
        ("2001:db8::1", "0.0.0.0/0", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("", "0.0.0.0/0", False),
        ("10.1.2.3 ", "0.0.0.0/0", False),
        ("010.1.2.3", "0.0.0.0/0", False),
        ("localhost", "0.0.0.0/0", False),
    ],
)
def test_an_address_is_compared_with_networks(address: str, network: str, expected: bool) -> None:
    assert is_within(address, (network,)) is expected


def test_an_invalid_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="host bits"):
        is_within("10.1.2.3", ("10.0.0.1/8",))
