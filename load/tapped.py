"""What each stream of a random life was offered, item by item, and whether its reader got what the policy says.

The log is written where items go into a buffer; the rules are written down here a second time, in the plainest way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

import trio_projectx as px
from trio_projectx._timeframe import BarKind
from trio_projectx.flow.buffers import Buffer
from trio_projectx.flow.stream import Feed


@attrs.define
class Offered:
    """All that one stream was offered, in order."""

    buffer: Buffer[Any]
    lead: list[Any] = attrs.Factory(list)
    puts: list[Any] = attrs.Factory(list)
    looks: list[Any] = attrs.Factory(list)

    def __len__(self) -> int:
        return len(self.lead) + len(self.puts) + len(self.looks)


@attrs.define
class Tap:
    """The logs, by the identity of their buffers (which they keep alive)."""

    logs: dict[int, Offered] = attrs.Factory(dict)

    def of(self, stream: px.Stream[Any]) -> Offered:
        """Return the log of a stream."""
        return self._log(stream._pipe.buffer)

    def _log(self, buffer: Buffer[Any]) -> Offered:
        return self.logs.setdefault(id(buffer), Offered(buffer))


@contextmanager
def tapped() -> Iterator[Tap]:
    """Log what goes into buffers, for the length of the block."""
    tap = Tap()
    put, lead, put_latest, overflow = Buffer.put, Buffer.lead, Buffer.put_latest, Feed._overflow

    def log_put(self: Buffer[Any], item: Any) -> None:
        tap._log(self).puts.append(item)
        put(self, item)

    def log_lead(self: Buffer[Any], items: Sequence[Any]) -> None:
        tap._log(self).lead.extend(items)
        lead(self, items)

    def log_latest(self: Buffer[Any], item: Any) -> None:
        tap._log(self).looks.append(item)
        put_latest(self, item)

    def log_overflow(self: Feed[Any], item: Any) -> None:
        tap._log(self.pipe.buffer).puts.append(item)
        overflow(self, item)

    Buffer.put, Buffer.lead, Buffer.put_latest = log_put, log_lead, log_latest  # type: ignore[method-assign]
    Feed._overflow = log_overflow  # type: ignore[method-assign]
    try:
        yield tap
    finally:
        Buffer.put, Buffer.lead, Buffer.put_latest = put, lead, put_latest  # type: ignore[method-assign]
        Feed._overflow = overflow  # type: ignore[method-assign]


def wrong_of(log: Offered, got: Sequence[Any], *, is_whole: bool, is_loose: bool = False) -> str | None:
    """Say what is wrong with ``got``.

    ``is_whole``: all that was offered has been read, or told to be missing. ``is_loose``: the policy may have been
    another for a while.
    """
    looks = [item for item in got if isinstance(item, px.Bar) and not item.closed]
    rest = [item for item in got if not (isinstance(item, px.Bar) and not item.closed)]
    if found := _wrong_looks(got) or _not_in_order(looks, log.looks):
        return f"looks: {found}"
    count = min(len(log.lead), len(rest))
    if any(one is not other for one, other in zip(rest[:count], log.lead[:count], strict=True)):
        return "what leads is another"
    rest = rest[count:]
    if is_loose or log.buffer.policy is px.Overflow.CONFLATE:
        return _wrong_conflated(log, rest, is_whole=is_whole)
    return _wrong_walk(log, rest, is_whole=is_whole)


def _wrong_walk(log: Offered, got: Sequence[Any], *, is_whole: bool) -> str | None:
    at = 0
    for number, item in enumerate(got):
        if isinstance(item, px.Dropped):
            gone = log.puts[at : at + item.count]
            if len(gone) < item.count:
                return f"item {number}: {item}, and only {len(gone)} more were offered"
            if number and isinstance(got[number - 1], px.Dropped):
                return f"item {number}: two marks in a row, {got[number - 1]} and {item}"
            if (found := span_of(log.buffer, gone)) != (item.first_ts, item.last_ts):
                return f"item {number}: {item}, and what is missing there is of {found}"
            at += item.count
        elif at >= len(log.puts) or item is not log.puts[at]:
            wanted = log.puts[at] if at < len(log.puts) else None
            return f"item {number} is {item}, and should be {wanted}"
        else:
            at += 1
    if is_whole and at != len(log.puts):
        return f"{len(log.puts) - at} of {len(log.puts)} were neither given nor told"
    return None


def span_of(buffer: Buffer[Any], items: Sequence[Any]) -> tuple[int, int]:
    """Return the least and greatest instant of items, as a mark is to tell them."""
    firsts = [buffer.stamp(item) for item in items]
    lasts = [item.end if isinstance(item, px.Gap) else buffer.stamp(item) for item in items]
    return min(firsts), max(lasts)


def _not_in_order(some: Sequence[Any], every: Sequence[Any]) -> str | None:
    """Whether ``some`` are of ``every``, each once, in an order that is theirs for each timeframe."""
    place = {id(item): number for number, item in enumerate(every)}
    last: dict[object, int] = {}
    for item in some:
        if id(item) not in place:
            return f"{item} was never offered"
        if place[id(item)] <= last.get(item.timeframe, -1):
            return f"{item} came behind a younger one"
        last[item.timeframe] = place[id(item)]
    return None


def _wrong_looks(got: Sequence[Any]) -> str | None:
    """Whether bars and looks at them are in the order of time, for each timeframe."""
    closed: dict[object, int] = {}
    for item in got:
        if isinstance(item, px.Bar) and not isinstance(item.timeframe, BarKind):
            if not item.closed and item.end <= closed.get(item.timeframe, -1):
                return f"a look at {item} came behind a bar that closed"
            if item.closed and item.end <= closed.get(item.timeframe, -1):
                return f"{item} came behind a later one"
            if item.closed:
                closed[item.timeframe] = max(item.end, closed.get(item.timeframe, -1))
    return None


def _wrong_conflated(log: Offered, got: Sequence[Any], *, is_whole: bool) -> str | None:
    key, place = log.buffer.key, {id(item): number for number, item in enumerate(log.puts)}
    last: dict[object, int] = {}
    highest, told = -1, 0
    gaps = [number for number, item in enumerate(log.puts) if isinstance(item, px.Gap)]
    for item in got:
        if isinstance(item, px.Dropped):
            told += item.count
            continue
        at = place.get(id(item))
        if at is None:
            return f"{item} was never offered"
        if at <= last.get(key(item), -1):
            return f"{item} came behind a younger one of its key"
        last[key(item)] = at
        if any(at < gap < highest for gap in gaps):
            return f"{item} came from the wrong side of a gap"
        highest = max(highest, at)
    if is_whole:
        final: dict[object, int] = {}
        for number, item in enumerate(log.puts):
            final[key(item)] = number
        lost = [log.puts[at] for k, at in final.items() if last.get(k) != at]
        if len(lost) > told:
            return f"{len(lost)} newest states were not given, {told} told: {lost[:2]}"
    return None
