"""What history gives up when memory is scarce: first most of what it keeps in memory, then all, and bulk requests wait.

What was kept in memory is on disk as well where there is a cache folder: it was written there when it came. Without
one it is asked of the service again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from trio_projectx._errors import ConnectTimeout
from trio_projectx._memory import MemoryLevel
from trio_projectx.connection.answers import BarsQuestion, WireCandle
from trio_projectx.connection.pacer import Urgency
from trio_projectx.history.fetch import Ask
from trio_projectx.history.levels import Levels
from trio_projectx.history.ring import TIMES

_SHARE: Final = 4
#: How long a page waits; asking again for it (`repeated`) waits again, two minutes in all.
_WAIT_S: Final = 60.0


class HistoryShed:
    """The levels of history under memory pressure, and the gate before bulk requests.

    :param bars_kept: how many of each contract and unit are kept in memory where it is not scarce.
    :param is_on_disk: whether there is a cache folder.
    """

    def __init__(self, levels: Levels, ask: Ask, bars_kept: int, *, is_on_disk: bool) -> None:
        self._levels = levels
        self._bars_kept = bars_kept
        self._ask = ask
        self._where = "the cache folder has them" if is_on_disk else "the service is asked for them again"
        self._rank = 0
        self._is_shut = False
        self._waiting = trio.lowlevel.ParkingLot()

    def at(self, level: MemoryLevel) -> Sequence[str]:
        """Keep fewer bars in memory, none, or as many as before; let bulk requests through, or not."""
        rank = max(0, min(level.rank, MemoryLevel.SEVERE.rank) - MemoryLevel.TIGHT.rank)
        if rank == self._rank:
            return ()
        self._rank = rank
        self._is_shut = rank > 1
        if not self._is_shut:
            self._waiting.unpark_all()
        kept = (self._bars_kept, self._bars_kept // _SHARE, 0)[rank]
        gone = self._levels.limit(kept, TIMES * kept)
        return (
            (f"up to {kept:,} bars of history of each contract are kept in memory again",)
            if not rank
            else (
                f"{kept:,} bars of history of each contract are kept in memory ({gone:,} went; {self._where})",
                *(("bulk requests for history wait",) if self._is_shut else ()),
            )
        )

    async def ask(self, question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        """Ask the service; what is bulk waits while memory is severely scarce.

        :raises ConnectTimeout: if it has waited for a minute.
        """
        if urgency is Urgency.BULK:
            await self._pass()
        return await self._ask(question, urgency)

    async def _pass(self) -> None:
        with trio.move_on_after(_WAIT_S):
            while self._is_shut:
                await self._waiting.park()
            return
        raise ConnectTimeout(
            f"history waits until memory is less scarce, for more than {_WAIT_S:g} s already"
        )
