"""Pages of the admin that show the effect of a change on access before they save it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR, TO_FIELD_VAR
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils.translation import gettext as _

from authgate import outbox
from authgate.admin.audited import AuditedAdmin, is_row_id
from authgate.admin.carried_form import NoLongerCarried, answer_to, replace_post, restore
from authgate.admin.effect_page import (
    Question,
    as_csv,
    effect_page,
    is_confirmed,
    may_see_people,
    problem_of,
    question_of,
)
from authgate.effect.comparison import EVERYTHING, Bounds, measured
from authgate.effect.values import Effect

Act = Callable[[], HttpResponse]
View = Callable[..., HttpResponse]
NO_QUESTION = Question()


class EffectAdmin(AuditedAdmin):
    """A model's admin that saves a change of access only after the administrator has confirmed its effect."""

    actions_with_effect: tuple[str, ...] = ()
    """Actions of the list that can change who has access."""

    def bounds_of(self, keys: set[int] | None) -> Bounds:
        """Return the limits of a change's effect. `keys` are the changed rows; None for a new row or all."""
        return EVERYTHING

    # ---- Django's views ----

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        return self._answered(request, super().changeform_view, object_id, form_url, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask whether to delete a row, and show the effect on the same page."""

        def delete(request: HttpRequest) -> HttpResponse:
            view = super(EffectAdmin, self).delete_view
            bounds = self.bounds_of(_keys_of(object_id))
            return Trial(self, request, bounds).delete(partial(view, request, object_id, extra_context))

        return self._answered(request, delete)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self._answered(request, super().changelist_view, extra_context)

    def _answered(self, request: HttpRequest, view: View, *arguments: Any) -> HttpResponse:
        """Call a view. If the request confirms an effect page, restore the form that the page carried."""
        if request.method == "POST":
            try:
                restore(request)
            except NoLongerCarried:
                message = _("This page was too old, or belongs to another form. Nothing was saved.")
                self.message_user(request, message, messages.ERROR)
                return HttpResponseRedirect(request.get_full_path())
        return view(request, *arguments)

    # ---- making a change, and its effect ----

    def carry_out(
        self,
        request: HttpRequest,
        act: Act,
        object_id: str | None = None,
        *,
        is_list: bool = False,
    ) -> HttpResponse:
        """Save a change if it affects nobody or was confirmed. Otherwise show its effect."""
        if request.method != "POST":
            return act()
        if is_list:
            if {*request.POST.getlist("action")}.isdisjoint(self.actions_with_effect):
                return act()
            return Trial(self, request, self.bounds_of(_chosen(request)), is_list=True).run(act)
        return Trial(self, request, self.bounds_of(_keys_of(object_id)), is_form=True).run(act)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if answer_to(request).edits_again:
            return type(form)(form.__name__, (EditedAgain, form), {"__module__": form.__module__})
        return form


def _keys_of(object_id: str | None) -> set[int] | None:
    return {int(object_id)} if object_id is not None and is_row_id(object_id) else None


def _chosen(request: HttpRequest) -> set[int] | None:
    """Return the ids of the rows chosen in a list; None for all rows. The caller has refused non-numbers."""
    if request.POST.get("select_across") == "1":
        return None
    return set(map(int, request.POST.getlist(ACTION_CHECKBOX_NAME)))


class EditedAgain(forms.BaseForm):
    """A form that is shown again with the posted values, and not saved."""

    def clean(self) -> None:
        super().clean()
        raise ValidationError(_("Nothing was saved yet. Change the form, and save it again."))


class Trial:
    """A request that changes rows. The change stays if it affects nobody, or if its effect was confirmed."""

    def __init__(
        self,
        model_admin: EffectAdmin,
        request: HttpRequest,
        bounds: Bounds,
        *,
        is_list: bool = False,
        is_form: bool = False,
    ) -> None:
        self._admin = model_admin
        self._request = request
        self._bounds = bounds
        self._is_list, self._is_form = is_list, is_form
        self._answer = answer_to(request)

    def run(self, act: Act) -> HttpResponse:
        """Make the change. Return the response of `act`, or the page that shows the effect."""
        response, effect, stays = self._try(act, keeps=True)
        if stays:
            return self._question_with_effect(act, response)
        return self._page(effect)

    def ask(self, act: Act, question: Question) -> HttpResponse:
        """Make a change if it affects nobody or was confirmed. Otherwise ask and show the effect.

        A GET always asks.
        """
        response, effect, stays = self._try(act, keeps=self._request.method == "POST")
        return response if stays else self._page(effect, question)

    def delete(self, view: Act) -> HttpResponse:
        """Delete a row if that affects nobody or was confirmed. Otherwise ask and show the effect.

        `view` is Django's view: without posted fields it asks, with fields it deletes.
        """
        request = self._request
        if request.method == "POST":
            response, effect, stays = self._try(view, keeps=True)
            if stays:
                return response
        posted = request.POST or _confirmation(request)
        request.POST = QueryDict()
        response = view()
        question = question_of(response)
        if question is None:
            return response
        replace_post(request, posted)
        if request.method != "POST":
            _response, effect, _stays = self._try(view, keeps=False)
        return self._page(effect, question) if effect else response

    def _try(self, act: Act, *, keeps: bool) -> tuple[HttpResponse, Effect, bool]:
        """Make the change, and roll it back unless it may stay. Then it sends no mail and no log line."""
        with outbox.hold() as held, kept_messages(self._request) as forget, transaction.atomic():
            response, effect = measured(act, self._bounds)
            stays = keeps and is_confirmed(effect, self._answer)
            if not stays:
                transaction.set_rollback(True)
                held.clear()
                forget()
        outbox.release(held)
        return response, effect, stays

    def _question_with_effect(self, act: Act, response: HttpResponse) -> HttpResponse:
        """Return the question of an action together with its effect, so that the requester is asked once."""
        posted, question = self._request.POST, question_of(response)
        if question is None or not self._is_list or posted.get("confirmed") or posted.get("post"):
            return response
        confirmed = posted.copy()
        confirmed["confirmed"] = confirmed["post"] = "yes"
        replace_post(self._request, confirmed)
        _response, effect, _stays = self._try(act, keeps=False)
        if not effect:
            self._request.POST = posted
            return response
        return self._page(effect, question)

    def _page(self, effect: Effect, question: Question = NO_QUESTION) -> HttpResponse:
        request, answer = self._request, self._answer
        if answer.wants_csv and may_see_people(request):
            return as_csv(effect)
        problem = problem_of(effect, answer)
        return effect_page(
            self._admin, request, effect, question=question, problem=problem, is_form=self._is_form
        )


def _confirmation(request: HttpRequest) -> QueryDict:
    """Return the fields with which Django's page would confirm a deletion."""
    fields = QueryDict("post=yes", mutable=True)
    for name in (IS_POPUP_VAR, TO_FIELD_VAR):
        if name in request.GET:
            fields[name] = request.GET[name]
    return fields


@contextmanager
def kept_messages(request: HttpRequest) -> Iterator[Callable[[], None]]:
    """Yield a function that drops the messages added inside the `with` block."""
    queued = getattr(messages.get_messages(request), "_queued_messages", [])  # no public method removes one
    count = len(queued)
    yield lambda: queued.__delitem__(slice(count, None))
