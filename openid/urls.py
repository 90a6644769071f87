from __future__ import annotations

from django.urls import path

from openid import authorize_views, device_views, logout_views, metadata_views, token_views
from openid.own_clients import end_own_client, own_clients

urlpatterns = [
    path("accounts/applications/", own_clients, name="own_clients"),
    path("accounts/applications/<int:pk>/end/", end_own_client, name="end_own_client"),
    path(".well-known/openid-configuration", metadata_views.configuration, name="openid_configuration"),
    path("openid/keys.json", metadata_views.key_set, name="openid_keys"),
    path("openid/authorize", authorize_views.authorize, name="openid_authorize"),
    path("openid/consent", authorize_views.consent, name="openid_consent"),
    path(
        "openid/device_authorization", device_views.device_authorization, name="openid_device_authorization"
    ),
    path("openid/device", device_views.device, name="openid_device"),
    path("openid/device/answer", device_views.device_answer, name="openid_device_answer"),
    path("openid/device/qr.svg", device_views.device_qr, name="openid_device_qr"),
    path("openid/token", token_views.token, name="openid_token"),
    path("openid/userinfo", token_views.userinfo, name="openid_userinfo"),
    path("openid/introspect", token_views.introspect, name="openid_introspect"),
    path("openid/logout", logout_views.logout, name="openid_logout"),
    path("openid/logout/confirmed", logout_views.logout_confirmed, name="openid_logout_confirmed"),
    path("openid/revoke", token_views.revoke, name="openid_revoke"),
]
