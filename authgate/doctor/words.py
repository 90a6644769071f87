"""Texts of findings in the reader's language. Reports store machine names, so old reports have texts too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from authgate.configuration_words import mistake_words
from authgate.doctor.findings import Finding, Level

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

LEVELS: dict[Level, _StrPromise] = {
    Level.PASS: _("Passed"),
    Level.WARN: _("Warning"),
    Level.FAIL: _("Failed"),
}

TESTS: dict[str, tuple[_StrPromise, _StrPromise]] = {
    "connection": (_("Connection"), _("The portal can reach the application's public address.")),
    "certificate": (_("Certificate"), _("The certificate is valid for the name.")),
    "protected": (_("Check"), _("The proxy checks every request, and obeys the answer.")),
    "visitors": (_("Visitors"), _("A visitor who is not signed in is asked to sign in.")),
    "proxy": (_("Trusted proxy"), _("The proxy's address is in IKD_TRUSTED_PROXIES.")),
    "check": (_("Headers of the check"), _("The portal can read the check.")),
    "address": (_("Requested address"), _("The check has the right scheme, host and port.")),
    "method": (_("Method"), _("The check has the method of the request.")),
    "client address": (_("Client address"), _("The check has the address of the client.")),
    "cookies": (_("Cookies"), _("The check has the client's cookies.")),
    "Authorization": (_("Authorization"), _("The check has the client's Authorization header.")),
    "browsers": (_("Browser headers"), _("The check has the headers by which the portal recognizes pages.")),
    "WebSocket": (_("WebSocket"), _("WebSocket handshakes are checked.")),
    "pages of the portal": (
        _("Pages of the portal"),
        _("The sign-in, its callback and the sign-out reach the portal."),
    ),
    "clock": (_("Clock"), _("The proxy has the same time as the portal.")),
    "forged headers": (_("Forged headers"), _("Clients cannot forge the request that is checked.")),
    "forged client address": (_("Forged client address"), _("Clients cannot forge their address.")),
    "identity headers": (_("Identity headers"), _("The proxy removes identity headers of clients.")),
    "header names": (_("Header names"), _("The proxy removes header names with underscores or dots.")),
    "paths": (_("Paths"), _("The check has the path of the request.")),
    "hosts": (_("Other hosts"), _("Other hosts, ports and request targets do not reach the application.")),
    "published check": (_("URL of the check"), _("Visitors cannot request checks.")),
    "application behind the proxy": (
        _("Application behind the proxy"),
        _("The application answers only through the proxy."),
    ),
    "provider": (_("Identity provider"), _("The identity provider answers.")),
    "mail": (_("E-mail"), _("The mail server accepts connections.")),
}
"""The name of each test, and the sentence to show if it passed."""

REASONS: dict[str, _StrPromise] = {
    "wildcard": _("%(origin)s has a *, so there is no address to test."),
    "no time": _("%(origin)s was not tested, because the other origins took too long."),
    "error": _("The test ended with an error. See the portal's log."),
    "no origin": _("The application has no origin."),
    "unknown name": _("The name of %(origin)s is not known to the DNS."),
    "private address": _(
        "The address is in a private network. Allow it for this test in the portal's settings."
    ),
    "nobody's address": _(
        "The name leads to a link-local or multicast address. The portal never uses these."
    ),
    "refused": _("The connection to %(origin)s was refused or timed out."),
    "encryption": _("The TLS handshake with %(origin)s failed."),
    "certificate": _("The certificate is not valid for the name, or this machine does not know its issuer."),
    "unchecked": _(
        "%(path)s answered %(status)s without a check. Anyone can open it. Protect every location and route."
    ),
    "ignored": _(
        "The portal refused %(path)s, but the client received %(status)s. The proxy must obey the answer."
    ),
    "no response": _("The proxy did not answer."),
    "token lost": _(
        "The proxy asks the portal, but does not pass the header Sec-Purpose, which marks this test. Add it "
        "and test again."
    ),
    "not asked": _("The proxy answered %(status)s, and the portal received no check."),
    "let in": _("A visitor who is not signed in received %(status)s, not the sign-in page."),
    "bare 401": _("A visitor who is not signed in received a 401, not the sign-in page."),
    "other answer": _("A visitor who is not signed in received %(status)s, not the sign-in page."),
    "untrusted peer": _("The check came from %(peer)s, which is not in IKD_TRUSTED_PROXIES."),
    "other origin": _("The request was for %(sent)s, but the check says %(seen)s."),
    "other method": _("The request had the method %(sent)s, but the check says %(seen)s."),
    "address of the proxy": _(
        "The check says %(seen)s, which is the proxy. The client was %(own)s. Rules for networks and the "
        "limits for sign-ins would treat all clients as one."
    ),
    "other address": _(
        "The check says %(seen)s. The portal connected from %(own)s. If a load balancer is in front of the "
        "proxy, configure its address there. If NAT translates the portal's address, this is correct."
    ),
    "no cookie": _("The check has no cookies, so no user is ever signed in."),
    "no authorization": _("The check has no Authorization header, so API tokens do not work."),
    "no hints": _(
        "The check lacks Accept or Sec-Fetch-Mode, so browsers may get a 401 instead of the sign-in page."
    ),
    "no endpoint": _("%(path)s does not reach the portal. The answer was %(status)s."),
    "skew": _("The clocks of the proxy and the portal differ by %(seconds)s seconds."),
    "mixed": _("The proxy passes a client's %(header)s beside its own, or in place of it."),
    "believed": _("A client can forge this in a check: %(part)s."),
    "believed client": _("A client can forge its address: the check says %(seen)s."),
    "identity passes": _(
        "Identity headers of a client are still there when the proxy asks the portal: %(names)s. An "
        "application may believe them."
    ),
    "aliases pass": _(
        "Header names with underscores or dots pass: %(names)s. Many applications treat them like names with "
        "dashes."
    ),
    "other path": _(
        "The request was for %(sent)s, but the check says %(seen)s. Other rules can apply there."
    ),
    "answered": _("The proxy answered %(status)s for the host %(host)s without a check."),
    "any host": _("The proxy serves the application under any host, such as %(host)s."),
    "any host checked": _(
        "The proxy checks requests for any host, such as %(host)s. A client that names the host of another "
        "application opens this one by the other's rules."
    ),
    "host of the client": _(
        "The check says the host that the client wrote, %(seen)s, not the one that the proxy serves."
    ),
    "published": _("A visitor can request %(path)s, and choose what is checked."),
    "open backend": _("%(backend)s answers %(status)s without the proxy. Only the proxy may reach it."),
    "provider": _("%(name)s: %(text)s"),
    "mail server": _("The mail server did not accept the connection: %(text)s"),
    "no mail": _("No mail server is configured. E-mails are written to the log."),
}
"""The text for each reason. Values come from the portal, the proxy or the doctor's own requests."""

PASSED: dict[str, _StrPromise] = {
    "refused": _("A visitor who is not signed in is refused."),
    "closed": _("%(backend)s does not answer without the proxy."),
    "this machine": _("%(backend)s is on this machine. Other machines cannot reach it."),
    "provider": _("%(name)s answers."),
}


def label_of(finding: Finding) -> str:
    """Return the name of a test."""
    return str(TESTS[finding.test][0]) if finding.test in TESTS else finding.test


def text_of(finding: Finding) -> str:
    """Return the text of a finding: one or two sentences."""
    if finding.reason == "unreadable":
        reason = finding.values.get("reason", "")
        return mistake_words(reason) or reason
    if finding.level is Level.PASS:
        words: object = PASSED.get(finding.reason) or TESTS.get(finding.test, ("", ""))[1]
    else:
        words = REASONS.get(finding.reason, finding.reason)
    try:
        return str(words) % finding.values
    except (KeyError, ValueError):
        return str(words)  # the report is from another version
