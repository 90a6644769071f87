"""Applications, sign-ins, gate sessions and events in the admin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Count, Q, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.privilege import out_of_reach
from accounts.sign_in.devices import browser_named
from authgate.admin.audited import AuditedAdmin, ReadableText, ReadOnlyAdmin, ask_first, name_fields
from authgate.admin.event_links import EventLinks, SiteLinks
from authgate.admin.field_changes import label_of_change, model_named, named_fields, shown_change, values_of
from authgate.admin.list_columns import NOTHING, chips, cut, machine_name
from authgate.admin.list_filters import KindFilter, MistakeFilter
from authgate.audit import record
from authgate.check.target import without_port
from authgate.configuration_words import line_that_cures, mistake_words
from authgate.event_words import label_of, reason_words, sentence_of
from authgate.models import (
    Application,
    AuditEvent,
    ConfigurationEvent,
    GateSession,
    Icon,
    Origin,
    Rule,
    SignIn,
    new_icon_key,
)
from authgate.peer import client_address
from authgate.pictures import drawn_anew, upload_field
from authgate.sign_ins import end_sign_ins, is_idle

# ---- applications -----------------------------------------------------------------------------------------


def kept_forms(formset: Any) -> Iterator[Any]:
    """Give the forms of the rows that there will be, as far as each alone is right."""
    for form in formset.forms:
        if form.errors or form.cleaned_data.get("DELETE"):
            continue
        if form.instance.pk or form.has_changed():
            yield form


class OriginFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        name_fields(form)

    def get_unique_error_message(self, unique_check: Any) -> Any:
        return _("An origin stands here twice. Delete one of the two.")

    def clean(self) -> None:
        super().clean()
        seen: set[str] = set()
        for form in kept_forms(self):
            if form.instance.value in seen:
                form.add_error("value", _("This origin stands here twice. Delete one of the two."))
            seen.add(form.instance.value)


class RuleFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    def _construct_form(self, i: int, **kwargs: Any) -> Any:
        form = super()._construct_form(i, **kwargs)  # type: ignore[misc]
        form.instance.judged_with_siblings = True
        return form

    def clean(self) -> None:
        """Refuse two scopes that differ in letter case only, among the rules as they will be."""
        super().clean()
        paths: list[str] = []
        for form in kept_forms(self):
            try:
                form.instance.refuse_other_case(paths)
            except ValidationError as error:
                form.add_error(None, error)
            paths.append(form.instance.path)


def may_move(request: HttpRequest, application: Application | None) -> bool:
    """Tell whether somebody may say where an application is.

    One that is told tokens of a provider is given those of whoever opens it, superusers among them: who moved
    it to a server of their own would have them.
    """
    if application is None or cast(User, request.user).is_superuser:
        return True
    return not (application.access_token or application.id_token)


class OriginInline(ReadableText, admin.TabularInline):  # type: ignore[type-arg]
    model = Origin
    formset = OriginFormSet
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return super().has_add_permission(request, obj) and may_move(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return super().has_change_permission(request, obj) and may_move(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return super().has_delete_permission(request, obj) and may_move(request, obj)

    def get_extra(self, request: HttpRequest, obj: Application | None = None, **kwargs: Any) -> int:
        return 0 if obj else 1


class RuleInline(ReadableText, admin.StackedInline):  # type: ignore[type-arg]
    model = Rule
    formset = RuleFormSet
    extra = 0
    autocomplete_fields = ("groups", "users")
    fieldsets = (
        (None, {"fields": (("path", "exact"), "who", "groups", "users", "second_factor")}),
        (_("Only for"), {"fields": (("methods", "expires_at"), "networks", "note")}),
    )
    formfield_overrides = {models.TextField: {"widget": AdminTextareaWidget(attrs={"rows": 2})}}

    def get_extra(self, request: HttpRequest, obj: Application | None = None, **kwargs: Any) -> int:
        return 0 if obj else 1

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rule]:
        return super().get_queryset(request).prefetch_related("groups", "users")


ICON_BOX = (128, 128)


class ApplicationForm(forms.ModelForm):  # type: ignore[type-arg]
    icon_file = upload_field(
        _("Icon"),
        _("PNG, JPEG or WebP, best square; the launcher shows it 48 points wide."),
    )
    remove_icon = forms.BooleanField(label=_("Remove the icon"), required=False)

    def clean_icon_file(self) -> bytes | None:
        upload = self.cleaned_data["icon_file"]
        return drawn_anew(upload, ICON_BOX) if upload else None


@admin.register(Application)
class ApplicationAdmin(AuditedAdmin):
    form = ApplicationForm
    list_display = ("name", "origin_list", "rule_count", "category", "enabled", "in_launcher")
    list_filter = ("enabled", "without_https")
    search_fields = ("name", "category", "origins__value")
    search_help_text = _("Name, category or origin")
    autocomplete_fields = ("named_groups",)
    readonly_fields = ("icon_shown",)
    inlines = (OriginInline, RuleInline)
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}
    fieldsets = (
        (None, {"fields": ("name", "description", "enabled", "without_https")}),
        (
            _("Launcher"),
            {"fields": ("in_launcher", "launch_url", "category", ("icon_file", "icon_shown", "remove_icon"))},
        ),
        (_("Programs"), {"fields": ("challenges",)}),
        (
            _("What the application is told"),
            {
                "classes": ("collapse",),
                "fields": (
                    "user_header",
                    "named_groups",
                    "remote_headers",
                    "forwarded_user_header",
                    "identity_jwt",
                    "username_header",
                    "access_token",
                    "id_token",
                ),
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Application | None = None) -> tuple[str, ...]:
        if cast(User, request.user).is_superuser:
            return self.readonly_fields
        return (*self.readonly_fields, "access_token", "id_token")

    @admin.display(description=_("origins"))
    def origin_list(self, application: Application) -> SafeString:
        return chips(origin.value for origin in application.origins.all())

    @admin.display(description=_("rules"), ordering="how_many_rules")
    def rule_count(self, application: Application) -> int:
        return int(application.how_many_rules)  # type: ignore[attr-defined]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Application]:
        applications: QuerySet[Application] = super().get_queryset(request)
        return applications.annotate(how_many_rules=Count("rules", distinct=True)).prefetch_related("origins")

    @admin.display(description=_("shown now"))
    def icon_shown(self, application: Application) -> SafeString | str:
        icon = Icon.objects.filter(application=application.pk).only("key").first()
        if icon is None:
            return gettext("the first letter of its name")
        url = reverse("icon", args=[icon.key])
        return format_html('<img src="{}" alt="" width="48" height="48">', url)

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        content = form.cleaned_data.get("icon_file")
        if content:
            values = {"content": content, "key": new_icon_key()}
            Icon.objects.update_or_create(application=obj, defaults=values)
        elif form.cleaned_data.get("remove_icon"):
            Icon.objects.filter(application=obj).delete()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        for warning in warnings_about(form.instance):
            self.message_user(request, warning, messages.WARNING)


def warnings_about(application: Application) -> list[str]:
    """Return warnings about what may be saved, but is hardly meant."""
    warnings = list(_warnings_about_shared_hosts(application))
    rules = list(application.rules.prefetch_related("groups", "users"))
    if not rules:
        return [*warnings, gettext("The application has no rule: nobody gets in.")]
    return warnings + [warning for rule in rules for warning in _warnings_about_rule(rule)]


def _warnings_about_shared_hosts(application: Application) -> Iterator[str]:
    """Warn about other applications on the same host: each receives what browsers keep for the other."""
    for origin in application.origins.all():
        host = without_port(origin.value).partition("://")[2]
        on_host = Q()
        for scheme in ("https", "http"):
            on_host |= Q(value=f"{scheme}://{host}") | Q(value__startswith=f"{scheme}://{host}:")
        other = Origin.objects.filter(on_host).exclude(application=application).select_related("application")
        for taken in other[:1]:
            yield gettext(
                "%(origin)s is on the host of the application “%(other)s”, and browsers send cookies to "
                "every port. A proxy that cannot remove cookies (Traefik, ingress-nginx) passes each the "
                "sessions of the other: use another name there."
            ) % {"origin": origin.value, "other": taken.application}


def _warnings_about_rule(rule: Rule) -> Iterator[str]:
    names_somebody = bool(rule.groups.all() or rule.users.all())
    if rule.who == Rule.Who.CHOSEN and not names_somebody:
        yield gettext("Nobody gets in by the rule for %s: choose groups or users for it.") % rule.path
    if rule.who != Rule.Who.CHOSEN and names_somebody:
        yield gettext(
            "The rule for %(path)s lets in %(who)s: the groups and users chosen for it do not count."
        ) % {
            "path": rule.path,
            "who": rule.get_who_display(),
        }
    if rule.expires_at is not None and rule.expires_at <= timezone.now():
        yield gettext("The rule for %s has expired: nobody gets in by it.") % rule.path


# ---- sign-ins and gate sessions ---------------------------------------------------------------------------


class GateSessionInline(admin.TabularInline):  # type: ignore[type-arg]
    model = GateSession
    fields = ("origin", "created_at", "ended_at")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        return False


class SessionAdmin(ReadOnlyAdmin):
    """Sessions can be looked at and ended. Those of staff are ended by superusers only."""

    def users_of(self, queryset: QuerySet[Any]) -> QuerySet[User]:
        raise NotImplementedError

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("authgate.change_signin")

    def is_out_of_reach(self, request: HttpRequest, queryset: QuerySet[Any]) -> bool:
        names = out_of_reach(cast(User, request.user), self.users_of(queryset))
        if names:
            message = gettext("Only superusers may do this to staff: %(names)s. Nothing was changed.")
            self.message_user(request, message % {"names": ", ".join(names)}, messages.ERROR)
        return bool(names)

    def record_end(self, request: HttpRequest, user: User, **details: Any) -> None:
        record(
            "session_ended",
            actor=request.user.get_username(),
            subject=user.username,
            address=client_address(request),
            details=details,
        )


@admin.register(SignIn)
class SignInAdmin(SessionAdmin):
    secret_fields = ("session_digest",)
    list_display = ("user", "started_at", "last_seen_at", "address_column", "browser", "is_live")
    list_filter = (("ended_at", admin.EmptyFieldListFilter), "keep")
    list_select_related = ("user",)
    search_fields = ("user__username", "user__display_name", "address")
    search_help_text = _("User or address")
    fields = (
        "user",
        "is_live",
        "started_at",
        "last_seen_at",
        "expires_at",
        "idle_timeout",
        "keep",
        "ended_at",
        "address",
        "browser",
        "user_agent",
        "signed_in_by",
    )
    readonly_fields = fields
    inlines = (GateSessionInline,)
    actions = ("end_chosen",)
    change_form_template = "admin/sign_in.html"

    @admin.display(description=_("address"), ordering="address")
    def address_column(self, sign_in: SignIn) -> SafeString:
        return cut(sign_in.address or "", "cut address")

    @admin.display(description=_("browser"))
    def browser(self, sign_in: SignIn) -> SafeString:
        name = browser_named(sign_in.user_agent)
        return format_html('<bdi class="cut" title="{}">{}</bdi>', sign_in.user_agent or name, name)

    @admin.display(description=_("signed in by"))
    def signed_in_by(self, sign_in: SignIn) -> str:
        return ", ".join(map(str, sign_in.methods)) or "-"

    @admin.display(description=_("live"), boolean=True)
    def is_live(self, sign_in: SignIn) -> bool:
        return (
            sign_in.ended_at is None
            and sign_in.expires_at > timezone.now()
            and sign_in.user.is_active
            and not is_idle(sign_in)
        )

    def users_of(self, queryset: QuerySet[Any]) -> QuerySet[User]:
        return User.objects.filter(pk__in=queryset.order_by().values("user"))

    @admin.action(permissions=["end"], description=_("End the chosen sign-ins"))
    def end_chosen(self, request: HttpRequest, queryset: QuerySet[SignIn]) -> HttpResponse | None:
        if self.is_out_of_reach(request, queryset):
            return None
        question = gettext("End these sign-ins, with every session on an application that hangs on them?")
        asked = ask_first(
            self, request, queryset, action="end_chosen", question=question, button=gettext("End them")
        )
        if asked is None:
            self._end(request, queryset)
        return asked

    def _end(self, request: HttpRequest, queryset: QuerySet[SignIn]) -> None:
        ending = list(queryset.filter(ended_at=None).select_related("user"))
        end_sign_ins(SignIn.objects.filter(pk__in=[sign_in.pk for sign_in in ending]))
        for sign_in in ending:
            self.record_end(request, sign_in.user, sign_in=str(sign_in))
        text = ngettext("%d sign-in was ended.", "%d sign-ins were ended.", len(ending))
        self.message_user(request, text % len(ending), messages.SUCCESS)


@admin.register(GateSession)
class GateSessionAdmin(SessionAdmin):
    secret_fields = ("token_digest",)
    list_display = ("origin", "user", "created_at", "ended_at")
    list_filter = (("ended_at", admin.EmptyFieldListFilter),)
    list_select_related = ("sign_in__user",)
    search_fields = ("origin", "sign_in__user__username", "sign_in__address")
    search_help_text = _("Origin, user or address")
    fields = ("origin", "sign_in", "created_at", "ended_at")
    readonly_fields = fields
    actions = ("end_chosen",)

    @admin.display(description=_("user"), ordering="sign_in__user__username")
    def user(self, session: GateSession) -> str:
        return session.sign_in.user.username

    def users_of(self, queryset: QuerySet[Any]) -> QuerySet[User]:
        return User.objects.filter(pk__in=queryset.order_by().values("sign_in__user"))

    @admin.action(permissions=["end"], description=_("End the chosen gate sessions"))
    def end_chosen(self, request: HttpRequest, queryset: QuerySet[GateSession]) -> HttpResponse | None:
        if self.is_out_of_reach(request, queryset):
            return None
        question = gettext(
            "End these gate sessions? Whoever is still signed in at the portal gets new ones unasked."
        )
        asked = ask_first(
            self, request, queryset, action="end_chosen", question=question, button=gettext("End them")
        )
        if asked is None:
            self._end(request, queryset)
        return asked

    def _end(self, request: HttpRequest, queryset: QuerySet[GateSession]) -> None:
        ending = list(queryset.filter(ended_at=None).select_related("sign_in__user"))
        open_ones = GateSession.objects.filter(pk__in=[session.pk for session in ending], ended_at=None)
        open_ones.update(ended_at=timezone.now())
        for session in ending:
            self.record_end(request, session.sign_in.user, origin=session.origin)
        text = ngettext("%d gate session was ended.", "%d gate sessions were ended.", len(ending))
        self.message_user(request, text % len(ending), messages.SUCCESS)


# ---- events -----------------------------------------------------------------------------------------------


class EventList(ChangeList):
    """A page of audit events with the links of all its rows."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        links = EventLinks(request, self.result_list)
        for event in self.result_list:
            event.links = links


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = (
        "at",
        "what",
        "actor_column",
        "subject_column",
        "application_column",
        "address_column",
    )
    list_filter = (KindFilter,)
    search_fields = ("actor", "subject", "application", "decision_id", "address")
    search_help_text = _("By whom, about whom, application, address or decision")
    date_hierarchy = "at"
    fields = (
        "at",
        "kind_in_words",
        "actor_column",
        "subject_column",
        "application_column",
        "reason_in_words",
        "failed_rules",
        "address",
        "decision_id",
        "changes",
        "details_as_text",
    )
    readonly_fields = fields

    @admin.display(description=_("event"), ordering="kind")
    def what(self, event: AuditEvent) -> SafeString:
        return format_html(
            '<span class="event"><strong>{}</strong> {}{}</span>',
            label_of(event.kind),
            machine_name(event.kind),
            self._second_line(event),
        )

    def _second_line(self, event: AuditEvent) -> SafeString | str:
        """Return why it happened with the number of the decision, or which fields were changed."""
        if event.reason:
            number = machine_name(event.decision_id) if event.decision_id else ""
            words = words_of_reason(event)
            return format_html('<span class="why" title="{}">{} {}</span>', event.reason, words, number)
        changed = ", ".join(label_of_change(change) for change in values_of(event) if "field" in change)
        return format_html('<span class="why">{}</span>', changed) if changed else ""

    @admin.display(description=_("by"), ordering="actor")
    def actor_column(self, event: AuditEvent) -> SafeString:
        return links_of(event).actor(event)

    @admin.display(description=_("about"), ordering="subject")
    def subject_column(self, event: AuditEvent) -> SafeString:
        return links_of(event).subject(event)

    @admin.display(description=_("application"), ordering="application")
    def application_column(self, event: AuditEvent) -> SafeString:
        return links_of(event).application(event)

    @admin.display(description=_("address"), ordering="address")
    def address_column(self, event: AuditEvent) -> SafeString:
        return cut(event.address or "", "cut address")

    @admin.display(description=_("event"))
    def kind_in_words(self, event: AuditEvent) -> SafeString:
        return format_html(
            "<strong>{}</strong> {}<br>{}",
            label_of(event.kind),
            machine_name(event.kind),
            sentence_of(event.kind),
        )

    @admin.display(description=_("reason"))
    def reason_in_words(self, event: AuditEvent) -> SafeString:
        if not event.reason:
            return NOTHING
        return format_html("{} {}", words_of_reason(event), machine_name(event.reason))

    @admin.display(description=_("rules that did not admit"))
    def failed_rules(self, event: AuditEvent) -> SafeString:
        """Return what failed first in each rule of the path, with a link to the rule's application."""
        failed = [pair for pair in event.details.get("failed") or () if len(pair) == 2]
        rules = Rule.objects.filter(pk__in=[key for key, _criterion in failed]).in_bulk()
        lines = [
            (
                cut(str(rules[key])) if key in rules else gettext("a rule that is gone"),
                reason_words(criterion) or criterion,
                machine_name(criterion),
            )
            for key, criterion in failed
        ]
        if not lines:
            return NOTHING
        return format_html('<ul class="changes">{}</ul>', format_html_join("", "<li>{}: {} {}</li>", lines))

    @admin.display(description=_("changes"))
    def changes(self, event: AuditEvent) -> SafeString:
        values = values_of(event)
        if values:
            model = model_named(event.details.get("object"))
            shown = [shown_change(model, change) for change in values]
            return render_to_string("admin/event_changes.html", {"changes": shown})
        named = named_fields(event)
        return cut(LogEntry(change_message=json.dumps(named)).get_change_message() if named else "")

    @admin.display(description=_("details"))
    def details_as_text(self, event: AuditEvent) -> SafeString:
        """Return what no other field of the page shows."""
        details = {name: value for name, value in dict(event.details or {}).items() if name != "values"}
        if not details:
            return NOTHING
        return format_html("<pre>{}</pre>", json.dumps(details, indent=2, ensure_ascii=False))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EventList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> AuditEvent | None:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            event.links = EventLinks(request, [event])
        return event


def links_of(event: AuditEvent) -> EventLinks:
    links: EventLinks = event.links  # type: ignore[attr-defined]
    return links


def words_of_reason(event: AuditEvent) -> str:
    return reason_words(event.reason) or mistake_words(event.reason) or event.reason


class SiteList(ChangeList):
    """A page of configuration events with the links to the applications of their sites."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        links = SiteLinks(request, self.result_list)
        for event in self.result_list:
            event.links = links


@admin.register(ConfigurationEvent)
class ConfigurationEventAdmin(ReadOnlyAdmin):
    """Deleting an event acknowledges it: when the mistake is still made, it comes back."""

    list_display = ("what", "site", "contract", "count", "last_at")
    list_filter = ("contract", MistakeFilter)
    search_fields = ("origin", "reason")
    search_help_text = _("Origin or reason")
    date_hierarchy = "last_at"
    fields = ("mistake", "site", "contract", "cure", "count", "first_at", "last_at")
    readonly_fields = fields

    @admin.display(description=_("what the proxy does"), ordering="reason")
    def what(self, event: ConfigurationEvent) -> SafeString:
        words = mistake_words(event.reason) or event.reason
        return format_html(
            '<span class="event"><strong>{}</strong> {}</span>', words, machine_name(event.reason)
        )

    @admin.display(description=_("site"), ordering="origin")
    def site(self, event: ConfigurationEvent) -> SafeString:
        links: SiteLinks = event.links  # type: ignore[attr-defined]
        return links.site(event)

    @admin.display(description=_("what the proxy does"))
    def mistake(self, event: ConfigurationEvent) -> SafeString:
        words = mistake_words(event.reason) or event.reason
        return format_html("<strong>{}</strong> {}", words, machine_name(event.reason))

    @admin.display(description=_("the line that cures it"))
    def cure(self, event: ConfigurationEvent) -> SafeString | str:
        line = line_that_cures(event.contract, event.reason)
        if not line:
            return gettext("No line of the proxy's configuration alone: read what the proxy does.")
        return format_html("<pre>{}</pre>", line)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SiteList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> ConfigurationEvent | None:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            event.links = SiteLinks(request, [event])
        return event

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return request.user.has_perm("authgate.delete_configurationevent")
