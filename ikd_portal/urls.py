"""URLs of the portal's own pages. GateMiddleware handles checks and the endpoints of protected origins."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

handler400 = "ikd_portal.error_pages.bad_request"
handler500 = "ikd_portal.error_pages.server_error"
urlpatterns = [
    path("", include("accounts.urls")),
    path("", include("authgate.urls")),
    path("", include("openid.urls")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]
