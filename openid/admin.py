"""Clients in the admin: an inline in the application's form, and a page for each client's secrets."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from authgate.admin.applications import ApplicationAdmin
from authgate.admin.audited import InlineFormSet, ReadableText, ReadOnlyAdmin, record_by
from openid.client_secrets import LIVE_SECRETS, new_secret
from openid.models import Client, ClientSecret
from openid.preview import preview_page
from openid.setup_page import setup_page
from openid.sign_out_pages import sign_in_proof, user_proof

LIFETIMES = (90, 180, 365)
"""Days after which a secret may expire."""


def _days(text: str) -> int | None:
    """Return an offered lifetime in days, or None for a secret that never expires."""
    return next((days for days in LIFETIMES if text == str(days)), None)


class ClientInline(ReadableText, admin.StackedInline):
    model = Client
    formset = InlineFormSet
    extra = 0
    readonly_fields = ("client_id", "secrets", "pages")
    fieldsets = (
        (
            None,
            {"fields": (("client_id", "secrets", "pages"), ("kind", "enabled"), "redirect_uris", "scopes")},
        ),
        (
            _("Signing out"),
            {
                "classes": ("collapse",),
                "fields": ("post_logout_uris", "backchannel_logout_uri", "allow_private"),
            },
        ),
        (_("Keys of the client"), {"classes": ("collapse",), "fields": ("jwks", "jwks_uri")}),
        (
            _("Consent and lifetimes"),
            {
                "classes": ("collapse",),
                "fields": ("asks_consent", "allows_devices", "access_lifetime", "refresh_lifetime"),
            },
        ),
    )
    formfield_overrides = {models.TextField: {"widget": AdminTextareaWidget(attrs={"rows": 3})}}

    @admin.display(description=_("secrets"))
    def secrets(self, client: Client) -> SafeString | str:
        if client.pk is None:
            return gettext("shown after saving")
        return link_to_secrets(client)

    @admin.display(description=_("pages"))
    def pages(self, client: Client) -> SafeString | str:
        return gettext("shown after saving") if client.pk is None else links_to_pages(client)


def links_to_pages(client: Client) -> SafeString:
    """Return links to the admin pages about a client. Each page checks permissions itself."""
    pages = [
        ("openid_client_setup", gettext("Set up an application")),
        ("openid_client_preview", gettext("What it receives")),
    ]
    links = [(reverse(f"admin:{name}", args=[client.pk]), label, client) for name, label in pages]
    return format_html_join(" · ", '<a href="{}">{}<span class="visually-hidden"> {}</span></a>', links)


def link_to_secrets(client: Client) -> SafeString | str:
    if client.is_public:
        return gettext("none: the client is public")
    if client.jwks or client.jwks_uri:
        return gettext("none: the client has keys")
    url = reverse("admin:openid_client_secrets", args=[client.pk])
    return format_html('<a href="{}">{}</a>', url, gettext("Secrets of %(client)s") % {"client": client})


ApplicationAdmin.extend(inline=ClientInline)


@admin.register(Client)
class ClientAdmin(ReadOnlyAdmin):
    """A read-only list of all clients. Administrators change clients in the application's form."""

    list_display = (
        "client_id",
        "application_column",
        "enabled",
        "secrets",
        "pages",
        "errors",
        "created_at",
    )
    list_display_links = None
    list_filter = ("kind", "enabled")
    search_fields = ("client_id", "application__name")
    search_help_text = _("Client ID or application")
    list_select_related = ("application",)

    @admin.display(description=_("application"), ordering="application__name")
    def application_column(self, client: Client) -> SafeString:
        url = reverse("admin:authgate_application_change", args=[client.application_id])
        return format_html('<a href="{}">{}</a>', url, client.application)

    @admin.display(description=_("secrets"))
    def secrets(self, client: Client) -> SafeString | str:
        return link_to_secrets(client)

    @admin.display(description=_("pages"))
    def pages(self, client: Client) -> SafeString:
        return links_to_pages(client)

    @admin.display(description=_("newest errors"))
    def errors(self, client: Client) -> SafeString | str:
        shown = [
            (date_format(timezone.localtime(each.last_at), "DATETIME_FORMAT"), each.words())
            for each in client.troubles.all()
        ]
        return format_html_join(mark_safe("<br>"), "{}: {}", shown) or "-"

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("<int:key>/secrets/", guarded(self.secrets_page), name="openid_client_secrets"),
            path("proof/sign-in/<int:key>/", guarded(sign_in_proof), name="openid_proof_of_sign_in"),
            path("proof/user/<int:key>/", guarded(user_proof), name="openid_proof_of_user"),
            path("<int:key>/setup/", guarded(setup_page), name="openid_client_setup"),
            path("<int:key>/preview/", guarded(preview_page), name="openid_client_preview"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Client]:
        clients: QuerySet[Client] = super().get_queryset(request)
        return clients.prefetch_related("troubles")

    def secrets_page(self, request: HttpRequest, key: int) -> HttpResponse:
        """List a client's secrets. A POST creates one, shown only in this response, or deletes one."""
        view = never_cache(require_http_methods(["GET", "HEAD", "POST"])(self._secrets_page))
        return view(request, key)

    def _secrets_page(self, request: HttpRequest, key: int) -> HttpResponse:
        if not request.user.has_perm("openid.change_client"):
            raise PermissionDenied
        if not Client.objects.filter(pk=min(key, 2**63 - 1), kind=Client.Kind.CONFIDENTIAL).exists():
            return HttpResponseRedirect(reverse("admin:openid_client_changelist"))
        client = get_object_or_404(Client, pk=key)
        secret = ""
        if request.method == "POST" and "delete" in request.POST:
            self._delete(request, client, request.POST["delete"])
            return HttpResponseRedirect(request.path)
        if request.method == "POST":
            secret = self._create(request, client)
        return TemplateResponse(request, "admin/client_secrets.html", self._context(request, client, secret))

    def _context(self, request: HttpRequest, client: Client, secret: str) -> dict[str, Any]:
        rows = list(client.secrets.select_related("use"))
        return {
            **self.admin_site.each_context(request),
            "title": gettext("Secrets of %(client)s") % {"client": client},
            "opts": self.opts,
            "client": client,
            "rows": rows,
            "secret": secret,
            "may_create": sum(not row.is_over for row in rows) < LIVE_SECRETS,
            "lifetimes": LIFETIMES,
        }

    def _create(self, request: HttpRequest, client: Client) -> str:
        with transaction.atomic():
            secret = new_secret(client, _days(request.POST.get("days", "")))
            if secret:
                record_by(request, "openid_secret_made", client, [])
        return secret

    def _delete(self, request: HttpRequest, client: Client, key: str) -> None:
        if not (key.isascii() and key.isdecimal() and len(key) < 19):
            return
        with transaction.atomic():
            deleted, _rows = ClientSecret.objects.filter(client=client, pk=int(key)).delete()
            if deleted:
                record_by(request, "openid_secret_deleted", client, [])
