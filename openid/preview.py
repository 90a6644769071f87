"""What a client would receive for a user, and whether the rules would admit the user. It writes nothing."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from authgate.admin.audited import is_row_id
from authgate.admin.explain import EXAMPLE_CLIENT, PERMISSION, rule_page
from authgate.decision.rules import Verdict
from authgate.decision.target import BadTarget, client_from
from authgate.event_words import reason_words
from authgate.explain import words
from authgate.explain.explanation import Explanation, Outcome
from authgate.explain.persons import DISABLED, Person, Standing, UnknownPerson, standing_of
from authgate.explain.question import BadQuestion, Question
from authgate.explain.trace import rules_of
from authgate.explain.words import RuleLine
from authgate.models import SignIn
from authgate.validation import refuse_hidden
from authgate.worker import loader
from openid import policy
from openid.claims import Authentication, claims_of, id_token_claims
from openid.models import Client
from openid.policy import Ruling
from openid.protocol.authorization import SCOPES

PERMISSIONS = ("openid.view_client", "accounts.view_user", PERMISSION)
CONTRACT = "openid"
"""Takes the place of the proxy's name in the explanation of a decision."""


class PreviewForm(forms.Form):
    person = forms.CharField(label=_("Username"), max_length=150, validators=[refuse_hidden])
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("openid is always among them."),
    )
    second_factor = forms.BooleanField(label=_("Signed in with a second factor"), required=False)
    address = forms.CharField(
        label=_("Client address"),
        max_length=100,
        required=False,
        initial=EXAMPLE_CLIENT,
        validators=[refuse_hidden],
        help_text=_("Rules for client networks use this address."),
    )

    standing: Standing

    def __init__(self, client: Client, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered = [scope for scope in SCOPES if scope in client.scopes.split() or scope == "openid"]
        fields: dict[str, Any] = self.fields
        fields["scopes"].choices = [(scope, format_html("<code>{}</code>", scope)) for scope in offered]
        fields["scopes"].initial = offered
        for name in ("person", "address"):
            fields[name].widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}

    def clean_address(self) -> str:
        address = str(self.cleaned_data["address"]) or EXAMPLE_CLIENT
        try:
            return client_from(address)
        except BadTarget:
            fault = words.fault_words(BadQuestion("client", "address"))
            raise forms.ValidationError(fault) from None

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if "person" in given:
            try:
                self.standing = standing_of(Person(given["person"], bool(given.get("second_factor"))))
            except UnknownPerson as problem:
                self.add_error("person", words.unknown_person_words(str(problem)))
        return given


@dataclass(frozen=True, slots=True)
class Preview:
    """What a client would receive. `verdict` covers every condition that comes before a code."""

    verdict: Verdict
    sentence: str
    reason: str
    machine_reason: str
    lines: list[RuleLine]
    id_token: dict[str, Any]
    userinfo: dict[str, Any]

    @property
    def wanted(self) -> list[RuleLine]:
        """What each rule that decides would still require."""
        if self.verdict is Verdict.ALLOW:
            return []
        return [line for line in self.lines if line.traced.decides and line.wanted]


def preview_of(client: Client, standing: Standing, scopes: tuple[str, ...], address: str) -> Preview:
    """Return what a client would receive for a user who signs in now. It saves, signs and issues nothing."""
    now, user = time.time(), standing.user
    if user is None:
        raise ValueError("a preview is for a user")
    sign_in = _sign_in(standing.person.second_factor)
    application = loader.load_one(client.application_id)
    ruling = policy.ruling_of(application, loader.subject_of(user, sign_in), address)
    verdict, sentence = _verdict(client, standing, ruling)
    is_refused_by_rules = not ruling.is_allowed
    return Preview(
        verdict,
        sentence,
        reason_words(ruling.decision.reason) if is_refused_by_rules else "",
        ruling.decision.reason if is_refused_by_rules else "",
        _lines(standing, ruling, now),
        _id_token(client, sign_in, ruling, scopes, int(now)),
        claims_of(ruling.subject, scopes, application),
    )


def _sign_in(second_factor: bool) -> SignIn:
    """Return an unsaved sign-in: by password, with or without a code from an authenticator app."""
    if second_factor:
        return SignIn(methods=["password", "totp"], second_factor_at=timezone.now())
    return SignIn(methods=["password"])


def _verdict(client: Client, standing: Standing, ruling: Ruling) -> tuple[Verdict, str]:
    """Return the verdict with its sentence. Conditions that no rule can change come first."""
    if not client.enabled:
        return Verdict.REFUSE, gettext("The client is disabled. Nobody can sign in with it.")
    if standing.note == DISABLED:
        return Verdict.REFUSE, gettext("The user is disabled and cannot sign in.")
    if ruling.decision.verdict is Verdict.REFUSE:
        return Verdict.REFUSE, gettext("The user is refused.")
    if standing.note or not ruling.is_allowed:
        return Verdict.STEP_UP, gettext("The user is asked for a second factor first.")
    return Verdict.ALLOW, gettext("The user has access.")


def _lines(standing: Standing, ruling: Ruling, now: float) -> list[RuleLine]:
    """Return the rules as the Explain page shows them. Three queries."""
    if ruling.application is None:
        return []
    decision = ruling.decision
    explanation = Explanation(
        Question("https", "", "/", client=ruling.target.client),
        standing,
        CONTRACT,
        (Outcome(CONTRACT, None),),
        ruling.application,
        ruling.target,
        decision.verdict,
        decision.reason,
        decision,
        (),
        rules_of(ruling.application, ruling.target, ruling.subject, now),
        now,
    )
    return words.lines_of(explanation)


def _id_token(
    client: Client, sign_in: SignIn, ruling: Ruling, scopes: tuple[str, ...], now: int
) -> dict[str, Any]:
    """Return the claims of an ID token, with descriptions in place of values that only a real one has."""
    subject = ruling.subject
    authentication = Authentication(
        issuer=settings.IKD_PORTAL_ORIGIN,
        client_id=client.client_id,
        subject=subject.uuid,
        auth_time=now,
        acr=policy.acr_of(subject),
        amr=policy.amr_of(sign_in, subject),
        sid=gettext("(name of the session)"),
        nonce=gettext("(as the client sent it)"),
    )
    access_hash = gettext("(hash of the access token)")
    return id_token_claims(subject, scopes, ruling.application, authentication, access_hash, now)


# ---- the page ---------------------------------------------------------------------------------------------


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def preview_page(request: HttpRequest, key: int) -> HttpResponse:
    """Show the form, and after a POST the preview."""
    if not request.user.has_perms(PERMISSIONS):
        raise PermissionDenied
    client = client_or_404(key)
    form = PreviewForm(client, request.POST if request.method == "POST" else None)
    found = None
    if form.is_bound and form.is_valid():
        asked = {*form.cleaned_data["scopes"], "openid"}
        scopes = tuple(scope for scope in SCOPES if scope in asked)
        found = preview_of(client, form.standing, scopes, form.cleaned_data["address"])
    context = {
        **admin.site.each_context(request),
        "title": gettext("What %(application)s receives") % {"application": client.application.name},
        "opts": Client._meta,
        "client": client,
        "form": form,
        "preview": found,
        "lines": [(line, words.rule_state(line)) for line in found.lines] if found else [],
        "claims": _shown(found) if found else [],
        "application_page": rule_page(request, client.application_id),
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/client_preview.html", context)


def client_or_404(key: int) -> Client:
    """Return a client with its application. Raises Http404, also for a number too large for a key."""
    rows = Client.objects.select_related("application")
    return get_object_or_404(rows, pk=key if is_row_id(str(key)) else 0)


def _shown(found: Preview) -> list[tuple[str, str]]:
    parts = ((gettext("ID token"), found.id_token), (gettext("Userinfo"), found.userinfo))
    return [(label, json.dumps(claims, indent=2, ensure_ascii=False)) for label, claims in parts]
