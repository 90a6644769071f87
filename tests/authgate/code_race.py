"""A process that uses one code in a thousand simultaneous requests and prints how many succeed.

The caches and the migrated database are those of an installation, given in DATABASE_URL and REDIS_URL.
"""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import django

django.setup()

from django.db import connections  # noqa: E402

from accounts.models import User  # noqa: E402
from authgate import handover  # noqa: E402
from authgate.check.state import State, nonce_hash  # noqa: E402
from authgate.sign_ins import begin_sign_in  # noqa: E402

ORIGIN = "https://wiki.example.com"
RACERS, AT_ONCE = 1_000, 40


def mint() -> str:
    sign_in = begin_sign_in(
        User.objects.create(username=secrets.token_hex(4)),
        session_digest=secrets.token_hex(32),
        address=None,
        user_agent="",
        methods=[],
        keep=False,
    )
    return handover.mint(sign_in, State(ORIGIN, "/", nonce_hash("right"), "", int(time.time())), b"key")


def winners(code: str, nonce: str = "right") -> int:
    gate = threading.Barrier(AT_ONCE)

    def run(_: int) -> int:
        gate.wait()
        won = sum(
            not isinstance(handover.redeem(code, origin=ORIGIN, nonce=nonce), handover.Failure)
            for _ in range(RACERS // AT_ONCE)
        )
        connections.close_all()
        return won

    with ThreadPoolExecutor(AT_ONCE) as racers:
        return sum(racers.map(run, range(AT_ONCE)))


if __name__ == "__main__":
    code = mint()
    print(winners(code, nonce="wrong"), winners(code), *(winners(mint()) for _ in range(3)))
