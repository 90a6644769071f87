from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils.text import slugify

from accounts.upstreams.kinds import PROTOCOLS
from accounts.upstreams.models import Upstream
from accounts.upstreams.trial import Level, examine
from authgate.audit import record


class Command(BaseCommand):
    help = "Add, list, test, disable and enable the providers that people may sign in with."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        kinds = actions.add_parser("add", help="add a provider").add_subparsers(dest="kind", required=True)
        oidc = kinds.add_parser("oidc", help="an OpenID Connect provider")
        oidc.add_argument("name")
        oidc.add_argument("--issuer", required=True)
        oidc.add_argument("--client-id", required=True)
        oidc.add_argument("--client-secret-file", type=Path, help="a file that holds nothing else")
        oidc.add_argument("--scopes", default="openid profile email")
        cas = kinds.add_parser("cas", help="a CAS server")
        cas.add_argument("name")
        cas.add_argument("--server", dest="server_url", required=True)
        cas.add_argument("--cas-version", type=int, choices=(2, 3), default=3)
        cas.add_argument("--ticket-prefix", default="ST-", help="what its service tickets begin with")
        for kind in (oidc, cas):
            kind.add_argument("--slug", help="its name in addresses; from NAME unless given")
            kind.add_argument("--allow-private", action="store_true", help="it may be inside the network")
            kind.add_argument("--default", dest="is_default", action="store_true")
            kind.add_argument("--trusted-email-domain", action="append", default=[], metavar="DOMAIN")
        actions.add_parser("list", help="list the providers")
        for name, text in (
            ("test", "try a provider out"),
            ("disable", "end its sign-ins and let nobody in by it"),
            ("enable", "let people in by it again"),
        ):
            actions.add_parser(name, help=text).add_argument("slug")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(options)

    def _add(self, options: dict[str, Any]) -> None:
        own = ("issuer", "client_id", "scopes", "server_url", "cas_version", "ticket_prefix")
        names = ("kind", "name", "allow_private", "is_default", *own)
        upstream = Upstream(**{name: options[name] for name in names if options.get(name) is not None})
        upstream.slug = options["slug"] or slugify(options["name"])
        upstream.trusted_email_domains = "\n".join(options["trusted_email_domain"])
        if options.get("client_secret_file"):
            try:
                upstream.client_secret = options["client_secret_file"].read_text().strip()
            except OSError as error:
                raise CommandError(f"--client-secret-file cannot be read: {error}") from None
            except UnicodeDecodeError:
                raise CommandError("--client-secret-file holds no text") from None
        self._validate(upstream)
        upstream.save()
        record("added", subject=upstream.name, details={"object": "accounts.upstream", "key": upstream.pk})
        self.stdout.write(f"{upstream.slug} is added.")
        self._tell(upstream)

    def _list(self, options: dict[str, Any]) -> None:
        for upstream in Upstream.objects.all():
            state = "enabled" if upstream.enabled else "disabled"
            where = upstream.issuer if upstream.is_oidc else upstream.server_url
            self.stdout.write(f"{upstream.slug}\t{upstream.kind}\t{state}\t{where}\t{upstream.name}")

    def _test(self, options: dict[str, Any]) -> None:
        if not self._tell(self._named(options)):
            raise CommandError("People cannot sign in by it as it stands.")

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
        record("changed", subject=upstream.name, details={"object": "accounts.upstream", "enabled": enabled})
        self.stdout.write(f"{upstream.slug} is {'enabled' if enabled else 'disabled'}.")

    def _validate(self, upstream: Upstream) -> None:
        """Judge a provider as its form in the admin does. Disabling one needs none of that."""
        try:
            upstream.full_clean()
        except ValidationError as error:
            lines = [f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items()]
            raise CommandError("\n".join(lines)) from None

    def _tell(self, upstream: Upstream) -> bool:
        """Write what a trial finds, and tell whether nothing is wrong."""
        findings = examine(upstream, PROTOCOLS)
        for finding in findings:
            self.stdout.write(f"{finding.level:>8}  {finding.text}")
        return all(finding.level is not Level.WRONG for finding in findings)

    def _named(self, options: dict[str, Any]) -> Upstream:
        upstream = Upstream.objects.filter(slug=options["slug"]).first()
        if upstream is None:
            raise CommandError(f"There is no provider {options['slug']!r}. See: manage.py upstream list")
        return upstream
