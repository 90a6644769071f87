"""The pages of owners and group managers. Applications and groups of others do not exist here (404)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

from django import forms
from django.contrib import messages
from django.contrib.auth.models import Group
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.delegation import applications, groups
from accounts.delegation.effects import confirm_first, confirmable
from accounts.ends import EndField
from accounts.models import AccessRequest, AccessReview, Membership, User
from accounts.reauthentication import reauthentication_required
from accounts.requests import SignedInRequest, login_required
from authgate.admin.carried_form import answer_to
from authgate.effect.comparison import Bounds
from authgate.event_words import label_of, reason_words
from authgate.explain import access
from authgate.models import Application, AuditEvent, Rule
from authgate.peer import client_address
from authgate.usage.requests import last_uses
from authgate.validation import refuse_hidden_in_lines
from authgate.worker import loader

METHODS = ["GET", "HEAD", "POST"]
PAGE = 25
EVENTS_SHOWN = 100
REQUESTS_SHOWN = 50
LARGEST_KEY = 2**63

EVENT_KINDS = (
    "refused",
    "openid_sign_in",
    "access_requested",
    "access_granted",
    "access_declined",
    "access_review_begun",
    "access_kept",
    "access_removed",
    "access_task_closed",
    "application_changed",
    "rule_shared",
    "locked_down",
    "lockdown_lifted",
    "signed_out_of_application",
)
"""The kinds of events that owners see about their application."""


class TextsForm(forms.ModelForm):
    """The fields of an application that owners may change."""

    class Meta:
        model = Application
        fields = applications.TEXT_FIELDS
        widgets = {
            "maintenance_text": forms.Textarea(attrs={"rows": 3}),
            "refusal_text": forms.Textarea(attrs={"rows": 3}),
        }

    def clean_maintenance_text(self) -> str:
        return self._readable("maintenance_text")

    def clean_refusal_text(self) -> str:
        return self._readable("refusal_text")

    def _readable(self, name: str) -> str:
        text = str(self.cleaned_data[name]).replace("\r\n", "\n")
        refuse_hidden_in_lines(text)
        return text


class NameForm(forms.Form):
    """A username to add."""

    name = forms.CharField(label=_("Username"), max_length=150)


class MemberForm(NameForm):
    """A username to add to a group, and the end of the membership."""

    until = EndField()


class UntilForm(forms.Form):
    until = EndField()


def _key(text: str) -> int:
    """Return the id in a text, or 0 if the text is no id."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _owned(request: SignedInRequest, pk: int) -> Application:
    if pk >= LARGEST_KEY:
        raise Http404
    return get_object_or_404(applications.owned_by(request.user), pk=pk)


# ---- the list of applications and groups ------------------------------------------------------------------


@never_cache
@login_required
@require_safe
def managed(request: SignedInRequest) -> HttpResponse:
    """Show the applications and groups that the user manages."""
    context = {
        "applications": applications.owned_by(request.user),
        "groups": groups.managed_by(request.user),
    }
    return render(request, "accounts/managed.html", context)


# ---- an application ---------------------------------------------------------------------------------------


@never_cache
@reauthentication_required
@require_http_methods(METHODS)
@confirmable
def managed_application(request: SignedInRequest, pk: int) -> HttpResponse:
    """Show an application with its rules and requests, and change its texts after a confirmation."""
    application = _owned(request, pk)
    # The form writes into its own copy, because the page's heading must not show refused values.
    form = TextsForm(request.POST or None, instance=_owned(request, pk))
    if request.method == "POST" and form.is_valid():
        if not answer_to(request).edits_again:
            change = partial(_change_texts, request, application, form)
            asks = _carry_out(request, change, Bounds(applications={pk}), is_form=True)
            return asks or redirect("managed_application", pk=pk)
        form.add_error(None, gettext("Nothing was saved yet. Change the form, and save it again."))
    requests = AccessRequest.objects.filter(application=application).select_related("user")
    context = {
        "application": application,
        "form": form,
        "review": AccessReview.objects.filter(application=application, closed_at=None).first(),
        "rules": application.rules.filter(only_watch=False).prefetch_related("groups", "users"),
        "requests": requests.order_by("answered_at", "-asked_at")[:REQUESTS_SHOWN],
    }
    return render(request, "accounts/managed_application.html", context)


def _change_texts(request: SignedInRequest, application: Application, form: TextsForm) -> str:
    changed = applications.change_texts(
        application, form.cleaned_data, owner=request.user, address=client_address(request)
    )
    return gettext("Your changes were saved.") if changed else ""


def _carry_out(
    request: SignedInRequest, change: Callable[[], str], bounds: Bounds, *, is_form: bool = False
) -> HttpResponse | None:
    """Make a change, or return the page that asks first. If it is impossible, show a message."""
    try:
        return confirm_first(request, change, bounds, is_form=is_form)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    except ObjectDoesNotExist:
        raise Http404 from None
    return None


@dataclass(frozen=True, slots=True)
class Opener:
    """A user who can open paths of an application."""

    username: str
    paths: tuple[str, ...]
    last_use: date | None


@never_cache
@login_required
@require_safe
def managed_people(request: SignedInRequest, pk: int) -> HttpResponse:
    """Show who can open an application, without disabled users."""
    application = _owned(request, pk)
    page = Paginator(_openers(application.pk), PAGE).get_page(request.GET.get("page"))
    return render(request, "accounts/managed_people.html", {"application": application, "page": page})


def _openers(key: int) -> list[Opener]:
    compiled = loader.load_one(key)
    people, now = access.load_directory(), time.time()
    used: dict[int, date] = {}
    for (_application, person, _rule), day in last_uses(application=key).items():
        used[person] = max(day, used.get(person, day))
    paths: dict[int, list[str]] = {}
    for scope in access.scopes_of(compiled) if compiled else ():
        for user in access.openers(compiled, scope, people, now) if compiled else ():
            paths.setdefault(user, []).append(scope.path)
    found = [Opener(people.users[user], tuple(own), used.get(user)) for user, own in paths.items()]
    return sorted(found, key=lambda each: each.username.casefold())


@never_cache
@login_required
@require_safe
def managed_events(request: SignedInRequest, pk: int) -> HttpResponse:
    """Show the newest events of an application.

    Leave out events from before its creation. They belong to an earlier application with the same name.
    """
    application = _owned(request, pk)
    events = AuditEvent.objects.filter(
        application=application.name, at__gte=application.created_at, kind__in=EVENT_KINDS
    ).order_by("-at", "-pk")
    rows = [(event, label_of(event.kind), reason_words(event.reason)) for event in events[:EVENTS_SHOWN]]
    return render(request, "accounts/managed_events.html", {"application": application, "events": rows})


# ---- a rule -----------------------------------------------------------------------------------------------


@never_cache
@reauthentication_required
@require_http_methods(METHODS)
@confirmable
def managed_rule(request: SignedInRequest, pk: int) -> HttpResponse:
    """Show a rule's groups and users. Add shareable ones, or remove one, after a confirmation."""
    if pk >= LARGEST_KEY:
        raise Http404
    rules = Rule.objects.filter(application__in=applications.owned_by(request.user), only_watch=False)
    rule = get_object_or_404(rules.select_related("application", "access_request"), pk=pk)
    form = NameForm(request.POST if "name" in request.POST else None)
    if request.method == "POST" and (not form.is_bound or form.is_valid()):
        bounds = Bounds(applications={rule.application_id})
        asks = _carry_out(request, partial(_change_rule, request, rule, form), bounds)
        return asks or redirect("managed_rule", pk=pk)
    shareable = rule.application.shareable_groups.order_by("name")
    context = {
        "rule": rule,
        "application": rule.application,
        "form": form,
        "may_be_shared": applications.may_be_shared(rule),
        "shareable": shareable,
        "offered": shareable.exclude(pk__in=rule.groups.values("pk")),
        "groups": rule.groups.order_by("name"),
        "users": rule.users.order_by("username"),
    }
    return render(request, "accounts/managed_rule.html", context)


def _change_rule(request: SignedInRequest, rule: Rule, form: NameForm) -> str:
    """Make the change of the clicked button, and return a message about it."""
    post, owner, address = request.POST, request.user, client_address(request)
    if "name" in post:
        user = applications.add_user(rule, form.cleaned_data["name"], owner=owner, address=address)
        return gettext("%s can now open it.") % user.username
    if "add_group" in post:
        group = applications.add_group(rule, _key(post["add_group"]), owner=owner, address=address)
        return gettext("%s can now open it.") % group.name
    for kind in ("group", "user"):
        if f"remove_{kind}" in post:
            name = applications.remove(rule, kind, _key(post[f"remove_{kind}"]), owner=owner, address=address)
            return gettext("%s was removed.") % name
    raise ValidationError(gettext("Choose what to add or remove."))


# ---- a group ----------------------------------------------------------------------------------------------


@never_cache
@reauthentication_required
@require_http_methods(METHODS)
@confirmable
def managed_group(request: SignedInRequest, pk: int) -> HttpResponse:
    """Show the members of a group. Add or remove one, or set a membership's end, after a confirmation."""
    if pk >= LARGEST_KEY:
        raise Http404
    group = get_object_or_404(groups.managed_by(request.user), pk=pk)
    form = MemberForm(request.POST if "name" in request.POST else None)
    if request.method == "POST" and (not form.is_bound or form.is_valid()):
        change = partial(_change_members, request, group, form)
        asks = _carry_out(request, change, Bounds(users=_affected_users(request, form)))
        return asks or redirect("managed_group", pk=pk)
    members = Membership.objects.filter(group=group).select_related("user").order_by("user__username")
    if text := request.GET.get("q", "").replace("\0", "")[:150]:
        members = members.filter(user__username__icontains=text)
    page = Paginator(members, PAGE).get_page(request.GET.get("page"))
    context = {"group": group, "form": form, "page": page, "q": text}
    return render(request, "accounts/managed_group.html", context)


def _affected_users(request: SignedInRequest, form: NameForm) -> set[int]:
    """Return the id of the user in the membership that the clicked button changes."""
    if "name" in request.POST:
        named = User.objects.filter(username__iexact=form.cleaned_data["name"])
        return set(named.values_list("pk", flat=True))
    return {_key(request.POST.get("remove_user", request.POST.get("end_of", "")))}


def _change_members(request: SignedInRequest, group: Group, form: NameForm) -> str:
    manager, address = request.user, client_address(request)
    if "name" in request.POST:
        name, until = form.cleaned_data["name"], form.cleaned_data["until"]
        user = groups.add_member(group, name, until=until, manager=manager, address=address)
        return gettext("%s is now a member.") % user.username
    if "remove_user" in request.POST:
        key = _key(request.POST["remove_user"])
        user = groups.remove_member(group, key, manager=manager, address=address)
        return gettext("%s is no longer a member.") % user.username
    if "end_of" in request.POST:
        key, until = _key(request.POST["end_of"]), _end(request)
        user = groups.set_end(group, key, until, manager=manager, address=address)
        return gettext("The end for %s was saved.") % user.username
    raise ValidationError(gettext("Choose what to add or remove."))


def _end(request: SignedInRequest) -> datetime | None:
    """Return the end that the user typed. Raises ValidationError."""
    form = UntilForm(request.POST)
    if not form.is_valid():
        raise ValidationError([message for found in form.errors.values() for message in found])
    until: datetime | None = form.cleaned_data["until"]
    return until
