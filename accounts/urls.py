"""People's pages. Of allauth's only those that are meant to exist are routed."""

from __future__ import annotations

from allauth.account.views import account_inactive
from django.urls import path

from accounts import picture_views, views

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
    path("signed-out", views.signed_out, name="signed_out"),
    path("switch-account", views.switch_account, name="switch_account"),
    path("first-administrator/<str:token>", views.make_first_administrator, name="first_administrator"),
]
