"""The admin's forms for users and groups, with the restrictions for staff."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelectMultiple, get_select2_language
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group as DjangoGroup
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from accounts.admin.roles import RolesFormMixin, roles_field
from accounts.email_addresses import is_address_taken
from accounts.ends import EndField
from accounts.models import LOOKS_ALIKE, Group, ManagedGroup, Membership, User
from accounts.privilege import are_the_last_superusers, protected_names
from authgate.admin.audited import InlineFormSet, name_fields
from authgate.models import SignIn
from authgate.permission_words import permission_in_words

NAME_TAKEN = _("A user with this name already exists. Letter case does not count. Choose a different name.")
ADDRESS_TAKEN = _("Another user has this e-mail address. Remove it from that user first.")


NEVER_SHOWN = ("admin", "contenttypes", "mfa", "sessions")


def with_permissions_in_words(field: Any) -> Any:
    """Return a field for permissions that names them in the reader's language.

    The database has Django's English names. Leave out permissions for tables without a page in the admin.
    """
    queryset = getattr(field, "queryset", None)
    if queryset is not None and queryset.model is Permission:
        field.queryset = queryset.exclude(content_type__app_label__in=NEVER_SHOWN)
        field.label_from_instance = permission_in_words
    return field


def refuse_taken_name(username: str, user_id: int = 0) -> None:
    """Raise ValidationError if a name is another user's name or address, or looks like another's name."""
    others = User.objects.exclude(pk=user_id)
    if others.filter(username__iexact=username).exists():
        raise ValidationError(NAME_TAKEN, code="unique")
    # Users may keep names from before the portal refused similar ones.
    is_kept = User.objects.filter(pk=user_id, username=username).exists()
    if not is_kept and User.objects.look_alikes(username).exclude(pk=user_id).exists():
        raise ValidationError(LOOKS_ALIKE, code="look_alike")
    if is_address_taken(username, except_by=user_id):
        raise ValidationError(ADDRESS_TAKEN, code="unique")


def free_address(email: str, except_by: int | None = None) -> str:
    """Return an address in lower case. Raises ValidationError if another user has it."""
    email = email.lower()
    if email and is_address_taken(email, except_by=except_by):
        raise ValidationError(ADDRESS_TAKEN, code="unique")
    return email


class Autocomplete(AutocompleteSelectMultiple):
    """Django's widget in the reader's language. Django's own has the language at the time of the import."""

    @property
    def i18n_name(self) -> str | None:
        return get_select2_language()

    @i18n_name.setter
    def i18n_name(self, name: str | None) -> None:
        """Ignore the language that Django sets at the import."""


def groups_field() -> forms.ModelMultipleChoiceField[DjangoGroup]:
    """Return the field of a user's groups. Django creates none for a `through` model."""
    groups: Any = User._meta.get_field("groups")
    return forms.ModelMultipleChoiceField(
        DjangoGroup.objects.all(),
        label=capfirst(groups.verbose_name),
        required=False,
        widget=Autocomplete(groups, admin.site),
        help_text=groups.help_text,
    )


def until_field() -> EndField:
    return EndField(label=_("End of new memberships"))


class GroupsFormMixin(forms.BaseModelForm):
    """A form with a user's groups. The admin creates a class for each request, with the `requester`."""

    requester: User
    instance: User

    def _save_m2m(self) -> None:
        # Save the groups with their end first. Django then finds nothing to add.
        until = {"ends_at": self.cleaned_data["groups_until"]}
        self.instance.groups.set(self.cleaned_data["groups"], through_defaults=until)
        super()._save_m2m()  # type: ignore[misc]  # the stubs lack this private method

    def clean_groups(self) -> QuerySet[DjangoGroup]:
        groups: QuerySet[DjangoGroup] = self.cleaned_data["groups"]
        if self.requester.is_superuser:
            return groups
        powerful = groups.filter(permissions__isnull=False).distinct()
        if powerful:
            names = ", ".join(group.name for group in powerful)
            message = _("Only superusers can add users to groups with permissions: %(names)s.")
            raise ValidationError(message, code="privilege", params={"names": names})
        return groups


class AddUserForm(GroupsFormMixin, AdminUserCreationForm):
    groups = groups_field()
    groups_until = until_field()

    class Meta(AdminUserCreationForm.Meta):
        model = User
        fields = ("username", "display_name", "email", "groups")

    def clean_username(self) -> str:
        username: str = self.cleaned_data["username"]
        refuse_taken_name(username)
        return username

    def clean_email(self) -> str:
        return free_address(self.cleaned_data["email"])


class ChangeUserForm(GroupsFormMixin, RolesFormMixin, UserChangeForm):
    password = None  # type: ignore[assignment]  # None removes an inherited field
    permissions_field = "user_permissions"
    roles = roles_field()
    groups = groups_field()
    groups_until = until_field()

    class Meta(UserChangeForm.Meta):
        model = User

    def clean_username(self) -> str:
        username: str = self.cleaned_data["username"]
        refuse_taken_name(username, self.instance.pk)
        return username

    def clean_is_active(self) -> bool:
        is_active: bool = self.cleaned_data["is_active"]
        if not is_active and self.instance == self.requester:
            raise ValidationError(
                _("You cannot disable yourself. Ask another administrator."), code="oneself"
            )
        return is_active

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        flags = [cleaned.get(name, True) for name in ("is_active", "is_staff", "is_superuser")]
        if not all(flags) and are_the_last_superusers(User.objects.filter(pk=self.instance.pk)):
            message = _("This is the last superuser who can sign in. Create another one first.")
            raise ValidationError(message, code="last")
        return cleaned


class MembershipForm(forms.ModelForm):
    """The end of one membership."""

    ends_at = EndField()

    class Meta:
        model = Membership
        fields = ("ends_at",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_fields(self)

    def save(self, commit: bool = True) -> Membership:
        """Save the end, unless the membership has ended or was removed meanwhile, perhaps by this form."""
        membership: Membership = super().save(commit=False)
        Membership.objects.filter(pk=membership.pk).update(ends_at=membership.ends_at)
        return membership


class AddressForm(forms.ModelForm):
    class Meta:
        model = EmailAddress
        fields = ("email", "verified", "primary")

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        others = EmailAddress.objects.filter(user=self.instance.user_id).exclude(pk=self.instance.pk or 0)
        if others.filter(email__iexact=email).exists():
            raise ValidationError(_("The user already has this address."), code="unique")
        return free_address(email, self.instance.user_id)


class AddressFormSet(InlineFormSet):
    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        name_fields(form)

    def clean(self) -> None:
        super().clean()
        seen: set[str] = set()
        primary = 0
        for form in self.kept():
            email = form.cleaned_data["email"]
            if email in seen:
                form.add_error("email", _("This address is listed twice. Delete one entry."))
            seen.add(email)
            primary += bool(form.cleaned_data.get("primary"))
        if primary > 1:
            raise ValidationError(_("Only one address can be the primary one. Clear the others."))

    def get_unique_error_message(self, unique_check: Any) -> Any:
        return _("An address is listed twice. Delete one entry.")

    def kept(self) -> list[Any]:
        """Return the forms of the addresses that will exist after saving."""
        return [
            form
            for form in self.forms
            if form.is_valid()
            and not form.cleaned_data.get("DELETE")
            and (form.instance.pk or form.has_changed())
        ]


def _people(label: Any) -> forms.ModelMultipleChoiceField[User]:
    return forms.ModelMultipleChoiceField(
        User.objects.all(),
        label=label,
        required=False,
        widget=Autocomplete(SignIn._meta.get_field("user"), admin.site),
    )


class NewPasswordForm(AdminPasswordChangeForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Django translates its own text before it knows the reader's language, so the text stays English.
        if "usable_password" in self.fields:
            self.fields["usable_password"].help_text = _(
                "If disabled, the user can sign in only with an identity provider. The current password is "
                "lost."
            )


def managers_of(group: Model) -> QuerySet[Any, int]:
    """Return the keys of a group's managers."""
    through: Any = ManagedGroup.managers.through._default_manager
    found: QuerySet[Any, int] = through.filter(managedgroup_id=group.pk or 0).values_list(
        "user_id", flat=True
    )
    return found


class GroupForm(RolesFormMixin, forms.ModelForm):
    """The form of a group. Staff add and remove members by name, so it works with thousands of members."""

    permissions_field = "permissions"
    roles = roles_field()
    second_factor = forms.BooleanField(
        label=_("Second factor required"),
        required=False,
        help_text=_("Members can open nothing with their password alone. Applies from the next request."),
    )
    managers = forms.ModelMultipleChoiceField(
        User.objects.all(),
        label=_("Group managers"),
        required=False,
        widget=Autocomplete(SignIn._meta.get_field("user"), admin.site),
        help_text=_(
            "They add and remove members without being staff. This has no effect while the group has "
            "permissions, requires a second factor, or owns an application."
        ),
    )
    add_members = _people(_("Add members"))
    members_until = EndField(
        label=_("End of their memberships"),
        help_text=_("Also replaces the end of users selected above who are members already."),
    )
    remove_members = _people(_("Remove members"))

    class Meta:
        model = Group
        fields = ("name", "permissions")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["second_factor"].initial = hasattr(self.instance, "strict_group")
        self.fields["second_factor"].disabled = not self.requester.is_superuser
        # Read them now: Django asks for the changed fields after it has saved the new managers.
        self.fields["managers"].initial = list(managers_of(self.instance))
        self.fields["managers"].disabled = not self.requester.is_superuser

    def clean_add_members(self) -> QuerySet[User]:
        return self._within_reach(self.cleaned_data["add_members"])

    def clean_remove_members(self) -> QuerySet[User]:
        return self._within_reach(self.cleaned_data["remove_members"])

    def _within_reach(self, users: QuerySet[User]) -> QuerySet[User]:
        names = protected_names(self.requester, users)
        if names:
            message = _("Only superusers can change the groups of staff: %(names)s.")
            raise ValidationError(message, code="privilege", params={"names": ", ".join(names)})
        return users
