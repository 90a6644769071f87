"""Fills the demo with users, groups and applications, so that pages look as in real use."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image, ImageDraw

from tools.screenshots.site import Site

FURNITURE = (
    ("Calendar", "Rooms, holidays and who is where.", "Every day", "#2d6cdf"),
    ("Chat", "Channels of all teams.", "Every day", ""),
    ("Files", "Shared folders, with every old version.", "Every day", "#e08a1e"),
    ("Expenses", "Receipts in, money back.", "Finance", ""),
    ("Invoices", "What customers owe.", "Finance", "#3f8f5b"),
    ("Builds", "Every commit, built and tested.", "Engineering", ""),
    ("Dashboards", "How the machines are.", "Engineering", "#b5476c"),
    ("Tickets", "What is broken, and who repairs it.", "Engineering", ""),
)
"""Applications in addition to the demo's: name, description, category, and an icon's colour."""


def furnish(var: Path, facts: dict[str, Any]) -> Site:
    """Add users, groups and applications to the demo, and return the site."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "ikd_portal.settings",
        "IKD_VAR": str(var),
        "IKD_PORTAL_URL": facts["portal"],
        "DJANGO_ALLOW_ASYNC_UNSAFE": "true",  # Playwright runs an event loop in this thread
    }
    import django
    from django.conf import settings

    django.setup()
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    from django.contrib.auth.models import Group
    from django.db import connection, transaction
    from django.utils import timezone

    from accounts.models import Upstream, User
    from authgate.models import Application, ConfigurationEvent, Favourite, Origin, Rule

    with transaction.atomic():
        everyone = Group.objects.create(name="company")
        people = {user.username: user for user in User.objects.all()}
        people["alice"].groups.add(everyone)
        people["carol"].groups.add(everyone)
        erin = User(username="erin", display_name="Erin Brook")
        erin.set_password(facts["users"]["bob"])
        erin.save()
        for name, description, category, colour in FURNITURE:
            made = Application.objects.create(name=name, description=description, category=category)
            Origin.objects.create(application=made, value=f"https://{name.lower()}.example.com")
            Rule.objects.create(application=made, path="/").groups.add(everyone)
            if colour:
                give_icon(made, colour)
        Application.objects.create(name="Archive", description="Old documents.")
        # Otherwise the demo's rule would admit any signed-in user, and no user would have an empty launcher.
        company_only = Rule.objects.filter(application__name__in=("App", "Wiki"), path="/")
        for rule in company_only:
            rule.groups.set([everyone, *Group.objects.filter(name__in=("guests", "staff"))])
        company_only.update(who=Rule.Who.CHOSEN)
        for name in ("Calendar", "Wiki"):
            Favourite.objects.create(user=people["alice"], application=Application.objects.get(name=name))
        provider = Upstream.objects.create(
            kind=Upstream.Kind.OIDC,
            name="Keycloak",
            slug="keycloak",
            issuer="https://id.example.com/realms/company",
            client_id="portal",
        )
        now = timezone.now()
        ConfigurationEvent.objects.create(
            contract="nginx",
            origin="https://reports.example.com",
            reason="unknown origin",
            count=42,
            first_at=now,
            last_at=now,
        )
    site = Site(
        facts["portal"],
        {name: each["url"] for name, each in facts["applications"].items()},
        {**facts["users"], "erin": facts["users"]["bob"]},
        facts["connect"],
        facts["portal"] + link_without_cookies(facts["applications"]["wiki"]["url"]),
        {
            "application": Application.objects.get(name="Wiki").pk,
            "user": people["alice"].pk,
            "sign-in": 1,
            "group": everyone.pk,
            "provider": provider.pk,
            "nobody": erin.pk,
        },
    )
    connection.close()
    return site


def forget_attempts() -> None:
    """Reset the limits on passwords, because every view sends wrong passwords before a correct one."""
    from django.core.cache import cache
    from django.db import connection

    cache.clear()
    connection.close()


def give_icon(application: Any, colour: str) -> None:
    from authgate.models import Icon

    drawn, content = Image.new("RGBA", (96, 96)), io.BytesIO()
    pen = ImageDraw.Draw(drawn)
    pen.rounded_rectangle((0, 0, 95, 95), 22, fill=colour)
    pen.rounded_rectangle((24, 28, 71, 36), 4, fill="#ffffff")
    pen.rounded_rectangle((24, 44, 71, 52), 4, fill="#ffffffcc")
    pen.rounded_rectangle((24, 60, 55, 68), 4, fill="#ffffff99")
    drawn.save(content, "WEBP")
    Icon.objects.create(application=application, content=content.getvalue())


def link_without_cookies(origin: str) -> str:
    """Return the URL of a browser that was redirected too often without a cookie."""
    from authgate.check.state import State, seal
    from authgate.handover import ROUNDS_LIMIT
    from authgate.worker.loader import gate_settings

    state = State(origin, "/", "0" * 32, "", int(time.time()), ROUNDS_LIMIT)
    return f"/continue?state={seal(state, gate_settings().state_keys[0])}"


def links() -> dict[str, str]:
    """Return URLs and values for rows of the company: a consent, a device's client and an e-mail's link."""
    from django.db import connection

    from accounts.lock_links import new_link
    from accounts.models import User
    from openid.models import Client

    asks = Client.objects.get(asks_consent=True)
    asked = {
        "client_id": asks.client_id,
        "redirect_uri": asks.redirect_uris,
        "response_type": "code",
        "scope": asks.scopes,
        "state": "x",
        "code_challenge": "v" * 43,
        "code_challenge_method": "S256",
        "prompt": "consent",
    }
    found = {
        "consent": f"/openid/authorize?{urlencode(asked)}",
        "device": Client.objects.get(allows_devices=True).client_id,
        "lock": new_link(User.objects.get(username="bob").pk, "bob@example.com"),
    }
    connection.close()
    return found
