"""The admin site. Users enter it only through the portal's own sign-in."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.i18n import JavaScriptCatalog

from accounts.branding import brand
from accounts.destinations import within_portal
from ikd_portal.attention.portal import matters_for
from ikd_portal.glance.figures import figures_for
from ikd_portal.glance.plots import plots
from ikd_portal.glance.search import SearchForm, search


class WordsOfScripts(JavaScriptCatalog):
    def get_paths(self, packages: Any) -> list[str]:
        return [*super().get_paths(packages), *map(str, settings.LOCALE_PATHS)]


class PortalAdminSite(AdminSite):
    """Django's admin for active staff with a live sign-in. Django's own password form is disabled."""

    index_title = gettext_lazy("Administration")

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        name = brand.current().name
        ours = {"site_header": name, "site_title": name, "portal_version": settings.IKD_VERSION}
        return {**super().each_context(request), **ours}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Return the first page: matters, figures and plots, as far as the user's permissions allow."""
        shown = {
            "matters": matters_for(request),
            "figures": figures_for(request),
            "plots": plots() if request.user.has_perm("authgate.view_auditevent") else [],
        }
        return super().index(request, {**shown, **(extra_context or {})})

    def search_page(self, request: HttpRequest) -> TemplateResponse:
        """Return the rows that match a search over everything and that the user may view."""
        form = SearchForm(request.GET or None)
        text = form.cleaned_data["q"] if form.is_valid() else ""
        context = {
            **self.each_context(request),
            "title": gettext_lazy("Search"),
            "form": form,
            "text": text,
            "found": search(request, text) if text else [],
        }
        request.current_app = self.name
        return TemplateResponse(request, "admin/search.html", context)

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return user.is_active and user.is_staff and getattr(request, "sign_in", None) is not None

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        guarded = super().admin_view(view, cacheable)

        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if self.has_permission(request):
                response: HttpResponse = guarded(request, *args, **kwargs)
                return response
            return self._turn_away(request, request.get_full_path())

        return never_cache(inner)

    @method_decorator(never_cache)
    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        target = self._next(request)
        if self.has_permission(request):
            return HttpResponseRedirect(target)
        return self._turn_away(request, target)

    def i18n_javascript(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Return the translated texts of Django's scripts, with ours for those that Django lacks."""
        return cast(HttpResponse, WordsOfScripts.as_view(packages=["django.contrib.admin"])(request))

    def logout(  # type: ignore[override]  # a redirect in place of Django's page
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(reverse("account_logout"))

    def password_change(  # type: ignore[override]  # a redirect in place of Django's page
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(reverse("account_change_password"))

    def get_urls(self) -> list[URLPattern | URLResolver]:
        search_page = self.admin_view(require_safe(self.search_page))
        return [
            path("logout", self.logout),
            path("search/", search_page, name="search"),
            *super().get_urls(),
        ]

    def _turn_away(self, request: HttpRequest, target: str) -> HttpResponse:
        """Redirect to the sign-in page. A signed-in user gets an explanation instead of a loop."""
        if not request.user.is_authenticated:
            return redirect_to_login(target, reverse("account_login"))
        return render(request, "admin/not_staff.html", {"next": target}, status=403)

    def _next(self, request: HttpRequest) -> str:
        """Return the requested page of the admin as a path. Anything else becomes the first page."""
        first_page = reverse("admin:index", current_app=self.name)
        target = within_portal(request.GET.get("next"))
        return target if target is not None and target.startswith(first_page) else first_page
