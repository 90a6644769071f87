"""Makes the database match a file, in the caller's transaction.

Every row is validated as in the admin's forms. A plan is the same run, rolled back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError

from accounts.models import ClaimMapping, GroupMapping, StrictGroup, Upstream
from authgate import leases
from authgate.encryption import Undecryptable
from authgate.models import Application, Rule
from ikd_portal.configuration_file import secrets_of_clients
from ikd_portal.configuration_file.changes import ADDED, CHANGED, Change, FieldChange
from ikd_portal.configuration_file.child_rows import ChildRows, problems_of, refuse_hidden_texts
from ikd_portal.configuration_file.document import APPLICATION, CLIENT, GROUP, PROVIDER, Document, Entry
from ikd_portal.configuration_file.managed import Ledger
from ikd_portal.configuration_file.names import Names
from ikd_portal.configuration_file.origins import OriginRows
from ikd_portal.configuration_file.pruning import prune
from ikd_portal.configuration_file.schema import MANY_TO_MANY, fields_of
from ikd_portal.configuration_file.secret_places import NoSecret, read_secret
from ikd_portal.configuration_file.state import KEYS, MODELS, queryset_of
from ikd_portal.configuration_file.tree import InvalidFile, Problem

LEASE = "configuration file"
LEASE_SECONDS = 600


class Busy(Exception):
    """Another process applies a file, or an administrator saved the same data at the same time."""


@dataclass(slots=True)
class Outcome:
    """The changes of a run, and notes for the reader."""

    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def reconcile(document: Document, folder: Path, *, prunes: bool) -> Outcome:
    """Make the database match a file, and return the changes. Raises InvalidFile or Busy.

    Call it in a transaction, and roll back after an exception. It writes no audit events.
    """
    holder = secrets.token_hex(16)
    if not leases.hold(LEASE, holder, LEASE_SECONDS):
        raise Busy("Another process is applying a file. Try again when it has ended.")
    try:
        outcome = _Reconciler(document, folder, prunes).run()
    except IntegrityError:
        raise Busy("An administrator changed the same data at the same time. Nothing was applied.") from None
    leases.release(LEASE, holder)
    return outcome


class _Reconciler:
    def __init__(self, document: Document, folder: Path, prunes: bool) -> None:
        self.document, self.folder, self.prunes = document, folder, prunes
        self.problems: list[Problem] = []
        self.outcome = Outcome()
        self.ledger = Ledger()
        self.changes: dict[tuple[str, str], Change] = {}
        self.new_secrets: set[str] = set()
        """Providers with a replaced client secret."""

        self.names: Names

    def run(self) -> Outcome:
        document = self.document
        for entry, row in self._found(GROUP, document.groups):
            self._group(entry, row)
        self.names = Names(self._note)
        # Only one provider can be the default, so the one that loses it is saved before the one that gets it.
        providers = sorted(document.providers, key=lambda each: bool(each.values.get("is_default")))
        for entry, row in self._found(PROVIDER, providers):
            self._provider(entry, row)
        self._applications()
        for entry, row in self._found(CLIENT, document.clients):
            self._client(entry, row)
        self._finish()
        return self.outcome

    def _finish(self) -> None:
        if self.problems:
            raise InvalidFile(self.problems)
        self.outcome.changes = [each for each in self.changes.values() if not each.is_empty]
        self.ledger.drop_renamed()
        left = self.ledger.missing_from(self.document)
        if self.prunes:
            self.outcome.changes += prune(left, self.names, self._note)
        elif left:
            named = ", ".join(f"{each.kind} {each.name}" for each in left[:10])
            self.outcome.notes.append(f"No longer in the file, and kept without --prune: {named}.")
        if self.problems:
            raise InvalidFile(self.problems)
        self.outcome.notes += self.ledger.write(self.document)

    # ---- each kind ----

    def _group(self, entry: Entry, row: Any) -> None:
        change = self._save(entry, row)
        if change is None or "second_factor" not in entry.values:
            return
        before, after = hasattr(row, "strict_group"), entry.values["second_factor"]
        if before == after:
            return
        if after:
            StrictGroup.objects.create(group_id=row.pk)
        else:
            StrictGroup.objects.filter(group_id=row.pk).delete()
        change.fields.append(FieldChange("second_factor", "Second factor required", before, after))

    def _provider(self, entry: Entry, row: Upstream) -> None:
        if not self._set_secret(entry, row):
            return
        change = self._save(entry, row)
        if change is None:
            return
        for key, model in (("claim_mappings", ClaimMapping), ("group_mappings", GroupMapping)):
            if key in entry.rows:
                rows = ChildRows(model, "upstream", self.names, self._note)
                existing = list(getattr(row, key).all()) if change.how == CHANGED else []
                change.rows += rows.replace(row, entry.rows[key], existing)

    def _set_secret(self, entry: Entry, row: Upstream) -> bool:
        """Set the client secret from the location in the file. Return whether that was possible."""
        if "client_secret" not in entry.secrets:
            issuer = entry.values.get("issuer", row.issuer)
            if row.client_secret and issuer != row.issuer:
                # Otherwise the new issuer would receive the secret for the old one.
                self._note(entry.line_of("issuer"), "If the issuer changes, name client_secret, too.")
                return False
            return True
        secret = ""
        for place in entry.secrets["client_secret"]:
            try:
                secret = read_secret(place, self.folder)
            except NoSecret as error:
                self.problems.append(error.problem)
                return False
        if not _is_secret(row, secret):
            row.client_secret = secret
            self.new_secrets.add(entry.name)
        return True

    def _applications(self) -> None:
        found = list(self._found(APPLICATION, self.document.applications))
        saved = []
        for entry, row in found:
            self._leave_locked_down(entry, row)
            was_open = row.without_https
            change = self._save(entry, row)
            if change is not None:
                origins = OriginRows(entry, row, change, self._note)
                origins.remove_those_not_in_file()
                saved.append((entry, row, change, origins, was_open and not row.without_https))
        for entry, row, change, origins, is_closed in saved:
            origins.add_missing(revalidates=is_closed)
            if is_closed:
                self._validate_clients(entry, row)
            if "rules" in entry.rows:
                existing = row.rules_of_file if change.how == CHANGED else []
                rows = ChildRows(Rule, "application", self.names, self._note)
                change.rows += rows.replace(row, entry.rows["rules"], existing)
                self._refuse_other_case(entry, row)

    def _leave_locked_down(self, entry: Entry, row: Application) -> None:
        """Keep the lockdown of an application: enabling it would end the lockdown."""
        if row.locked_down_at is not None and entry.values.get("enabled"):
            entry.kept["enabled"] = entry.values.pop("enabled")
            self.outcome.notes.append(f"application {row.name} is locked down, and stays so.")

    def _refuse_other_case(self, entry: Entry, row: Application) -> None:
        paths: list[str] = []
        for rule in Rule.objects.filter(application=row):
            try:
                rule.refuse_other_case(paths)
            except ValidationError as error:
                self._note(entry.line_of("rules"), " ".join(error.messages))
            paths.append(rule.path)

    def _validate_clients(self, entry: Entry, row: Application) -> None:
        """Validate redirect URIs again that were allowed while the application was without https."""
        named = {client.name for client in self.document.clients}
        for client in row.clients.exclude(client_id__in=named):
            self._validate(client, entry.lines | {"": entry.line_of("without_https")}, entry.line)

    def _client(self, entry: Entry, row: Any) -> None:
        application = self.ledger.used.get((APPLICATION, entry.parent))
        if application is None:  # its own problems are already reported
            return
        if row.pk is not None and row.application_id != application.pk:
            self._note(entry.line, f"The client {entry.name} belongs to the application “{row.application}”.")
            return
        row.application = application
        change = self._save(entry, row)
        if change is not None and "secrets" in entry.secrets:
            secrets_of_clients.replace(entry, row, change, self.folder, self.problems.append)

    # ---- all kinds ----

    def _found(self, kind: str, entries: list[Entry]) -> Iterable[tuple[Entry, Any]]:
        """Yield each entry with its row: the one of this name, the one that had this name, or a new one."""
        if not entries:
            return
        key = KEYS[kind]
        rows = list(queryset_of(kind))
        by_name = {getattr(row, key): row for row in rows}
        by_key = {row.pk: row for row in rows}
        for entry in entries:
            row = by_name.get(entry.name)
            if row is None:
                earlier = by_key.get(self.ledger.key_of(kind, entry.name))
                is_free = earlier is not None and all(each.name != getattr(earlier, key) for each in entries)
                row = earlier if is_free else MODELS[kind](**{key: entry.name})
            yield entry, row

    def _save(self, entry: Entry, row: Any) -> Change | None:
        """Set and save the columns that the file names. Return the change so far, or None after a problem."""
        is_new, key = row.pk is None, KEYS[entry.kind]
        fields = {} if entry.kind == GROUP else fields_of(MODELS[entry.kind])
        columns = {
            name: each
            for name, each in fields.items()
            if name in entry.values and each.shape not in MANY_TO_MANY
        }
        before = {name: each.of(row) for name, each in columns.items()} | {key: getattr(row, key)}
        for name, each in columns.items():
            if before[name] != entry.values[name]:
                each.assign(row, entry.values[name])
        setattr(row, key, entry.name)
        touched = {name for name in columns if before[name] != entry.values[name]}
        touched |= {key} if is_new or before[key] != entry.name else set()
        if entry.kind == PROVIDER and entry.name in self.new_secrets:
            touched.add("client_secret")
        if (is_new or touched) and not self._is_valid(entry, row, touched):
            return None
        change = Change(ADDED if is_new else CHANGED, entry.kind, entry.name, row, 0)
        changed = [name for name in touched if self._differs(name, columns, before, row)]
        if is_new:
            row.save()
        elif changed:
            row.save(update_fields=changed)
        change.key = row.pk
        change.fields += self._field_changes(row, columns, before, changed)
        self._set_names(entry, row, change)
        self.ledger.used[entry.kind, entry.name] = row
        self.changes[entry.kind, entry.name] = change
        return change

    def _differs(self, name: str, columns: dict[str, Any], before: dict[str, Any], row: Any) -> bool:
        """Return whether a column's value changed. Compare again, because validation made it canonical."""
        if name in columns:
            return bool(columns[name].of(row) != before[name])
        return name not in before or before[name] != getattr(row, name)

    def _field_changes(
        self, row: Any, columns: dict[str, Any], before: dict[str, Any], changed: list[str]
    ) -> list[FieldChange]:
        found = []
        for name in sorted(changed):
            label = row._meta.get_field(name).verbose_name
            if name == "client_secret":
                found.append(FieldChange(name, label, is_secret=True))
            else:
                after = columns[name].of(row) if name in columns else getattr(row, name)
                found.append(FieldChange(name, label, before[name], after))
        return found

    def _set_names(self, entry: Entry, row: Any, change: Change) -> None:
        """Set the references to groups and users."""
        for name, each in (fields_of(MODELS[entry.kind]) if entry.kind != GROUP else {}).items():
            if each.shape not in MANY_TO_MANY or name not in entry.values:
                continue
            before = each.of(row) if change.how == CHANGED else []
            keys = self.names.find(each.shape, entry.values[name], entry.line_of(name))
            if keys is not None and before != entry.values[name]:
                getattr(row, name).set(keys)
                change.fields.append(FieldChange(name, each.label, before, entry.values[name]))

    def _is_valid(self, entry: Entry, row: Any, touched: set[str]) -> bool:
        is_readable = True
        for name in touched - {"client_secret"}:
            try:
                refuse_hidden_texts(type(row), name, entry.values.get(name, entry.name))
            except ValidationError as error:
                self._note(entry.line_of(name), f"{name}: {' '.join(error.messages)}")
                is_readable = False
        return self._validate(row, entry.lines, entry.line) and is_readable

    def _validate(self, row: Any, lines: dict[str, int], line: int) -> bool:
        try:
            row.full_clean()
        except ValidationError as error:
            for each, text in problems_of(error, lines, line):
                self._note(each, text)
            return False
        return True

    def _note(self, line: int, text: str) -> None:
        self.problems.append(Problem(line, text))


def _is_secret(row: Upstream, secret: str) -> bool:
    try:
        return bool(row.client_secret.reveal() == secret)
    except Undecryptable:
        return False
