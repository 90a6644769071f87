"""Badges that summarise an application's protection: who its rules admit, and with which factor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from authgate.models import Application, Rule

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

Badge = tuple[str, "_StrPromise"]
"""A badge's CSS class and text."""

NOTABLE, SERIOUS, PLAIN, STRONG = "notable", "serious", "plain", "strong"


def badges_of(application: Application) -> list[Badge]:
    """Return the badges of an application, from its rules that have not expired."""
    now = timezone.now()
    deciding = [each for each in application.rules.all() if not each.only_watch]
    rules = [each for each in deciding if each.expires_at is None or each.expires_at > now]
    return [*_state_of(application), *_access_by(rules), *_factors_of(rules)]


def shown(badges: Iterable[Badge]) -> SafeString:
    """Return badges as HTML. They differ in text, not only in colour."""
    return format_html(
        '<span class="badges">{}</span>',
        format_html_join("", '<span class="badge {}">{}</span>', ((kind, text) for kind, text in badges)),
    )


def _state_of(application: Application) -> Iterator[Badge]:
    if application.locked_down_at:
        yield SERIOUS, _("locked down")
    elif not application.enabled:
        yield NOTABLE, _("disabled")
    if application.maintenance:
        yield NOTABLE, _("maintenance")


def _access_by(rules: list[Rule]) -> Iterator[Badge]:
    if not rules:
        yield SERIOUS, _("no active rule")
    public = [rule for rule in rules if rule.who == Rule.Who.EVERYONE and not _wants_factor(rule)]
    if any(rule.path == "/" and not rule.exact for rule in public):
        yield SERIOUS, _("public")
    elif public:
        yield NOTABLE, _("public parts")
    others = [rule for rule in rules if rule not in public]
    if any(rule.who != Rule.Who.CHOSEN for rule in others):
        yield PLAIN, _("signed-in users")
    if any(rule.who == Rule.Who.CHOSEN for rule in others):
        yield PLAIN, _("groups or users")


def _factors_of(rules: list[Rule]) -> Iterator[Badge]:
    wanting = [rule for rule in rules if _wants_factor(rule)]
    if not wanting:
        return
    is_everywhere = len(wanting) == len(rules)
    if all(rule.passkey for rule in wanting):
        yield STRONG, _("passkey") if is_everywhere else _("passkey for parts")
    else:
        yield STRONG, _("second factor") if is_everywhere else _("second factor for parts")


def _wants_factor(rule: Rule) -> bool:
    return rule.second_factor or rule.passkey or rule.factor_minutes is not None
