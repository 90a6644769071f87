"""What a client learns of a user, by the scopes it was granted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from authgate.check.admission import told_groups
from authgate.check.decision import Application, Subject


def claims_of(subject: Subject, scopes: Collection[str], application: Application | None) -> dict[str, Any]:
    """Return `sub` and the claims of the scopes (Core, section 5.4). An address is named only if verified.

    Groups are those that the application is told by headers, too.
    """
    told: dict[str, Any] = {"sub": subject.uuid}
    if "profile" in scopes:
        told |= {"preferred_username": subject.username, "name": subject.display_name or subject.username}
    if "email" in scopes and subject.email:
        told |= {"email": subject.email, "email_verified": True}
    if "groups" in scopes:
        told["groups"] = list(told_groups(application, subject))
    return told
