from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import models, transaction

from authgate.encryption import EncryptedField, Secret, Undecryptable


class Command(BaseCommand):
    help = "Encrypt every secret in the database with the first of IKD_ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        for model in apps.get_models():
            for field in model._meta.concrete_fields:
                if isinstance(field, EncryptedField):
                    self._reencrypt(model, field.attname)
        self._reencrypt_factors()

    def _reencrypt_factors(self) -> None:
        """Encrypt the secrets in allauth's JSON again, with the portal's adapter."""
        done = lost = 0
        for key in Authenticator.objects.values_list("pk", flat=True):
            with transaction.atomic():
                row = Authenticator.objects.select_for_update().filter(pk=key).first()
                sealed = [name for name in ("secret", "seed") if row and row.data.get(name)]
                try:
                    for name in sealed:
                        row.data[name] = Secret(row.data[name]).rotated().token
                except Undecryptable:
                    lost += 1
                    continue
                if sealed:
                    row.save(update_fields=["data"])
                    done += 1
        self.stdout.write(f"mfa.Authenticator.data: {done} encrypted again")
        if lost:
            self.stderr.write(
                f"mfa.Authenticator.data: {lost} cannot be decrypted with any key, left unchanged"
            )

    def _reencrypt(self, model: type[models.Model], name: str) -> None:
        done = lost = 0
        for key in model._default_manager.exclude(**{name: ""}).values_list("pk", flat=True):
            with transaction.atomic():
                row = model._default_manager.select_for_update().filter(pk=key).first()
                try:
                    rotated = getattr(row, name).rotated() if row else None
                except Undecryptable:
                    lost += 1
                    continue
                if rotated is not None:
                    model._default_manager.filter(pk=key).update(**{name: rotated})
                    done += 1
        self.stdout.write(f"{model._meta.label}.{name}: {done} encrypted again")
        if lost:
            self.stderr.write(
                f"{model._meta.label}.{name}: {lost} cannot be decrypted with any key, left unchanged"
            )
