"""How origins, paths, methods and networks are stored when saved, and which near misses are refused."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from accounts.models import User
from authgate.models import Application, Origin, Rule
from authgate.validation import (
    canonical_methods,
    canonical_networks,
    canonical_origin,
    canonical_path,
    readable,
    refuse_hidden,
    refuse_hidden_in_lines,
)
from tests.factories import ApplicationFactory

ORIGINS = {
    "as it should be": ("https://wiki.example.com", "https://wiki.example.com"),
    "spaces around": ("  https://wiki.example.com ", "https://wiki.example.com"),
    "one trailing slash": ("https://wiki.example.com/", "https://wiki.example.com"),
    "capital letters": ("HTTPS://Wiki.Example.COM", "https://wiki.example.com"),
    "default port": ("https://wiki.example.com:443", "https://wiki.example.com"),
    "another port": ("https://wiki.example.com:8443", "https://wiki.example.com:8443"),
    "trailing dot": ("https://wiki.example.com.", "https://wiki.example.com"),
    "IDN": ("https://bücher.example.com", "https://xn--bcher-kva.example.com"),
    "IDN in capitals": ("https://BÜCHER.example.com", "https://xn--bcher-kva.example.com"),
    "IDN that IDNA 2003 wrote otherwise": ("https://faß.example.com", "https://xn--fa-hia.example.com"),
    "full-width dots": ("https://例え。example。com", "https://xn--r8jz45g.example.com"),
    "IPv4": ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
    "IPv6": ("https://[2001:DB8::0001]", "https://[2001:db8::1]"),
    "one label": ("https://wiki", "https://wiki"),
    "underscore": ("https://my_wiki.example.com", "https://my_wiki.example.com"),
    "wildcard": ("https://*.apps.example.com/", "https://*.apps.example.com"),
    "wildcard with port": ("https://*.Example.com:8443", "https://*.example.com:8443"),
    "wildcard below an IDN": ("https://*.bücher.example", "https://*.xn--bcher-kva.example"),
    "wildcard on a whole private zone": ("https://*.lan", "https://*.lan"),
    "wildcard on .internal": ("https://*.internal", "https://*.internal"),
    "wildcard on home.arpa, dotted": ("https://*.home.arpa.", "https://*.home.arpa"),
    "wildcard on .local with port": ("https://*.local:8443", "https://*.local:8443"),
    "wildcard on .test": ("https://*.test", "https://*.test"),
    "wildcard below a private zone": ("https://*.office.home.arpa", "https://*.office.home.arpa"),
    "wildcard of a cluster": ("https://*.svc.cluster.local", "https://*.svc.cluster.local"),
    "name in a private zone": ("https://nas.lan", "https://nas.lan"),
    "wildcard below a name under a private suffix": (
        "https://*.me.github.io",
        "https://*.me.github.io",
    ),
}


@pytest.mark.parametrize(("text", "canonical"), ORIGINS.values(), ids=ORIGINS)
def test_an_origin_is_stored_in_one_spelling(text: str, canonical: str) -> None:
    assert canonical_origin(text, without_https=False) == canonical


NO_ORIGINS = {
    "nothing": ("", "scheme"),
    "no scheme": ("wiki.example.com", "scheme"),
    "no slashes": ("https:wiki.example.com", "scheme"),
    "two slashes only": ("//wiki.example.com", "scheme"),
    "no host": ("https://", "not a name"),
    "a port alone": ("https://:8443", "not a name"),
    "ftp": ("ftp://wiki.example.com", "Begin with https://"),
    "a WebSocket's scheme": ("wss://wiki.example.com", "Begin with https://"),
    "path": ("https://wiki.example.com/docs", "Remove the rest"),
    "two trailing slashes": ("https://wiki.example.com//", "Remove the rest"),
    "query": ("https://wiki.example.com?x=1", "Remove the rest"),
    "fragment": ("https://wiki.example.com#x", "Remove the rest"),
    "backslash": ("https://wiki.example.com\\@evil.example", "Remove the rest"),
    "user": ("https://me@wiki.example.com", "user name"),
    "user and password": ("https://me:x@wiki.example.com", "user name"),
    "space within": ("https://wiki .example.com", "space"),
    "tab within": ("https://wiki\t.example.com", "invisible"),
    "NUL": ("https://wiki\0.example.com", "invisible"),
    "soft hyphen": ("https://wi\u00adki.example.com", "invisible"),
    "zero-width space": ("https://wiki\u200b.example.com", "invisible"),
    "right-to-left override": ("https://\u202emoc.elpmaxe", "invisible"),
    "variation selector": ("https://wiki\ufe0f.example.com", "invisible"),
    "port 0": ("https://wiki.example.com:0", "not a name"),
    "port too large": ("https://wiki.example.com:65536", "not a name"),
    "port of letters": ("https://wiki.example.com:https", "not a name"),
    "empty port": ("https://wiki.example.com:", "not a name"),
    "empty label": ("https://wiki..example.com", "not a name"),
    "two trailing dots": ("https://wiki.example.com..", "not a name"),
    "leading hyphen": ("https://-wiki.example.com", "not a name"),
    "label of 64": (f"https://{'a' * 64}.example.com", "not a name"),
    "percent-encoding": ("https://wiki%2eexample.com", "not a name"),
    "a slash in disguise": ("https://wiki.example.com\u2100x.example", "not a name"),
    "IPv6 without brackets": ("https://2001:db8::1", "not a name"),
    "IPv6 with a zone": ("https://[fe80::1%25eth0]", "not a name"),
    "one number for an IPv4 address": ("https://2130706433", "IPv4"),
    "short IPv4": ("https://127.1", "IPv4"),
    "hexadecimal IPv4": ("https://0x7f.0.0.0x1", "IPv4"),
    "IPv4 out of range": ("https://192.0.2.256", "IPv4"),
    "plain http": ("http://wiki.example.com", "allow use without https"),
    "wildcard over plain http": ("http://*.apps.example.com", "allow use without https"),
    "the portal": ("https://sso.example.com", "address of the portal"),
    "the portal with its port": ("https://SSO.example.com:443/", "address of the portal"),
    "star alone": ("https://*", "leftmost"),
    "star without a name": ("https://*.", "not a name"),
    "star inside": ("https://a.*.example.com", "leftmost"),
    "two stars": ("https://*.*.example.com", "leftmost"),
    "star within a label": ("https://*wiki.example.com", "leftmost"),
    "wildcard on com": ("https://*.com", "other people"),
    "wildcard on com, dotted": ("https://*.com.", "other people"),
    "wildcard on co.uk": ("https://*.co.uk", "other people"),
    "wildcard on a private suffix": ("https://*.github.io", "other people"),
    "wildcard on a private suffix with port": ("https://*.github.io:8443", "other people"),
    "wildcard on an unknown top level": ("https://*.mynetwork", "other people"),
    "wildcard on an address zone": ("https://*.ip6.arpa", "other people"),
    "the portal's host at another port": ("https://sso.example.com:8443", "same host"),
    "wildcard on an IDN suffix": ("https://*.公司.cn", "other people"),
    "wildcard on localhost": ("https://*.localhost", "other people"),
    "wildcard below localhost": ("https://*.app.localhost", "other people"),
    "wildcard on IPv4": ("https://*.192.0.2.1", "address has no names"),
    "wildcard on IPv6": ("https://*.[2001:db8::1]", "not a name"),
}


@pytest.mark.parametrize(("text", "cure"), NO_ORIGINS.values(), ids=NO_ORIGINS)
def test_an_invalid_origin_is_refused_with_the_cure(text: str, cure: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        canonical_origin(text, without_https=False)

    assert cure in " ".join(refusal.value.messages)


def test_an_application_may_allow_plain_http() -> None:
    assert canonical_origin("http://App.localhost:80", without_https=True) == "http://app.localhost"


PATHS = {
    "everything": ("/", "/"),
    "a path": ("/admin", "/admin"),
    "trailing slash": ("/admin/", "/admin"),
    "letters stay as they are": ("/Admin/Users", "/Admin/Users"),
    "a dot in a name": ("/.well-known/x.y", "/.well-known/x.y"),
    "three dots": ("/...", "/..."),
    "space within": ("/my files", "/my files"),
    "composed": ("/cafe\u0301", "/café"),
    "marks servers agree on": ("/a-b_c~d!e$f&g'(h)+i,j=k:l@m", "/a-b_c~d!e$f&g'(h)+i,j=k:l@m"),
}


@pytest.mark.parametrize(("text", "canonical"), PATHS.values(), ids=PATHS)
def test_a_path_is_stored_in_one_spelling(text: str, canonical: str) -> None:
    assert canonical_path(text) == canonical


NO_PATHS = {
    "nothing": ("", "begins with /"),
    "no slash": ("admin", "begins with /"),
    "URL": ("https://wiki.example.com/admin", "begins with /"),
    "regular expression": ("^/admin", "begins with /"),
    "two slashes": ("//admin", "a single /"),
    "two slashes at the end": ("/admin//", "a single /"),
    "dot": ("/./admin", "without . and .."),
    "two dots": ("/public/../admin", "without . and .."),
    "two dots at the end": ("/public/..", "without . and .."),
    "backslash": ("/public\\admin", "different ways"),
    "parameter": ("/admin;x=1", "different ways"),
    "query": ("/admin?x=1", "query"),
    "fragment": ("/admin#x", "Browsers"),
    "percent": ("/%61dmin", "character itself"),
    "star": ("/admin/*", "everything below"),
    "tab": ("/ad\tmin", "invisible"),
    "NUL": ("/admin\0", "invisible"),
    "DEL": ("/admin\x7f", "invisible"),
    "no-break space": ("/my\u00a0files", "invisible"),
    "zero-width joiner": ("/ad\u200dmin", "invisible"),
    "right-to-left override": ("/\u202enimda", "invisible"),
    "Hangul filler": ("/admin\u3164", "invisible"),
    "lone surrogate": ("/\ud800", "invisible"),
}


@pytest.mark.parametrize(("text", "cure"), NO_PATHS.values(), ids=NO_PATHS)
def test_an_ambiguous_path_is_refused(text: str, cure: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        canonical_path(text)

    assert cure in " ".join(refusal.value.messages)


METHODS = {
    "none": ("", ""),
    "one": ("GET", "GET"),
    "lower case and commas": ("get, post", "GET POST"),
    "twice": ("POST POST", "POST"),
    "HEAD beside GET": ("GET HEAD", "GET"),
    "WebDAV": ("VERSION-CONTROL PROPFIND", "VERSION-CONTROL PROPFIND"),
}


@pytest.mark.parametrize(("text", "canonical"), METHODS.values(), ids=METHODS)
def test_methods_are_stored_in_one_spelling(text: str, canonical: str) -> None:
    assert canonical_methods(text) == canonical


@pytest.mark.parametrize("text", ["GET/POST", "G\u00cbT", "GET;", "HEAD", "*", "GE\0T", "A" * 33])
def test_invalid_methods_and_methods_without_checks_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        canonical_methods(text)


NETWORKS = {
    "none": (" ", ""),
    "two": ("10.0.0.0/8\n2001:DB8::/32", "10.0.0.0/8 2001:db8::/32"),
    "an address": ("192.0.2.1", "192.0.2.1/32"),
    "commas, twice": ("10.0.0.0/8,10.0.0.0/8", "10.0.0.0/8"),
    "a mask": ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
}


@pytest.mark.parametrize(("text", "canonical"), NETWORKS.values(), ids=NETWORKS)
def test_networks_are_stored_in_one_spelling(text: str, canonical: str) -> None:
    assert canonical_networks(text) == canonical


NO_NETWORKS = {
    "an address in a network": ("10.0.0.5/8", "10.0.0.0/8 for the whole network, or 10.0.0.5/32"),
    "a name": ("office", "is not a network"),
    "a range": ("10.0.0.1-10.0.0.9", "is not a network"),
    "octal": ("010.0.0.0/8", "is not a network"),
    "too long a prefix": ("10.0.0.0/33", "is not a network"),
    "IPv4 in IPv6": ("::ffff:10.0.0.0/104", "enter IPv4 networks as in"),
    "a zone": ("fe80::1%eth0", "without a zone"),
}


@pytest.mark.parametrize(("text", "cure"), NO_NETWORKS.values(), ids=NO_NETWORKS)
def test_an_invalid_network_is_refused_with_the_cure(text: str, cure: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        canonical_networks(text)

    assert cure in " ".join(refusal.value.messages)


@pytest.mark.parametrize("text", ["https://wiki.example.com", "https://WIKI.example.com:443/"])
def test_two_applications_cannot_have_one_origin_however_it_is_written(db: None, text: str) -> None:
    ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"])

    with pytest.raises(ValidationError, match="belongs to the application “Wiki”"):
        Origin(application=ApplicationFactory(), value=text).full_clean()


def test_an_application_keeps_its_origin_when_it_is_saved_again(db: None) -> None:
    origin = ApplicationFactory(origins=["https://wiki.example.com"]).origins.get()

    origin.full_clean()

    assert origin.value == "https://wiki.example.com"


def test_a_host_below_a_wildcard_may_be_another_application(db: None) -> None:
    ApplicationFactory(origins=["https://*.example.com"])

    Origin(application=ApplicationFactory(), value="https://wiki.example.com").full_clean()


@pytest.mark.parametrize("exact", [False, True], ids=["prefix", "exact"])
def test_two_scopes_that_differ_in_letter_case_only_are_refused(db: None, exact: bool) -> None:
    application = ApplicationFactory()
    Rule.objects.create(application=application, path="/Admin", who=Rule.Who.SIGNED_IN)

    with pytest.raises(ValidationError, match="/Admin"):
        Rule(application=application, path="/admin", exact=exact).full_clean()


@pytest.mark.parametrize("path", ["/Admin", "/admins", "/admin/x", "/"])
def test_scopes_that_differ_in_more_than_letter_case_are_saved(db: None, path: str) -> None:
    application = ApplicationFactory()
    Rule.objects.create(application=application, path="/Admin")

    Rule(application=application, path=path).full_clean()


def test_another_application_may_have_the_path_in_other_letter_case(db: None) -> None:
    Rule.objects.create(application=ApplicationFactory(), path="/Admin")

    Rule(application=ApplicationFactory(), path="/admin").full_clean()


def test_a_rule_reports_all_its_mistakes_at_once(db: None) -> None:
    rule = Rule(application=ApplicationFactory(), path="x", methods="?", networks="?")

    with pytest.raises(ValidationError) as refusal:
        rule.full_clean()

    assert set(refusal.value.message_dict) == {"path", "methods", "networks"}


def test_a_start_page_is_a_web_page() -> None:
    with pytest.raises(ValidationError, match="https://"):
        Application(name="Wiki", launch_url="ftp://wiki.example.com").clean()


def test_names_of_users_differ_in_more_than_letter_case(alice: User) -> None:
    with pytest.raises(ValidationError, match="Letter case does not count"):
        User(username="Alice", password="x").full_clean()


# ---- names ----

HIDING = ["a\0b", "a\x1bb", "a\x7fb", "\u202eb", "a\u2066", "a\u00adb", "a\u200bb", "a\u2028b", "\ud800"]


@pytest.mark.parametrize("text", [*HIDING, "a\nb", "a\tb"], ids=ascii)
def test_a_name_that_hides_something_is_refused_or_made_readable(text: str) -> None:
    with pytest.raises(ValidationError, match="invisible"):
        refuse_hidden(text)

    assert readable(text) in ("ab", "a", "b", "")


@pytest.mark.parametrize("text", HIDING, ids=ascii)
def test_a_text_of_several_lines_has_no_hidden_characters_except_line_breaks(text: str) -> None:
    refuse_hidden_in_lines("one\r\n\ttwo")

    with pytest.raises(ValidationError, match="invisible"):
        refuse_hidden_in_lines(f"one\n{text}")


@pytest.mark.parametrize("text", ["Zoë", "王　小明", "a🦊b", "نام", "a\u00a0b"], ids=ascii)
def test_real_names_of_people_are_accepted(text: str) -> None:
    refuse_hidden(text)
