"""The status line of ``trio-projectx sim`` on a terminal: who is connected, what goes out, what has gone wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import trio
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from trio_projectx.simulator import Simulator

_REFRESH_S: Final = 0.5
#: The rate is that of the last looks, this many.
_LOOKS: Final = 6
_NAMES_MAX: Final = 3


class SimView:
    """One line about a simulator; `tick` looks at it, drawing shows what was seen."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._seen: deque[tuple[float, int]] = deque(maxlen=_LOOKS)
        self._line = Text()

    def tick(self) -> None:
        """Look at the simulator."""
        counts = self._simulator.statistics()
        self._seen.append((trio.current_time(), counts.trades_sent))
        parts = [
            f"{counts.hub_connections_open} connected ({counts.hub_connections:,} in all)",
            f"{counts.trades_sent:,} trades, {self.rate:,.0f}/s",
            self._faults(),
        ]
        self._line = Text("  |  ".join(parts), no_wrap=True, overflow="ellipsis")

    @property
    def rate(self) -> float:
        """Trades per second over the last looks."""
        (begin, before), (end, now) = self._seen[0], self._seen[-1]
        return (now - before) / (end - begin) if end > begin else 0.0

    def _faults(self) -> str:
        states = self._simulator.faults()
        struck = [state for state in states if state.struck]
        if not states:
            return "no faults"
        times = sum(state.struck for state in struck)
        latest = ", ".join(dict.fromkeys(state.fault.name for state in reversed(struck[-_NAMES_MAX:])))
        waiting = sum(not state.over for state in states)
        return f"faults struck {times:,}" + (f" ({latest})" if latest else "") + f", {waiting:,} in place"

    def __rich_console__(self, console: Console, options: object) -> Iterator[RenderableType]:
        yield self._line


async def watch_simulator(simulator: Simulator) -> None:
    """Show the line on the terminal, below whatever is there, until cancelled; then it is left as it is."""
    view = SimView(simulator)
    # Refreshed by this task, not by rich's thread: nothing here is made to be read from two threads.
    with Live(view, console=Console(), auto_refresh=False) as live:
        while True:
            view.tick()
            live.refresh()
            await trio.sleep(_REFRESH_S)
