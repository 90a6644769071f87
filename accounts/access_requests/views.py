"""The pages on which a user asks for access, and on which an owner answers."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.access_requests import requests
from accounts.access_requests.effects import EffectDiffers, digest_of, effect_of_grant, grant_as_shown
from accounts.destinations import destination
from accounts.models import AccessRequest
from accounts.requests import SignedInRequest, login_required
from authgate.admin.carried_form import SURE
from authgate.admin.effect_page import needs_a_tick
from authgate.effect.real_requests import real_requests
from authgate.explain.words import path_words
from authgate.peer import client_address
from authgate.validation import refuse_hidden

METHODS = ["GET", "HEAD", "POST"]


class AskForm(forms.Form):
    words = forms.CharField(
        label=_("Why you need access"), max_length=300, required=False, validators=[refuse_hidden]
    )


class AnswerForm(forms.Form):
    answer = forms.ChoiceField(
        label=_("Answer"),
        choices=[*((key, label) for key, (label, _length) in requests.PERIODS.items()), ("no", _("decline"))],
    )
    words = forms.CharField(
        label=_("Message to the user"), max_length=300, required=False, validators=[refuse_hidden]
    )


@never_cache
@login_required
@require_http_methods(METHODS)
def ask_for_access(request: SignedInRequest) -> HttpResponse:
    """Ask the owners of an application for access to the page in the parameter `page`."""
    page, address = destination(request, "page"), client_address(request)
    try:
        if page is None:
            raise requests.CannotAsk
        rule = requests.rule_to_request(page, request.sign_in, address or "")
    except requests.CannotAsk:
        return render(request, "accounts/access_not_asked.html", status=404)
    form = AskForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return render(request, "accounts/access_ask.html", {"form": form, "rule": rule, "page": page})
    words = form.cleaned_data["words"]
    if requests.ask(rule, request.user, page=page, words=words, address=address):
        messages.success(
            request, gettext("We asked the owners. You will receive an e-mail with their answer.")
        )
    else:
        messages.warning(
            request, gettext("You have already asked. You will receive an e-mail with the answer.")
        )
    return redirect("launcher")


@never_cache
@login_required
@require_http_methods(METHODS)
def access_request(request: SignedInRequest, pk: int) -> HttpResponse:
    """Show a request for access, and save an owner's answer. For other users it does not exist (404)."""
    if pk >= 2**63:
        raise Http404
    found = get_object_or_404(AccessRequest.objects.select_related("application", "user", "rule"), pk=pk)
    if not requests.may_answer(request.user, found):
        raise Http404
    form = AnswerForm(request.POST or None)
    if found.answered_at or request.method != "POST" or not form.is_valid():
        return _page(request, found, form)
    try:
        _answer(request, found, form.cleaned_data["answer"], form.cleaned_data["words"])
    except requests.Answered:
        messages.warning(request, gettext("The request was already answered, or its rule was deleted."))
        return redirect("access_request", pk=pk)
    except EffectDiffers:
        messages.warning(
            request, gettext("Nothing was granted. Check what the user gains, and answer again.")
        )
        return _page(request, found, form)
    requests.notify_user(found)
    messages.success(request, gettext("The user will receive an e-mail with your answer."))
    return redirect("access_request", pk=pk)


def _page(request: SignedInRequest, found: AccessRequest, form: AnswerForm) -> HttpResponse:
    """Show a request. While it is open, also show the effect of a grant."""
    effect = None if found.answered_at else effect_of_grant(found)
    context = {
        "form": form,
        "found": found,
        "effect": effect,
        "paths": [path_words(each.path, each.exact) for each in effect.gained] if effect else [],
        "changes_nothing": effect is not None and not effect,
        "is_other": bool(effect and not effect.gained),
        "is_closed": bool(effect and effect.closed),
        "needs_a_tick": effect is not None and needs_a_tick(effect),
        "sure": SURE,
        "real": real_requests(effect) if effect else None,
        "shown": digest_of(effect) if effect is not None else "",
    }
    return render(request, "accounts/access_request.html", context)


def _answer(request: SignedInRequest, found: AccessRequest, answer: str, words: str) -> None:
    address = client_address(request)
    if answer == "no":
        requests.decline(found, request.user, words, address)
    else:
        shown, is_sure = request.POST.get("shown", ""), bool(request.POST.get(SURE))
        grant_as_shown(found, request.user, answer, words, address, shown=shown, is_sure=is_sure)
