"""Users, groups, credentials, sessions, providers and the brand in the Django admin."""

from accounts.admin import (  # noqa: F401 (they register their pages)
    access_requests,
    access_reviews,
    api_tokens,
    brand,
    groups,
    invitations,
    sessions,
    undo,
    upstreams,
    users,
)
