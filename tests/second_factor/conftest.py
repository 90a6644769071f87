from tests.accounts.conftest import client, other_browser

__all__ = ["client", "other_browser"]
