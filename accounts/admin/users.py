"""Users in the admin.

Only superusers may create staff and superusers, or change users with power in the admin.
"""

from __future__ import annotations

from typing import Any

import allauth.account.admin
import allauth.mfa.admin  # noqa: F401  (this too)
from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts import mails
from accounts.admin.forms import (
    AddressForm,
    AddressFormSet,
    AddUserForm,
    ChangeUserForm,
    MembershipForm,
    NewPasswordForm,
    with_permissions_in_words,
)
from accounts.admin.lockdowns import end_each, lift_each
from accounts.admin.roles import RolesAdminMixin
from accounts.admin.user_import_page import import_page
from accounts.lockdown import lift_user, lock_down_user
from accounts.models import Membership, User
from accounts.privilege import are_the_last_superusers, may_change, protected_names, requester_of
from accounts.second_factor.events import reset_factors
from authgate.admin.audited import ReadableText, ask_first, atomic_on_post, confirmed
from authgate.admin.effect import EffectAdmin
from authgate.admin.list_columns import chips, cut
from authgate.admin.list_filters import BoundedRelatedFilter
from authgate.audit import record
from authgate.effect.comparison import EVERYTHING, Bounds
from authgate.memberships import with_end
from authgate.models import SignIn
from authgate.peer import client_address
from authgate.sign_ins import end_sign_ins

NEWEST = 20

# allauth's pages would let staff change the addresses of any user, and see the keys that confirm them.
admin.site.unregister(EmailAddress)
if admin.site.is_registered(EmailConfirmation):
    admin.site.unregister(EmailConfirmation)
admin.site.unregister(Authenticator)  # its page would show secrets, and let staff replace them


class AddressInline(ReadableText, admin.TabularInline):
    model = EmailAddress
    form = AddressForm
    formset = AddressFormSet
    extra = 0
    verbose_name = _("e-mail address")
    verbose_name_plural = _("e-mail addresses")

    def has_add_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_add_permission(request, obj) and _is_within_reach(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _is_within_reach(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _is_within_reach(request, obj)


class MembershipInline(ReadableText, admin.TabularInline):
    """The ends of a user's memberships. The field for groups adds and removes memberships."""

    model = Membership
    form = MembershipForm
    extra = 0
    fields = ("group", "ends_at")
    readonly_fields = ("group",)
    verbose_name_plural = _("ends of memberships")
    is_listed_with_deleted = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user", "group").order_by("group__name")

    def has_add_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return request.user.has_perm("accounts.change_group") and _is_within_reach(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return True


def _is_within_reach(request: HttpRequest, user: User | None) -> bool:
    return user is None or user.pk is None or may_change(requester_of(request), user)


@admin.register(User)
class UserAdmin(RolesAdminMixin, EffectAdmin, DjangoUserAdmin):
    permissions_field = "user_permissions"
    form = ChangeUserForm
    add_form = AddUserForm
    change_password_form = NewPasswordForm
    change_user_password_template = "admin/change_password.html"  # noqa: S105 (no password)
    list_display = (
        "username",
        "display_name",
        "email_column",
        "group_names",
        "is_active",
        "is_staff",
        "last_login",
    )
    list_filter = ("is_active", "is_staff", "is_superuser", ("groups", BoundedRelatedFilter))
    search_fields = ("username", "display_name", "email", "emailaddress__email")
    search_help_text = _("Name or e-mail address")
    chosen_by_name = ("groups",)
    filter_horizontal = ("user_permissions",)
    inlines = (MembershipInline, AddressInline)
    change_form_template = "admin/user.html"
    change_list_template = "admin/user_list.html"
    actions = (
        "lock_down",
        "lift_lockdown",
        "end_sign_ins",
        "reset_factors",
        "disable",
        "enable",
        "delete_selected",
    )
    actions_with_effect = ("lock_down", "lift_lockdown", "disable", "enable", "delete_selected")
    readonly_fields = (
        "email",
        "password_state",
        "factors",
        "lock_state",
        "uuid",
        "last_login",
        "date_joined",
        "newest_sign_ins",
    )
    fieldsets = (
        (None, {"fields": ("username", "display_name", "email", "password_state", "factors", "uuid")}),
        (
            _("Administration rights"),
            {"fields": ("is_active", "lock_state", "is_staff", "is_superuser", "roles")},
        ),
        (_("Individual permissions"), {"classes": ("collapse",), "fields": ("user_permissions",)}),
        (_("Sign-ins"), {"fields": ("date_joined", "last_login", "newest_sign_ins")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": (
                    "username",
                    "display_name",
                    "email",
                    "groups",
                    "groups_until",
                    "usable_password",
                    "password1",
                    "password2",
                ),
            },
        ),
    )

    # ---- columns and fields ----

    @admin.display(description=_("e-mail address"), ordering="email")
    def email_column(self, user: User) -> SafeString:
        return cut(user.email)

    @admin.display(description=_("groups"))
    def group_names(self, user: User) -> SafeString:
        return chips(sorted(with_end(each.group.name, each.ends_at) for each in user.memberships.all()))

    @admin.display(description=_("password"))
    def password_state(self, user: User) -> SafeString:
        state = _("set") if user.has_usable_password() else _("none")
        return format_html('{} · <a href="../password/">{}</a>', state, _("change"))

    @admin.display(description=_("second factor"))
    def factors(self, user: User) -> str:
        """Return the kinds of the user's factors. The admin never shows their secrets."""
        kinds = Authenticator.objects.filter(user=user).order_by("pk").values_list("type", flat=True)
        labels = dict(Authenticator.Type.choices)
        return ", ".join(str(labels.get(kind, kind)) for kind in kinds) or "-"

    @admin.display(description=_("locked"))
    def lock_state(self, user: User) -> str:
        if user.locked_down_at:
            moment = date_format(timezone.localtime(user.locked_down_at), "DATETIME_FORMAT")
            return gettext("Locked down by an administrator since %(moment)s.") % {"moment": moment}
        if not user.locked_at:
            return "-"
        moment = date_format(timezone.localtime(user.locked_at), "DATETIME_FORMAT")
        if user.unlock_address:
            text = gettext(
                "Since %(moment)s. A new password unlocks the account. The user can request one with "
                "%(address)s."
            )
            return text % {"moment": moment, "address": user.unlock_address}
        text = gettext(
            "Since %(moment)s. Only an administrator can unlock the account, with a new password. First "
            "remove factors, "
            "addresses and providers that an attacker added."
        )
        return text % {"moment": moment}

    @admin.display(description=_("recent sign-ins"))
    def newest_sign_ins(self, user: User) -> SafeString:
        sign_ins = SignIn.objects.filter(user=user).select_related("user")[:NEWEST]
        return render_to_string("admin/newest_sign_ins.html", {"sign_ins": sign_ins, "person": user})

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        memberships = Prefetch("memberships", Membership.objects.select_related("group"))
        return super().get_queryset(request).prefetch_related(memberships)

    def bounds_of(self, keys: set[int] | None) -> Bounds:
        return EVERYTHING if keys is None else Bounds(users=keys)

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [path("import/", guarded(self.import_page), name="accounts_user_import"), *super().get_urls()]

    def import_page(self, request: HttpRequest) -> HttpResponse:
        """Show the page that imports users from a file."""
        return import_page(self, request)

    # ---- permissions ----

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _is_within_reach(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _is_within_reach(request, obj)

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("authgate.change_signin")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        if requester_of(request).is_superuser:
            return self.readonly_fields
        return (*self.readonly_fields, "is_staff", "is_superuser", "held_roles")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return with_permissions_in_words(super().formfield_for_manytomany(db_field, request, **kwargs))

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        return self.inlines if obj else ()

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Return the fieldsets with the groups. Django's check of the class does not allow them there."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return fieldsets
        may_change = self.has_change_permission(request, obj)
        groups = (_("Groups"), {"fields": ("groups", "groups_until") if may_change else ("groups",)})
        return (fieldsets[0], groups, *fieldsets[1:])

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.requester = requester_of(request)
        return form

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        if id == str(request.user.pk):
            return HttpResponseRedirect(reverse("account_change_password"))
        with atomic_on_post(request):
            response: HttpResponse = super().user_change_password(request, id, form_url)
        person = self.get_object(request, id) if response.status_code == 302 else None
        if request.method == "POST" and person is not None:
            mails.notify(person, "password_changed")
        return response

    # ---- saving ----

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change and obj.email:
            EmailAddress.objects.create(user=obj, email=obj.email.lower(), primary=True, verified=False)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save all addresses as not primary first, then the chosen one as primary.

        So the database never has two primary addresses.
        """
        if not isinstance(formset, AddressFormSet) or not formset.has_changed():
            super().save_formset(request, form, formset, change)
            return
        primary = [row.instance for row in formset.kept() if row.cleaned_data.get("primary")]
        for row in formset.kept():
            row.instance.primary = False
        super().save_formset(request, form, formset, change)
        self._make_primary(form.instance, primary)

    def _make_primary(self, user: User, chosen: list[EmailAddress]) -> None:
        """Set the chosen address as primary, or the first one."""
        addresses = EmailAddress.objects.filter(user=user).order_by("-verified", "pk")
        primary = chosen[0] if chosen else addresses.first()
        if primary is not None:
            EmailAddress.objects.filter(pk=primary.pk).update(primary=True)
        user.email = primary.email if primary else ""
        user.save(update_fields=["email"])

    # ---- deleting ----

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user = self.get_object(request, object_id)
        with atomic_on_post(request):
            may_delete = user is not None and self.has_delete_permission(request, user)
            if user and may_delete and self._would_lock_out(request, User.objects.filter(pk=user.pk)):
                return HttpResponseRedirect(reverse("admin:accounts_user_change", args=[user.pk]))
            return super().delete_view(request, object_id, extra_context)

    @admin.action(permissions=["delete"], description=_("Delete selected users"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        if self._is_out_of_reach(request, queryset) or self._would_lock_out(request, queryset):
            return None
        return delete_selected(self, request, queryset)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return the users to delete. Of their rows in other tables, count only sign-ins."""
        users = list(objs)
        counts = {
            str(self.opts.verbose_name_plural): len(users),
            str(SignIn._meta.verbose_name_plural): SignIn.objects.filter(user__in=users).count(),
        }
        lacking = {user.username for user in users if not self.has_delete_permission(request, user)}
        return [user.username for user in users], counts, lacking, []

    def _is_out_of_reach(self, request: HttpRequest, users: QuerySet[User]) -> bool:
        names = protected_names(requester_of(request), users)
        if names:
            message = gettext("Only superusers can do this to staff: %(names)s. Nothing was changed.")
            self.message_user(request, message % {"names": ", ".join(names)}, messages.ERROR)
        return bool(names)

    def _would_lock_out(self, request: HttpRequest, users: QuerySet[User]) -> bool:
        """Return whether the requester or the last superuser is among the users. If so, show a message."""
        message = ""
        if users.filter(pk=requester_of(request).pk).exists():
            message = gettext("You selected yourself. Ask another administrator. Nothing was changed.")
        elif are_the_last_superusers(users):
            message = gettext(
                "This would leave no superuser who can sign in. Create another one first. "
                "Nothing was changed."
            )
        if message:
            self.message_user(request, message, messages.ERROR)
        return bool(message)

    # ---- actions ----

    @admin.action(permissions=["change"], description=_("Lock down the selected users"))
    def lock_down(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        if self._is_out_of_reach(request, queryset) or self._would_lock_out(request, queryset):
            return None
        question = gettext(
            "Lock down these users? All their sign-ins, API tokens and grants end, and they cannot sign in "
            "until you undo this."
        )
        asked = ask_first(
            self, request, queryset, action="lock_down", question=question, button=gettext("Lock down")
        )
        if asked is None:
            end_each(self, request, queryset, lock_down_user, "admin:openid_proof_of_user")
        return asked

    @admin.action(permissions=["change"], description=_("Undo the lockdown of the selected users"))
    def lift_lockdown(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        if self._is_out_of_reach(request, queryset):
            return None
        asked = ask_first(
            self,
            request,
            queryset,
            action="lift_lockdown",
            question=gettext("Let these users sign in again?"),
            button=gettext("Undo the lockdown"),
        )
        if asked is None:
            lift_each(self, request, queryset, lift_user)
        return asked

    @admin.action(permissions=["end"], description=_("End all sign-ins of the selected users"))
    @confirmed(_("End all sign-ins of these users?"), _("End sign-ins"), unless=(_is_out_of_reach,))
    def end_sign_ins(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        ended = sum(self._end_sign_ins_of(request, user) for user in queryset)
        text = ngettext("%d sign-in was ended.", "%d sign-ins were ended.", ended)
        self.message_user(request, text % ended, messages.SUCCESS)

    def _end_sign_ins_of(self, request: HttpRequest, user: User) -> int:
        ended = end_sign_ins(SignIn.objects.filter(user=user))
        record(
            "session_ended",
            actor=request.user.get_username(),
            subject=user.username,
            address=client_address(request),
            details={"sign_ins": ended},
        )
        return ended

    @admin.action(permissions=["change"], description=_("Reset the second factors of the selected users"))
    @confirmed(
        _(
            "Remove all second factors of these users and end their sign-ins? First make sure that the "
            "users asked for this. From then on, their password alone signs them in."
        ),
        _("Reset"),
        unless=(_is_out_of_reach,),
    )
    def reset_factors(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        reset = sum(reset_factors(request, user) for user in queryset)
        text = ngettext("%d second factor was removed.", "%d second factors were removed.", reset)
        self.message_user(request, text % reset, messages.SUCCESS)

    @admin.action(permissions=["change"], description=_("Disable the selected users"))
    @confirmed(
        _("Disable these users and end their sign-ins?"),
        _("Disable"),
        unless=(_is_out_of_reach, _would_lock_out),
    )
    def disable(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        # Afterwards, neither a mail nor an undone lockdown can enable the account.
        marked = Q(locked_at__isnull=False) | Q(locked_down_at__isnull=False)
        self._set_active(request, queryset.filter(Q(is_active=True) | marked), False)

    @admin.action(permissions=["change"], description=_("Enable the selected users"))
    @confirmed(_("Enable these users?"), _("Enable"), unless=(_is_out_of_reach,))
    def enable(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._set_active(request, queryset.filter(is_active=False), True)

    def _set_active(self, request: HttpRequest, users: QuerySet[User], is_active: bool) -> None:
        changed = list(users)
        for user in changed:
            user.is_active = is_active
            user.locked_at, user.unlock_address, user.locked_down_at = None, "", None
            user.save(update_fields=["is_active"])  # ends their sign-ins, so that none becomes live again
            self.log_change(request, user, [{"changed": {"fields": ["Active"]}}])
        text = ngettext("%d user was changed.", "%d users were changed.", len(changed))
        self.message_user(request, text % len(changed), messages.SUCCESS)
