"""Reviews of who can open an application. Its owners confirm or remove each person's access."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models.user import User


class AccessReview(models.Model):
    """A review of an application. It outlives the application, and keeps its name of that time."""

    application = models.ForeignKey(
        "authgate.Application", models.SET_NULL, null=True, related_name="+", verbose_name=_("application")
    )
    name = models.CharField(_("application"), max_length=100)
    began_at = models.DateTimeField(_("began"))
    begun_by = models.CharField(_("begun by"), max_length=150, blank=True)
    asked = models.JSONField(_("asked"), default=list)
    people = models.PositiveIntegerField(_("people"), default=0)
    left_out = models.PositiveIntegerField(_("people beyond the limit"), default=0)
    closed_at = models.DateTimeField(_("completed"), null=True, blank=True)

    class Meta:
        verbose_name = _("access review")
        verbose_name_plural = _("access reviews")
        ordering = ["-began_at", "-pk"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["application"],
                condition=models.Q(closed_at=None),
                name="one_open_review_of_an_application",
            )
        ]

    def __str__(self) -> str:
        return self.name


class AccessReviewEntry(models.Model):
    """A person in a review, with the access when it began, and the answer of an owner.

    `remaining` has the reasons for access that an owner could not remove. While `task_open` is true,
    administrators have to remove them.
    """

    class Answer(models.TextChoices):
        KEEP = "keep", _("keep access")
        REMOVE = "remove", _("remove access")

    review = models.ForeignKey(
        AccessReview, models.CASCADE, related_name="entries", verbose_name=_("access review")
    )
    user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name=_("user"))
    username = models.CharField(_("username"), max_length=150)
    reasons = models.JSONField(_("access by"), default=list)
    last_use = models.DateField(_("last used"), null=True, blank=True)
    answer = models.CharField(_("answer"), max_length=6, choices=Answer.choices, blank=True)
    answered_at = models.DateTimeField(_("answered"), null=True, blank=True)
    answered_by = models.CharField(_("answered by"), max_length=150, blank=True)
    remaining = models.JSONField(_("remaining access"), default=list)
    task_open = models.BooleanField(_("task for administrators"), default=False)
    task_closed_at = models.DateTimeField(_("task closed"), null=True, blank=True)
    task_closed_by = models.CharField(_("task closed by"), max_length=150, blank=True)

    class Meta:
        verbose_name = _("person in an access review")
        verbose_name_plural = _("people in access reviews")
        ordering = ["-pk"]
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["review", "user"], name="once_in_a_review")]
        indexes = [
            models.Index(fields=["answered_at"], condition=models.Q(task_open=True), name="open_review_tasks")
        ]

    def __str__(self) -> str:
        return f"{self.username} → {self.review}"
