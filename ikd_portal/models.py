"""Objects that a configuration file manages."""

from __future__ import annotations

from django.db import models


class ManagedObject(models.Model):
    """An object that a configuration file set, with the values in the file.

    `object_key` is the primary key, which finds an object even after a rename by hand.
    """

    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=300)
    object_key = models.BigIntegerField()
    applied = models.JSONField(default=dict)
    applied_at = models.DateTimeField(auto_now=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="managed_object_once")]
        indexes = [models.Index(fields=["kind", "object_key"], name="managed_object_by_key")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
