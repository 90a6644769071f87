"""Names of permissions in the reader's language. The database contains Django's English names."""

from __future__ import annotations

from django.contrib.auth.models import Permission
from django.utils.translation import gettext_lazy as _

ACTS = {
    "add": _("add"),
    "change": _("change"),
    "delete": _("delete"),
    "view": _("view"),
    "explain": _("explain access"),
    "run": _("test proxies"),
}


def permission_in_words(permission: Permission) -> str:
    act = permission.codename.partition("_")[0]
    return f"{permission.content_type.name}: {ACTS.get(act, permission.name)}"
