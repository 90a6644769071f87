"""The user's choice of a language."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import translation
from django.utils.translation import check_for_language
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.destinations import within_portal
from accounts.models import User
from authgate.portal_cookies import set_portal_cookie


@never_cache
@require_POST
def choose_language(request: HttpRequest) -> HttpResponse:
    """Set the language of this browser, and redirect to the page on which the user chose it.

    The page comes from the Referer header. A form with the page's URL could repeat a code or a ticket.
    """
    page = within_portal(request.headers.get("Referer"))
    response = redirect(page if page and page != request.path else "launcher")
    language = request.POST.get("language", "")
    if language not in dict(settings.LANGUAGES) or not check_for_language(language):
        return response
    if request.user.is_authenticated:
        save_language(request.user, language)
    name, age = settings.LANGUAGE_COOKIE_NAME, settings.LANGUAGE_COOKIE_AGE
    set_portal_cookie(response, name, language, max_age=age)
    return response


def save_language(user: User, language: str = "") -> None:
    """Save the language in which a user uses the portal, for mails that they receive later."""
    language = language or translation.get_language() or settings.LANGUAGE_CODE
    if user.language != language:
        user.language = language
        user.save(update_fields=["language"])
