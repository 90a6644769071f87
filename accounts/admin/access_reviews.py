"""Reviews of access in the admin: who was asked, who answered, and what is open. Also as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypedDict

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access_reviews import answers, current, reviews
from accounts.models import AccessReview, AccessReviewEntry
from authgate.admin.access import safe_cell
from authgate.admin.applications import ApplicationAdmin
from authgate.admin.audited import ReadOnlyAdmin, confirmed, is_row_id
from authgate.admin.list_columns import moment
from authgate.models import Application
from authgate.peer import client_address

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

HEAD = ("application", "began", "username", "access by", "last used", "answer", "answered", "answered by")
TASK_HEAD = ("remaining access", "task closed", "task closed by")


class Counted(TypedDict):
    """The annotation of `AccessReviewAdmin.get_queryset`."""

    answered: int


@admin.register(AccessReview)
class AccessReviewAdmin(ReadOnlyAdmin):
    list_display = ("name", "began_at", "begun_by", "asked_names", "answers", "closed_at", "links")
    list_display_links = None
    list_filter = (("closed_at", admin.EmptyFieldListFilter),)
    search_fields = ("name",)
    search_help_text = _("Application")
    fields = (*("name", "began_at", "begun_by", "asked_names", "people", "left_out", "closed_at"), "links")
    readonly_fields = ("asked_names", "links")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessReview]:
        found: QuerySet[AccessReview] = super().get_queryset(request)
        return found.annotate(answered=Count("entries", filter=~Q(entries__answer="")))

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.csv_page)
        return [path("<int:key>/csv/", page, name="accounts_accessreview_csv"), *super().get_urls()]

    def csv_page(self, request: HttpRequest, key: int) -> StreamingHttpResponse:
        """Send the people of a review with the answers as CSV (RFC 4180)."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = AccessReview.objects.filter(pk=key).first() if is_row_id(str(key)) else None
        if found is None:
            raise Http404
        response = StreamingHttpResponse(_lines(found), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="access-review-{found.pk}.csv"'
        return response

    @admin.display(description=_("asked"))
    def asked_names(self, review: AccessReview) -> str:
        return ", ".join(review.asked) or "-"

    @admin.display(description=_("answers"))
    def answers(self, review: WithAnnotations[AccessReview, Counted]) -> str:
        words = gettext("%(answered)d of %(people)d")
        return words % {"answered": review.answered, "people": review.people}

    @admin.display(description=_("people in access reviews"))
    def links(self, review: AccessReview) -> SafeString:
        entries = reverse("admin:accounts_accessreviewentry_changelist")
        return format_html(
            '<a href="{}?review__id__exact={}">{}</a> <a href="{}">CSV</a>',
            entries,
            review.pk,
            gettext("Open"),
            reverse("admin:accounts_accessreview_csv", args=[review.pk]),
        )


def _lines(review: AccessReview) -> Iterator[str]:
    yield _line((*HEAD, *TASK_HEAD))
    for entry in review.entries.order_by("username", "pk").iterator(chunk_size=500):
        yield _line(_cells(review, entry))


def _cells(review: AccessReview, entry: AccessReviewEntry) -> tuple[str, ...]:
    moments = (entry.last_use, entry.answered_at, entry.task_closed_at)
    used, answered, closed = (moment.isoformat() if moment else "" for moment in moments)
    why, left = ("; ".join(current.in_words(each)) for each in (entry.reasons, entry.remaining))
    began = review.began_at.isoformat()
    cells = (review.name, began, entry.username, why, used, entry.answer, answered, entry.answered_by)
    return (*cells, left, closed, entry.task_closed_by)


def _line(cells: tuple[str, ...]) -> str:
    part = io.StringIO()
    csv.writer(part).writerow(map(safe_cell, cells))
    return part.getvalue()


@admin.register(AccessReviewEntry)
class AccessReviewEntryAdmin(ReadOnlyAdmin):
    list_display = (
        *("person", "review", "access_by", "last_use", "answer", "answered", "remaining_access", "task"),
    )
    list_display_links = None
    list_filter = ("answer", "task_open")
    list_select_related = ("review",)
    search_fields = ("username", "review__name")
    search_help_text = _("User or application")
    actions = ("close_tasks",)

    @admin.display(description=_("user"), ordering="username")
    def person(self, entry: AccessReviewEntry) -> SafeString | str:
        if entry.user_id is None:
            return entry.username
        url = reverse("admin:accounts_user_change", args=[entry.user_id])
        return format_html('<a href="{}">{}</a>', url, entry.username)

    @admin.display(description=_("access by"))
    def access_by(self, entry: AccessReviewEntry) -> str:
        return "; ".join(current.in_words(entry.reasons))

    @admin.display(description=_("answered"), ordering="answered_at")
    def answered(self, entry: AccessReviewEntry) -> SafeString | str:
        """Return when an owner answered, and which one."""
        at = moment(entry.answered_at)
        return format_html("{} {}", at, entry.answered_by) if at else "-"

    @admin.display(description=_("remaining access"))
    def remaining_access(self, entry: AccessReviewEntry) -> SafeString | str:
        """Return the reasons for access that remain, each with a link to the rule's application."""
        words, application = current.in_words(entry.remaining), entry.review.application_id
        if application is None or not words:
            return "; ".join(words) or "-"
        url = reverse("admin:authgate_application_change", args=[application])
        return format_html_join("; ", '<a href="{}">{}</a>', ((url, each) for each in words))

    @admin.display(description=_("task for administrators"), ordering="task_open")
    def task(self, entry: AccessReviewEntry) -> SafeString | str:
        """Return "open" for an open task, or when it was closed and by which user."""
        if entry.task_open:
            return gettext("open")
        closed = moment(entry.task_closed_at)
        return format_html("{} {}", closed, entry.task_closed_by) if closed else "-"

    def has_close_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("authgate.change_rule")

    @admin.action(permissions=["close"], description=_("Close the tasks of the selected people"))
    @confirmed(
        _("Close these tasks? Access that remains is not removed. The audit trail names you."),
        _("Close"),
        unless=(),
    )
    def close_tasks(self, request: HttpRequest, queryset: QuerySet[AccessReviewEntry]) -> None:
        by, address = request.user.get_username(), client_address(request)
        others = queryset.exclude(user=request.user.pk).filter(task_open=True).select_related("review")
        closed = sum(answers.close_task(entry, by=by, address=address) for entry in others)
        self.message_user(request, gettext("Tasks closed: %d.") % closed, messages.SUCCESS)


@admin.action(permissions=["change"], description=_("Begin a review of access"))
@confirmed(
    _("Begin a review of access? The owners receive an e-mail and answer for each person."),
    _("Begin"),
    unless=(),
)
def begin_reviews(
    model_admin: ApplicationAdmin, request: HttpRequest, queryset: QuerySet[Application]
) -> None:
    by, address = request.user.get_username(), client_address(request)
    for application in queryset:
        found = reviews.begin(application, by=by, address=address)
        if found is None:
            text = gettext("%(name)s has an open review. Nothing was changed.")
            model_admin.message_user(request, text % {"name": application}, messages.WARNING)
            continue
        text = gettext("%(name)s: the review began. People: %(people)d, left out: %(left_out)d.")
        values: dict[str, Any] = {
            "name": application,
            "people": found.people,
            "left_out": found.left_out,
        }
        model_admin.message_user(request, text % values, messages.SUCCESS)
        if not found.asked:
            text = gettext("%(name)s has no owner to ask. Superusers can answer.")
            model_admin.message_user(request, text % {"name": application}, messages.WARNING)


ApplicationAdmin.extend(begin_reviews)
