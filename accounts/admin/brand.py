"""The brand in the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.branding import brand
from accounts.models import Brand
from authgate.admin.audited import AuditedAdmin
from authgate.pictures import PictureField, picture_change

LOGO_BOX = (400, 80)


class BrandForm(forms.ModelForm):
    logo_file = PictureField(
        _("Logo"),
        _("PNG, JPEG or WebP with a transparent background. Shown 40 pixels high on light and dark pages."),
        box=LOGO_BOX,
    )
    remove_logo = forms.BooleanField(label=_("Remove the logo"), required=False)

    class Meta:
        model = Brand
        fields = ("name", "accent")

    def clean_accent(self) -> str:
        return str(self.cleaned_data["accent"]).lower()


@admin.register(Brand)
class BrandAdmin(AuditedAdmin):
    form = BrandForm
    fields = ("name", "accent", "accent_shown", ("logo_file", "logo_shown", "remove_logo"))
    readonly_fields = ("accent_shown", "logo_shown")

    @admin.display(description=_("shown as"))
    def accent_shown(self, row: Brand) -> str:
        if not row.accent:
            return gettext("built-in colour")
        light, dark = brand.BrandStyle(accent=row.accent).shades
        return gettext("%(light)s in light mode, %(dark)s in dark mode") % {
            "light": light.accent,
            "dark": dark.accent,
        }

    @admin.display(description=_("shown now"))
    def logo_shown(self, row: Brand) -> SafeString:
        url = f"{reverse('brand_logo')}?v={brand.current().version}"
        return format_html('<img src="{}" alt="" height="40">', url)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Brand | None = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the only row, instead of showing a list of it."""
        return HttpResponseRedirect(reverse("admin:accounts_brand_change", args=[Brand.ONLY_ID]))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Brand | None:
        return super().get_object(request, object_id, from_field) or Brand() if object_id == "1" else None

    def save_model(self, request: HttpRequest, obj: Brand, form: Any, change: bool) -> None:
        if (logo := picture_change(form, "logo")) is not None:
            obj.logo, obj.logo_digest = logo.content, logo.digest
        obj.save()
        transaction.on_commit(brand.forget)
        self._warn_of_other_shade(request, obj)

    def _warn_of_other_shade(self, request: HttpRequest, row: Brand) -> None:
        if not row.accent:
            return
        shown = brand.BrandStyle(accent=row.accent).shades[0].accent
        if shown != row.accent:
            message = gettext("%(chosen)s is too pale to read on white. Light pages use %(shown)s instead.")
            self.message_user(request, message % {"chosen": row.accent, "shown": shown}, messages.WARNING)
