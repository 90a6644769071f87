"""All settings, read from the environment. docs/configuration.md lists them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from authgate import folders
from authgate.decision.target import BadTarget, origin_of
from authgate.logs.configuration import configuration
from ikd_portal import __version__, installation, secret_file
from ikd_portal.environment import Environment, database_config, mail_config, redis_config, time_zone

BASE_DIR = installation.FILES
env = Environment()

# ---- the installation -------------------------------------------------------------------------------------

IKD_VERSION = __version__
IKD_VAR = installation.var_folder()
with suppress(folders.NotWritable):  # a command may need no temporary file; the server refuses to start
    folders.use_temporary_folder(IKD_VAR)
IKD_PORTAL_URL = env.str("IKD_PORTAL_URL", default="http://localhost:8000").rstrip("/")
try:
    IKD_PORTAL_ORIGIN = origin_of(IKD_PORTAL_URL)
except BadTarget:
    raise ImproperlyConfigured(
        f"IKD_PORTAL_URL must be an origin such as https://sso.example.com, is {IKD_PORTAL_URL!r}"
    ) from None
IKD_PORTAL_IS_HTTPS = IKD_PORTAL_ORIGIN.startswith("https://")

DEBUG = env.bool("IKD_DEBUG", default=False)
SECRET_KEY = env.str("IKD_SECRET_KEY", default="") or secret_file.read_or_create(IKD_VAR / "secret-key")
SECRET_KEY_FALLBACKS = env.list("IKD_SECRET_KEY_FALLBACKS", default=[])
# The first key encrypts secrets in the database. All of them decrypt.
IKD_ENCRYPTION_KEYS = env.list("IKD_ENCRYPTION_KEYS", default=[]) or [
    secret_file.read_or_create(IKD_VAR / "encryption-key")
]

# ---- checks -----------------------------------------------------------------------------------------------

IKD_TRUSTED_PROXIES = env.list("IKD_TRUSTED_PROXIES", default=["127.0.0.0/8", "::1"])
IKD_FORWARDED_HOPS = env.int("IKD_FORWARDED_HOPS", default=0)
IKD_OAUTH2_CONTRACT = env.str("IKD_OAUTH2_CONTRACT", default="nginx")
IKD_TRUSTED_DOMAINS = env.list("IKD_TRUSTED_DOMAINS", default=[])
IKD_SHARED_COOKIE_DOMAINS = env.list("IKD_SHARED_COOKIE_DOMAINS", default=[])
IKD_STALE_GRACE = env.float("IKD_STALE_GRACE", default=10.0)
IKD_MEMORY_SESSIONS = env.int("IKD_MEMORY_SESSIONS", default=100_000)
IKD_METRICS_TOKEN = env.str("IKD_METRICS_TOKEN", default="")
IKD_ACCESS_LOG = env.bool("IKD_ACCESS_LOG", default=False)
IKD_ACCESS_LOG_CHECKS = env.int("IKD_ACCESS_LOG_CHECKS", default=0)
# OpenTelemetry's own variables. Its SDK reads more of them.
IKD_TRACES_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", default="") or env.str(
    "OTEL_EXPORTER_OTLP_ENDPOINT", default=""
)
IKD_TRACES_PROTOCOL = (
    env.str("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", default="")
    or env.str("OTEL_EXPORTER_OTLP_PROTOCOL", default="")
    or "http/protobuf"
)
IKD_TRACES_OFF = env.str("OTEL_SDK_DISABLED", default="").strip().lower() == "true" or env.str(
    "OTEL_TRACES_EXPORTER", default=""
).strip() not in ("", "otlp")
IKD_TRACE_CHECKS = env.int("IKD_TRACE_CHECKS", default=10)
IKD_THREADS = env.int("IKD_THREADS", default=8)
IKD_PROVIDER_THREADS = env.int("IKD_PROVIDER_THREADS", default=96)
IKD_EVENTS_AT_ONCE = env.int("IKD_EVENTS_AT_ONCE", default=300)
IKD_CONFIRM_PEOPLE = env.int("IKD_CONFIRM_PEOPLE", default=20)
# On: one thread writes refusals and last-seen times once a second, and another sends mail.
# Off, for tests: refusals and times wait for writer.flush(), and mail is sent within the request.
IKD_WRITE_BEHIND = env.bool("IKD_WRITE_BEHIND", default=True)

# ---- lifetimes, in seconds --------------------------------------------------------------------------------

IKD_SIGN_IN_LIFETIME = env.int("IKD_SIGN_IN_LIFETIME", default=12 * 3600)
IKD_KEEP_SIGNED_IN_LIFETIME = env.int("IKD_KEEP_SIGNED_IN_LIFETIME", default=30 * 24 * 3600)
IKD_IDLE_TIMEOUT = env.int("IKD_IDLE_TIMEOUT", default=4 * 3600)
IKD_KEEP_SIGNED_IN_IDLE_TIMEOUT = env.int("IKD_KEEP_SIGNED_IN_IDLE_TIMEOUT", default=14 * 24 * 3600)

# How long a sign-in stays valid if its provider cannot be asked again.
IKD_RECHECK_GRACE = env.int("IKD_RECHECK_GRACE", default=4 * 3600)

# ---- how long rows are kept after their end, in seconds ---------------------------------------------------

IKD_TIDY_EVERY = env.int("IKD_TIDY_EVERY", default=300)
IKD_DOCTOR_EVERY = env.int("IKD_DOCTOR_EVERY", default=0)
IKD_DOCTOR_NETWORKS = env.list("IKD_DOCTOR_NETWORKS", default=[])
IKD_KEEP_SESSIONS = env.int("IKD_KEEP_SESSIONS", default=30 * 24 * 3600)
IKD_KEEP_INVITATIONS = env.int("IKD_KEEP_INVITATIONS", default=90 * 24 * 3600)
IKD_KEEP_API_TOKENS = env.int("IKD_KEEP_API_TOKENS", default=90 * 24 * 3600)
IKD_KEEP_REFUSALS = env.int("IKD_KEEP_REFUSALS", default=30 * 24 * 3600)
IKD_KEEP_SIGN_IN_EVENTS = env.int("IKD_KEEP_SIGN_IN_EVENTS", default=90 * 24 * 3600)
IKD_KEEP_SECURITY_EVENTS = env.int("IKD_KEEP_SECURITY_EVENTS", default=400 * 24 * 3600)
IKD_KEEP_REQUEST_COUNTS = env.int("IKD_KEEP_REQUEST_COUNTS", default=100 * 24 * 3600)
IKD_KEEP_JOURNAL = env.int("IKD_KEEP_JOURNAL", default=400 * 24 * 3600)
IKD_KEEP_ACCESS_REVIEWS = env.int("IKD_KEEP_ACCESS_REVIEWS", default=3 * 365 * 24 * 3600)
IKD_KEEP_CONFIGURATION_EVENTS = env.int("IKD_KEEP_CONFIGURATION_EVENTS", default=30 * 24 * 3600)

# Days between two access reviews, in which owners confirm who can open their application. 0: no reviews.
IKD_REVIEW_ACCESS_DAYS = env.int("IKD_REVIEW_ACCESS_DAYS", default=0)

# ---- machines ---------------------------------------------------------------------------------------------

IKD_API_TOKEN_LIFETIME = env.int("IKD_API_TOKEN_LIFETIME", default=365 * 24 * 3600)
IKD_API_TOKENS_PER_USER = env.int("IKD_API_TOKENS_PER_USER", default=100)

# ---- Django -----------------------------------------------------------------------------------------------

# Any host may ask for a check. GateMiddleware restricts all other pages to the portal's own host.
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "ikd_portal.urls"
WSGI_APPLICATION = "ikd_portal.wsgi.application"
INSTALLED_APPS = [
    "accounts",
    "authgate",
    "openid",
    "ikd_portal.apps.PortalConfig",
    "ikd_portal.apps.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "csp",
]
MIDDLEWARE = [
    "authgate.endpoints.middleware.GateMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "authgate.pages.onward.LongRedirectMiddleware",
    "accounts.sign_in.middleware.OwnCookiesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.sign_in.middleware.SignInMiddleware",
    "authgate.journal.actor.JournalMiddleware",
    "accounts.second_factor.middleware.SecondFactorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]


def database(url: str) -> dict[str, Any]:
    """Return the settings of the one database: SQLite in `var/` unless `url` names another."""
    config: dict[str, Any] = database_config(url or f"sqlite:///{IKD_VAR / 'ikd.sqlite3'}")
    if config["ENGINE"].endswith("sqlite3"):
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 5,
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;"
            "PRAGMA journal_size_limit=67108864;",
        }
    if config["ENGINE"].endswith("postgresql"):
        config["ENGINE"] = "ikd_portal.postgresql"
        # With PgBouncer in transaction mode, a fetch may run on another connection than the one of its
        # cursor.
        config["DISABLE_SERVER_SIDE_CURSORS"] = True
        # Without these, a thread would wait up to two hours for a server that vanished silently (kernel
        # default).
        config["OPTIONS"] = {
            **config.get("OPTIONS", {}),
            "connect_timeout": 3,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
    config["CONN_MAX_AGE"] = 60
    config["CONN_HEALTH_CHECKS"] = True
    return config


DATABASES = {"default": database(env.str("DATABASE_URL", default=""))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def cache(alias: str) -> dict[str, Any]:
    """Return a cache: Redis if REDIS_URL is set, otherwise a table of the database.

    Codes have their own alias, so that a flood of other keys can never evict one.
    """
    url, sentinels = redis_config(env.str("REDIS_URL", default=""))
    if url:
        return {
            "BACKEND": "django_redis.cache.RedisCache",
            # django-redis has one connection pool per URL. The parameter keeps the pools of the aliases
            # apart.
            "LOCATION": f"{url}{'&' if '?' in url else '?'}client_name=ikd-{alias}",
            "KEY_PREFIX": f"ikd-{alias}",
            "OPTIONS": {
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
                "SOCKET_CONNECT_TIMEOUT": 0.5,
                "SOCKET_TIMEOUT": 0.5,
                **sentinels,
            },
        }
    return {
        "BACKEND": "ikd_portal.table_cache.TableCache",
        "LOCATION": f"ikd_cache_{alias}",
        "OPTIONS": {"MAX_ENTRIES": 1_000_000},
    }


CACHES = {alias: cache(alias) for alias in ("default", "codes")}

# ---- people and their sessions ----------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.PasswordBackend"]
PASSWORD_HASHERS = ["accounts.password_hasher.PasswordHasher"]
# Argon2id (RFC 9106): rounds, memory in KiB, lanes. The defaults are Django's.
IKD_ARGON2_TIME_COST = env.int("IKD_ARGON2_TIME_COST", default=2)
IKD_ARGON2_MEMORY_COST = env.int("IKD_ARGON2_MEMORY_COST", default=102_400)
IKD_ARGON2_PARALLELISM = env.int("IKD_ARGON2_PARALLELISM", default=8)
IKD_PASSWORD_QUEUE = env.int("IKD_PASSWORD_QUEUE", default=8)
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ["username", "display_name", "email"]},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "accounts.password_validation.MaximumLengthValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "launcher"
COOKIE_PREFIX = "__Host-" if IKD_PORTAL_IS_HTTPS else ""
SESSION_ENGINE = "accounts.session_store"
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}ikd_portal"
SESSION_COOKIE_SECURE = IKD_PORTAL_IS_HTTPS
SESSION_COOKIE_AGE = IKD_SIGN_IN_LIFETIME
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}ikd_csrf"
CSRF_COOKIE_SECURE = IKD_PORTAL_IS_HTTPS
CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = [IKD_PORTAL_ORIGIN]
CSRF_FAILURE_VIEW = "accounts.sign_in.stale_form.stale_form"
LANGUAGE_COOKIE_NAME = f"{COOKIE_PREFIX}ikd_language"
LANGUAGE_COOKIE_SECURE = IKD_PORTAL_IS_HTTPS
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

ACCOUNT_ADAPTER = "accounts.sign_in.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = "signed_out"
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if IKD_PORTAL_IS_HTTPS else "http"
ACCOUNT_FORMS = {
    "login": "accounts.sign_in.forms.SignInForm",
    "change_password": "accounts.sign_in.forms.PasswordChangeForm",
    "reauthenticate": "accounts.sign_in.forms.ReauthenticateForm",
    "reset_password": "accounts.self_service.password_reset.PasswordResetForm",
    "reset_password_from_key": "accounts.sign_in.forms.PasswordResetKeyForm",
    "add_email": "accounts.sign_in.forms.AddAddressForm",
}
# Off, because accounts/throttle.py limits sign-in attempts.
ACCOUNT_RATE_LIMITS = False
# No code by mail: an attacker who reads the user's mail could remove a factor. "upstream" is our own.
ACCOUNT_REAUTHENTICATION_METHODS = ["password", "mfa", "upstream"]
IKD_SECOND_FACTOR_FOR_STAFF = env.bool("IKD_SECOND_FACTOR_FOR_STAFF", default=False)
IKD_SECOND_FACTOR_LIFETIME = env.int("IKD_SECOND_FACTOR_LIFETIME", default=0)
IKD_REMEMBERED_DEVICE_LIFETIME = env.int("IKD_REMEMBERED_DEVICE_LIFETIME", default=0)
MFA_ADAPTER = "accounts.second_factor.adapter.FactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODE_DIGITS = 10
MFA_RECOVERY_CODES_SHOW_ONCE = True
# Administrators and providers set users' addresses, so a factor does not require a verified address.
MFA_ALLOW_UNVERIFIED_EMAIL = True
# accounts/throttle.py limits codes. A passkey cannot be guessed; this limit only avoids needless sessions.
MFA_RATE_LIMITS = {"webauthn_login": "120/m/ip"}
# allauth asks the user. accounts/second_factor/remembered.py stores the devices in its own table.
MFA_TRUST_ENABLED = IKD_REMEMBERED_DEVICE_LIFETIME > 0
MFA_TRUST_COOKIE_AGE = IKD_REMEMBERED_DEVICE_LIFETIME
IKD_REMEMBERED_DEVICE_COOKIE_NAME = f"{COOKIE_PREFIX}ikd_device"
MFA_FORMS = {
    "authenticate": "accounts.second_factor.forms.AuthenticateForm",
    "reauthenticate": "accounts.second_factor.forms.ReauthenticateForm",
    "activate_totp": "accounts.second_factor.forms.ActivateTotpForm",
    "authenticate_webauthn": "accounts.second_factor.forms.AuthenticateWebAuthnForm",
    "login_webauthn": "accounts.second_factor.forms.LoginWebAuthnForm",
    "reauthenticate_webauthn": "accounts.second_factor.forms.ReauthenticateWebAuthnForm",
    "add_webauthn": "accounts.second_factor.forms.AddWebAuthnForm",
    "edit_webauthn": "accounts.second_factor.forms.EditWebAuthnForm",
}
IKD_LOGIN_LIMIT_PER_ACCOUNT_AND_ADDRESS = env.str("IKD_LOGIN_LIMIT_PER_ACCOUNT_AND_ADDRESS", default="5/300")
IKD_LOGIN_LIMIT_PER_ADDRESS = env.str("IKD_LOGIN_LIMIT_PER_ADDRESS", default="50/300")
IKD_MAIL_LIMIT_PER_ADDRESS = env.str("IKD_MAIL_LIMIT_PER_ADDRESS", default="20/3600")
IKD_MAIL_LIMIT_PER_RECIPIENT = env.str("IKD_MAIL_LIMIT_PER_RECIPIENT", default="3/3600")
IKD_REGISTRATION = env.str("IKD_REGISTRATION", default="off")
IKD_REGISTRATION_DOMAINS = env.list("IKD_REGISTRATION_DOMAINS", default=[])
PASSWORD_RESET_TIMEOUT = 3600
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "accounts.self_service.reset_tokens.ResetTokenGenerator"  # noqa: S105 (no password)
ACCOUNT_MAX_EMAIL_ADDRESSES = 5
IKD_LOGIN_LIMIT_PER_ACCOUNT = env.str("IKD_LOGIN_LIMIT_PER_ACCOUNT", default="30/3600")

# ---- headers for browsers ---------------------------------------------------------------------------------

# A redirect to HTTPS would answer checks with 301, because proxies send them over plain HTTP.
SECURE_SSL_REDIRECT = False
# HSTS must not cover names below the portal's or enter preload lists: those sites belong to others.
SILENCED_SYSTEM_CHECKS = ["security.W008", "security.W005", "security.W021"]
SECURE_HSTS_SECONDS = 31_536_000 if IKD_PORTAL_IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = False
SECURE_HSTS_PRELOAD = False
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# form-action is left out, because it would block the redirect from the sign-in form to a protected origin.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {"default-src": [SELF], "frame-ancestors": [NONE], "base-uri": [NONE], "object-src": [NONE]}
}

# ---- language, files, mail, logs --------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
FORMAT_MODULE_PATH = "ikd_portal.formats"
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
USE_TZ = True
TIME_ZONE = time_zone(env.str("IKD_TIME_ZONE", default="UTC"))
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = IKD_VAR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
mail = mail_config(env.str("IKD_MAIL_URL", default="") or "consolemail://")
if mail["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend":
    mail["EMAIL_BACKEND"] = "accounts.smtp.EmailBackend"
vars().update(mail)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("IKD_MAIL_FROM", default="") or (
    f"ikD Portal <portal@{urlsplit(IKD_PORTAL_ORIGIN).hostname}>"
)
APPEND_SLASH = False
# authgate/logs reads IKD_LOG_FORMAT and IKD_LOG_LEVEL, because gunicorn's master needs them too.
LOGGING_CONFIG = "authgate.logs.configuration.configure"
try:
    LOGGING = configuration()
except ValueError as mistake:
    raise ImproperlyConfigured(str(mistake)) from None
