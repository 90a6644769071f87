"""Writes docs/openid-applications.md from the instructions that the admin shows.

Run `python -m tools.openid_applications`. A test compares the page with its output.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import django

PAGE = Path(__file__).resolve().parent.parent / "docs" / "openid-applications.md"
HEAD = """# OpenID Connect: settings of applications

What to enter in each application. The portal is `https://sso.example.com`. `CLIENT_ID` and `SECRET` stand for
those of the client. In the administration, **Set up an application** beside a client shows the same settings
with its own values. It also shows which redirect URIs are registered. It never shows the secret.

*Tested* names the version that the tests of the portal run, see [Tested applications](openid-clients.md). All
others are not tested: their values come from public documentation.

"""


def page() -> str:
    """Return the page in Markdown."""
    from openid.instructions import APPLICATIONS, WITHOUT_PKCE

    rows = [
        f"| [{each.name}](#{_anchor(each.name)}) | {each.tried or 'not tested'} |" for each in APPLICATIONS
    ]
    table = "\n".join(["| Application | Tested |", "|---|---|", *rows])
    without = ", ".join(WITHOUT_PKCE)
    refused = (
        f"The known releases of {without} send no PKCE challenge.\n"
        "So the portal refuses their requests. Put them behind a proxy instead.\n"
    )
    sections = "\n".join(_section(each) for each in APPLICATIONS)
    return f"{HEAD}{table}\n\n{refused}\n{sections}"


def _anchor(heading: str) -> str:
    """Return GitHub's anchor for a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _section(of: object) -> str:
    from openid.instructions import Instructions, filled

    assert isinstance(of, Instructions)
    values = {
        "issuer": "https://sso.example.com",
        "client_id": "CLIENT_ID",
        "secret": "SECRET",
        "scopes": of.scopes,
        "site": of.site,
    }
    uris = [("Redirect URIs", *of.redirect_uris)]
    uris += [("URIs after signing out", of.post_logout_uri)] if of.post_logout_uri else []
    uris += [("Back-channel logout URI", of.backchannel_logout_uri)] if of.backchannel_logout_uri else []
    portal = [f"* {label}: {' '.join(f'`{filled(uri, values)}`' for uri in each)}" for label, *each in uris]
    settings = [f"| `{name}` | `{filled(value, values)}` |" for name, value in of.settings]
    state = f"Tested with version {of.tried}." if of.tried else "Not tested."
    lines = [
        f"## {of.name}",
        "",
        f"{state}{f' {of.note}' if of.note else ''} The client in the portal:",
        "",
        *portal,
        f"* Scopes: `{of.scopes}`",
        "",
        f"| `{of.place}` | Value |",
        "|---|---|",
        *settings,
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ikd_portal.settings")
    django.setup()
    PAGE.write_text(page())
