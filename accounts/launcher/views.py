"""The launcher's page, and the button for favourites."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.launcher.tiles import applications_for, set_favourite, shelves_of
from accounts.requests import SignedInRequest, login_required
from authgate.peer import client_address

FEW_TILES = 6
"""With more tiles, the launcher has a search field."""


@never_cache
@login_required
@require_safe
def launcher(request: SignedInRequest) -> HttpResponse:
    tiles = applications_for(request.user, client_address(request) or "")
    context = {"tiles": tiles, "shelves": shelves_of(tiles), "is_searchable": len(tiles) > FEW_TILES}
    return render(request, "accounts/launcher.html", context)


@never_cache
@login_required
@require_POST
def favourite(request: SignedInRequest, application: int) -> HttpResponse:
    """Add an application that the user may open to their favourites, or remove it from there."""
    user = request.user
    if application not in {tile.id for tile in applications_for(user, client_address(request) or "")}:
        raise Http404
    set_favourite(user, application, request.POST.get("wanted") == "yes")
    return redirect(f"{reverse('launcher')}#application-{application}")
