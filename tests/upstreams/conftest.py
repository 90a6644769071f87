from tests.accounts.conftest import client, other_browser  # noqa: F401
