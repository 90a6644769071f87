"""Applying an export changes nothing, for any rows and in each database."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import ClaimMapping, GroupMapping, StrictGroup, Upstream, UpstreamGroup, User
from authgate.models import Application, Rule
from ikd_portal.configuration_file.document import GROUP
from ikd_portal.configuration_file.export import exported
from ikd_portal.configuration_file.plan import ConfigurationFile, apply_plan, lines_of, make_plan
from ikd_portal.configuration_file.schema import Field, Shape, fields_of
from ikd_portal.configuration_file.state import MODELS
from ikd_portal.configuration_file.writer import scalar
from openid.models import Client
from tests.catalogues import ROOT
from tests.configuration_file.conftest import Apply
from tests.factories import ApplicationFactory, GroupFactory, UpstreamFactory
from tests.front.serving import Database

NAMES = [
    "no",
    "010",
    "1e3",
    "2030-01-01",
    "~",
    "a: b",
    "# c",
    "Ünï 中文",
    "\U0001f600",
    "*x",
    '"q"',
    "a\\b",
    "-",
]
TEXTS = [*NAMES, "", " ", "a\nb", "\u2028x\u00a0", "true", "{}", "<<", "0x1f", "1:30", "=", "x" * 60]


def random_value(chance: random.Random, field: Field, longest: int | None) -> Any:
    """Return a random value that a column can hold, including values that forms refuse."""
    if field.choices:
        return chance.choice(field.choices)
    if field.is_nullable and chance.random() < 0.5:
        return None
    moment = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.randrange(10**12))
    return {
        Shape.TEXT: chance.choice(TEXTS)[:longest],
        Shape.FLAG: chance.random() < 0.5,
        Shape.NUMBER: chance.randrange(30_000),
        Shape.MOMENT: moment.isoformat(),
        Shape.WORDS: [f"w{n}" for n in range(chance.randrange(3))],
        Shape.LINES: [text for text in NAMES if chance.random() < 0.2],
    }[field.shape]


def fill(chance: random.Random, row: Any) -> Any:
    for field in fields_of(type(row)).values():
        if field.shape not in (Shape.GROUP, Shape.GROUPS, Shape.USERS):
            longest = row._meta.get_field(field.name).max_length
            field.assign(row, random_value(chance, field, longest))
    return row


def make_world(seed: int) -> None:
    """Fill the database with random rows, including texts that YAML could read as another type."""
    chance = random.Random(seed)
    groups = [Group.objects.create(name=name) for name in chance.sample(NAMES, 4)]
    StrictGroup.objects.create(group=groups[0])
    users = [User.objects.create(username=name) for name in ("alice", "no", "bob.o'b")]
    for number, name in enumerate(chance.sample(NAMES, 3)):
        application = fill(chance, Application(name=name))
        application.save()
        application.named_groups.set(chance.sample(groups, 1))
        application.owners.set(chance.sample(users, 1))
        application.origins.create(value=f"https://a{number}.example.net")
        for _each in range(chance.randrange(4)):
            rule = fill(chance, Rule(application=application, path="/a"))
            rule.save()
            rule.groups.set(chance.sample(groups, 2))
            rule.users.set(chance.sample(users, chance.randrange(3)))
        fill(chance, Client(application=application, client_id=f"client-{number}")).save()
    for number in range(2):
        upstream = fill(chance, Upstream(slug=f"campus-{number}", client_secret="hidden" * number))
        upstream.name, upstream.is_default = f"{number}", number == 1
        upstream.save()
        ClaimMapping.objects.create(upstream=upstream, claim="no", field="email")
        for group in groups[:2]:
            GroupMapping.objects.create(upstream=upstream, claim="on", value="off", group=group)


@pytest.mark.long
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_an_export_that_is_applied_changes_nothing(database: Database, seed: int) -> None:
    with transaction.atomic():
        make_world(seed)
        text = exported()
        file = ConfigurationFile(Path("portal.yaml"), text)

        plan = make_plan(file, prunes=True)
        assert [*lines_of(plan.changes)] == []
        apply_plan(file, plan, prunes=True)
        assert exported() == text
        assert yaml.safe_load(text)["version"] == 1
        transaction.set_rollback(True)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_any_yaml_reader_reads_every_text_as_written(text: str) -> None:
    assert yaml.safe_load(f"a: {scalar(text)}\n") == {"a": text}
    assert yaml.safe_load(f"{scalar(text)}: a\n") == {text: "a"}


@pytest.mark.django_db
def test_an_export_creates_the_same_rows_in_an_empty_database(apply: Apply) -> None:
    ApplicationFactory(name="Wiki", origins=["https://wiki.example.net"], groups=["staff"])
    upstream = UpstreamFactory(slug="campus", name="Campus")
    GroupMapping.objects.create(upstream=upstream, group=GroupFactory(name="staff"))
    text = exported()
    for model in MODELS.values():
        model._default_manager.all().delete()

    apply(text.replace("version: 1\n", ""))

    without_secret = "\n".join(line for line in text.splitlines() if "client_secret:" not in line)
    assert exported().strip() == without_secret


@pytest.mark.django_db
def test_secrets_and_groups_of_providers_are_not_exported() -> None:
    upstream = UpstreamFactory(slug="campus", client_secret="a-very-secret-thing")
    UpstreamGroup.objects.create(group=GroupFactory(name="campus-x"), upstream=upstream, value="x")

    text = exported()

    assert "a-very-secret-thing" not in text
    assert upstream.client_secret.token not in text
    assert "campus-x" not in text
    assert "PORTAL_SECRET_" in text


def test_an_export_does_not_replace_a_file(db: None, tmp_path: Path) -> None:
    path = tmp_path / "out.yaml"
    call_command("export", "--output", str(path), stdout=StringIO())

    with pytest.raises(CommandError, match="exists"):
        call_command("export", "--output", str(path), stdout=StringIO())
    assert path.read_text() == exported()


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != GROUP])
def test_every_field_of_the_administrations_forms_is_exported(kind: str) -> None:
    model = MODELS[kind]

    editable = {field.name for field in (*model._meta.fields, *model._meta.many_to_many) if field.editable}
    not_there = editable - set(fields_of(model))
    assert not_there <= {"id", "name", "slug", "client_id", "application", "client_secret"}


@pytest.mark.django_db
def test_the_example_in_the_documentation_can_be_applied(
    apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "configuration-file.md").read_text()
    [example] = re.findall(r"```yaml\nversion: 1\n(.*?)```", page, re.DOTALL)
    monkeypatch.setenv("PORTAL_SECRET_CAMPUS", "x")

    assert "Plan: 5 added." in apply(example.replace("secrets: [{file: /run/secrets/wiki}]", ""))
