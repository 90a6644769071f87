"""Django's migrations without rendering unused models, which takes four fifths of their time.

Each operation of a migration changes the state of some models. Django then renders all related models again:
for most operations, that is all of them. An operation itself uses few models.

Django itself migrates the databases that tests copy, without this module. `tests/years/test_migrations.py`
also runs all migrations backwards without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db.migrations.state import ModelState, ProjectState, StateApps
from django.db.migrations.utils import resolve_relation

Key = tuple[str, str]


class LazyApps(StateApps):
    """The models of one state. A model and those that it refers to are rendered on first use."""

    def __init__(self, real_apps: Any, states: dict[Key, ModelState]) -> None:
        self._waiting: dict[Key, ModelState] = {}
        super().__init__(real_apps, {})
        self._waiting = {key: state.clone() for key, state in states.items()}

    def get_model(self, app_label: str, model_name: str | None = None, require_ready: bool = True) -> Any:
        if model_name is None:
            app_label, model_name = app_label.split(".")
        self._render([(app_label, model_name.lower())])
        return self.get_registered_model(app_label, model_name)

    def get_models(self, *arguments: Any, **options: Any) -> Any:
        """Return all models. Django calls this to find what refers to a model."""
        self.render_all()
        return super().get_models(*arguments, **options)

    vars()["get_models"].cache_clear = vars(Apps)["get_models"].cache_clear

    def get_app_config(self, app_label: str) -> Any:
        self.render_all()
        return super().get_app_config(app_label)

    def get_app_configs(self) -> Any:
        self.render_all()
        return super().get_app_configs()

    def render_all(self) -> None:
        self._render(list(self._waiting))

    def _render(self, keys: Iterable[Key]) -> None:
        queue, found = list(keys), []
        while queue:
            key = queue.pop()
            if state := self._waiting.pop(key, None):
                found.append(state)
                queue.extend(resolve_relation(model, *key) for model in _named_by(state))
        self.render_multiple(found)


def _named_by(state: ModelState) -> Iterator[str]:
    """Return the models to which a model refers."""
    yield from (base for base in state.bases if isinstance(base, str))
    for field in state.fields.values():
        if remote := field.remote_field:
            yield from filter(None, (remote.model, getattr(remote, "through", None)))


@pytest.fixture
def lazy_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render a migration's models on first use. Equal states share rendered models."""
    remove_model = ProjectState.remove_model

    def apps(state: ProjectState) -> Any:
        if "apps" not in vars(state):
            vars(state)["apps"] = LazyApps(state.real_apps, state.models)
        return vars(state)["apps"]

    def forget(state: ProjectState, *_: Any, **__: Any) -> None:
        vars(state).pop("apps", None)

    def forget_and_remove(state: ProjectState, app_label: str, model_name: str) -> None:
        forget(state)
        remove_model(state, app_label, model_name)

    def clone(state: ProjectState) -> ProjectState:
        copy = ProjectState({key: model.clone() for key, model in state.models.items()}, state.real_apps)
        vars(copy)["apps"] = state.apps
        return copy

    for name, replaced in {
        "apps": property(apps, fdel=forget),
        "clone": clone,
        "reload_model": forget,
        "reload_models": forget,
        "remove_model": forget_and_remove,
        # Django calls this before code of a migration, which follows relations.
        "clear_delayed_apps_cache": lambda state: state.apps.render_all(),
    }.items():
        monkeypatch.setattr(ProjectState, name, replaced)
