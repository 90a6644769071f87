from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache
from urllib.parse import urlsplit

import idna
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from publicsuffixlist import PublicSuffixList

from authgate.decision.target import BadTarget, is_on_same_host, method_from, origin_from

_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\\]*)(.*)", re.DOTALL)
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)((?::.*)?)", re.DOTALL)
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
PRIVATE_ZONES = frozenset(
    # From RFC 6762 with appendix G, RFC 8375 and RFC 6761. ICANN reserves .internal; .localdomain is common.
    (
        *("local", "intranet", "internal", "private", "corp", "home", "lan"),
        *("home.arpa", "test", "localdomain"),
    )
)
"""Private zones. They have no registry; the operator of a network assigns every name in them."""

# Letters and marks that are invisible, although Python calls them printable (Unicode: default ignorable).
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# Unicode categories: control, format (such as direction marks), surrogates, line and paragraph separators.
_HIDING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_PARTING = str.maketrans("\r\n\t", "   ")
_SPELLED_TWO_WAYS = re.compile(r"[\\;?#%*]")


# ---- names ------------------------------------------------------------------------------------------------


def readable(name: str) -> str:
    """Return a name without invisible characters and without characters that change the text's direction."""
    return "".join(filter(str.isprintable, name)).strip()


def refuse_hidden(text: str) -> None:
    """Raise ValidationError for invisible characters, and for those that change the text's direction."""
    # No such character is printable, and `isprintable` is a hundred times as fast.
    if not text.isprintable() and any(unicodedata.category(character) in _HIDING for character in text):
        raise ValidationError(_("It contains an invisible character. Type it again."), code="hidden")


def refuse_hidden_in_lines(text: str) -> None:
    """Raise ValidationError as `refuse_hidden` does, but allow line ends."""
    refuse_hidden(text.translate(_PARTING))


# ---- origins ----------------------------------------------------------------------------------------------


def canonical_origin(text: str, *, without_https: bool) -> str:
    """Return the canonical form of an origin or a wildcard. Raises ValidationError."""
    match = _ORIGIN.fullmatch(text.strip())
    if match is None:
        raise ValidationError(_("Include the scheme, such as https://wiki.example.com."), code="origin")
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    _refuse_more_than_an_origin(scheme, authority, rest)
    wildcard, host, port = _parts(authority)
    origin = _origin_from(scheme, host, port)
    if wildcard:
        origin = origin.replace("://", "://*.", 1)
        _refuse_too_wide(origin)
    if scheme == "http" and not without_https:
        raise ValidationError(
            _("Use https://, or select “allow use without https” for the application."), code="origin"
        )
    if origin == settings.IKD_PORTAL_ORIGIN:
        raise ValidationError(
            _(
                "This is the address of the portal, which protects itself. Use a different host name for the "
                "application."
            ),
            code="origin",
        )
    _refuse_the_portals_host(origin)
    return origin


def _refuse_the_portals_host(origin: str) -> None:
    """Raise ValidationError for another port or scheme of the portal's host.

    The server there would receive the portal's cookies.
    """
    if not is_on_same_host(origin, settings.IKD_PORTAL_ORIGIN):
        return
    host = urlsplit(settings.IKD_PORTAL_ORIGIN).hostname or ""
    raise ValidationError(
        _(
            "The portal is on the same host, %(host)s, and browsers send its cookies to every port. Use a "
            "different host name for the application, such as %(name)s."
        ),
        code="origin",
        params={"host": host, "name": _name_beside(host)},
    )


def _name_beside(host: str) -> str:
    """Return an example of a host name for an application of a portal on `host`."""
    if _is_address(host):
        return "app.localhost" if ipaddress.ip_address(host).is_loopback else "app.example.com"
    parent = host.partition(".")[2]
    is_own = parent == "localhost" or _is_private_zone(parent) or not _is_public_suffix(parent)
    return f"app.{parent if parent and is_own else host}"


def _refuse_more_than_an_origin(scheme: str, authority: str, rest: str) -> None:
    if scheme not in ("http", "https"):
        raise ValidationError(
            _("Begin with https:// instead. It includes the WebSockets (wss://) of the origin."),
            code="origin",
        )
    if _has_hidden(authority) or " " in authority:
        raise ValidationError(
            _("It contains a space or an invisible character. Type the name again."), code="origin"
        )
    if "@" in authority:
        raise ValidationError(_("An origin has no user name. Remove everything up to the @."), code="origin")
    if rest not in ("", "/"):
        raise ValidationError(
            _("An origin ends after the name and port. Remove the rest. Paths belong in the rules."),
            code="origin",
        )


def canonical_authority(text: str) -> str:
    """Return the canonical form of `host:port`. Raises ValidationError."""
    host, colon, port = text.strip().rpartition(":")
    try:
        canonical = origin_from("http", f"{host}:{port}").removeprefix("http://")
    except BadTarget:
        canonical = ""
    if not colon or not canonical:
        raise ValidationError(_("Enter a host and a port, such as 10.0.0.5:8080."), code="authority")
    return canonical if port != "80" else f"{canonical}:80"


def _parts(authority: str) -> tuple[bool, str, str]:
    """Return whether `authority` is a wildcard, its host below the `*.` in ASCII, and its port with colon."""
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None:
        raise _no_host()
    wildcard = match[1].startswith("*.")
    host = match[1][2:] if wildcard else match[1]
    if "*" in host:
        raise ValidationError(
            _("A * can stand only for the leftmost names, as in https://*.apps.example.com."), code="origin"
        )
    return wildcard, _in_ascii(host), match[2]


def _in_ascii(host: str) -> str:
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise _no_host() from None


def _origin_from(scheme: str, host: str, port: str) -> str:
    try:
        origin = origin_from(scheme, host + port)
    except BadTarget:
        raise _no_host() from None
    # Browsers read such a name as an IPv4 address (WHATWG URL), so they would never request it as written.
    if _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]) and not _is_address(host):
        raise ValidationError(
            _("This is neither a name nor an address. Enter an IPv4 address as in https://192.0.2.1."),
            code="origin",
        )
    return origin


def _no_host() -> ValidationError:
    return ValidationError(
        _("This is not a name with an optional port. Enter it as in https://wiki.example.com:8443."),
        code="origin",
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _refuse_too_wide(wildcard: str) -> None:
    host = wildcard.partition("://*.")[2]
    if not host.startswith("["):
        host = host.partition(":")[0]
    if host.startswith("[") or _is_address(host):
        raise ValidationError(
            _("An IP address has no names below it. Enter it without the *."), code="origin"
        )
    if not _is_private_zone(host) and _is_public_suffix(host):
        raise ValidationError(
            _(
                "Names below %(host)s belong to other people too. Add your own name after the *, as in "
                "https://*.apps.example.com."
            ),
            code="origin",
            params={"host": host},
        )


@lru_cache(maxsize=8)
def canonical_cookie_domains(domains: tuple[str, ...]) -> tuple[str, ...]:
    """Return the canonical form of each domain for a shared cookie. Raises ValidationError."""
    found = []
    for text in domains:
        try:
            host = origin_from("https", text).removeprefix("https://")
        except BadTarget:
            host = ""
        if (
            host != text.lower()
            or ("." not in host and not _is_private_zone(host))
            or ":" in host
            or host.startswith(".")
            or _is_address(host)
        ):
            raise ValidationError(_("is not a domain such as apps.example.com"))
        if _is_private_zone(host):
            # Browsers treat it as a public suffix: it is in their list (home.arpa) or a single label.
            raise ValidationError(
                _("is a whole zone, for which browsers accept no cookies; use a domain below it")
            )
        if _is_public_suffix(host):
            raise ValidationError(_("is a domain below which other people own names"))
        found.append(host)
    if any(f".{one}".endswith(f".{other}") for one in found for other in found if one is not other):
        raise ValidationError(
            _("contains a domain below another one, so browsers would send two cookies with the same name")
        )
    return tuple(found)


def _is_private_zone(host: str) -> bool:
    """Return whether `host` is a private zone. A top-level domain with a registry is not private."""
    if host not in PRIVATE_ZONES:
        return False
    return host == "home.arpa" or _public_suffixes().publicsuffix(host, accept_unknown=False) is None


def _is_public_suffix(host: str) -> bool:
    return host.rpartition(".")[2] == "localhost" or _public_suffixes().is_public(host)


@lru_cache(maxsize=1)
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=True, only_icann=False)


def _has_hidden(text: str) -> bool:
    return not text.isprintable() or INVISIBLE.search(text) is not None


# ---- rules ------------------------------------------------------------------------------------------------


def canonical_path(text: str) -> str:
    """Return the canonical form of a rule's path. Raises ValidationError."""
    if not text.startswith("/"):
        raise ValidationError(_("A path begins with /. Enter / for everything."), code="path")
    if _has_hidden(text):
        raise ValidationError(_("It contains an invisible character. Type the path again."), code="path")
    _refuse_two_readings(text)
    return unicodedata.normalize("NFC", text).removesuffix("/") or "/"


def _refuse_two_readings(text: str) -> None:
    odd = _SPELLED_TWO_WAYS.search(text)
    if odd is not None:
        cures = {
            "%": _("Enter the character itself, not its percent code."),
            "*": _("Remove the *. A path covers everything below it."),
            "?": _("Remove the ? and everything after it. Rules ignore the query."),
            "#": _("Remove the # and everything after it. Browsers do not send it."),
        }
        cure = cures.get(odd[0], _("Servers read \\ and ; in different ways. Enter the path without them."))
        raise ValidationError(cure, code="path")
    if "//" in text:
        raise ValidationError(_("Use a single / instead of several."), code="path")
    if {".", ".."} & set(text.split("/")):
        raise ValidationError(_("Enter the resulting path, without . and .. in it."), code="path")


def canonical_methods(text: str) -> str:
    """Return methods in upper case, each once, separated by spaces. Raises ValidationError."""
    methods = dict.fromkeys(text.upper().replace(",", " ").split())
    for method in methods:
        try:
            method_from(method)
        except BadTarget:
            raise ValidationError(
                _("“%(method)s” is not a method. Enter methods as in GET POST."),
                code="methods",
                params={"method": method},
            ) from None
    if "HEAD" in methods and "GET" not in methods:
        raise ValidationError(_("GET includes HEAD. Enter GET instead."), code="methods")
    methods.pop("HEAD", None)
    return " ".join(methods)


def canonical_networks(text: str) -> str:
    """Return networks in canonical form, each once, separated by spaces. Raises ValidationError."""
    return " ".join(dict.fromkeys(_network(word) for word in text.replace(",", " ").split()))


def _network(word: str) -> str:
    try:
        network = ipaddress.ip_network(word.partition("%")[0], strict=False)
        address = ipaddress.ip_interface(word.partition("%")[0]).ip
    except ValueError:
        raise ValidationError(
            _("“%(word)s” is not a network. Enter networks as in 10.0.0.0/8 or 2001:db8::/32."),
            code="networks",
            params={"word": word},
        ) from None
    if address != network.network_address:
        raise ValidationError(
            _(
                "“%(word)s” is an address in a network. Enter %(network)s for the whole network, "
                "or %(address)s."
            ),
            code="networks",
            params={"word": word, "network": network, "address": ipaddress.ip_network(address)},
        )
    if "%" in word or (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped):
        raise ValidationError(
            _("“%(word)s”: enter IPv4 networks as in 10.0.0.0/8, and IPv6 networks without a zone."),
            code="networks",
            params={"word": word},
        )
    return str(network)
