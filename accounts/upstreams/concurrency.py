"""Limits on how many threads may wait for a provider. So a provider that hangs does not block others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from accounts.upstreams.errors import ErrorPage, ProviderError

WAIT = 1.0
"""Seconds for which a thread waits for a slot."""


class ProviderSlots:
    """Slots for threads that ask providers: at most `each` for one provider, and `together` for all."""

    def __init__(self, each: int, together: int) -> None:
        self._each, self._together = each, together
        self._busy: dict[int, list[float]] = {}
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, upstream_id: int) -> Iterator[None]:
        """Wait for a slot, and hold it within the block.

        Raises ProviderError if no slot is free within a second, or at once if the provider hangs.
        """
        began = self._begin(upstream_id)
        try:
            yield
        finally:
            with self._changed:
                self._busy[upstream_id].remove(began)
                if not self._busy[upstream_id]:
                    del self._busy[upstream_id]
                self._changed.notify_all()

    def _begin(self, upstream_id: int) -> float:
        give_up = time.monotonic() + WAIT
        with self._changed:
            while not self._is_free(upstream_id):
                left = give_up - time.monotonic()
                if left <= 0 or self._hangs(upstream_id):
                    raise ProviderError("too many wait for the provider already", ErrorPage.UNAVAILABLE)
                self._changed.wait(left)
            began = time.monotonic()
            self._busy.setdefault(upstream_id, []).append(began)
            return began

    def _is_free(self, upstream_id: int) -> bool:
        return (
            len(self._busy.get(upstream_id, ())) < self._each
            and sum(map(len, self._busy.values())) < self._together
        )

    def _hangs(self, upstream_id: int) -> bool:
        began = [moment for moments in self._busy.values() for moment in moments]
        own = self._busy.get(upstream_id) or began
        return bool(own) and time.monotonic() - min(own) > WAIT


provider_slots = ProviderSlots(
    each=max(1, settings.IKD_THREADS // 4), together=max(1, settings.IKD_THREADS // 2)
)
