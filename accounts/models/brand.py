"""The portal's name, colour and logo."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _


class Brand(models.Model):
    """The portal's name, accent colour and logo. There is at most one row."""

    ONLY_ID = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY_ID, editable=False)
    name = models.CharField(
        _("name"), max_length=60, default="ikD Portal", help_text=_("Shown at the top of every page.")
    )
    accent = models.CharField(
        _("accent colour"),
        max_length=7,
        blank=True,
        validators=[
            RegexValidator(r"\A#[0-9a-fA-F]{6}\Z", _("Enter # and six hexadecimal digits, such as #14594f."))
        ],
        help_text=_(
            "Colour of links and buttons, such as #14594f. If it is hard to read, pages use a darker or "
            "lighter one. Default: the built-in colour."
        ),
    )
    logo = models.BinaryField(null=True, editable=False)
    logo_digest = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        verbose_name = _("brand")
        verbose_name_plural = _("brand")
        default_permissions = ("view", "change")
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_brand")]

    def __str__(self) -> str:
        return self.name
