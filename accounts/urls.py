"""People's pages. Of allauth's only those that are meant to exist are routed."""

from __future__ import annotations

from allauth.account.views import account_inactive
from django.urls import path, re_path

from accounts import language as language_views
from accounts.branding import views as picture_views
from accounts.onboarding import views as invitation_views
from accounts.second_factor import views as factor_views
from accounts.self_service import password_views, token_views
from accounts.self_service import views as account_views
from accounts.sign_in import views
from accounts.upstreams import views as upstream_views
from accounts.upstreams.cas import views as cas_views
from accounts.upstreams.oidc import backchannel

urlpatterns = [
    path("", views.launcher, name="launcher"),
    path("favourites/<int:application>", views.favourite, name="favourite"),
    path("icons/<str:key>", picture_views.icon, name="icon"),
    path("icons/providers/<str:key>", picture_views.provider_icon, name="provider_icon"),
    path("brand/accent.css", picture_views.accent, name="brand_accent"),
    path("brand/logo", picture_views.logo, name="brand_logo"),
    path("accounts/login/", views.SignInView.as_view(), name="account_login"),
    path("accounts/logout/", views.SignOutView.as_view(), name="account_logout"),
    path("accounts/password/change/", views.PasswordChangeView.as_view(), name="account_change_password"),
    path("accounts/reauthenticate/", views.ReauthenticateView.as_view(), name="account_reauthenticate"),
    path("accounts/inactive/", account_inactive, name="account_inactive"),
    path(
        "accounts/password/reset/", password_views.PasswordResetView.as_view(), name="account_reset_password"
    ),
    path(
        "accounts/password/reset/sent/",
        password_views.PasswordResetDoneView.as_view(),
        name="account_reset_password_done",
    ),
    re_path(
        r"^accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]{1,13})-(?P<key>[0-9A-Za-z-]{1,100})/$",
        password_views.PasswordResetFromKeyView.as_view(),
        name="account_reset_password_from_key",
    ),
    path(
        "accounts/password/reset/changed/",
        password_views.PasswordResetFromKeyDoneView.as_view(),
        name="account_reset_password_from_key_done",
    ),
    path("accounts/", account_views.account, name="account"),
    path("accounts/profile/", account_views.profile, name="profile"),
    path("accounts/sessions/", account_views.sessions, name="sessions"),
    path("accounts/sessions/end-others/", account_views.end_other_sessions, name="end_other_sessions"),
    path("accounts/sessions/<uuid:uuid>/end/", account_views.end_session, name="end_session"),
    path("accounts/events/", account_views.events, name="events"),
    path("accounts/addresses/", account_views.AddressesView.as_view(), name="account_email"),
    path(
        "accounts/addresses/confirm/<str:key>/",
        account_views.ConfirmAddressView.as_view(),
        name="account_confirm_email",
    ),
    path("invitation/<str:token>/", invitation_views.invitation, name="invitation"),
    path("register/", invitation_views.register, name="register"),
    path("accounts/tokens/", token_views.tokens, name="tokens"),
    path("accounts/tokens/new/", token_views.new_token, name="new_token"),
    path("accounts/tokens/<int:pk>/end/", token_views.end_token, name="end_token"),
    path("accounts/providers/", upstream_views.identities, name="upstream_identities"),
    path("accounts/providers/confirm/", upstream_views.confirm, name="upstream_confirm"),
    path("accounts/providers/link/<slug:slug>/", upstream_views.begin_link, name="upstream_link"),
    path("accounts/providers/unlink/<int:key>/", upstream_views.unlink, name="upstream_unlink"),
    path("accounts/second-factor/", factor_views.FactorsView.as_view(), name="mfa_index"),
    path("accounts/second-factor/needed/", factor_views.second_factor, name="second_factor"),
    path("accounts/second-factor/sign-in/", factor_views.AuthenticateView.as_view(), name="mfa_authenticate"),
    path("accounts/second-factor/device/", factor_views.TrustView.as_view(), name="mfa_trust"),
    path("accounts/second-factor/devices/forget/", factor_views.forget_device, name="forget_devices"),
    path("accounts/second-factor/devices/<int:pk>/forget/", factor_views.forget_device, name="forget_device"),
    path(
        "accounts/second-factor/code/", factor_views.ReauthenticateView.as_view(), name="mfa_reauthenticate"
    ),
    path(
        "accounts/second-factor/passkey/",
        factor_views.ReauthenticateWebAuthnView.as_view(),
        name="mfa_reauthenticate_webauthn",
    ),
    path("accounts/second-factor/app/", factor_views.ActivateTotpView.as_view(), name="mfa_activate_totp"),
    path(
        "accounts/second-factor/app/remove/",
        factor_views.DeactivateTotpView.as_view(),
        name="mfa_deactivate_totp",
    ),
    path(
        "accounts/second-factor/passkeys/add/", factor_views.AddPasskeyView.as_view(), name="mfa_add_webauthn"
    ),
    path(
        "accounts/second-factor/passkeys/<int:pk>/rename/",
        factor_views.RenamePasskeyView.as_view(),
        name="mfa_edit_webauthn",
    ),
    path(
        "accounts/second-factor/passkeys/<int:pk>/remove/",
        factor_views.RemovePasskeyView.as_view(),
        name="mfa_remove_webauthn",
    ),
    path(
        "accounts/second-factor/codes/",
        factor_views.RecoveryCodesView.as_view(),
        name="mfa_view_recovery_codes",
    ),
    path(
        "accounts/second-factor/codes/new/",
        factor_views.MakeRecoveryCodesView.as_view(),
        name="mfa_generate_recovery_codes",
    ),
    path("accounts/login/passkey/", factor_views.PasskeySignInView.as_view(), name="mfa_login_webauthn"),
    path("upstreams/<slug:slug>/start", upstream_views.start, name="upstream_start"),
    path("upstreams/<slug:slug>/callback", upstream_views.callback, name="upstream_callback"),
    path(
        "upstreams/<slug:slug>/backchannel-logout", backchannel.backchannel_logout, name="backchannel_logout"
    ),
    path("auth/ssologin", cas_views.sso_login, name="sso_login"),
    path("auth/verification", cas_views.verification, name="verification"),
    path("language/", language_views.choose_language, name="choose_language"),
    path("signed-out", views.signed_out, name="signed_out"),
    path("signed-out/provider", upstream_views.sign_out_at_provider, name="sign_out_at_provider"),
    path("switch-account", views.switch_account, name="switch_account"),
    path("first-administrator/<str:token>", views.make_first_administrator, name="first_administrator"),
]
