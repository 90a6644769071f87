"""Providers in the admin.

Only superusers may change them, because a provider controls all its users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import ClaimMapping, GroupMapping, Identity, Upstream, UpstreamPicture, User
from accounts.privilege import may_change, privileged, requester_of
from accounts.upstreams.cas.flow import service_address
from accounts.upstreams.findings import examine
from accounts.upstreams.identities import record_link, validate_subject
from accounts.upstreams.oidc.flow import redirect_uri
from accounts.upstreams.protocols import PROTOCOLS
from accounts.upstreams.provider_sign_out import backchannel_url, signed_out_url
from authgate.admin.audited import AuditedAdmin, InlineFormSet, ReadableText, record_by
from authgate.admin.list_columns import cut
from authgate.admin.list_filters import BoundedRelatedFilter
from authgate.encryption import Secret
from authgate.peer import client_address
from authgate.pictures import PictureField, save_picture
from authgate.sign_ins import note_revocation

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

PICTURE_BOX = (96, 96)
"""Pixels, for 24 CSS pixels on the densest screens."""

ONLY_IN_THE_FORM = ("client_secret", "remove_secret", "picture_file", "remove_picture")


class UpstreamForm(forms.ModelForm):
    client_secret = forms.CharField(
        label=_("Client secret"),
        required=False,
        strip=True,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
        help_text=_("Never shown again. If empty, the current secret is kept."),
    )
    remove_secret = forms.BooleanField(label=_("Remove the client secret"), required=False)
    picture_file = PictureField(
        _("Picture"),
        _("PNG, JPEG or WebP, preferably square. Shown 24 pixels wide instead of the letters."),
        box=PICTURE_BOX,
    )
    remove_picture = forms.BooleanField(label=_("Remove the picture"), required=False)

    class Meta:
        model = Upstream
        fields = "__all__"  # noqa: DJ007

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["client_secret"] = ""
        # Otherwise browsers treat it as a username, and the secret as its password.
        if "client_id" in self.fields:
            self.fields["client_id"].widget.attrs["autocomplete"] = "off"

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        typed, kept = cleaned.get("client_secret"), self.instance.client_secret
        if kept and not typed and not cleaned.get("remove_secret") and "issuer" in self.changed_data:
            # Otherwise the portal would send the old issuer's secret to the new issuer.
            raise ValidationError({"client_secret": _("If you change the issuer, enter the secret again.")})
        if cleaned.get("remove_secret"):
            cleaned["client_secret"] = Secret()
        else:
            cleaned["client_secret"] = typed or kept
        return cleaned


def without_links(field: Any, db_field: Any, *names: str) -> Any:
    """Return a form field. If its name is one of `names`, remove the links to the related object's pages."""
    for power in ("add", "change", "delete", "view") if db_field.name in names else ():
        setattr(field.widget, f"can_{power}_related", False)
    return field


class ClaimMappingInline(ReadableText, admin.TabularInline):
    model = ClaimMapping
    formset = InlineFormSet
    extra = 0
    fields = ("claim", "field")


class GroupMappingInline(ReadableText, admin.TabularInline):
    model = GroupMapping
    formset = InlineFormSet
    extra = 0
    fields = ("claim", "value", "group", "mode")
    autocomplete_fields = ("group",)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the field without links to pages of Django's own group, because there are none."""
        return without_links(super().formfield_for_dbfield(db_field, request, **kwargs), db_field, "group")


class SuperusersOnly(AuditedAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return requester_of(request).is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return requester_of(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return requester_of(request).is_superuser


class Counted(TypedDict):
    """The annotations of `UpstreamAdmin.get_queryset`."""

    how_many: int


@admin.register(Upstream)
class UpstreamAdmin(SuperusersOnly):
    form = UpstreamForm
    change_form_template = "admin/upstream.html"
    list_display = ("name", "kind", "enabled", "is_default", "people", "order")
    list_filter = ("kind", "enabled")
    search_fields = ("name", "slug", "issuer", "server_url")
    search_help_text = _("Name or address")
    secret_fields = ("client_secret",)
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = (
        "picture_shown",
        "redirect_uri",
        "signed_out_address",
        "backchannel_address",
        "service_address",
    )
    inlines = (ClaimMappingInline, GroupMappingInline)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "kind",
                    "name",
                    "slug",
                    "icon",
                    "picture_file",
                    "picture_shown",
                    "remove_picture",
                    "order",
                    "enabled",
                    "is_default",
                )
            },
        ),
        (
            "OpenID Connect",
            {
                "fields": (
                    "issuer",
                    "client_id",
                    "client_secret",
                    "remove_secret",
                    "scopes",
                    "redirect_uri",
                    "signed_out_address",
                    "backchannel_address",
                )
            },
        ),
        (
            "CAS",
            {
                "classes": ("collapse",),
                "fields": ("server_url", "cas_version", "ticket_prefix", "service_address"),
            },
        ),
        (
            _("Accounts"),
            {"fields": ("create_users", "linking", "trusted_email_domains", "trusts_every_address")},
        ),
        (_("Groups"), {"fields": ("groups_claim", "groups_prefix", "groups_pattern")}),
        (
            _("Sign-ins"),
            {"fields": ("second_factor_values", "max_lifetime", "recheck_every", "allow_private")},
        ),
        (_("Programs"), {"classes": ("collapse",), "fields": ("trusted_for_machines", "machine_audience")}),
    )

    @admin.display(description=_("users"), ordering="how_many")
    def people(self, upstream: WithAnnotations[Upstream, Counted]) -> int:
        return upstream.how_many

    @admin.display(description=_("shown now"))
    def picture_shown(self, upstream: Upstream) -> SafeString | str:
        picture = UpstreamPicture.objects.filter(upstream=upstream.pk).only("key").first()
        if picture is None:
            return upstream.icon or gettext("nothing")
        url = reverse("provider_icon", args=[picture.key])
        return format_html('<img src="{}" alt="" width="24" height="24">', url)

    @admin.display(description=_("redirect URI"))
    def redirect_uri(self, upstream: Upstream) -> str:
        return redirect_uri(upstream) if upstream.slug else gettext("shown after saving")

    @admin.display(description=_("post-logout redirect URI"))
    def signed_out_address(self, upstream: Upstream) -> str:
        return signed_out_url()

    @admin.display(description=_("back-channel logout"))
    def backchannel_address(self, upstream: Upstream) -> str:
        return backchannel_url(upstream) if upstream.slug else gettext("shown after saving")

    @admin.display(description=_("service URL to register, with any query"))
    def service_address(self, upstream: Upstream) -> str:
        return service_address()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upstream]:
        upstreams: QuerySet[Upstream] = super().get_queryset(request).annotate(how_many=Count("identities"))
        return upstreams

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fieldsets. Users who may only view see no secrets and uploads."""
        if self.has_change_permission(request, obj):
            return self.fieldsets
        return tuple(
            (name, {**options, "fields": tuple(f for f in options["fields"] if f not in ONLY_IN_THE_FORM)})
            for name, options in self.fieldsets
        )

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return {} if obj else self.prepopulated_fields

    def get_urls(self) -> list[URLPattern]:
        test = path("<int:key>/test/", self.admin_site.admin_view(self.test), name="accounts_upstream_test")
        return [test, *super().get_urls()]

    def test(self, request: HttpRequest, key: int) -> HttpResponse:
        """Test the connection to a provider, and show the findings."""
        upstream = get_object_or_404(Upstream, pk=key)
        if request.method != "POST" or not self.has_change_permission(request, upstream):
            return HttpResponse(status=405 if request.method != "POST" else 403)
        record_by(request, "tested", upstream, [])
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Test of %(name)s") % {"name": upstream.name},
            "opts": self.opts,
            "upstream": upstream,
            "findings": examine(upstream, PROTOCOLS),
        }
        return TemplateResponse(request, "admin/upstream_test.html", context)

    def save_model(self, request: HttpRequest, obj: Upstream, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        save_picture(UpstreamPicture.objects, form, "picture", upstream=obj)
        if not obj.enabled:
            note_revocation()
        messages.info(
            request, gettext("Test the provider before users sign in with it. The button is above the form.")
        )

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Store whether a superuser created a group mapping. Only such mappings grant power."""
        if formset.model is GroupMapping:
            for row in formset.forms:
                if row.has_changed():
                    row.instance.made_by_superuser = requester_of(request).is_superuser
        super().save_formset(request, form, formset, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        addresses = form.instance.claim_mappings.filter(field=ClaimMapping.Field.EMAIL)
        if form.instance.is_oidc and addresses.exclude(claim="email").exists():
            warning = gettext(
                "E-mail addresses are not used, because a provider verifies only the claim email."
            )
            self.message_user(request, warning, messages.WARNING)

    def delete_model(self, request: HttpRequest, obj: Upstream) -> None:
        super().delete_model(request, obj)
        note_revocation()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Upstream]) -> None:
        super().delete_queryset(request, queryset)
        note_revocation()


class IdentityForm(forms.ModelForm):
    requester: User

    class Meta:
        model = Identity
        fields = ("upstream", "subject", "user")

    def clean_subject(self) -> str:
        subject: str = self.cleaned_data["subject"]
        validate_subject(subject)
        return subject

    def clean_user(self) -> User:
        user: User = self.cleaned_data["user"]
        if not may_change(self.requester, user):
            # The linked program or person could act as this user.
            raise ValidationError(
                _("Only superusers can link this user, because it has administration rights.")
            )
        return user


@admin.register(Identity)
class IdentityAdmin(AuditedAdmin):
    """The page of links between users and subjects: people and programs of providers.

    Deleting a link also ends the sign-ins that used it.
    """

    form = IdentityForm
    list_display = ("upstream", "subject_column", "user", "created_at", "last_used_at")
    list_filter = (("upstream", BoundedRelatedFilter),)
    search_fields = ("subject", "user__username")
    search_help_text = _("Subject or user")
    list_select_related = ("upstream", "user")
    show_full_result_count = False
    autocomplete_fields = ("upstream", "user")

    @admin.display(description=_("subject"), ordering="subject")
    def subject_column(self, identity: Identity) -> SafeString:
        return cut(identity.subject)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("upstream", "subject", "user", *self.get_readonly_fields(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("created_at", "last_used_at") if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.requester = requester_of(request)
        return form

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        return without_links(field, db_field, "upstream", "user")

    def save_model(self, request: HttpRequest, obj: Identity, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        record_link(obj, request.user.get_username(), client_address(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Identity | None = None) -> bool:
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or may_change(requester_of(request), obj.user))

    def delete_model(self, request: HttpRequest, obj: Identity) -> None:
        super().delete_model(request, obj)
        note_revocation()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Identity]) -> None:
        """Delete links, but not those of users that only superusers may change."""
        if not requester_of(request).is_superuser:
            queryset = queryset.exclude(user__in=privileged(User.objects.all()))
        super().delete_queryset(request, queryset)
        note_revocation()
