"""Groups that follow a provider's claims, by mappings or by importing all of a claim's values.

A provider changes members only of groups that a mapping names, or that the portal created for the provider.
It cannot change local groups with the same name, in any spelling.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction

from accounts.backends import name_key
from accounts.models import GroupMapping, Upstream, UpstreamGroup, User
from accounts.models.upstream import LONGEST_VALUE
from accounts.upstreams.claim_texts import is_identifier
from accounts.upstreams.event_limits import may_record
from authgate.audit import record

LONGEST_NAME = 150
"""Characters of a group's name."""

MOST_OF_A_PERSON = 500
MOST_OF_A_PROVIDER = 5000
"""Groups that the portal creates for one provider. It leaves out further new values, with an event."""


class _GroupUpdate:
    """An update of a user's groups from a provider's claims."""

    def __init__(self, upstream: Upstream, user: User, claims: Mapping[str, Any], *, is_all: bool) -> None:
        self.upstream, self.user, self.claims, self.is_all = upstream, user, claims, is_all
        self.wanted: set[int] = set()
        self.mirrored: set[int] = set()
        self.unknown: set[int] = set()
        self.withheld: set[str] = set()
        self.held: set[int] = set(user.groups.values_list("pk", flat=True))
        # Only a superuser's mapping may add users to groups with permissions in the admin.
        self.powerful = set(Group.permissions.through.objects.values_list("group_id", flat=True).distinct())

    def is_unknown(self, claim: str) -> bool:
        """Return whether the provider left a claim out, so that groups that depend on it must stay."""
        if is_withheld(self.claims, claim):
            self.withheld.add(claim)
            return True
        return not self.is_all and _found(self.claims, claim) is None

    def add_mapped_groups(self) -> None:
        for mapping in self.upstream.group_mappings.all():
            if not mapping.made_by_superuser and mapping.group_id in self.powerful:
                continue
            if mapping.mode == GroupMapping.Mode.MIRROR:
                self.mirrored.add(mapping.group_id)
            if not mapping.claim or mapping.value in values_of(self.claims, mapping.claim):
                self.wanted.add(mapping.group_id)
            elif self.is_unknown(mapping.claim):
                self.unknown.add(mapping.group_id)

    def add_imported_groups(self) -> None:
        claim = self.upstream.groups_claim
        own = UpstreamGroup.objects.filter(upstream=self.upstream)
        held = set(own.filter(group__in=self.held).values_list("group_id", flat=True))
        self.mirrored |= held
        if self.is_unknown(claim):
            self.unknown |= held
            return
        values = [value for value in sorted(values_of(self.claims, claim)) if self._is_selected(value)]
        known = dict(own.filter(value__in=values[:MOST_OF_A_PERSON]).values_list("value", "group_id"))
        new = [value for value in values[:MOST_OF_A_PERSON] if value not in known]
        created = _create_groups(self.upstream, new) if new else []
        self.wanted |= {*known.values(), *created} - self.powerful
        if len(values) > MOST_OF_A_PERSON:
            _record_once(
                "group_not_taken", self.upstream, self.user.username, "more groups than can be taken"
            )

    def _is_selected(self, value: str) -> bool:
        patterns = self.upstream.groups_pattern.split("\n")
        patterns = [pattern.strip() for pattern in patterns if pattern.strip()]
        is_usable = is_identifier(value, LONGEST_VALUE)
        return is_usable and (not patterns or any(fnmatchcase(value, pattern) for pattern in patterns))

    def apply(self) -> None:
        added, removed = self.wanted - self.held, self.held & self.mirrored - self.wanted - self.unknown
        if added:
            self.user.groups.add(*added)
        if removed:
            self.user.groups.remove(*removed)
        for claim in sorted(self.withheld):
            reason = f"the provider left out the claim {claim}: its groups stay as they are"
            _record_once("groups_withheld", self.upstream, self.user.username, reason)


def update_groups(upstream: Upstream, user: User, claims: Mapping[str, Any], *, is_all: bool = True) -> None:
    """Add a user to the groups that the claims name, and remove the user from other mirrored groups.

    If `is_all` is true, the claims are complete, and an absent claim means no groups. Otherwise, or if the
    provider says that it left a claim out, the groups that depend on the claim stay.
    """
    update = _GroupUpdate(upstream, user, claims, is_all=is_all)
    update.add_mapped_groups()
    if upstream.groups_claim:
        update.add_imported_groups()
    update.apply()


def updates_groups_on_recheck(upstream: Upstream) -> bool:
    """Return whether a provider can remove users from groups. Each recheck then updates the groups."""
    mirrors = upstream.group_mappings.filter(mode=GroupMapping.Mode.MIRROR)
    return bool(upstream.groups_claim) or mirrors.exists()


# ---- groups of a provider ---------------------------------------------------------------------------------


def _create_groups(upstream: Upstream, values: list[str]) -> list[int]:
    """Create the groups for new values, and return their ids.

    Leave out a value, with an event, if another group has its name, or a name that applications may confuse
    with it.
    """
    others = Group.objects.exclude(upstream_group__upstream=upstream).values_list("name", flat=True)
    taken = {name_key(name) for name in others}
    room = MOST_OF_A_PROVIDER - UpstreamGroup.objects.filter(upstream=upstream).count()
    created: list[int] = []
    for value in values:
        name = unicodedata.normalize("NFC", f"{upstream.groups_prefix}{value}")
        if not is_identifier(name, LONGEST_NAME) or name != name.strip():
            _record_once("group_not_taken", upstream, "", f"no group can have this name: {name}")
        elif name_key(name) in taken:
            _record_once("group_not_taken", upstream, "", f"another group has this name: {name}")
        elif len(created) >= room:
            _record_once("group_not_taken", upstream, "", "the provider has more groups than can be taken")
            break
        elif (group := _create_group(upstream, name, value)) is not None:
            created.append(group)
    return created


def _create_group(upstream: Upstream, name: str, value: str) -> int | None:
    try:
        with transaction.atomic():
            group = Group.objects.create(name=name)
            UpstreamGroup.objects.create(group=group, upstream=upstream, value=value)
    except IntegrityError:  # A concurrent sign-in created it.
        found = UpstreamGroup.objects.filter(upstream=upstream, value=value).first()
        return found.group_id if found else None
    record("group_made", subject=name, details={"upstream": upstream.slug})
    return group.pk


def _record_once(kind: str, upstream: Upstream, username: str, reason: str) -> None:
    """Write an event at most once an hour for each user and reason."""
    digest = hashlib.sha256(f"{username}\n{reason}".encode()).hexdigest()
    if may_record(f"{kind}:{upstream.pk}:{digest}", 3600):
        record(kind, subject=username, reason=reason, details={"upstream": upstream.slug})


# ---- claims -----------------------------------------------------------------------------------------------


def values_of(claims: Mapping[str, Any], path: str) -> set[str]:
    """Return the texts in a claim, or in a claim inside another (`realm_access.roles`)."""
    found = _found(claims, path)
    values: Iterable[Any] = found if isinstance(found, list | tuple) else [found]
    return {value for value in values if isinstance(value, str)}


def is_withheld(claims: Mapping[str, Any], path: str) -> bool:
    """Return whether a provider says that it left a claim out, usually because it is too long.

    OpenID Connect Core, section 5.6.2, defines `_claim_names` for claims from other sources. Entra ID also
    sends `hasgroups`, `groups:src1`, and `…/claims/groups.link` for attributes from SAML.
    """
    if _found(claims, path) not in (None, "", [], {}):
        return False
    names = {path, path.partition(".")[0]}
    elsewhere = claims.get("_claim_names")
    if isinstance(elsewhere, Mapping) and any(name in elsewhere for name in names):
        return True
    if any(claims.get(f"has{name}") in (True, "true", "True") for name in names):
        return True
    beginnings = tuple(f"{name}:src" for name in names)
    ends = tuple(f"claims/{name}.link" for name in names)
    return any(key.startswith(beginnings) or key.endswith(ends) for key in claims)


def _found(claims: Mapping[str, Any], path: str) -> Any:
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    return found
