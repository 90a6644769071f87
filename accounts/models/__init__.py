"""Users with their credentials, groups, sessions and providers."""

from accounts.models.access_request import AccessRequest
from accounts.models.access_review import AccessReview, AccessReviewEntry
from accounts.models.api_token import ApiToken
from accounts.models.brand import Brand
from accounts.models.group import Group, StrictGroup
from accounts.models.invitation import Invitation
from accounts.models.lock_link import LockLink
from accounts.models.managed_group import ManagedGroup
from accounts.models.membership import Membership
from accounts.models.portal_session import PortalSession
from accounts.models.remembered_device import RememberedDevice
from accounts.models.upstream import (
    ClaimMapping,
    GroupMapping,
    Identity,
    Upstream,
    UpstreamGroup,
    UpstreamPicture,
    UpstreamSession,
)
from accounts.models.user import LOOKS_ALIKE, PeopleManager, User

__all__ = [
    "LOOKS_ALIKE",
    "AccessRequest",
    "AccessReview",
    "AccessReviewEntry",
    "ApiToken",
    "Brand",
    "ClaimMapping",
    "Group",
    "GroupMapping",
    "Identity",
    "Invitation",
    "LockLink",
    "ManagedGroup",
    "Membership",
    "PeopleManager",
    "PortalSession",
    "RememberedDevice",
    "StrictGroup",
    "Upstream",
    "UpstreamGroup",
    "UpstreamPicture",
    "UpstreamSession",
    "User",
]
