"""The admin's pages of applications with their origins and rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import InlineModelAdmin
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from authgate.admin import access, doctor, protection, tightening, trials
from authgate.admin.application_warnings import warnings_about
from authgate.admin.audited import InlineFormSet, ReadableText, is_row_id, name_fields
from authgate.admin.effect import EffectAdmin
from authgate.admin.explain import explain_page
from authgate.admin.list_columns import chips
from authgate.admin.proxy_configuration import configuration_page
from authgate.admin.removals import RemovalPage
from authgate.effect.comparison import EVERYTHING, Bounds
from authgate.models import (
    Application,
    Icon,
    Origin,
    Rule,
)
from authgate.pictures import PictureField, save_picture
from authgate.usage.trials import Result, results

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations


def kept_forms(formset: Any) -> Iterator[Any]:
    """Yield the valid forms of the rows that remain after saving."""
    for form in formset.forms:
        if form.errors or form.cleaned_data.get("DELETE"):
            continue
        if form.instance.pk or form.has_changed():
            yield form


class OriginFormSet(InlineFormSet):
    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        name_fields(form)

    def get_unique_error_message(self, unique_check: Any) -> Any:
        return _("An origin is listed twice. Delete one entry.")

    def clean(self) -> None:
        super().clean()
        seen: set[str] = set()
        for form in kept_forms(self):
            if form.instance.value in seen:
                form.add_error("value", _("This origin is listed twice. Delete one entry."))
            seen.add(form.instance.value)


class RuleFormSet(InlineFormSet):
    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        form.instance.validated_with_siblings = True

    def clean(self) -> None:
        """Refuse two scopes that differ in letter case only. Compare the rules as they will be saved."""
        super().clean()
        paths: list[str] = []
        for form in kept_forms(self):
            try:
                form.instance.refuse_other_case(paths)
            except ValidationError as error:
                form.add_error(None, error)
            paths.append(form.instance.path)


def may_move(request: HttpRequest, application: Application | None) -> bool:
    """Return whether the requester may change the origins of an application.

    If an application receives providers' tokens, it receives those of every user who opens it, also of
    superusers. An administrator could move it to another server and steal the tokens there.
    """
    if application is None or request.user.is_superuser:
        return True
    return not (application.access_token or application.id_token)


class OriginInline(ReadableText, admin.TabularInline):
    model = Origin
    formset = OriginFormSet
    extra = 0
    fields = ("value",)

    def has_add_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return super().has_add_permission(request, obj) and may_move(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return super().has_change_permission(request, obj) and may_move(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return super().has_delete_permission(request, obj) and may_move(request, obj)

    def get_extra(self, request: HttpRequest, obj: Application | None = None, **kwargs: Any) -> int:
        return 0 if obj else 1


FACTOR_FIELDS = ("second_factor", "factor_minutes", "passkey")


class RuleInline(ReadableText, admin.StackedInline):
    model = Rule
    formset = RuleFormSet
    extra = 0
    autocomplete_fields = ("groups", "users")
    readonly_fields = ("trial",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("path", "exact"),
                    "who",
                    "groups",
                    "users",
                    ("second_factor", "factor_minutes", "passkey"),
                )
            },
        ),
        (_("Restrictions"), {"fields": (("methods", "expires_at"), "networks", "note")}),
        (_("Trial"), {"fields": (("only_watch", "trial"),)}),
    )
    formfield_overrides = {models.TextField: {"widget": AdminTextareaWidget(attrs={"rows": 2})}}

    def get_extra(self, request: HttpRequest, obj: Application | None = None, **kwargs: Any) -> int:
        return 0 if obj else 1

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rule]:
        return super().get_queryset(request).prefetch_related("groups", "users")

    @admin.display(description=_("Result of the trial"))
    def trial(self, rule: Rule) -> SafeString | str:
        """Return a summary of what a saved rule that only watches would have done."""
        if rule.pk is None or not rule.only_watch:
            return "-"
        if self._trials is None:
            self._trials = results(rule.application_id)
        found = self._trials.get(rule.pk)
        return "-" if found is None else trials.summary(found, rule.application_id, rule.pk)

    _trials: dict[int, Result] | None = None
    """Results by rule, of the one application that a request shows."""


ICON_BOX = (128, 128)
RULE_PERMISSIONS = ("authgate.add_rule", "authgate.change_rule", "authgate.delete_rule")


class ApplicationForm(forms.ModelForm):
    icon_file = PictureField(
        _("Icon"),
        _("PNG, JPEG or WebP, preferably square. The launcher shows it 48 pixels wide."),
        box=ICON_BOX,
    )
    remove_icon = forms.BooleanField(label=_("Remove the icon"), required=False)


Action = Callable[["ApplicationAdmin", HttpRequest, QuerySet[Application]], HttpResponse | None]


class Counted(TypedDict):
    """The annotation of `ApplicationAdmin.get_queryset`."""

    how_many_rules: int


@admin.register(Application)
class ApplicationAdmin(EffectAdmin):
    form = ApplicationForm
    change_form_template = "admin/application.html"
    list_display = ("name", "origin_list", "protection", "rule_count", "category", "enabled", "in_launcher")
    list_filter = ("enabled", "maintenance", "without_https", ("locked_down_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "category", "origins__value")
    search_help_text = _("Name, category or origin")
    autocomplete_fields = ("named_groups", "owners", "owner_groups", "shareable_groups")
    readonly_fields = ("icon_shown", "protection")
    actions_with_effect = ("lock_down_applications", "lift_applications", "delete_selected")
    inlines: ClassVar[tuple[type[InlineModelAdmin], ...]] = (OriginInline, RuleInline)
    formfield_overrides = {
        models.URLField: {"assume_scheme": "https"},
        models.TextField: {"widget": AdminTextareaWidget(attrs={"rows": 3})},
    }
    fieldsets = (
        (None, {"fields": ("protection", "name", "description", "enabled", "without_https")}),
        (
            _("Launcher"),
            {"fields": ("in_launcher", "launch_url", "category", ("icon_file", "icon_shown", "remove_icon"))},
        ),
        (
            _("Owners and requests for access"),
            {"fields": ("owners", "owner_groups", "shareable_groups", "refusal_text")},
        ),
        (_("Maintenance"), {"fields": ("maintenance", "maintenance_text", "maintenance_minutes")}),
        (_("Programs"), {"fields": ("challenges",)}),
        (_("Proxy tests"), {"fields": ("backend",)}),
        (
            _("Data sent to the application"),
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

    @classmethod
    def extend(cls, *actions: Action, inline: type[InlineModelAdmin] | None = None) -> None:
        """Add actions and an inline of an app above the gate."""
        cls.actions = (*(cls.actions or ()), *actions)
        cls.inlines = (*cls.inlines, inline) if inline else cls.inlines

    def get_readonly_fields(self, request: HttpRequest, obj: Application | None = None) -> tuple[str, ...]:
        if request.user.is_superuser:
            return self.readonly_fields
        bound: tuple[str, ...] = ("access_token", "id_token", "shareable_groups")
        if not request.user.has_perms(RULE_PERMISSIONS):
            # Owners can change rules within the bound. Nobody may become an owner to gain permissions.
            bound += ("owners", "owner_groups")
        return (*self.readonly_fields, *bound)

    def bounds_of(self, keys: set[int] | None) -> Bounds:
        return EVERYTHING if keys is None else Bounds(applications=keys)

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        name = "authgate_application"
        return [
            path("explain/", guarded(explain_page), name=f"{name}_explain"),
            path("access/", guarded(access.everything), name=f"{name}_access_of_all"),
            path("opened-by/<int:key>/", guarded(access.user_page), name=f"{name}_opened_by"),
            path("<int:key>/access/", guarded(access.application_page), name=f"{name}_access"),
            path("doctor/", guarded(doctor.page_of_all), name=f"{name}_doctor_of_all"),
            path("<int:key>/doctor/", guarded(doctor.application_page), name=f"{name}_doctor"),
            path("unused-access/", guarded(tightening.tightening_page), name=f"{name}_unused"),
            path("<int:key>/unused-access/", guarded(self.removal_page), name=f"{name}_remove_unused"),
            path("<int:key>/trials/", guarded(trials.trials_page), name=f"{name}_trials"),
            path("<int:key>/proxy/", guarded(self.proxy_page), name=f"{name}_proxy"),
            *super().get_urls(),
        ]

    def proxy_page(self, request: HttpRequest, key: int) -> HttpResponse:
        """Show the configuration of a proxy. All administrators who may view the application may see it."""
        found = self.get_object(request, str(key)) if is_row_id(str(key)) else None
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        if found is None:
            raise Http404
        return configuration_page(request, found)

    def removal_page(self, request: HttpRequest, key: int) -> HttpResponse:
        """Remove access that nobody used, after a confirmation."""
        return RemovalPage(self, request, key).answer()

    @admin.display(description=_("origins"))
    def origin_list(self, application: Application) -> SafeString:
        return chips(origin.value for origin in application.origins.all())

    @admin.display(description=_("protection"))
    def protection(self, application: Application) -> SafeString | str:
        return "-" if application.pk is None else protection.shown(protection.badges_of(application))

    @admin.display(description=_("rules"), ordering="how_many_rules")
    def rule_count(self, application: WithAnnotations[Application, Counted]) -> int:
        return application.how_many_rules

    def get_queryset(self, request: HttpRequest) -> QuerySet[Application]:
        applications: QuerySet[Application] = super().get_queryset(request)
        counted = applications.annotate(how_many_rules=Count("rules", distinct=True))
        return counted.prefetch_related("origins", "rules")

    @admin.display(description=_("shown now"))
    def icon_shown(self, application: Application) -> SafeString | str:
        icon = Icon.objects.filter(application=application.pk).only("key").first()
        if icon is None:
            return gettext("the first letter of its name")
        url = reverse("icon", args=[icon.key])
        return format_html('<img src="{}" alt="" width="48" height="48">', url)

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        save_picture(Icon.objects, form, "icon", application=obj)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        for warning in warnings_about(form.instance):
            self.message_user(request, warning, messages.WARNING)
