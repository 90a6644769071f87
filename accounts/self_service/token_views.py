"""The pages of a user's own API tokens: a list, a form to create one, and a button to end one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Case, When
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.launcher.tiles import applications_open_to
from accounts.machines.api_tokens import TooManyTokens, end_tokens, make_token
from accounts.models import ApiToken, User
from accounts.own_events import record_own
from accounts.reauthentication import reauthentication_required
from accounts.requests import SignedInRequest, login_required
from authgate.admin.audited import is_row_id
from authgate.models import Application
from authgate.validation import readable

DAY = 86_400
LIFETIMES = (7, 30, 90, 180, 365)
PAGE = 50


class ChosenApplications(forms.ModelMultipleChoiceField):
    def clean(self, value: Any) -> Any:
        """Refuse a number that no id can have, because it would be an error in the database."""
        if not all(is_row_id(str(key)) for key in value or ()):
            raise ValidationError(self.error_messages["required"], code="required")
        return super().clean(value)


class TokenForm(forms.Form):
    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        help_text=_("What the token is for, such as “wiki backup”."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
    )
    applications = ChosenApplications(
        label=_("Applications"),
        queryset=Application.objects.none(),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("The token works only for the selected applications, and only where you have access."),
    )
    days = forms.TypedChoiceField(label=_("Expires after"), coerce=int)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        most = settings.IKD_API_TOKEN_LIFETIME / DAY
        offered = [days for days in LIFETIMES if days <= most] or [max(1, int(most))]
        fields: dict[str, Any] = self.fields
        fields["days"].choices = [(days, gettext("%(days)d days") % {"days": days}) for days in offered]
        open_to_them = Application.objects.filter(pk__in=applications_open_to(user))
        fields["applications"].queryset = open_to_them

    def clean_name(self) -> str:
        name = readable(self.cleaned_data["name"])
        if not name:
            raise ValidationError(_("Enter a name with visible characters."))
        return name

    @property
    def lifetime(self) -> float:
        return float(min(self.cleaned_data["days"] * DAY, settings.IKD_API_TOKEN_LIFETIME))


@never_cache
@login_required
@require_safe
def tokens(request: SignedInRequest) -> HttpResponse:
    """Show the tokens: live ones first, then the newest first."""
    rows = ApiToken.objects.filter(user=request.user).prefetch_related("applications")
    live_first = Case(When(ended_at=None, expires_at__gt=timezone.now(), then=0), default=1)
    page = Paginator(rows.order_by(live_first, "-created_at", "-pk"), PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "are_offered": settings.IKD_API_TOKEN_LIFETIME > 0}
    return render(request, "accounts/tokens.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new_token(request: SignedInRequest) -> HttpResponse:
    """Create a token and show it once.

    Require a recent proof of identity, because the user may have left the browser open.
    """
    if settings.IKD_API_TOKEN_LIFETIME <= 0:
        return redirect("tokens")
    return _new_token(request)


@reauthentication_required
def _new_token(request: SignedInRequest) -> HttpResponse:
    user = request.user
    form = TokenForm(user, request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return render(request, "accounts/token_new.html", {"form": form})
    chosen = form.cleaned_data["applications"]
    try:
        row, token = make_token(user, form.cleaned_data["name"], chosen, form.lifetime)
    except TooManyTokens:
        form.add_error(None, gettext("You have reached the maximum number of tokens. Revoke one first."))
        return render(request, "accounts/token_new.html", {"form": form})
    details = {"token": row.pk, "name": row.name, "applications": [each.name for each in chosen]}
    record_own("token_made", request, user, details)
    return render(request, "accounts/token_made.html", {"row": row, "token": token})


@never_cache
@login_required
@require_POST
def end_token(request: SignedInRequest, pk: int) -> HttpResponse:
    user = request.user
    row = get_object_or_404(ApiToken, pk=pk, user=user)
    if end_tokens(ApiToken.objects.filter(pk=row.pk)):
        details = {"token": row.pk, "name": row.name}
        record_own("token_ended", request, user, details)
    messages.success(request, gettext("“%(name)s” was revoked.") % {"name": row.name})
    return redirect("tokens")
