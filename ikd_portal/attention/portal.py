"""Matters that need attention, for the admin's first page. Each costs one cheap query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import ApiToken, Upstream, User
from authgate.configuration_words import mistake_words
from authgate.cookies import place_of
from authgate.models import Application, AuditEvent, ConfigurationEvent, GateSession, Origin, Rule
from ikd_portal.attention import clients, configuration_file, doctor, journal, reviews
from ikd_portal.attention.matter import LATELY, NAMED, SOON, Matter, named

SILENT_AFTER = timedelta(days=30)
PROVIDER_TROUBLES = (
    "upstream_failed",
    "upstream_not_asked",
    "upstream_sign_out_failed",
    "backchannel_logout_failed",
)
USER_REASONS = ("refused", "stale")
"""Reasons for which an attempt failed because of the user, or because it expired."""

MAX_CHECKED = 50
"""Applications with a wildcard that are checked one by one, at most. Each may cost a query."""
MOST_COUNTED = 1000
"""Events that are counted at most, so that a flood cannot slow the first page. Beyond it says "more than"."""


def matters_for(request: HttpRequest) -> list[Matter]:
    """Return the matters that this administrator may see, serious ones first."""
    found = [
        matter
        for permission, look in LOOKS
        if request.user.has_perm(permission) and (matter := look()) is not None
    ]
    return sorted(found, key=lambda matter: not matter.is_serious)


def _mistakes() -> Matter | None:
    events = list(ConfigurationEvent.objects.filter(last_at__gte=timezone.now() - LATELY)[: NAMED + 1])
    if not events:
        return None
    names = named([f"{event.origin or event.contract} ({_mistake_in(event)})" for event in events])
    advice = _(
        "The portal refuses checks from these proxies: %(names)s. Each event shows the "
        "configuration line that fixes it."
    )
    return Matter(
        _("Configuration errors in the last 24 hours"),
        advice % {"names": names},
        reverse("admin:authgate_configurationevent_changelist"),
        is_serious=True,
    )


def _mistake_in(event: ConfigurationEvent) -> str:
    """Return the mistake as text, without the advice."""
    words = mistake_words(event.reason) or event.reason
    return words.partition(". ")[0].partition("。")[0].rstrip(".")


def _locked_accounts() -> Matter | None:
    locked = User.objects.filter(locked_at__isnull=False).order_by("locked_at")
    names = list(locked.values_list("username", flat=True)[: NAMED + 1])
    if not names:
        return None
    advice = _(
        "Their users reported changes or sign-ins that they did not make: %s. Look for factors, addresses "
        "and providers that an attacker added. A new password unlocks each account."
    )
    url = f"{reverse('admin:accounts_user_changelist')}?is_active__exact=0"
    return Matter(_("Locked accounts"), advice % named(names), url, is_serious=True)


def _open_to_everyone() -> Matter | None:
    deciding = Rule.objects.filter(application=OuterRef("pk"), only_watch=False)
    public = deciding.filter(who=Rule.Who.EVERYONE, path="/", exact=False)
    names = _names_of(Q(Exists(public)))
    if not names:
        return None
    advice = _("Anyone can open them without signing in, unless a rule for a longer path says otherwise: %s.")
    return Matter(_("Open to everyone"), advice % named(names), _applications(), is_serious=True)


def _closed_to_everyone() -> Matter | None:
    rules = Rule.objects.filter(application=OuterRef("pk"), only_watch=False)
    usable = rules.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    names = _names_of(~Q(Exists(usable)))
    if not names:
        return None
    advice = _("They have no active rule, so no user has access: %s.")
    return Matter(_("Applications without a rule"), advice % named(names), _applications())


def _without_origin() -> Matter | None:
    names = _names_of(Q(origins=None))
    if not names:
        return None
    advice = _("They have no origin, so the portal cannot recognise their requests: %s.")
    return Matter(_("Applications without an origin"), advice % named(names), _applications())


def _silent() -> Matter | None:
    """Return applications that no user opened through the portal: unused, or their proxy never asks."""
    since = timezone.now() - SILENT_AFTER
    lately = GateSession.objects.filter(Q(created_at__gte=since) | Q(sign_in__last_seen_at__gte=since))
    entered = Origin.objects.filter(
        Exists(lately.filter(origin=OuterRef("value"))), application=OuterRef("pk")
    )
    candidates = (
        Application.objects.filter(~Q(Exists(entered)), enabled=True, created_at__lt=timezone.now() - LATELY)
        .exclude(origins=None)
        .prefetch_related("origins")[:MAX_CHECKED]
    )
    names = []
    for application in candidates:
        if not any(_is_entered(origin.value, lately) for origin in application.origins.all()):
            names.append(application.name)
    if not names:
        return None
    advice = _(
        "No user has come through the portal for %(days)d days: %(names)s. If users still open them, their "
        "proxy does not ask the portal. Applications that are open to everyone, or used only by programs, "
        "also appear here."
    )
    title = _("Silent applications")
    return Matter(title, advice % {"days": SILENT_AFTER.days, "names": named(names)}, _applications())


def _is_entered(origin: str, lately: QuerySet[GateSession]) -> bool:
    """Return whether a user opened an origin below a wildcard, or may have, by a shared domain's cookie."""
    scheme, _separator, host = origin.partition("://")
    if place_of(origin, tuple(settings.IKD_SHARED_COOKIE_DOMAINS)).startswith("."):
        return True
    if not host.startswith("*"):
        return False
    return lately.filter(origin__startswith=f"{scheme}://", origin__endswith=host.removeprefix("*")).exists()


def _expiring_tokens() -> Matter | None:
    now = timezone.now()
    ending = ApiToken.objects.filter(ended_at=None, expires_at__gt=now, expires_at__lte=now + SOON)
    tokens = list(
        ending.filter(user__is_active=True).select_related("user").order_by("expires_at")[: NAMED + 1]
    )
    if not tokens:
        return None
    names = named([f"{token.name} ({token.user.username})" for token in tokens])
    advice = _(
        "Programs that use them will be refused within %(days)d days: %(names)s. Their owners can "
        "create new ones."
    )
    url = reverse("admin:accounts_apitoken_changelist")
    return Matter(_("API tokens that expire soon"), advice % {"days": SOON.days, "names": names}, url)


def _providers_in_trouble() -> Matter | None:
    """Return providers that failed recently. A refused user is not a failure of the provider."""
    lately = AuditEvent.objects.filter(kind__in=PROVIDER_TROUBLES, at__gte=timezone.now() - LATELY)
    events = lately.values_list("details", flat=True)[:MOST_COUNTED]
    slugs = Counter(event.get("upstream") for event in events if event.get("blame") not in USER_REASONS)
    failing = Upstream.objects.filter(enabled=True, slug__in=slugs).order_by("order", "name")
    names = [f"{upstream.name} ({slugs[upstream.slug]})" for upstream in failing[: NAMED + 1]]
    if not names:
        return None
    advice = _(
        "Sign-ins, sign-outs or rechecks failed in the last 24 hours: %s. Test the providers and read the "
        "events."
    )
    url = reverse("admin:accounts_upstream_changelist")
    return Matter(_("Providers with errors"), advice % named(names), url, is_serious=True)


def _overload() -> Matter | None:
    """Return a matter if the portal recently refused requests because of overload."""
    lately = AuditEvent.objects.filter(kind="overloaded", at__gte=timezone.now() - LATELY)
    counts = [event.get("count", 0) for event in lately.values_list("details", flat=True)[:MOST_COUNTED]]
    if not counts:
        return None
    advice = _(
        "It refused %(count)d requests in the last 24 hours and asked clients to try again. If users were "
        "affected, add "
        "processes (IKD_WORKERS for checks, IKD_PAGE_WORKERS for sign-ins) or processor cores."
    )
    return Matter(
        _("The portal was overloaded"),
        advice % {"count": sum(counts)},
        _events("overloaded"),
        is_serious=True,
    )


def _failed_sign_ins() -> Matter | None:
    count, words = _how_many("sign_in_failed")
    if not count:
        return None
    title = (
        ngettext("%s failed sign-in in the last 24 hours", "%s failed sign-ins in the last 24 hours", count)
        % words
    )
    advice = _("A few are typing errors. Many from one address, or for one account, can be an attack.")
    return Matter(title, advice, _events("sign_in_failed"), is_serious=count >= 50)


def _refusals() -> Matter | None:
    count, words = _how_many("refused")
    if not count:
        return None
    title = ngettext("%s refusal in the last 24 hours", "%s refusals in the last 24 hours", count) % words
    advice = _("A signed-in user was refused access. The user may need to be in a group.")
    return Matter(title, advice, _events("refused"))


LOOKS: tuple[tuple[str, Callable[[], Matter | None]], ...] = (
    ("authgate.view_configurationevent", _mistakes),
    ("accounts.view_user", _locked_accounts),
    ("authgate.view_application", _open_to_everyone),
    ("authgate.view_application", _closed_to_everyone),
    ("authgate.view_application", _without_origin),
    ("authgate.view_application", _silent),
    ("accounts.view_upstream", _providers_in_trouble),
    ("accounts.view_apitoken", _expiring_tokens),
    *clients.LOOKS,
    *configuration_file.LOOKS,
    *doctor.LOOKS,
    *reviews.LOOKS,
    ("authgate.view_journalentry", journal.off),
    ("authgate.view_auditevent", _overload),
    ("authgate.view_auditevent", _failed_sign_ins),
    ("authgate.view_auditevent", _refusals),
)
"""Pairs: the permission to see a matter, and the function that looks for it."""


def _names_of(condition: Q) -> list[str]:
    enabled = Application.objects.filter(condition, enabled=True)
    return list(enabled.values_list("name", flat=True)[: NAMED + 1])


def _how_many(kind: str) -> tuple[int, str]:
    """Return how many events of a kind there were recently, as a number and as text."""
    lately = AuditEvent.objects.filter(kind=kind, at__gte=timezone.now() - LATELY).order_by()
    count = lately[: MOST_COUNTED + 1].count()
    return count, str(count) if count <= MOST_COUNTED else _("More than %d") % MOST_COUNTED


def _applications() -> str:
    return reverse("admin:authgate_application_changelist")


def _events(kind: str) -> str:
    return f"{reverse('admin:authgate_auditevent_changelist')}?{urlencode({'kind__exact': kind})}"
