"""What a line wants of whoever owns it; `engine.Faults` is that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from trio_projectx.simulator.faults.armed import Armed

if TYPE_CHECKING:
    from trio_projectx.simulator.faults.line import Line


class Owner(Protocol):
    """Who owns the lines."""

    def start_soon(self, fn: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task; what becomes of its connection is no error of it."""
        ...

    def nth(self, line: Line) -> int:
        """Return the line's number among those of its hub."""
        ...

    async def perform(self, line: Line, armed: Armed) -> None:
        """Do the fault to the line."""
        ...

    def keep(self, stream: trio.abc.Stream) -> None:
        """Keep ``stream`` open though its server is done with it."""
        ...

    def leave(self, line: Line) -> None:
        """Forget the line: it is closed."""
        ...
