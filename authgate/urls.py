from __future__ import annotations

from django.urls import path

from authgate.endpoints.portal import continue_, enter
from authgate.identity_jwt import key_set

urlpatterns = [
    path("continue", continue_, name="continue"),
    path(".well-known/jwks.json", key_set, name="key_set"),
    path("enter", enter, name="enter"),
]
