"""The admin's Explain page: a form that describes a request, and the check's answer to it."""

from __future__ import annotations

import time
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from authgate.admin.audited import is_row_id
from authgate.explain import words
from authgate.explain.decisions import described, event_of
from authgate.explain.explanation import Explanation, contracts, explain
from authgate.explain.past import world_at
from authgate.explain.persons import NO_SUCH_USER, Person, Standing, UnknownPerson
from authgate.explain.question import LONGEST_METHOD, LONGEST_URL, BadQuestion, Question, question_from
from authgate.explain.worlds import World
from authgate.journal.gaps import UnknownMoment
from authgate.models import Application, AuditEvent
from authgate.validation import refuse_hidden

PERMISSION = "authgate.explain_access"
EXAMPLE_CLIENT = "192.0.2.1"


def require_permission(request: HttpRequest) -> None:
    """Raise PermissionDenied unless the requester may explain access."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied


class How:
    """The ways in which a person sends a request."""

    PAGE, FACTOR, SCRIPT, PROGRAM = "page", "factor", "script", "program"


HOWS = (
    (How.PAGE, _("browser, page, signed in without a second factor")),
    (How.FACTOR, _("browser, page, signed in with a second factor")),
    (How.SCRIPT, _("browser, script, signed in without a second factor")),
    (How.PROGRAM, _("program with an API token")),
)


class ExplainForm(forms.Form):
    url = forms.CharField(
        label=_("Address"),
        max_length=LONGEST_URL,
        help_text=_("Such as https://wiki.example.com/admin. Without a scheme it is https."),
    )
    person = forms.CharField(
        label=_("Username"),
        max_length=150,
        required=False,
        help_text=_("Default: a visitor who is not signed in."),
    )
    how = forms.ChoiceField(label=_("Client"), choices=HOWS, initial=How.PAGE, required=False)
    token = forms.CharField(
        label=_("Name of the API token"),
        max_length=100,
        required=False,
        help_text=_("Required for a program. Never enter the token itself."),
    )
    method = forms.CharField(label=_("Method"), max_length=LONGEST_METHOD, initial="GET", required=False)
    client = forms.CharField(
        label=_("Client address"),
        max_length=100,
        initial=EXAMPLE_CLIENT,
        required=False,
        help_text=_("Rules for client networks use this address."),
    )
    proxy = forms.ChoiceField(
        label=_("Proxy"), required=False, choices=lambda: [(name, name) for name in contracts()]
    )
    query = forms.CharField(
        label=_("Query of the check's URL"),
        max_length=1000,
        required=False,
        help_text=_("Only if the proxy's configuration has one, such as allowed_groups=staff."),
    )
    at = forms.DateTimeField(
        label=_("Moment"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S"),
        help_text=_("For another moment, in the portal's time zone. Default: now."),
    )

    standing: Standing
    question: Question
    world: World

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if isinstance(field, forms.CharField):
                field.widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}
                if name not in ("url", "query"):
                    field.validators.append(refuse_hidden)

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if self.errors:
            return given
        try:
            self.world = world_at(given["at"])
        except UnknownMoment as problem:
            self.add_error("at", words.unknown_moment_words(problem))
            return given
        self._read_question(given)
        self._read_person(given)
        return given

    def _read_question(self, given: dict[str, Any]) -> None:
        try:
            self.question = question_from(
                given["url"],
                method=given["method"] or "GET",
                client=given["client"] or EXAMPLE_CLIENT,
                query=given["query"],
                navigates=given["how"] not in (How.SCRIPT, How.PROGRAM),
            )
        except BadQuestion as problem:
            self.add_error(problem.field, words.fault_words(problem))

    def _read_person(self, given: dict[str, Any]) -> None:
        is_program = given["how"] == How.PROGRAM
        if is_program and not (given["person"] and given["token"]):
            self.add_error("token", gettext("A program needs a username and the name of an API token."))
            return
        token = given["token"] if is_program else ""
        try:
            self.standing = self.world.standing_of(Person(given["person"], given["how"] == How.FACTOR, token))
        except UnknownPerson as problem:
            field = "person" if str(problem) == NO_SUCH_USER else "token"
            self.add_error(field, words.unknown_person_words(str(problem)))


class DecisionForm(forms.Form):
    decision = forms.CharField(label=_("Decision id"), max_length=40, required=False)


def explain_page(request: HttpRequest) -> HttpResponse:
    """Show the form, and for a POST the explanation. Nothing is saved."""
    require_permission(request)
    if request.method == "POST":
        form = ExplainForm(request.POST)
        explanation = _explained(form) if form.is_valid() else None
        return _page(request, form, explanation)
    initial, notice, event = _initial(request)
    return _page(request, ExplainForm(initial=initial), None, notice, event)


def _explained(form: ExplainForm) -> Explanation:
    proxy = form.cleaned_data["proxy"] or contracts()[0]
    now = form.world.at.timestamp() if form.world.at else time.time()
    return explain(form.question, form.standing, proxy, now, form.world)


def _initial(request: HttpRequest) -> tuple[dict[str, Any], str, AuditEvent | None]:
    """Return the form's initial values: an application's origin, a user's name, or an event's request."""
    decision = request.GET.get("decision", "").strip().lower()
    if decision:
        return _of_decision(request, decision)
    initial: dict[str, Any] = {}
    application, user = request.GET.get("application", ""), request.GET.get("user", "")
    if is_row_id(application):
        initial["url"] = _first_address(int(application))
    if is_row_id(user):
        found = get_user_model()._default_manager.filter(pk=int(user)).first()
        initial["person"] = found.get_username() if found else ""
    return initial, "", None


def _first_address(application: int) -> str:
    """Return the first origin of an application. A name replaces the asterisk of a wildcard."""
    found = Application.objects.filter(pk=application).prefetch_related("origins").first()
    origins = [origin.value for origin in found.origins.all()] if found else []
    plain = [origin for origin in origins if "*" not in origin] or [
        origin.replace("*", "name") for origin in origins
    ]
    return f"{plain[0]}/" if plain else ""


def _of_decision(request: HttpRequest, decision: str) -> tuple[dict[str, Any], str, AuditEvent | None]:
    if not request.user.has_perm("authgate.view_auditevent"):
        return {}, gettext("Looking up a decision requires the permission to view audit events."), None
    event = event_of(decision)
    if event is None:
        notice = gettext(
            "No refusal with this id is stored. Allowed requests and redirects to the sign-in page are not "
            "recorded. Configuration errors are only in the log. If there are very many refusals, most are "
            "only "
            "counted. Describe the request below instead."
        )
        return {}, notice, None
    return described(event), "", event


def _page(
    request: HttpRequest,
    form: ExplainForm,
    explanation: Explanation | None,
    notice: str = "",
    event: AuditEvent | None = None,
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": gettext("Explain access"),
        "form": form,
        "decision_form": DecisionForm(initial={"decision": event.decision_id if event else ""}),
        "may_see_events": request.user.has_perm("authgate.view_auditevent"),
        "notice": notice,
        "event": event,
        "result": _result(request, explanation) if explanation else None,
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/explain.html", context)


def _result(request: HttpRequest, explanation: Explanation) -> dict[str, Any]:
    lines = words.lines_of(explanation)
    decision = explanation.decision
    deciding = decision.rule if decision else None
    page = rule_page(request, explanation.application.id) if explanation.application else ""
    return {
        "explanation": explanation,
        "verdict": words.verdict_words(explanation),
        "kind": explanation.verdict.name.lower(),
        "reason": words.reason_in_words(explanation),
        "note": words.note_words(explanation.standing.note),
        "person": words.person_words(explanation),
        "groups": words.group_names(explanation),
        "deciding": next((line for line in lines if line.traced.rule == deciding), None),
        "lines": [(line, words.rule_state(line)) for line in lines],
        "wanted": [line for line in lines if line.traced.decides and line.wanted],
        "application_page": page,
        "variants": [(variant, words.scope_words(variant.scope)) for variant in explanation.variants],
        "answers": [_answer(outcome, explanation.contract) for outcome in explanation.outcomes],
        "oauth2": settings.IKD_OAUTH2_CONTRACT,
    }


def rule_page(request: HttpRequest, application: int) -> str:
    """Return the URL of an application's page with its rules; empty if the reader may not see rules."""
    may_see = [request.user.has_perm(f"authgate.view_{name}") for name in ("rule", "application")]
    return reverse("admin:authgate_application_change", args=[application]) if all(may_see) else ""


def _answer(outcome: Any, chosen: str) -> dict[str, Any]:
    found = outcome.answer
    return {
        "contract": outcome.contract,
        "is_chosen": outcome.contract == chosen,
        "status": found.status if found else "",
        "headers": words.header_pairs(found) if found else [],
        "body": words.body_kind(found) if found else "",
        "is_let_in": found is not None and found.status == 200,
    }
