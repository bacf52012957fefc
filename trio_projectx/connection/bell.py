"""A signal for one task that waits: rung from anywhere, any number of times; no ring is lost."""

from __future__ import annotations

import trio


class Bell:
    """Rings between two waits are one ring."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        """Wake the task that waits, or let its next wait return at once."""
        self._rung.set()

    async def wait(self, until: float) -> None:
        """Return when the bell is rung, or at ``until`` (trio's clock; `math.inf` for no end of it)."""
        with trio.move_on_at(until):
            await self._rung.wait()
        self._rung = trio.Event()
