"""Sign-ins and gate sessions in the admin. Only superusers may end those of staff."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.privilege import protected_names, requester_of
from accounts.requests import sign_in_of_request
from accounts.sign_in.devices import browser_named
from authgate.admin.audited import ReadOnlyAdmin, ask_first, confirmed
from authgate.admin.list_columns import cut
from authgate.audit import record
from authgate.models import (
    GateSession,
    SignIn,
)
from authgate.peer import client_address
from authgate.sign_ins import end_sign_ins, is_idle


class GateSessionInline(admin.TabularInline):
    model = GateSession
    fields = ("origin", "created_at", "ended_at")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        return False


class SessionAdmin(ReadOnlyAdmin):
    """An admin page to view and end sign-ins or tokens. Only superusers may end those of staff."""

    def users_of(self, queryset: QuerySet[Any]) -> QuerySet[User]:
        raise NotImplementedError

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("authgate.change_signin")

    def is_out_of_reach(self, request: HttpRequest, queryset: QuerySet[Any]) -> bool:
        names = protected_names(requester_of(request), self.users_of(queryset))
        if names:
            message = gettext("Only superusers can do this to staff: %(names)s. Nothing was changed.")
            self.message_user(request, message % {"names": ", ".join(names)}, messages.ERROR)
        return bool(names)

    def record_end(self, request: HttpRequest, user: User, **details: Any) -> None:
        record(
            "session_ended",
            actor=request.user.get_username(),
            subject=user.username,
            address=client_address(request),
            details=details,
        )


@admin.register(SignIn)
class SignInAdmin(SessionAdmin):
    secret_fields = ("session_digest",)
    list_display = ("user", "started_at", "last_seen_at", "address_column", "browser", "is_live")
    list_filter = (("ended_at", admin.EmptyFieldListFilter), "keep")
    list_select_related = ("user",)
    search_fields = ("user__username", "user__display_name", "address")
    search_help_text = _("User or address")
    fields = (
        "user",
        "is_live",
        "started_at",
        "last_seen_at",
        "expires_at",
        "idle_timeout",
        "keep",
        "ended_at",
        "address",
        "browser",
        "user_agent",
        "signed_in_by",
    )
    readonly_fields = fields
    inlines = (GateSessionInline,)
    actions = ("end_chosen", "end_others")
    change_form_template = "admin/sign_in.html"

    @admin.display(description=_("address"), ordering="address")
    def address_column(self, sign_in: SignIn) -> SafeString:
        return cut(sign_in.address or "", "cut address")

    @admin.display(description=_("browser"))
    def browser(self, sign_in: SignIn) -> SafeString:
        name = browser_named(sign_in.user_agent)
        return format_html('<bdi class="cut" title="{}">{}</bdi>', sign_in.user_agent or name, name)

    @admin.display(description=_("sign-in method"))
    def signed_in_by(self, sign_in: SignIn) -> str:
        return ", ".join(map(str, sign_in.methods)) or "-"

    @admin.display(description=_("active"), boolean=True)
    def is_live(self, sign_in: SignIn) -> bool:
        return (
            sign_in.ended_at is None
            and sign_in.expires_at > timezone.now()
            and sign_in.user.is_active
            and not is_idle(sign_in)
        )

    def users_of(self, queryset: QuerySet[Any]) -> QuerySet[User]:
        return User.objects.filter(pk__in=queryset.order_by().values("user"))

    @admin.action(permissions=["end"], description=_("End the selected sign-ins"))
    @confirmed(
        _("End these sign-ins and all their gate sessions?"),
        _("End"),
        unless=(SessionAdmin.is_out_of_reach,),
    )
    def end_chosen(self, request: HttpRequest, queryset: QuerySet[SignIn]) -> None:
        self._end(request, queryset)

    @admin.action(permissions=["end"], description=_("End the selected sign-ins except this one of yours"))
    def end_others(self, request: HttpRequest, queryset: QuerySet[SignIn]) -> HttpResponse | None:
        this = sign_in_of_request(request)
        others = queryset.exclude(pk=this.pk) if this else queryset
        if self.is_out_of_reach(request, others):
            return None
        asked = ask_first(
            self,
            request,
            others,
            action="end_others",
            question=gettext("End these sign-ins and all their gate sessions?"),
            button=gettext("End"),
        )
        if asked is None:
            self._end(request, others)
        return asked

    def _end(self, request: HttpRequest, queryset: QuerySet[SignIn]) -> None:
        ending = list(queryset.filter(ended_at=None).select_related("user"))
        end_sign_ins(SignIn.objects.filter(pk__in=[sign_in.pk for sign_in in ending]))
        for sign_in in ending:
            self.record_end(request, sign_in.user, sign_in=str(sign_in))
        text = ngettext("%d sign-in was ended.", "%d sign-ins were ended.", len(ending))
        self.message_user(request, text % len(ending), messages.SUCCESS)


@admin.register(GateSession)
class GateSessionAdmin(SessionAdmin):
    secret_fields = ("token_digest",)
    list_display = ("origin", "user", "created_at", "ended_at")
    list_filter = (("ended_at", admin.EmptyFieldListFilter),)
    list_select_related = ("sign_in__user",)
    search_fields = ("origin", "sign_in__user__username", "sign_in__address")
    search_help_text = _("Origin, user or address")
    fields = ("origin", "sign_in", "created_at", "ended_at")
    readonly_fields = fields
    actions = ("end_chosen",)

    @admin.display(description=_("user"), ordering="sign_in__user__username")
    def user(self, session: GateSession) -> str:
        return session.sign_in.user.username

    def users_of(self, queryset: QuerySet[Any]) -> QuerySet[User]:
        return User.objects.filter(pk__in=queryset.order_by().values("sign_in__user"))

    @admin.action(permissions=["end"], description=_("End the selected gate sessions"))
    @confirmed(
        _("End these gate sessions? Users who are still signed in at the portal get new ones automatically."),
        _("End"),
        unless=(SessionAdmin.is_out_of_reach,),
    )
    def end_chosen(self, request: HttpRequest, queryset: QuerySet[GateSession]) -> None:
        ending = list(queryset.filter(ended_at=None).select_related("sign_in__user"))
        open_ones = GateSession.objects.filter(pk__in=[session.pk for session in ending], ended_at=None)
        open_ones.update(ended_at=timezone.now())
        for session in ending:
            self.record_end(request, session.sign_in.user, origin=session.origin)
        text = ngettext("%d gate session was ended.", "%d gate sessions were ended.", len(ending))
        self.message_user(request, text % len(ending), messages.SUCCESS)
