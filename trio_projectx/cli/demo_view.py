"""What the demo shows: the last bars of each timeframe, the progress, and a summary."""

from __future__ import annotations

import trio
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import trio_projectx as px


class DemoView:
    """A live table for a terminal; on anything else, a line for each minute bar."""

    def __init__(
        self,
        console: Console,
        gateway: px.Gateway,
        bars: px.BarStream[px.Bar | px.Dropped],
        total: int | None,
        seconds: float | None,
    ) -> None:
        self.console = console
        self._gateway = gateway
        self._stream = bars
        self._total = total
        self._seconds = seconds
        self._started = trio.current_time()
        self._last: dict[px.Timeframe, px.Bar] = {}
        self._made = dict.fromkeys(bars.timeframes, 0)
        self.received = 0
        self.in_flight = 0
        self._elapsed = 0.0
        self._hub = ""

    def add(self, bar: px.Bar) -> None:
        """Take in a closed bar."""
        self._last[bar.timeframe] = bar
        self._made[bar.timeframe] += 1
        if not self.console.is_terminal and bar.timeframe == "1m" and self._made[bar.timeframe] <= 20:
            self.console.print(_line(bar), highlight=False, soft_wrap=True)

    def tick(self) -> None:
        """Look at the clock and the counts; the table shows what was seen here."""
        self._elapsed = trio.current_time() - self._started
        contracts = self._gateway.statistics().market.contracts
        self.received = sum(contract.received for contract in contracts)
        self.in_flight = sum(contract.in_flight for contract in contracts)
        hub = self._gateway.health().market
        self._hub = f"hub {hub.state.value}" + (
            f": {hub.reason}" if hub.state is not px.HubState.LIVE else ""
        )

    def summary(self) -> None:
        """Print what came of it."""
        self.tick()
        market = self._gateway.statistics().market
        rejected = sum(contract.rejected.total for contract in market.contracts)
        rate = self.received / self._elapsed if self._elapsed > 0 else 0.0
        made = ", ".join(f"{n} x {timeframe}" for timeframe, n in self._made.items())
        self.console.print()
        self.console.print(
            f"trades received  {self.received:,} ({rejected:,} rejected, all counted)", highlight=False
        )
        self.console.print(f"bars made        {sum(self._made.values()):,} ({made})", highlight=False)
        gaps = sum(contract.gaps for contract in market.contracts)
        said = f"{gaps or 'none'} ({self._gateway.statistics().connects} connections)"
        self.console.print(f"gaps             {said}", highlight=False)
        self.console.print(f"ledger balanced  {'yes' if market.ledger.balanced else 'NO'}", highlight=False)
        self.console.print(
            f"rate             {rate:,.0f} trades/s over {self._elapsed:.1f} s", highlight=False
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not console.is_terminal:
            return
        yield self._table()
        yield self._progress()

    def _table(self) -> Table:
        table = Table(title=self._stream.contract_id, title_justify="left")
        for name in ("bar", "start (UTC)", "open", "high", "low", "close", "volume", "trades", "closed"):
            table.add_column(name, justify="left" if name in ("bar", "start (UTC)") else "right")
        for timeframe in self._stream.timeframes:
            for bar, closed in ((self._stream.forming(timeframe), False), (self._last.get(timeframe), True)):
                if bar is not None:
                    table.add_row(
                        *_cells(bar),
                        str(self._made[timeframe]) if closed else "...",
                        style="" if closed else "dim",
                    )
        return table

    def _progress(self) -> Table:
        row = Table.grid(padding=(0, 1))
        done, whole = (self.received, self._total) if self._total else (self._elapsed, self._seconds)
        text = f"{self.received:,} trades, {self._hub}"
        if whole is None:
            row.add_row(Text(f"{text}, {self._elapsed:.0f} s; Ctrl-C ends it"))
        else:
            row.add_row(ProgressBar(total=whole, completed=min(done, whole), width=50), Text(text))
        return row


def _cells(bar: px.Bar) -> list[str]:
    prices = [repr(price) for price in (bar.open, bar.high, bar.low, bar.close)]
    start = f"{bar.start_time:%H:%M:%S}" + (" partial" if bar.partial else "")
    return [str(bar.timeframe), start, *prices, str(bar.volume), str(bar.trades)]


def _line(bar: px.Bar) -> str:
    timeframe, start, o, h, low, c, volume, trades = _cells(bar)
    return f"{timeframe:>4} {start:<18} open {o} high {h} low {low} close {c} volume {volume} trades {trades}"
