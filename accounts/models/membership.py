"""Memberships of users in groups. An ended membership has no effect, even while its row still exists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib.auth.models import Group as DjangoGroup
from django.db import models, transaction
from django.db.models.fields.reverse_related import ManyToOneRel
from django.db.models.functions import Now
from django.db.models.lookups import GreaterThan, IsNull
from django.db.models.sql.where import OR, WhereNode
from django.utils.translation import gettext_lazy as _

from authgate.audit import record


class LiveMembershipRel(ManyToOneRel):
    def get_extra_restriction(self, alias: str | None, related_alias: str | None) -> Any:
        return _is_live(self.related_model, alias)


class LiveForeignKey(models.ForeignKey[Any, Any]):
    """A foreign key of memberships. Joins from users or groups leave out memberships that have ended.

    All queries through `User.groups` use these joins: the portal's, the admin's, and Django's query for
    permissions. So no query can forget the condition.
    """

    rel_class = LiveMembershipRel

    def get_extra_restriction(self, alias: str | None, related_alias: str | None) -> Any:
        # Without `alias`, Django has moved the other table of the join into a subquery (for `exclude`).
        return _is_live(self.model, related_alias) if alias is None else None

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.ForeignKey", args, kwargs


def _is_live(model: type[models.Model], alias: str | None) -> WhereNode:
    """Return the condition that a membership of the table `alias` is live, by the database's clock."""
    field: Any = model._meta.get_field("ends_at")
    end = field.get_col(alias)
    conditions: Any = [IsNull(end, True), GreaterThan(end, Now())]
    return WhereNode(conditions, OR)


def ended() -> models.Q:
    return models.Q(ends_at__lte=Now())


class MembershipQuerySet(models.QuerySet["Membership"]):
    def bulk_create(self, objs: Iterable[Membership], *args: Any, **kwargs: Any) -> list[Membership]:
        """Create memberships. Delete ended ones of the same users and groups first.

        Django also calls this for `user.groups.add` and `user.groups.set`.
        """
        rows = list(objs)
        users, groups = {row.user_id for row in rows}, {row.group_id for row in rows}
        clear(Membership.everything.using(self.db).filter(ended(), user__in=users, group__in=groups))
        return super().bulk_create(rows, *args, **kwargs)


class LiveMembershipManager(models.Manager["Membership"]):
    def get_queryset(self) -> MembershipQuerySet:
        return MembershipQuerySet(self.model, using=self._db).exclude(ended())


class Membership(models.Model):
    """A user in a group, until `ends_at`, or without an end if that is None."""

    user = LiveForeignKey("accounts.User", models.CASCADE, related_name="memberships", verbose_name=_("user"))
    group = LiveForeignKey(DjangoGroup, models.CASCADE, related_name="memberships", verbose_name=_("group"))
    ends_at = models.DateTimeField(_("ends"), null=True, blank=True)

    objects: ClassVar[LiveMembershipManager] = LiveMembershipManager()
    everything: ClassVar[models.Manager[Membership]] = models.Manager()
    """All rows, also ended memberships that are not deleted yet."""

    class Meta:
        db_table = "accounts_user_groups"
        unique_together = (("user", "group"),)
        default_permissions = ()
        verbose_name = _("group membership")
        verbose_name_plural = _("group memberships")
        indexes = [
            models.Index(
                fields=["ends_at"], name="memberships_by_end", condition=models.Q(ends_at__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.group}"


def clear(rows: models.QuerySet[Membership]) -> int:
    """Delete memberships that have ended, and record each end. Return their number."""
    keys = list(rows.values_list("pk", flat=True))
    if not keys:
        return 0
    with transaction.atomic(rows.db):
        again = Membership.everything.using(rows.db).filter(ended(), pk__in=keys)
        over = list(again.select_for_update(of=("self",)).select_related("user", "group"))
        for row in over:
            details = {"group": row.group.name, "ended": row.ends_at and row.ends_at.isoformat()}
            record("group_membership_ended", subject=row.user.username, details=details)
        Membership.everything.using(rows.db).filter(pk__in=[row.pk for row in over]).delete()
    return len(over)
