from __future__ import annotations

from django.urls import path

from authgate import identity_jwt as signing
from authgate.endpoints import portal as portal_views

urlpatterns = [
    path("continue", portal_views.continue_, name="continue"),
    path(".well-known/jwks.json", signing.key_set, name="key_set"),
    path("enter", portal_views.enter, name="enter"),
]
