"""The page on which owners answer a review. For other users the review does not exist (404)."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.paginator import Paginator
from django.db.models import F
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.access_reviews import current
from accounts.access_reviews.confirmation import Differs, answer_as_shown, confirmation_of
from accounts.access_reviews.reviews import may_answer
from accounts.models import AccessReview, AccessReviewEntry
from accounts.reauthentication import reauthentication_required
from accounts.requests import SignedInRequest
from authgate.admin.carried_form import SURE
from authgate.peer import client_address

METHODS = ["GET", "HEAD", "POST"]
PAGE = 50
PREFIX = "answer-"
ALL_SHOWN = "keep-shown"
"""The button that keeps the access of all people on the page without an answer."""


@never_cache
@reauthentication_required
@require_http_methods(METHODS)
def access_review(request: SignedInRequest, pk: int) -> HttpResponse:
    """Show the people of a review, those without an answer first. Save answers after a confirmation."""
    review = _review(request, pk)
    if request.method != "POST":
        return _page(request, review)
    try:
        if "confirmed" in request.POST:
            return _save(request, review, _answers(request))
        return _confirmation_page(request, review, _selected(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("access_review", pk=pk)
    except ObjectDoesNotExist:
        raise Http404 from None


def _page(request: SignedInRequest, review: AccessReview) -> HttpResponse:
    first = F("answered_at").asc(nulls_first=True)
    page = Paginator(review.entries.order_by(first, "username", "pk"), PAGE).get_page(request.GET.get("page"))
    rows = [
        {
            "entry": entry,
            "why": current.in_words(entry.reasons),
            "is_own": entry.user_id == request.user.pk,
        }
        for entry in page
    ]
    context = {
        "review": review,
        "page": page,
        "rows": rows,
        "open": review.entries.filter(answer="").count(),
        "can_answer": any(entry.user_id != request.user.pk and not entry.answer for entry in page),
    }
    return render(request, "accounts/access_review.html", context)


def _confirmation_page(
    request: SignedInRequest, review: AccessReview, chosen: dict[int, str], shown: str | None = None
) -> HttpResponse:
    """Ask the owner to confirm all answers, and show their effect.

    `shown` is the digest of the effect on an earlier page that the owner did not confirm.
    """
    asked, problem = confirmation_of(review, chosen, owner=request.user), ""
    if shown is not None and asked.shown == shown:
        problem = gettext("Nothing was saved. Tick the box to confirm.")
    elif shown is not None:
        problem = gettext("Nothing was saved. The answers have another effect by now. Check it again.")
    context = {
        "review": review,
        "asked": asked,
        "problem": problem,
        "sure": SURE,
    }
    return render(request, "accounts/access_review_confirm.html", context)


def _review(request: SignedInRequest, pk: int) -> AccessReview:
    if pk >= 2**63:
        raise Http404
    review = get_object_or_404(AccessReview.objects.select_related("application"), pk=pk)
    if review.application is None or not may_answer(request.user, review.application):
        raise Http404
    return review


def _save(request: SignedInRequest, review: AccessReview, chosen: dict[int, str]) -> HttpResponse:
    address, shown = client_address(request), request.POST["confirmed"]
    is_sure = bool(request.POST.get(SURE))
    try:
        saved, tasks = answer_as_shown(
            review, chosen, owner=request.user, address=address, shown=shown, is_sure=is_sure
        )
    except Differs:
        return _confirmation_page(request, review, chosen, shown)
    text = ngettext("%d answer was saved.", "%d answers were saved.", saved) % saved
    messages.success(request, text)
    if tasks:
        text = gettext("Administrators will remove access that you cannot remove yourself: %d.")
        messages.info(request, text % tasks)
    if saved < len(chosen):
        messages.warning(request, gettext("Some were already answered. The first answer counts."))
    return redirect("access_review", pk=review.pk)


def _selected(request: SignedInRequest) -> dict[int, str]:
    """Return the answers that the clicked button gives, by id of the entry. Raises ValidationError."""
    button = request.POST.get("answer", "")
    if button == ALL_SHOWN:
        return dict.fromkeys(_keys(request.POST.getlist("shown")), AccessReviewEntry.Answer.KEEP)
    return dict.fromkeys(_keys(request.POST.getlist("entry")), _checked(button))


def _answers(request: SignedInRequest) -> dict[int, str]:
    """Return the answers on the confirmation page, by id of the entry. Raises ValidationError."""
    names = [name for name in request.POST if name.startswith(PREFIX)]
    keys = _keys([name.removeprefix(PREFIX) for name in names])
    return {key: _checked(request.POST[f"{PREFIX}{key}"]) for key in keys}


def _checked(answer: str) -> str:
    if answer not in AccessReviewEntry.Answer.values:
        raise ValidationError(gettext("Choose whether to keep or remove access."))
    return answer


def _keys(texts: list[str]) -> list[int]:
    if not 0 < len(texts) <= PAGE:
        raise ValidationError(gettext("Select the people whom you answer about."))
    if not all(text.isascii() and text.isdecimal() and len(text) < 19 for text in texts):
        raise Http404
    return list(map(int, texts))
