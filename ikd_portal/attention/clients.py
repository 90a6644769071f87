"""OpenID Connect clients that need attention, for the admin's first page. One query each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from ikd_portal.attention.matter import LATELY, NAMED, SOON, Matter, named
from openid.models import Client, ClientSecret, ClientTrouble, LogoutDelivery
from openid.protocol import redirect_uris

UNUSED_AFTER = timedelta(days=7)
MAX_CHECKED = 200
"""Clients with a plain http redirect URI that are checked one by one, at most."""


def _errors() -> Matter | None:
    """Return clients with recently refused requests. A user without access is not an error."""
    lately = ClientTrouble.objects.filter(
        last_at__gte=timezone.now() - LATELY, client__enabled=True, client__application__enabled=True
    )
    troubles = list(lately.select_related("client__application")[: NAMED + 1])
    if not troubles:
        return None
    names = named([f"{each.client.application.name} ({each.words()})" for each in troubles])
    advice = _(
        "The portal refused requests of these clients in the last 24 hours: %(names)s. Register a redirect "
        "URI only if you know it. Anyone can send a request with a client ID and a redirect URI of their own."
    )
    return Matter(_("OpenID Connect clients with errors"), advice % {"names": names}, _clients())


def _unused_secrets() -> Matter | None:
    now = timezone.now()
    lives = Q(expires_at=None) | Q(expires_at__gt=now)
    unused = ClientSecret.objects.filter(
        lives, use=None, created_at__lt=now - UNUSED_AFTER, client__jwks="", client__jwks_uri=""
    )
    names = _owners(unused.order_by("created_at"))
    if not names:
        return None
    advice = _("They are older than %(days)d days: %(names)s. Delete those that no application uses.")
    title = _("Client secrets that were never used")
    return Matter(title, advice % {"days": UNUSED_AFTER.days, "names": named(names)}, _clients())


def _expiring_secrets() -> Matter | None:
    now = timezone.now()
    ending = ClientSecret.objects.filter(expires_at__gt=now, expires_at__lte=now + SOON)
    names = _owners(ending.order_by("expires_at"))
    if not names:
        return None
    advice = _(
        "Sign-in at these applications fails within %(days)d days, unless they use another secret: %(names)s."
    )
    title = _("Client secrets that expire soon")
    return Matter(title, advice % {"days": SOON.days, "names": named(names)}, _clients(), is_serious=True)


def _without_https() -> Matter | None:
    candidates = Client.objects.filter(
        enabled=True, application__enabled=True, redirect_uris__contains="http://"
    ).select_related("application")
    names = [
        client.application.name
        for client in candidates[:MAX_CHECKED]
        if any(_is_open(uri, client) for uri in client.redirect_uris.split())
    ]
    if not names:
        return None
    advice = _("Anyone on the network can read the code that browsers send there: %s. Use https:// instead.")
    return Matter(_("Redirect URIs without https"), advice % named(names), _clients())


def _is_open(uri: str, client: Client) -> bool:
    """Return whether browsers send the code to this redirect URI over a network without TLS."""
    return uri.startswith("http://") and not (client.is_public and redirect_uris.is_loopback(uri))


def _not_notified() -> Matter | None:
    """Return clients that were not notified of a sign-out. Deliveries name clients by value."""
    now = timezone.now()
    waiting = Q(done_at=None, tries__gt=0)
    failed = Q(done_at__gte=now - LATELY) & ~Q(answer="taken")
    owner = Client.objects.filter(client_id=OuterRef("audience")).values("application__name")[:1]
    found = LogoutDelivery.objects.filter(waiting | failed).order_by("-created_at")
    clients = found.annotate(name=Coalesce(Subquery(owner), "audience")).values_list("name", flat=True)
    names = list(dict.fromkeys(clients[: 10 * NAMED]))
    if not names:
        return None
    advice = _(
        "Their own sessions may continue: %s. Check the back-channel logout URI. The portal tries five "
        "times. The events show the error."
    )
    url = f"{reverse('admin:authgate_auditevent_changelist')}?kind__exact=openid_logout_failed"
    return Matter(
        _("Clients that were not notified of a sign-out"), advice % named(names), url, is_serious=True
    )


LOOKS: tuple[tuple[str, Callable[[], Matter | None]], ...] = (
    ("openid.view_client", _errors),
    ("openid.view_client", _unused_secrets),
    ("openid.view_client", _expiring_secrets),
    ("openid.view_client", _without_https),
    ("openid.view_client", _not_notified),
)
"""Pairs: the permission to see a matter, and the function that looks for it."""


def _owners(secrets: QuerySet[ClientSecret]) -> list[str]:
    """Return the names of applications to which secrets of enabled clients belong."""
    enabled = secrets.filter(client__enabled=True, client__application__enabled=True)
    return list(enabled.values_list("client__application__name", flat=True)[: NAMED + 1])


def _clients() -> str:
    return reverse("admin:openid_client_changelist")
