"""Users, groups, credentials, sessions, providers and the brand in the Django admin."""

from accounts.admin import (  # noqa: F401 (they register their pages)
    access_requests,
    api_tokens,
    brand,
    groups,
    invitations,
    sessions,
    upstreams,
    users,
)
