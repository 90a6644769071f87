"""The refused page: it shows the refused URL, the user, and what the user can do."""

from __future__ import annotations

import re
import secrets
from functools import lru_cache
from urllib.parse import quote_plus, urlencode

from django.conf import settings
from django.template.defaultfilters import truncatechars
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.html import escape
from django.utils.translation import get_supported_language_variant
from django.utils.translation import gettext as _
from django.utils.translation.trans_real import parse_accept_lang_header

from authgate.check.memory import RefusedPage
from authgate.decision.rules import MAINTENANCE
from authgate.decision.target import Target


def reason_in_words(reason: str) -> str:
    """Return a decision's reason in words for the user, without names of rules and groups."""
    sentences = {
        "no rule admits": _("You are not in a group that has access."),
        "allowed_groups": _("You are not in a group that has access."),
        "allowed_emails": _("Only certain e-mail addresses have access."),
        "allowed_email_domains": _("Only e-mail addresses in certain domains have access."),
        "application disabled": _("The application is disabled at the moment."),
        MAINTENANCE: _("The application is under maintenance. Try again later."),
        "no rule covers the path": _("No user has access to this page."),
        "path cannot be read safely": _("The address can be read in more than one way."),
        "second factor": _("A second factor is required, and your sign-in has none."),
        "identity headers too long": _("You are in more groups than can be passed on to the application."),
    }
    return sentences.get(reason, _("You do not have access to this page."))


def context_of(page: RefusedPage, portal: str = "") -> dict[str, object]:
    """Return the template's context. `portal` is the portal's origin if another origin shows the page."""
    switch = f"{reverse('switch_account')}?{urlencode({'next': page.target.url})}"
    return {
        "page": page,
        "host": page.target.origin.partition("://")[2],
        "reason": reason_in_words(page.reason),
        "static": f"{portal}{settings.STATIC_URL}",
        "accent_url": f"{portal}{reverse('brand_accent')}",
        "logo_url": f"{portal}{reverse('brand_logo')}",
        "portal_host": settings.IKD_PORTAL_ORIGIN.partition("://")[2],
        "switch_url": f"{portal}{switch}",
        "ask_url": f"{portal}{reverse('ask_for_access')}?{urlencode({'page': page.target.url})}"
        if page.username and page.reason == "no rule admits"
        else "",
        "launcher_url": f"{portal}{reverse('launcher')}",
        "start_url": f"{page.target.origin}{page.prefix}/start?{urlencode({'rd': page.target.url})}"
        if page.prefix
        else "",
    }


def template_of(page: RefusedPage) -> str:
    return "authgate/maintenance.html" if page.reason == MAINTENANCE else "authgate/refused.html"


def render_refused(page: RefusedPage) -> bytes:
    """Return the refused page as HTML. It works on any origin, because all its URLs lead to the portal.

    Other origins receive no cookie of the portal, so the language is the browser's. The page is rendered once
    for all paths; then path and decision id are filled in.
    """
    target = page.target
    pieces = _pieces(
        preferred_language(page.languages),
        (settings.IKD_PORTAL_ORIGIN, settings.STATIC_URL),
        page._replace(
            decision_id=_ID if page.decision_id else "",
            target=Target(target.origin, None, f"/{_PATH}", ""),
            languages="",
        ),
    )
    parts = {
        _ID: escape(page.decision_id),
        f"/{_PATH}": escape(truncatechars(target.path or "/", 120)),
        f"%2F{_PATH}": quote_plus(target.uri or "/"),
    }
    return "".join([parts.get(piece, piece) for piece in pieces]).encode()


_ID, _PATH = secrets.token_hex(16), secrets.token_hex(16)
"""Random placeholders for the decision id and the path in a cached page. No attacker can guess them."""


@lru_cache(maxsize=512)
def _pieces(language: str, _settings: tuple[str, str], page: RefusedPage) -> tuple[str, ...]:
    """Return a rendered page, split at the placeholders for the decision id and the path."""
    return tuple(re.split(f"({_ID}|/{_PATH}|%2F{_PATH})", _rendered(page, language)))


def _rendered(page: RefusedPage, language: str) -> str:
    with translation.override(language):
        return render_to_string(template_of(page), context_of(page, settings.IKD_PORTAL_ORIGIN))


def preferred_language(accepted: str) -> str:
    """Return the portal's language that an Accept-Language header prefers."""
    for wanted, _quality in parse_accept_lang_header(accepted):
        try:
            return get_supported_language_variant(wanted)
        except LookupError:
            continue
    return settings.LANGUAGE_CODE


def warm_up() -> None:
    """Load template and languages, so that a worker's first refused page delays no check."""
    for language, _name in settings.LANGUAGES:
        render_refused(RefusedPage("", Target("", None, None, ""), languages=language))
