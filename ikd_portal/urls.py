"""The portal's own pages. Checks and the endpoints of protected origins are GateMiddleware's."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("accounts.urls")),
    path("", include("authgate.urls")),
    path("admin/", admin.site.urls),
]
