"""Bars of a table of trades: the live builders run over it, so research equals live, bit for bit."""

from __future__ import annotations

import datetime
import sys
from typing import Final, Literal

import pyarrow as pa

from trio_projectx._errors import ConfigError
from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars.anchor import Anchor
from trio_projectx.bars.barset import BarSet
from trio_projectx.bars.columns import FLAGS
from trio_projectx.bars.edges import FixedEdges
from trio_projectx.bars.policies import check_outside
from trio_projectx.bars.trades import TickSize, TradeTable

#: Trades per batch: bounds the memory of Python integers, whatever the table's size.
_ROWS: Final = 65_536


def aggregate(
    trades: pa.Table,
    timeframe: Timeframe | str,
    *,
    anchor: Anchor,
    outside: Literal["own", "attach", "drop"] = "own",
    lateness: int | datetime.timedelta | None = None,
    tick_size: TickSize | None = None,
) -> pa.Table:
    """Build the bars of one timeframe from a table of trades of one contract.

    :param trades: columns ``ts_event`` (int64 ns since 1970, or timestamp[ns], one without a zone being
        UTC), ``price`` (float64, whole numbers or decimals, above 0), ``volume`` (whole numbers above 0)
        and, if you have it, ``side`` (whole numbers, the values of `Side`); other columns are ignored.
    :param timeframe: a timeframe that ``anchor`` offers, or a kind of bars (`BarKind`), such as "tick:500".
    :param outside: what becomes of trades outside all sessions: "own" gives them bars of their own, with no
        ``trade_date``; "attach" makes them part of the first bar of the session that follows; "drop" leaves
        them out. Under an anchor without sessions there are none, and it changes nothing.
    :param lateness: None: the rows are sorted by ``ts_event`` first, and rows of the same stamp stay in their
        order. Whole nanoseconds, or a timedelta: the rows are in order of arrival, as a live feed would
        bring them; trades that come later than that into a bar that is final are left out and counted.
    :param tick_size: the contract's tick. None: prices are taken as the exact numbers they are.
    :return: the bars, sorted by ``start``; the columns of `BarSet.table` without ``partial``.
        ``buy_volume`` and ``sell_volume`` are null if there is no ``side``. The schema's metadata holds
        under ``b"late"`` how many trades were left out for being late; under a session anchor also, under
        ``b"unscheduled"``, how many were in closed hours, and under ``b"outside"`` how many of these were
        left out.
    :raises ConfigError: (a `ValueError`) naming column and row (counted from 0) if a column is missing, of
        another type, null anywhere, or holds what no trade can have (a price off the grid of ``tick_size``
        too); if an option is wrong; or if the volumes of the open bars and of 65,536 rows leave int64.
    :raises TimeframeError: if ``timeframe`` is not one, or ``anchor`` does not offer it.
    """
    frame = Timeframe(timeframe)
    check_outside(outside)
    if not isinstance(anchor, Anchor):
        raise ConfigError(f"anchor must be an Anchor such as Anchor.utc(), not {anchor!r:.40}")
    lateness_ns = 0 if lateness is None else _nanoseconds(lateness)
    edges = FixedEdges(2) if isinstance(frame, BarKind) else anchor.edges(frame)
    table = TradeTable.read(trades, edges, tick_size)
    bars = BarSet(
        "",
        [frame],
        anchor=anchor,
        grid=table.grid,
        lateness_ns=lateness_ns,
        bars_kept=sys.maxsize,
        outside=outside,
        in_ticks=False,  # these may be ticks of a binary fraction, too many for int64, and nobody asks for them
    )
    for batch in (table.by_stamp() if lateness is None else table).batches(_ROWS):
        bars.update(batch)
    bars.flush()
    for told in bars.take_told():
        raise ConfigError(f"no bars can be made of these trades: {told}")
    return _finished(bars, frame, anchor, with_sides=table.side is not None)


def _nanoseconds(lateness: object) -> int:
    if isinstance(lateness, datetime.timedelta):
        lateness = lateness // datetime.timedelta(microseconds=1) * 1000
    if not isinstance(lateness, int) or isinstance(lateness, bool) or lateness < 0:
        raise ConfigError(
            f"lateness must be None, whole nanoseconds or a timedelta, and not negative: {lateness!r:.40}"
        )
    return lateness


def _finished(bars: BarSet, frame: Timeframe, anchor: Anchor, *, with_sides: bool) -> pa.Table:
    table = bars.table(frame).drop_columns([*FLAGS, "source"])
    if not with_sides:
        unknown = pa.nulls(table.num_rows, pa.int64())
        for name in ("buy_volume", "sell_volume"):
            table = table.set_column(table.schema.get_field_index(name), name, unknown)
    counts = bars.counts(frame)
    if counts.unscheduled and frame.step_ns is None and not isinstance(frame, BarKind):
        # Bars come in order of their ends: one of closed hours inside a week ends before the week does.
        table = table.sort_by("start")  # pyright: ignore[reportUnknownMemberType]
    told = {"late": counts.late}
    if anchor.sessions is not None:
        told |= {"outside": counts.outside, "unscheduled": counts.unscheduled}
    return table.replace_schema_metadata({name.encode(): str(n).encode() for name, n in told.items()})
