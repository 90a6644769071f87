"""People's pages. Of allauth's only those that are meant to exist are routed."""

from __future__ import annotations

from allauth.account.views import account_inactive
from django.urls import path

from accounts import picture_views, token_views, views
from accounts.upstreams import backchannel, cas_views
from accounts.upstreams import views as upstream_views

urlpatterns = [
    path("", views.launcher, name="launcher"),
    path("favourites/<int:application>", views.favourite, name="favourite"),
    path("icons/<str:key>", picture_views.icon, name="icon"),
    path("brand/accent.css", picture_views.accent, name="brand_accent"),
    path("brand/logo", picture_views.logo, name="brand_logo"),
    path("accounts/login/", views.SignInView.as_view(), name="account_login"),
    path("accounts/logout/", views.SignOutView.as_view(), name="account_logout"),
    path("accounts/password/change/", views.PasswordChangeView.as_view(), name="account_change_password"),
    path("accounts/reauthenticate/", views.ReauthenticateView.as_view(), name="account_reauthenticate"),
    path("accounts/inactive/", account_inactive, name="account_inactive"),
    path("accounts/tokens/", token_views.tokens, name="tokens"),
    path("accounts/tokens/new/", token_views.new_token, name="new_token"),
    path("accounts/tokens/<int:pk>/end/", token_views.end_token, name="end_token"),
    path("accounts/providers/", upstream_views.identities, name="upstream_identities"),
    path("accounts/providers/confirm/", upstream_views.confirm, name="upstream_confirm"),
    path("accounts/providers/link/<slug:slug>/", upstream_views.begin_link, name="upstream_link"),
    path("accounts/providers/unlink/<int:key>/", upstream_views.unlink, name="upstream_unlink"),
    path("upstreams/<slug:slug>/start", upstream_views.start, name="upstream_start"),
    path("upstreams/<slug:slug>/callback", upstream_views.callback, name="upstream_callback"),
    path(
        "upstreams/<slug:slug>/backchannel-logout", backchannel.backchannel_logout, name="backchannel_logout"
    ),
    path("auth/ssologin", cas_views.sso_login, name="sso_login"),
    path("auth/verification", cas_views.verification, name="verification"),
    path("signed-out", views.signed_out, name="signed_out"),
    path("signed-out/provider", upstream_views.sign_out_at_provider, name="sign_out_at_provider"),
    path("switch-account", views.switch_account, name="switch_account"),
    path("first-administrator/<str:token>", views.make_first_administrator, name="first_administrator"),
]
