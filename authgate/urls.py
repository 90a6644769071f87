from __future__ import annotations

from django.urls import path

from authgate import portal_views

urlpatterns = [
    path("continue", portal_views.continue_, name="continue"),
    path("enter", portal_views.enter, name="enter"),
]
