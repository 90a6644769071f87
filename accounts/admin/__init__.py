"""People, groups and providers in the Django admin."""

from accounts.admin import brand, roles, upstreams, users  # noqa: F401 (they register their pages)
