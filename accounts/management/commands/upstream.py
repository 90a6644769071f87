from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils.text import slugify

from accounts.models import Identity, Upstream, User
from accounts.upstreams.findings import Level, examine
from accounts.upstreams.identities import Linked, link_to
from accounts.upstreams.protocols import PROTOCOLS
from authgate.audit import record

FOR_OIDC = {
    "issuer": "exactly as in its discovery document",
    "client_id": "client ID of the portal at the provider",
    "scopes": "scopes to request, separated by spaces",
}
FOR_CAS = {
    "server_url": "its address before /login",
    "cas_version": "2 or 3",
    "ticket_prefix": "prefix of its service tickets",
}
TEXTS = {
    "icon": "one or two letters on its button",
    "groups_claim": "create a group for each value of this claim; empty for none",
    "groups_prefix": "prefix of the names of these groups",
    "machine_audience": "accept tokens from programs with this audience; empty for none",
}
NUMBERS = {
    "order": "position of its button",
    "recheck_every": "seconds between checks that a sign-in is still valid there; 0 for never",
    "max_lifetime": "lifetime of its sign-ins in seconds; 0 for the general limit",
}
LISTS = {
    "trusted_email_domains": ("--trusted-email-domain", "DOMAIN", "trust its addresses in this domain"),
    "groups_pattern": ("--groups-pattern", "PATTERN", "accept only groups like this, such as portal-*"),
    "second_factor_values": (
        "--second-factor-value",
        "VALUE",
        "value of amr or acr that counts as a second factor",
    ),
}
SWITCHES = {
    "allow_private": "allow private addresses",
    "is_default": "the sign-in page redirects to it",
    "create_users": "create an account for each new user",
    "trusts_every_address": "trust its addresses in all domains",
}
NAMED = {"server_url": "--server", "is_default": "--default", "trusts_every_address": "--trust-every-address"}
"""Options that have other names than their fields."""


def option(field: str) -> str:
    return NAMED.get(field, f"--{field.replace('_', '-')}")


class Command(BaseCommand):
    help = "Add, change, remove, show and test the identity providers that users can sign in with."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        kinds = actions.add_parser("add", help="add a provider").add_subparsers(dest="kind", required=True)
        for kind, own, needed in (
            ("oidc", FOR_OIDC, ("issuer", "client_id")),
            ("cas", FOR_CAS, ("server_url",)),
        ):
            new = kinds.add_parser(kind, help="OpenID Connect" if kind == "oidc" else "CAS")
            new.add_argument("name", help="its name on the sign-in button")
            new.add_argument("--slug", help="its name in URLs; default: from NAME")
            _add_settings(new, own, needed)
        actions.add_parser("list", help="list the providers")
        change = actions.add_parser("change", help="change the named settings")
        change.add_argument("slug")
        change.add_argument("--name", help="its name on the sign-in button")
        _add_settings(change, {**FOR_OIDC, **FOR_CAS}, ())
        for name, text in (
            ("show", "show its settings, without the secret"),
            ("test", "test it"),
            ("disable", "end its sign-ins and refuse new ones"),
            ("enable", "accept sign-ins again"),
        ):
            actions.add_parser(name, help=text).add_argument("slug")
        remove = actions.add_parser("remove", help="remove it with its links to users, and end its sign-ins")
        remove.add_argument("slug")
        remove.add_argument(
            "--yes", action="store_true", help="remove it; without this, only show what would be removed"
        )
        for name, text in (
            ("link", "link a user or program of a provider to a user of the portal"),
            ("unlink", "remove such a link"),
        ):
            linking = actions.add_parser(name, help=text)
            linking.add_argument("slug")
            linking.add_argument("subject", help="exact sub of its tokens, or the CAS user")
            if name == "link":
                linking.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(options)

    def _add(self, options: dict[str, Any]) -> None:
        upstream = Upstream(kind=options["kind"], name=options["name"])
        upstream.slug = options["slug"] or slugify(options["name"])
        _apply(upstream, options)
        self._validate(upstream)
        upstream.save()
        self._record("added", upstream, {})
        self.stdout.write(f"{upstream.slug} was added.")
        self._print_findings(upstream)

    def _change(self, options: dict[str, Any]) -> None:
        upstream = self._named(options)
        alien = FOR_CAS if upstream.is_oidc else {**FOR_OIDC, "client_secret": ""}
        for field in alien:
            if options.get(field) is not None or (field == "client_secret" and _names_secret(options)):
                raise CommandError(f"{option(field)} is not for a provider of the kind {upstream.kind}.")
        issuer, secret = upstream.issuer, upstream.client_secret
        changed = _apply(upstream, options)
        if not changed:
            raise CommandError("Nothing to change: name at least one setting.")
        if secret and upstream.issuer != issuer and "client_secret" not in changed:
            # Otherwise the portal would send the old issuer's secret to the new issuer.
            raise CommandError(
                "If you change the issuer, enter the client secret again (--client-secret-file)."
            )
        self._validate(upstream)
        upstream.save(update_fields=changed)
        self._record("changed", upstream, {"changes": [{"changed": {"fields": sorted(changed)}}]})
        self.stdout.write(f"{upstream.slug} was changed: {', '.join(sorted(changed))}.")
        self._print_findings(upstream)

    def _remove(self, options: dict[str, Any]) -> None:
        upstream = self._named(options)
        links = upstream.identities.count()
        sign_ins = upstream.sessions.filter(sign_in__ended_at=None).count()
        lost = f"{links} links to users and {sign_ins} open sign-ins"
        if not options["yes"]:
            raise CommandError(f"{upstream.slug} would be removed, and with it {lost}. Repeat with --yes.")
        with transaction.atomic():
            self._record("deleted", upstream, {})
            upstream.delete()
        self.stdout.write(f"{options['slug']} was removed, and with it {lost}.")

    def _list(self, options: dict[str, Any]) -> None:
        for upstream in Upstream.objects.all():
            state = "enabled" if upstream.enabled else "disabled"
            where = upstream.issuer if upstream.is_oidc else upstream.server_url
            self.stdout.write(f"{upstream.slug}\t{upstream.kind}\t{state}\t{where}\t{upstream.name}")

    def _show(self, options: dict[str, Any]) -> None:
        upstream = self._named(options)
        own = FOR_OIDC if upstream.is_oidc else FOR_CAS
        for field in (
            "kind",
            "name",
            "slug",
            "enabled",
            *own,
            *SWITCHES,
            *LISTS,
            *TEXTS,
            *NUMBERS,
            "linking",
        ):
            value = getattr(upstream, field)
            text = (
                ("yes" if value else "no") if isinstance(value, bool) else ", ".join(str(value).split("\n"))
            )
            self.stdout.write(f"{field}\t{text}")
        if upstream.is_oidc:
            self.stdout.write(f"client_secret\t{'set' if upstream.client_secret else 'none'}")
        for mapping in [*upstream.claim_mappings.all(), *upstream.group_mappings.select_related("group")]:
            self.stdout.write(f"mapping\t{mapping}")
        self.stdout.write(f"people\t{upstream.identities.count()}")

    def _test(self, options: dict[str, Any]) -> None:
        if not self._print_findings(self._named(options)):
            raise CommandError("Users cannot sign in with it. See the findings above.")

    def _disable(self, options: dict[str, Any]) -> None:
        self._set_enabled(options, False)

    def _enable(self, options: dict[str, Any]) -> None:
        self._set_enabled(options, True)

    def _set_enabled(self, options: dict[str, Any], enabled: bool) -> None:
        upstream = self._named(options)
        upstream.enabled = enabled
        if enabled:
            self._validate(upstream)
        upstream.save(update_fields=["enabled"])
        self._record("changed", upstream, {"enabled": enabled})
        self.stdout.write(f"{upstream.slug} is {'enabled' if enabled else 'disabled'}.")

    def _link(self, options: dict[str, Any]) -> None:
        upstream = self._named(options)
        user = User.objects.filter(username__iexact=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['username']!r}.")
        try:
            found = link_to(upstream, options["subject"], user, actor="manage.py")
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        already = "already " if found is Linked.BEFORE else ""
        self.stdout.write(f"{options['subject']} of {upstream.slug} is {already}linked to {user.username}.")

    def _unlink(self, options: dict[str, Any]) -> None:
        upstream = self._named(options)
        found = Identity.objects.filter(upstream=upstream, subject=options["subject"])
        identity = found.select_related("user").first()
        if identity is None:
            raise CommandError(f"{upstream.slug} has no link for {options['subject']!r}.")
        with transaction.atomic():
            identity.delete()
            record(
                "identity_unlinked",
                actor="manage.py",
                subject=identity.user.username,
                details={"upstream": upstream.slug},
            )
        self.stdout.write(
            f"{options['subject']} of {upstream.slug} is no longer linked to {identity.user.username}."
        )

    def _record(self, kind: str, upstream: Upstream, more: dict[str, Any]) -> None:
        details = {"object": "accounts.upstream", "key": upstream.pk, **more}
        record(kind, actor="manage.py", subject=upstream.name, details=details)

    def _validate(self, upstream: Upstream) -> None:
        """Validate a provider as the admin's form does. Disabling a provider needs no validation."""
        try:
            upstream.full_clean()
        except ValidationError as error:
            lines = [f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items()]
            raise CommandError("\n".join(lines)) from None

    def _print_findings(self, upstream: Upstream) -> bool:
        """Print the findings of a connection test. Return whether none is wrong."""
        findings = examine(upstream, PROTOCOLS)
        for finding in findings:
            self.stdout.write(f"{finding.level:>8}  {finding.text}")
        return all(finding.level is not Level.WRONG for finding in findings)

    def _named(self, options: dict[str, Any]) -> Upstream:
        upstream = Upstream.objects.filter(slug=options["slug"]).first()
        if upstream is None:
            raise CommandError(f"There is no provider {options['slug']!r}. See: manage.py upstream list")
        return upstream


def _add_settings(parser: ArgumentParser, own: dict[str, str], needed: tuple[str, ...]) -> None:
    for field, text in {**own, **TEXTS}.items():
        choices: dict[str, Any] = {"type": int, "choices": (2, 3)} if field == "cas_version" else {}
        parser.add_argument(option(field), dest=field, required=field in needed, help=text, **choices)
    for field, text in NUMBERS.items():
        parser.add_argument(option(field), type=int, metavar="NUMBER", help=text)
    for field, (name, value, text) in LISTS.items():
        several = f"{text}; may be repeated, empty for none"
        parser.add_argument(name, dest=field, action="append", metavar=value, help=several)
    for field, text in SWITCHES.items():
        parser.add_argument(option(field), dest=field, action=BooleanOptionalAction, help=text)
    parser.add_argument(
        "--link-by-email",
        action=BooleanOptionalAction,
        help="link users to the account with their verified address",
    )
    if "issuer" in own:
        secret = parser.add_mutually_exclusive_group()
        secret.add_argument(
            "--client-secret-file", help="a file that contains only the secret; - reads standard input"
        )
        secret.add_argument("--client-secret-env", metavar="NAME", help="the environment variable with it")
        secret.add_argument("--remove-client-secret", action="store_true", help="for a public client")


def _apply(upstream: Upstream, options: dict[str, Any]) -> list[str]:
    """Set the fields that the options name, and return their names."""
    wanted: dict[str, Any] = {
        name: options[name]
        for name in ("name", *FOR_OIDC, *FOR_CAS, *TEXTS, *NUMBERS, *SWITCHES)
        if options.get(name) is not None
    }
    for name in LISTS:
        if options.get(name) is not None:
            wanted[name] = "\n".join(text for text in options[name] if text)
    if options.get("link_by_email") is not None:
        linking = Upstream.Linking
        wanted["linking"] = linking.VERIFIED_EMAIL if options["link_by_email"] else linking.NEVER
    if "machine_audience" in wanted:
        wanted["trusted_for_machines"] = bool(wanted["machine_audience"])
    if _names_secret(options):
        wanted["client_secret"] = _secret(options)
    for name, value in wanted.items():
        setattr(upstream, name, value)
    return list(wanted)


def _names_secret(options: dict[str, Any]) -> bool:
    names = ("client_secret_file", "client_secret_env", "remove_client_secret")
    return any(options.get(name) for name in names)


def _secret(options: dict[str, Any]) -> str:
    """Return the client secret.

    It is never an argument, because other users of the machine can see arguments.
    """
    if options.get("remove_client_secret"):
        return ""
    if options.get("client_secret_env"):
        secret = os.environ.get(options["client_secret_env"], "").strip()
        if not secret:
            raise CommandError(f"The environment has no {options['client_secret_env']}, or an empty one.")
        return secret
    try:
        name = options["client_secret_file"]
        secret = (sys.stdin.read() if name == "-" else Path(name).read_text()).strip()
    except OSError as error:
        raise CommandError(f"--client-secret-file cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise CommandError("--client-secret-file holds no text") from None
    if not secret:
        raise CommandError("--client-secret-file is empty. To have none, use --remove-client-secret.")
    return secret
