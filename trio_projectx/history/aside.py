"""Work on many bars, done where it does not hold up the tasks of live data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio

T = TypeVar("T")
#: So many bars take a few milliseconds: less than a thread is worth, and than anybody notices.
_FEW: Final = 500
#: Threads at once in one trio run: more would only take the interpreter from the live path.
_AT_ONCE: Final = 2
_limiter: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("trio_projectx history")


async def aside(work: Callable[[], T], bars: int) -> T:
    """Return ``work()``, which is pure and looks at so many ``bars``; of more than a few, in a thread.

    A checkpoint. Cancelled, the work is left behind: nobody sees what it does.
    """
    if bars > _FEW:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=_threads())
    await trio.lowlevel.checkpoint()
    return work()


def _threads() -> trio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        _limiter.set(trio.CapacityLimiter(_AT_ONCE))
        return _limiter.get()
