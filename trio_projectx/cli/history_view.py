"""What ``trio-projectx history`` shows: a bar for each timeframe on a terminal, lines elsewhere, and tables."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import attrs
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from trio_projectx.history import fetch
from trio_projectx.history.intervals import Interval
from trio_projectx.history.inventory import Holding

#: Where there is no terminal, a line for each so much of the whole.
_LINE_SHARE: Final = 0.1
_SPANS_SHOWN: Final = 10


def new_console() -> Console:
    """Return where to print; what is no terminal has no width that lines must be cut to."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


class HistoryView:
    """Progress while it lasts, and a summary."""

    def __init__(
        self,
        console: Console,
        contract: str,
        frames: Sequence[str],
        window: tuple[int | None, int | None],
        wall_clock: Callable[[], int],
    ) -> None:
        self._console = console
        self._contract = contract
        self._start, self._end = window
        self._wall_clock = wall_clock
        self._told = 0.0
        self._frame = ""
        self._bars = Progress(
            TextColumn("{task.description:>4}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[said]}"),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,  # a task of ours does it: nothing here is made to be read from two threads
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {
            frame: self._bars.add_task(escape(frame), total=1.0, start=False, said="") for frame in frames
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, frame: str) -> None:
        """Begin with a timeframe."""
        self._frame, self._told = frame, 0.0
        self._bars.start_task(self._tasks[frame])

    def progress(self, progress: fetch.Progress) -> None:
        """Take note of a page."""
        share = self._share(progress)
        said = f"{progress.bars:,} bars, {progress.pages} pages"
        self._bars.update(self._tasks[self._frame], completed=share, said=said)
        self.refresh()
        if not self._console.is_terminal and self._told + _LINE_SHARE <= share < 1.0:
            self._told = share
            self._line(f"{self._frame:>4} {share:4.0%}  {said}")

    def _share(self, progress: fetch.Progress) -> float:
        """Return how much of the whole has come; a continuous history has several contracts, the oldest first."""
        if self._start is None:
            return progress.share
        end = self._wall_clock() if self._end is None else self._end
        done = max(0, progress.start - self._start) + progress.end - progress.reached
        return min(1.0, max(0.0, done / max(1, end - self._start)))

    def refresh(self) -> None:
        """Draw."""
        self._bars.refresh()

    def done(self, frame: str, table: pa.Table) -> None:
        """A timeframe has come."""
        said = f"{table.num_rows:,} bars of {escape(frame)}"
        self._bars.update(self._tasks[frame], completed=1.0, said=said)
        self._bars.stop_task(self._tasks[frame])
        if not self._console.is_terminal:
            self._line(f"{frame:>4} 100%  {table.num_rows:,} bars, {_mark(table, 'pages')} pages")

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def summary(self, tables: Mapping[str, pa.Table], out: Path | None) -> None:
        """Print what has come."""
        shown = _table(f"history of {self._contract}")
        for name in ("bar", "contract", "bars", "first, last (UTC)", "pages", "rejected", "live"):
            right = name in ("bars", "pages", "rejected")
            shown.add_column(name, justify="right" if right else "left", no_wrap=True)
        for frame, table in tables.items():
            shown.add_row(*_cells(frame, table))
        self._console.print(shown)
        for frame, table in tables.items():
            for name in ("conflicts", "straddling"):
                if _mark(table, name) != "0":
                    self._line(f"{frame}: {_mark(table, name)} {name} (docs/history.md says what that is)")
        if out is not None:
            self._line(f"written to {out}")


def _table(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)


def _cells(frame: str, table: pa.Table) -> list[str]:
    starts = table["start"].cast(pa.int64())
    contracts = list(dict.fromkeys(table["contract_id"].to_pylist()))
    span = f"{_time(starts[0].as_py())}\n{_time(starts[-1].as_py())}" if len(starts) else "none"
    return [
        escape(frame),
        "\n".join(escape(str(each)) for each in contracts) or "none",
        f"{table.num_rows:,}",
        span,
        *(_mark(table, name) for name in ("pages", "rejected", "live")),
    ]


def _mark(table: pa.Table, name: str) -> str:
    return (table.schema.metadata or {}).get(name.encode(), b"0").decode()


@attrs.frozen(slots=True)
class Row:
    """A holding, and what of the time asked for is not in it."""

    holding: Holding
    missing: tuple[Interval, ...]

    @classmethod
    def of(cls, holding: Holding, start: int | None, end: int | None) -> Row:
        """Return the row for a time; None is open."""
        return cls(holding, holding.missing(start, end))


class CoverageView:
    """What a cache covers."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, rows: Sequence[Row], root: Path) -> None:
        """Print a table, and below it the times that are missing."""
        if not rows:
            self._console.print(f"nothing of that is in {root}", markup=False, highlight=False)
            return
        shown = _table(f"cache {root}")
        for name in ("contract", "unit", "bars", "from, to (UTC)", "missing", "live", "bytes"):
            right = name in ("bars", "missing", "bytes")
            shown.add_column(name, justify="right" if right else "left", no_wrap=True)
        for row in rows:
            shown.add_row(*_holding(row))
        self._console.print(shown)
        for row in rows:
            self._missing(row)

    def _missing(self, row: Row) -> None:
        lines = [f"{_time(start)} to {_time(end)}" for start, end in row.missing]
        for line in _few(lines):
            text = f"missing of {row.holding.contract_id} {row.holding.unit}: {line}"
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _few(lines: list[str]) -> Iterable[str]:
    yield from lines[:_SPANS_SHOWN]
    if len(lines) > _SPANS_SHOWN:
        yield f"and {len(lines) - _SPANS_SHOWN} more times"


def _holding(row: Row) -> list[str]:
    each = row.holding
    span = f"{_time(each.covered[0][0])}\n{_time(each.covered[-1][1])}" if each.covered else "none"
    missing = str(len(row.missing)) if row.missing else "nothing"
    return [
        each.contract_id,
        each.unit,
        f"{each.bars:,}",
        span,
        missing,
        str(each.live).lower(),
        f"{each.size_bytes:,}",
    ]


def _time(ts_ns: int) -> str:
    moment = datetime.datetime.fromtimestamp(ts_ns // 1_000_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}"
