"""Attacks to gain a superuser's power: requests to pages, inline forms, actions, undo and links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from tests.admin.forms import fields_on
from tests.delegation.kinds import Cast

NEW = "an even longer horse"
Attack = Callable[[Cast, Client, User | None], Any]


def form(browser: Client, url: str, **changes: Any) -> Any:
    """Send the form at a URL with these changes, or only them if there is no form. Confirm warnings."""
    page = browser.get(url)
    shown = page.context is not None and "adminform" in page.context
    fields = {**(fields_on(page) if shown else {}), **changes}
    sent = {name: value for name, value in fields.items() if value is not None}
    answer = browser.post(url, sent)
    if answer.status_code == 200 and answer.context is not None and "carried" in answer.context:
        answer = browser.post(url, {"_carried": answer.context["carried"], "_sure": "yes"})
    return answer


def user_page(user: User, what: str = "change") -> str:
    return f"/admin/accounts/user/{user.pk}/{what}/"


def run(browser: Client, model: str, name: str, *rows: Any) -> Any:
    """Run an action of a list on some rows, and confirm it."""
    keys = [row.pk for row in rows]
    return browser.post(
        f"/admin/{model}/",
        {"action": name, "_selected_action": keys, "confirmed": "yes", "post": "yes", "index": 0},
    )


def become_superuser(cast: Cast, browser: Client, who: User | None) -> Any:
    target = who if who is not None and not who.is_superuser else cast.victim
    return form(browser, user_page(target), is_superuser="on", is_staff="on", is_active="on")


def take_permissions(cast: Cast, browser: Client, who: User | None) -> Any:
    target = who if who is not None and not who.is_superuser else cast.victim
    keys = [str(key) for key in Permission.objects.values_list("pk", flat=True)[:5]]
    return form(browser, user_page(target), user_permissions=keys)


def join_operators(cast: Cast, browser: Client, who: User | None) -> Any:
    target = who if who is not None and not who.is_superuser else cast.victim
    return form(browser, user_page(target), groups=[cast.powerful.pk])


def add_to_operators(cast: Cast, browser: Client, who: User | None) -> Any:
    target = who if who is not None and not who.is_superuser else cast.victim
    return form(browser, f"/admin/accounts/group/{cast.powerful.pk}/change/", add_members=[target.pk])


def empower_a_group(cast: Cast, browser: Client, who: User | None) -> Any:
    keys = [str(key) for key in Permission.objects.values_list("pk", flat=True)[:5]]
    url = f"/admin/accounts/group/{cast.team.pk}/change/"
    return form(browser, url, permissions=keys, add_members=[cast.victim.pk])


def create_a_superuser(cast: Cast, browser: Client, who: User | None) -> Any:
    fields = {"username": "mallory", "usable_password": "true", "password1": NEW, "password2": NEW}
    form(browser, "/admin/accounts/user/add/", **fields, is_superuser="on", is_staff="on")
    mallory = User.objects.filter(username="mallory").first()
    return mallory and form(browser, user_page(mallory), is_superuser="on", is_staff="on")


def set_roots_password(cast: Cast, browser: Client, who: User | None) -> Any:
    fields = {"usable_password": "true", "password1": NEW, "password2": NEW}
    return form(browser, user_page(cast.root, "password"), **fields)


def rename_root(cast: Cast, browser: Client, who: User | None) -> Any:
    return form(browser, user_page(cast.root), username="nobody")


def take_roots_address(cast: Cast, browser: Client, who: User | None) -> Any:
    return form(
        browser,
        user_page(cast.other_root),
        **{
            "emailaddress_set-TOTAL_FORMS": 1,
            "emailaddress_set-0-email": "mallory@example.com",
            "emailaddress_set-0-verified": "on",
            "emailaddress_set-0-primary": "on",
        },
    )


def link_to_root(cast: Cast, browser: Client, who: User | None) -> Any:
    fields = {"upstream": cast.upstream.pk, "subject": "mallory", "user": cast.other_root.pk}
    return form(browser, "/admin/accounts/identity/add/", **fields)


def delete_roots_identity(cast: Cast, browser: Client, who: User | None) -> Any:
    return browser.post(f"/admin/accounts/identity/{cast.identity.pk}/delete/", {"post": "yes"})


def delete_root(cast: Cast, browser: Client, who: User | None) -> Any:
    return browser.post(user_page(cast.other_root, "delete"), {"post": "yes"})


def delete_operators(cast: Cast, browser: Client, who: User | None) -> Any:
    return browser.post(f"/admin/accounts/group/{cast.powerful.pk}/delete/", {"post": "yes"})


def action_on_root(name: str) -> Attack:
    return lambda cast, browser, who: run(browser, "accounts/user", name, cast.other_root)


def undo_a_lockdown_of_root(cast: Cast, browser: Client, who: User | None) -> Any:
    User.objects.filter(pk=cast.other_root.pk).update(is_active=False, locked_down_at="2026-01-01T00:00Z")
    before = User.objects.get(pk=cast.other_root.pk).is_active
    run(browser, "accounts/user", "lift_lockdown", cast.other_root)
    if User.objects.get(pk=cast.other_root.pk).is_active == before:
        User.objects.filter(pk=cast.other_root.pk).update(is_active=True, locked_down_at=None)
    else:
        User.objects.filter(pk=cast.other_root.pk).update(username="lifted")


def end_roots_sign_in(cast: Cast, browser: Client, who: User | None) -> Any:
    return run(browser, "authgate/signin", "end_chosen", cast.sign_in)


def end_roots_token(cast: Cast, browser: Client, who: User | None) -> Any:
    return run(browser, "accounts/apitoken", "end_chosen", cast.token)


def ask_for_tokens_of_providers(cast: Cast, browser: Client, who: User | None) -> Any:
    return form(browser, f"/admin/authgate/application/{cast.wiki.pk}/change/", access_token="on")


def move_an_application_with_tokens(cast: Cast, browser: Client, who: User | None) -> Any:
    url = f"/admin/authgate/application/{cast.payroll.pk}/change/"
    return form(browser, url, **{"origins-0-value": "https://evil.example.com"})


def widen_the_bound(cast: Cast, browser: Client, who: User | None) -> Any:
    url = f"/admin/authgate/application/{cast.payroll.pk}/change/"
    return form(browser, url, shareable_groups=[cast.powerful.pk])


def appoint_a_manager(cast: Cast, browser: Client, who: User | None) -> Any:
    return form(browser, f"/admin/accounts/group/{cast.bound.pk}/change/", managers=[cast.victim.pk])


def require_a_second_factor(cast: Cast, browser: Client, who: User | None) -> Any:
    return form(browser, f"/admin/accounts/group/{cast.team.pk}/change/", second_factor="on")


def move_the_provider(cast: Cast, browser: Client, who: User | None) -> Any:
    url = f"/admin/accounts/upstream/{cast.upstream.pk}/change/"
    return form(browser, url, client_id="mallorys", enabled=None)


def map_a_claim_to_operators(cast: Cast, browser: Client, who: User | None) -> Any:
    fields = {
        "TOTAL_FORMS": 1,
        "0-claim": "groups",
        "0-mode": "add",
        "0-value": "all",
        "0-group": cast.powerful.pk,
    }
    url = f"/admin/accounts/upstream/{cast.upstream.pk}/change/"
    return form(browser, url, **{f"group_mappings-{name}": value for name, value in fields.items()})


ATTACKS: dict[str, Attack] = {
    "become a superuser": become_superuser,
    "take permissions": take_permissions,
    "join a powerful group": join_operators,
    "be added to a powerful group": add_to_operators,
    "empower a group": empower_a_group,
    "create a superuser": create_a_superuser,
    "set a superuser's password": set_roots_password,
    "rename a superuser": rename_root,
    "take a superuser's address": take_roots_address,
    "link to a superuser": link_to_root,
    "delete a superuser's identity": delete_roots_identity,
    "delete a superuser": delete_root,
    "delete a powerful group": delete_operators,
    **{
        f"action on a superuser: {name}": action_on_root(name)
        for name in ("disable", "lock_down", "delete_selected")
    },
    "undo a superuser's lockdown": undo_a_lockdown_of_root,
    "end a superuser's sign-in": end_roots_sign_in,
    "end a superuser's token": end_roots_token,
    "ask for tokens of providers": ask_for_tokens_of_providers,
    "move an application with tokens": move_an_application_with_tokens,
    "widen what owners may share": widen_the_bound,
    "appoint a group manager": appoint_a_manager,
    "require a second factor": require_a_second_factor,
    "move a provider": move_the_provider,
    "map a claim to a powerful group": map_a_claim_to_operators,
}
