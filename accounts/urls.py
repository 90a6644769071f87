"""The portal's pages. Of allauth's pages only those in use are routed."""

from __future__ import annotations

from allauth.account.views import account_inactive
from django.urls import path, re_path

from accounts.access_requests.views import access_request, ask_for_access
from accounts.access_reviews.views import access_review
from accounts.branding.views import accent, icon, logo, provider_icon
from accounts.delegation.views import (
    managed,
    managed_application,
    managed_events,
    managed_group,
    managed_people,
    managed_rule,
)
from accounts.language import choose_language
from accounts.launcher.views import favourite, launcher
from accounts.onboarding.views import create_first_administrator, invitation, register
from accounts.second_factor.views import (
    ActivateTotpView,
    AddPasskeyView,
    AuthenticateView,
    CreateRecoveryCodesView,
    DeactivateTotpView,
    FactorsView,
    PasskeySignInView,
    ReauthenticateByCodeView,
    ReauthenticateWebAuthnView,
    RecoveryCodesView,
    RemovePasskeyView,
    RenamePasskeyView,
    TrustView,
    forget_device,
    passkey_required,
    second_factor,
)
from accounts.self_service.lock import account_locked, lock_account
from accounts.self_service.password_views import (
    PasswordResetDoneView,
    PasswordResetFromKeyDoneView,
    PasswordResetFromKeyView,
    PasswordResetView,
)
from accounts.self_service.token_views import end_token, new_token, tokens
from accounts.self_service.views import (
    AddressesView,
    ConfirmAddressView,
    account,
    end_other_sessions,
    end_session,
    events,
    profile,
    sessions,
)
from accounts.sign_in.views import (
    PasswordChangeView,
    ReauthenticateView,
    SignInView,
    SignOutView,
    signed_out,
    switch_account,
)
from accounts.upstreams.cas_pages import sso_login, verification
from accounts.upstreams.oidc.backchannel import backchannel_logout
from accounts.upstreams.views import (
    begin_link,
    callback,
    confirm,
    identities,
    sign_out_at_provider,
    start,
    unlink,
)

urlpatterns = [
    path("", launcher, name="launcher"),
    path("access/ask/", ask_for_access, name="ask_for_access"),
    path("access/requests/<int:pk>/", access_request, name="access_request"),
    path("favourites/<int:application>", favourite, name="favourite"),
    path("icons/<str:key>", icon, name="icon"),
    path("icons/providers/<str:key>", provider_icon, name="provider_icon"),
    path("brand/accent.css", accent, name="brand_accent"),
    path("brand/logo", logo, name="brand_logo"),
    path("accounts/login/", SignInView.as_view(), name="account_login"),
    path("accounts/logout/", SignOutView.as_view(), name="account_logout"),
    path("accounts/password/change/", PasswordChangeView.as_view(), name="account_change_password"),
    path("accounts/reauthenticate/", ReauthenticateView.as_view(), name="account_reauthenticate"),
    path("accounts/inactive/", account_inactive, name="account_inactive"),
    path("accounts/password/reset/", PasswordResetView.as_view(), name="account_reset_password"),
    path(
        "accounts/password/reset/sent/",
        PasswordResetDoneView.as_view(),
        name="account_reset_password_done",
    ),
    re_path(
        r"^accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]{1,13})-(?P<key>[0-9A-Za-z-]{1,100})/$",
        PasswordResetFromKeyView.as_view(),
        name="account_reset_password_from_key",
    ),
    path(
        "accounts/password/reset/changed/",
        PasswordResetFromKeyDoneView.as_view(),
        name="account_reset_password_from_key_done",
    ),
    path("accounts/", account, name="account"),
    path("accounts/profile/", profile, name="profile"),
    path("accounts/sessions/", sessions, name="sessions"),
    path("accounts/sessions/end-others/", end_other_sessions, name="end_other_sessions"),
    path("accounts/sessions/<uuid:uuid>/end/", end_session, name="end_session"),
    path("accounts/events/", events, name="events"),
    path("accounts/addresses/", AddressesView.as_view(), name="account_email"),
    path(
        "accounts/addresses/confirm/<str:key>/",
        ConfirmAddressView.as_view(),
        name="account_confirm_email",
    ),
    path("accounts/lock/<str:token>/", lock_account, name="lock_account"),
    path("accounts/locked/", account_locked, name="account_locked"),
    path("invitation/<str:token>/", invitation, name="invitation"),
    path("register/", register, name="register"),
    path("accounts/managed/", managed, name="managed"),
    path("accounts/managed/applications/<int:pk>/", managed_application, name="managed_application"),
    path("accounts/managed/applications/<int:pk>/people/", managed_people, name="managed_people"),
    path("accounts/managed/applications/<int:pk>/events/", managed_events, name="managed_events"),
    path("accounts/managed/reviews/<int:pk>/", access_review, name="access_review"),
    path("accounts/managed/rules/<int:pk>/", managed_rule, name="managed_rule"),
    path("accounts/managed/groups/<int:pk>/", managed_group, name="managed_group"),
    path("accounts/tokens/", tokens, name="tokens"),
    path("accounts/tokens/new/", new_token, name="new_token"),
    path("accounts/tokens/<int:pk>/end/", end_token, name="end_token"),
    path("accounts/providers/", identities, name="upstream_identities"),
    path("accounts/providers/confirm/", confirm, name="upstream_confirm"),
    path("accounts/providers/link/<slug:slug>/", begin_link, name="upstream_link"),
    path("accounts/providers/unlink/<int:key>/", unlink, name="upstream_unlink"),
    path("accounts/second-factor/", FactorsView.as_view(), name="mfa_index"),
    path("accounts/second-factor/needed/", second_factor, name="second_factor"),
    path("accounts/second-factor/passkey-needed/", passkey_required, name="passkey_required"),
    path("accounts/second-factor/sign-in/", AuthenticateView.as_view(), name="mfa_authenticate"),
    path("accounts/second-factor/device/", TrustView.as_view(), name="mfa_trust"),
    path("accounts/second-factor/devices/forget/", forget_device, name="forget_devices"),
    path("accounts/second-factor/devices/<int:pk>/forget/", forget_device, name="forget_device"),
    path("accounts/second-factor/code/", ReauthenticateByCodeView.as_view(), name="mfa_reauthenticate"),
    path(
        "accounts/second-factor/passkey/",
        ReauthenticateWebAuthnView.as_view(),
        name="mfa_reauthenticate_webauthn",
    ),
    path("accounts/second-factor/app/", ActivateTotpView.as_view(), name="mfa_activate_totp"),
    path(
        "accounts/second-factor/app/remove/",
        DeactivateTotpView.as_view(),
        name="mfa_deactivate_totp",
    ),
    path("accounts/second-factor/passkeys/add/", AddPasskeyView.as_view(), name="mfa_add_webauthn"),
    path(
        "accounts/second-factor/passkeys/<int:pk>/rename/",
        RenamePasskeyView.as_view(),
        name="mfa_edit_webauthn",
    ),
    path(
        "accounts/second-factor/passkeys/<int:pk>/remove/",
        RemovePasskeyView.as_view(),
        name="mfa_remove_webauthn",
    ),
    path(
        "accounts/second-factor/codes/",
        RecoveryCodesView.as_view(),
        name="mfa_view_recovery_codes",
    ),
    path(
        "accounts/second-factor/codes/new/",
        CreateRecoveryCodesView.as_view(),
        name="mfa_generate_recovery_codes",
    ),
    path("accounts/login/passkey/", PasskeySignInView.as_view(), name="mfa_login_webauthn"),
    path("upstreams/<slug:slug>/start", start, name="upstream_start"),
    path("upstreams/<slug:slug>/callback", callback, name="upstream_callback"),
    path("upstreams/<slug:slug>/backchannel-logout", backchannel_logout, name="backchannel_logout"),
    path("auth/ssologin", sso_login, name="sso_login"),
    path("auth/verification", verification, name="verification"),
    path("language/", choose_language, name="choose_language"),
    path("signed-out", signed_out, name="signed_out"),
    path("signed-out/provider", sign_out_at_provider, name="sign_out_at_provider"),
    path("switch-account", switch_account, name="switch_account"),
    path("first-administrator/<str:token>", create_first_administrator, name="first_administrator"),
]
