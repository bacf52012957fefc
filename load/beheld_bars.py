"""Bars of a random life, held against the truth's, against the table's, and against those that came (see `model`)."""

from __future__ import annotations

from typing import Any, Final

import attrs
import pyarrow as pa
import trio
from lived import Reading, Run

import trio_projectx as px
from trio_projectx._timeframe import BarKind

_NS: Final = 10**9
_OF_BARS: Final = ("end", "open", "high", "low", "close", "volume")
#: The service's bars do not know these.
_OF_TRADES: Final = ("trades", "vwap", "first_ts", "last_ts", "trade_date", "buy_volume", "sell_volume")
_OF_TABLES: Final = (
    *_OF_BARS, "trades", "vwap", "partial", "synthetic", "scheduled", "trade_date", "first_ts", "last_ts"
)  # fmt: skip
#: What is younger than that may still have to settle.
_SETTLES_NS: Final = 60 * _NS
#: The first moments of a stream, and of the truth, are looked at by nobody.
_BEGINS_NS: Final = 2 * _NS


@attrs.frozen
class Compared:
    """The bars of one timeframe, by their starts."""

    run: Run
    reading: Reading
    frame: str
    first_ts: int
    """Of the truth."""
    true: dict[int, dict[str, Any]]
    ours: dict[int, dict[str, Any]]

    @classmethod
    def of(cls, run: Run, reading: Reading, frame: str, truth: pa.Table) -> Compared:
        """Make the truth's bars, and take ours from the stream's table."""
        plan = reading.plan
        anchor = plan.options.get("anchor") or px.Anchor.session(px.Sessions.for_product(plan.contract))
        true = px.bars.aggregate(
            truth.select(["ts_event", "price", "volume", "side"]),
            frame,
            anchor=anchor,
            outside=plan.options["outside"],
        )
        first_ts = truth["ts_event"][0].as_py()
        return cls(run, reading, frame, first_ts, _by_start(true), _by_start(_stream(reading).table(frame)))

    @property
    def late(self) -> int:
        """How many trades came too late for their bars, and changed none."""
        return 0 if self.reading.plan.options.get("late") == "revise" else self._late_of_all

    @property
    def _late_of_all(self) -> int:
        return _stream(self.reading).counts(self.frame).late

    def judge_whole(self, *, is_end: bool) -> None:
        """Each bar that says it is whole is the truth's."""
        whole = {start: row for start, row in self.ours.items() if self._says_whole(start, row)}
        self.run.counts["whole bars"] += len(whole)
        wrong = [
            (start, found)
            for start, row in whole.items()
            if (found := _difference(row, self.true.get(start)))
        ]
        if len(wrong) > self.late:
            which = f"{len(wrong)} whole bars are not the truth's, {self._late_of_all} late, {is_end=}"
            self.run.blame(f"{self.reading.plan} {self.frame}: {which}; {wrong[:2]}")

    def _says_whole(self, start: int, row: dict[str, Any]) -> bool:
        if row["partial"] or row["synthetic"] or start <= self.first_ts:
            return False
        # The service's bars have not what was traded outside of sessions.
        return self.reading.plan.options["outside"] != "attach" or row["source"] == "live"

    def judge_complete(self) -> None:
        """After everything has settled each bar since the stream was opened is there, and whole, but the first."""
        now_ns = self.run.sim.market_now_ns()
        opened = now_ns - round((trio.current_time() - self.reading.opened_at) * _NS)
        after = max(self._first_end(opened), opened + _BEGINS_NS, self.first_ts + _BEGINS_NS)
        last = max(self.ours, default=0)
        for start, row in self.true.items():
            has_settled = after <= start <= last and row["end"] <= now_ns - _SETTLES_NS
            if has_settled and (found := self._missing(start)):
                self.run.blame(f"{self.reading.plan} {self.frame}: {found}; {row}")
                return

    def _first_end(self, opened: int) -> int:
        """Return from when on bars begin that all of their trades came to."""
        around = [s for s, row in self.true.items() if row["end"] > opened and s > opened - _SETTLES_NS]
        behind = [start for start in self.true if start >= opened]
        first = max(min(around, default=0), min(behind, default=0))
        lateness_ns = round(self.run.gateway._parts.streams.limits.lateness_ms * 1_000_000)
        return (self.true[first]["end"] if first in self.true else first) + lateness_ns + 1

    def _missing(self, start: int) -> str | None:
        told = [
            event
            for event in self.run.events
            if isinstance(event, px.GapFillFailed)
            and (event.timeframe, event.contract_id) == (self.frame, self.reading.contract_id)
        ]
        mine = self.ours.get(start)
        if mine is None:
            return None if self.late else f"no bar of {start}; {told[-1:]}"
        return f"the bar of {start} is still partial; {mine}" if mine["partial"] and not told else None


def judge_bars(run: Run, reading: Reading, *, is_end: bool) -> None:
    """Bars that say they are whole are the truth's; at the end all are, but the first."""
    if reading.error is not None and not isinstance(reading.error, px.SlowConsumer):
        return
    if is_end or reading.is_whole:
        _judge_table(run, reading)
    if not run.plan.is_honest:
        return
    if not is_end and not (run.plan.is_loud and run.plan.is_ordered):
        return  # the clock may have closed bars whose last trades are lost, and nobody knows it yet
    truth = run.sim.truth(reading.contract_id)
    if not truth.num_rows:
        return
    for frame in reading.plan.timeframes:
        compared = Compared.of(run, reading, frame, truth)
        compared.judge_whole(is_end=is_end)
        if is_end and run.plan.config["history"].fill_gaps and reading.error is None:
            compared.judge_complete()


def _difference(row: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any]:
    """Return what is another in the truth's bar."""
    keys = _OF_BARS if row["trades"] is None else (*_OF_BARS, *_OF_TRADES)
    if other is None:
        return row
    return {key: (row[key], other[key]) for key in keys if row[key] != other[key]}


def _judge_table(run: Run, reading: Reading) -> None:
    """What the reader was given last of a bar is what the table has, where nothing was left out."""
    plan = reading.plan
    if plan.drops or plan.readers > 1 or not plan.is_prompt or reading.error is not None:
        return
    if not plan.options["events"] or plan.options.get("skip_first"):
        return
    final = _last_of_each(run, reading)
    for frame in plan.timeframes:
        rows = _by_start(_stream(reading).table(frame))
        mine = {start: bar for (each, start), bar in final.items() if each == frame}
        run.counts["bars of tables"] += len(rows)
        if rows.keys() != mine.keys():
            extra = sorted(rows.keys() - mine.keys()), sorted(mine.keys() - rows.keys())
            run.blame(f"{plan} {frame}: table and stream have other bars: {extra}")
            continue
        for start, row in rows.items():
            bar = mine[start]
            wrong = {key: row[key] for key in _OF_TABLES if row[key] != getattr(bar, key)}
            if wrong:
                run.blame(f"{plan} {frame}: in the table {wrong}, in the stream {bar}")
                break


def _last_of_each(run: Run, reading: Reading) -> dict[tuple[object, int], px.Bar]:
    """Return what came last of each bar of time; none comes twice unless it is revised, and that says whether."""
    final: dict[tuple[object, int], px.Bar] = {}
    for item in reading.got:
        bar = item.bar if isinstance(item, px.BarRevised) else item
        if not isinstance(bar, px.Bar) or not bar.closed or isinstance(bar.timeframe, BarKind):
            continue
        before = final.get((bar.timeframe, bar.start))
        if item is bar and before is not None:
            run.blame(f"{reading.plan}: a bar came twice: {bar}")
        # Behind a synthetic one it may say that it is new, or that it is revised.
        is_certain = isinstance(item, px.BarRevised) and not (before and before.synthetic)
        if is_certain and item.is_new != (before is None):
            run.blame(f"{reading.plan}: {item} is_new={item.is_new}, and had come: {before}")
        final[bar.timeframe, bar.start] = bar
    return final


def _stream(reading: Reading) -> px.BarStream:
    assert isinstance(reading.stream, px.BarStream)
    return reading.stream


def _by_start(table: pa.Table) -> dict[int, dict[str, Any]]:
    """Return the rows of a table by their starts, instants as ns."""
    for name in ("start", "end", "first_ts", "last_ts"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(pa.int64()))
    return {row["start"]: row for row in table.to_pylist()}
