"""Users who ask for access to an application."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models.user import User


class AccessRequest(models.Model):
    """A user's request for access that a rule grants to others. One owner of the application answers it."""

    class Answer(models.TextChoices):
        GRANTED = "granted", _("granted")
        DECLINED = "declined", _("declined")

    application = models.ForeignKey(
        "authgate.Application", models.CASCADE, related_name="+", verbose_name=_("application")
    )
    user = models.ForeignKey(User, models.CASCADE, related_name="+", verbose_name=_("user"))
    rule = models.ForeignKey(
        "authgate.Rule", models.SET_NULL, null=True, related_name="+", verbose_name=_("rule")
    )
    path = models.CharField(_("page"), max_length=500)
    words = models.CharField(_("reason"), max_length=300, blank=True)
    asked_at = models.DateTimeField(_("asked"))
    answer = models.CharField(_("answer"), max_length=8, choices=Answer.choices, blank=True)
    answered_at = models.DateTimeField(_("answered"), null=True, blank=True)
    answered_by = models.CharField(_("answered by"), max_length=150, blank=True)
    answer_words = models.CharField(_("message with the answer"), max_length=300, blank=True)
    until = models.DateTimeField(_("access until"), null=True, blank=True)
    grant = models.OneToOneField(
        "authgate.Rule", models.SET_NULL, null=True, related_name="access_request", verbose_name=_("grant")
    )

    class Meta:
        verbose_name = _("access request")
        verbose_name_plural = _("access requests")
        ordering = ["-asked_at", "-pk"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["application", "user"],
                condition=models.Q(answered_at=None),
                name="one_open_request_for_an_application",
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} → {self.application}"
