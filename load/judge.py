"""Holds what a stream brought against the simulator's truth.

Nothing may be lost (but in a gap that was told), doubled, moved or invented.
"""

from __future__ import annotations

import itertools
import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import attrs
import pyarrow as pa

import trio_projectx as px

_ROW = struct.Struct("<qdqb")


class Unsound(AssertionError):
    """What came cannot be explained by the truth and the gaps that were told."""


@attrs.define
class Received:
    """The trades of one stream of ``open_trades(..., events=True)``, as packed rows, and where its gaps stood."""

    rows: bytearray = attrs.Factory(bytearray)
    gaps: list[tuple[int, int, int]] = attrs.Factory(list)
    """How many trades had come before it, its start and its end."""
    last_ts: int = 0

    def __len__(self) -> int:
        return len(self.rows) // _ROW.size

    def take(self, item: px.Trade | px.Gap) -> bool:
        """Note an item; tell whether it was a trade."""
        if isinstance(item, px.Gap):
            self.gaps.append((len(self), item.start, item.end))
            return False
        self.rows += _ROW.pack(item.ts_event, item.price, item.volume, item.side)
        self.last_ts = item.ts_event
        return True


@attrs.frozen
class Sound:
    """What `judge` found to be in order."""

    trades: int
    missing: int
    """Trades of the truth that did not come, each inside a gap that was told."""
    gaps: int


def packed(truth: pa.Table) -> bytes:
    """Return the truth as packed rows."""
    columns = (truth[name].to_pylist() for name in ("ts_event", "price", "volume", "side"))
    return b"".join(map(_ROW.pack, *columns))


def judge(received: Received, truth: pa.Table) -> Sound:
    """Explain ``received`` by ``truth`` and the gaps, whole: each run between two gaps is a run of the truth.

    :raises Unsound: if that cannot be done, with what is too much and what is missing.
    """
    true = packed(truth)
    cuts = [before for before, _, _ in received.gaps]
    at, missing = 0, 0
    for number, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(received)], strict=True)):
        run = bytes(received.rows[begin * _ROW.size : end * _ROW.size])
        if not run:
            continue
        found = _find(true, run, at)
        if found is None:
            raise Unsound(_difference(true, run, at, number))
        if number:
            told = [(start, end) for before, start, end in received.gaps if before == begin]
            missing += _check_told(true[at * _ROW.size : found * _ROW.size], told)
        at = found + (end - begin)
    return Sound(len(received), missing, len(received.gaps))


def _find(true: bytes, run: bytes, at: int) -> int | None:
    """Return the number of the first row from ``at`` on with which ``run`` stands in the truth."""
    offset = at * _ROW.size
    while (offset := true.find(run, offset)) >= 0:
        if offset % _ROW.size == 0:
            return offset // _ROW.size
        offset += 1
    return None


def _check_told(skipped: bytes, spans: Sequence[tuple[int, int]]) -> int:
    rows = list(_ROW.iter_unpack(skipped))
    for row in rows:
        if not any(start <= row[0] <= end for start, end in spans):
            raise Unsound(f"{row} did not come, and stands in none of the gaps told there: {spans}")
    return len(rows)


def _difference(true: bytes, run: bytes, at: int, number: int) -> str:
    """Say how a run differs from the truth where it should stand."""
    came, rows = list(_ROW.iter_unpack(run)), list(_ROW.iter_unpack(true[at * _ROW.size :]))
    stamps = array("q", (row[0] for row in came))
    span = [row for row in rows if min(stamps) <= row[0] <= max(stamps)]
    extra, lost = Counter(came) - Counter(span), Counter(span) - Counter(came)
    falls = sum(later < earlier for earlier, later in itertools.pairwise(stamps))
    return (
        f"run {number} ({len(came)} trades) is no run of the truth: {extra.total()} too many (the first: "
        f"{list(extra)[:3]}), {lost.total()} missing between its ends ({list(lost)[:3]}), stamps fall {falls} times"
    )


def judge_bars(items: Iterable[px.Bar | px.BarRevised | px.Gap], truth: pa.Table) -> int:
    """Hold one-second bars against the truth: one that says it is whole is; return how many such there were.

    :raises Unsound: if one is not, or is older than the one before it.
    """
    bars = [item for item in items if isinstance(item, px.Bar)]
    wanted = _bars_of(truth)
    whole = [bar for bar in bars if not bar.partial]
    for bar in whole:
        made = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades)
        if made != wanted.get(bar.start):
            raise Unsound(f"the bar of {bar.start} is {made}, and should be {wanted.get(bar.start)}")
    for earlier, later in itertools.pairwise(bars):
        if later.start <= earlier.start:
            raise Unsound(f"the bar of {later.start} came behind that of {earlier.start}")
    return len(whole)


def _bars_of(truth: pa.Table) -> dict[int, tuple[float, float, float, float, int, int]]:
    """Return one-second bars by brute force, by their start."""
    seconds: dict[int, list[tuple[int, float, int]]] = {}
    columns = (truth[name].to_pylist() for name in ("ts_event", "price", "volume"))
    for row in sorted(zip(*columns, strict=True), key=lambda row: row[0]):
        seconds.setdefault(row[0] - row[0] % 10**9, []).append(row)
    return {start: _bar_of(rows) for start, rows in seconds.items()}


def _bar_of(rows: list[tuple[int, float, int]]) -> tuple[float, float, float, float, int, int]:
    prices = [price for _, price, _ in rows]
    return prices[0], max(prices), min(prices), prices[-1], sum(row[2] for row in rows), len(rows)
