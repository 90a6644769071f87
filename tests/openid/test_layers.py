"""The imports of the OpenID provider: its protocol is pure, and no lower app imports it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.test_purity import ROOT, imports

ALLOWED = sys.stdlib_module_names | {"jwt"}


@pytest.mark.parametrize("path", sorted((ROOT / "openid/protocol").glob("*.py")), ids=lambda path: path.stem)
def test_the_protocol_imports_only_the_standard_library_and_pyjwt(path: Path) -> None:
    foreign = {name for name in imports(path) if name.partition(".")[0] not in ALLOWED}

    assert {name for name in foreign if not name.startswith("openid.protocol")} == set()


@pytest.mark.parametrize("app", ["accounts", "authgate"])
def test_no_lower_app_imports_the_provider(app: str) -> None:
    for path in (ROOT / app).rglob("*.py"):
        assert not {name for name in imports(path) if name.partition(".")[0] == "openid"}, path
