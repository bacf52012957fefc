"""What hangs on a contract's pipeline: one outlet for each open stream."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import attrs
import trio

from trio_projectx._errors import ProtocolError, TrioProjectXError
from trio_projectx._events import Bar, BarRevised, DataEvent, Gap, TradesLate
from trio_projectx._logs import fields
from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars import BarSet
from trio_projectx.bars.mending import Known, Mended
from trio_projectx.flow.ledger import LedgerRow, TradeCounts
from trio_projectx.flow.quiet import EventClock
from trio_projectx.flow.seam import Seam, Want, nothing
from trio_projectx.flow.stream import Feed
from trio_projectx.flow.timings import Timings
from trio_projectx.market import TradeBatch

_log: Final = logging.getLogger("trio_projectx")
#: Late trades in a row after which a stream's clock is taken for poisoned; a replay after a reconnect is shorter.
_ALL_LATE: Final = 200


class TradeOutlet(Protocol):
    """Takes the valid trades of one contract, batch by batch."""

    since: int
    """The serial of the last read that does not concern this outlet: what was read before it was attached."""
    joined: int | None
    """The serial of the read at whose time its subscription was acknowledged; None before that."""
    due: int
    """Trades of batches that were taken from the channel for this outlet and that it has not had yet."""
    before: int
    """Trades received for the contract that were not for this outlet."""

    async def take(self, batch: TradeBatch, serial: int, lacks_until: int | None = None) -> None:
        """Use ``batch`` of read ``serial``; it waits only for a stream that asked the feed to (``BLOCK``).

        ``lacks_until``: trades are missing up to that stamp, behind those that came first.
        """
        ...

    @property
    def looks_at(self) -> float:
        """The time (trio's clock) at which to call `wake` if no batch comes before; inf for never."""
        ...

    def closes_at(self, clock: EventClock | None) -> float:
        """Return the time (trio's clock) at which the next bar is over; inf for never.

        ``clock`` is None while the hub is not live, or trades are on their way: then nothing may close.
        """
        ...

    async def wake(self, clock: EventClock | None, until: float) -> None:
        """Do what is due without a batch; ``until`` (trio's clock) all that was sent has been received."""
        ...

    def breaks(self, serial: int) -> None:
        """After read ``serial`` trades are missing."""
        ...

    async def tell_gap(self, gap: Gap) -> None:
        """The trades that were missing (see `breaks`) are over; what comes from now on is behind the gap."""
        ...

    def fail(self, error: TrioProjectXError) -> None:
        """Tell the reader that no more will come."""
        ...

    def end(self) -> None:
        """Tell the reader that we closed."""
        ...

    def rows(self, contract_id: str, counts: TradeCounts) -> Iterable[LedgerRow]:
        """Return the ledger rows of this outlet."""
        ...


def _nobody(event: DataEvent) -> None:
    """Nobody is told."""


@attrs.define(slots=True, eq=False)
class BarOutlet:
    """The builders and the stream of one ``open_bars``."""

    bars: BarSet
    feed: Feed[Bar | BarRevised | Gap]
    before: int
    since: int = -1
    joined: int | None = None
    due: int = 0
    builder_failed: int = 0
    """Trades of the batch that the builders refused (volumes beyond int64), and of all that came after it."""
    update_every_s: float | None = None
    """Bars that are forming are shown with every batch that changed them, but not more often; None: never."""
    quiet_s: float = 0.0
    """How much longer than the lateness the clock waits before it closes a bar: trades may be on the line."""
    skip_first: bool = False
    tell_events: bool = False
    tell: Callable[[DataEvent], None] = _nobody
    want: Want = nothing
    """Called with a timeframe and the span of bars that are to be read again from history."""
    seam: Seam | None = None
    timings: Timings = attrs.field(factory=Timings)
    """Where bars that have closed are counted."""
    _next_update: float = -math.inf
    _has_changed: bool = False
    _steady: bool = False
    _broken: bool = False
    _missing_after: int | None = None
    _missed_until: int = 0
    """The end of the last gap."""
    _given: dict[Timeframe, int] = attrs.field(factory=dict[Timeframe, int])
    """The start of the last bar that was given, of each timeframe."""
    _late: tuple[int, int] = (0, 0)
    _late_in_a_row: tuple[int, int] = (0, 0)
    """For the finest timeframe, and for the coarsest."""

    async def take(self, batch: TradeBatch, serial: int, lacks_until: int | None = None) -> None:
        """Build; a batch that cannot be built breaks this stream only, and is counted."""
        self.due -= len(batch)
        if self._broken:
            self.builder_failed += len(batch)
            return
        first, was_steady = batch.ts_event[0], self._steady
        self._note_joining(serial, first)
        if lacks_until is not None:
            self._note_lack(lacks_until if was_steady else max(lacks_until, first))
        try:
            closed = self.bars.update(batch)
        except TrioProjectXError as exc:
            self._broken = True  # no bar is made of what comes without this batch
            self.builder_failed += len(batch)
            self.feed.fail(exc)
            return
        self._has_changed = True
        await self._give(closed)
        self._watch_lateness(len(batch), batch.ts_recv)

    @property
    def looks_at(self) -> float:
        """When the next look at forming bars is due."""
        is_due = self._has_changed and self.update_every_s is not None
        return self._next_update if is_due and not self._waits_for_history else math.inf

    def closes_at(self, clock: EventClock | None) -> float:
        """Return when the next quiet bar closes."""
        closing = None if self._broken else self.bars.due_ns
        return math.inf if clock is None or closing is None else clock.time_of(closing) + self.quiet_s

    async def wake(self, clock: EventClock | None, until: float) -> None:
        """Close the bars that are over, and show those that are forming."""
        closed: list[Bar] = []
        while self.closes_at(clock) <= until and (due := self.bars.due_ns) is not None:
            closed += self.bars.advance(due)
        self._has_changed |= bool(closed)
        await self._give(closed)

    def breaks(self, serial: int) -> None:
        """Mark the bars that may have a hole."""
        self._missing_after = serial
        if was_there(self.joined, serial):
            self.bars.rejoin()

    async def tell_gap(self, gap: Gap) -> None:
        """Put it into the stream, if its reader wants to be told."""
        since, self._missing_after = self._missing_after, None
        if not was_there(self.joined, since):
            return
        self._missed_until = gap.end
        if self._steady:
            self.bars.rejoin()  # a trade that was held since before it may have come meanwhile
            self.bars.covered(gap.end)  # the next trade may be hours away, and its bar is whole
        if self.tell_events:
            await self._deliver((gap,))
        for frame in self.bars.timeframes:
            if not isinstance(frame, BarKind):
                # What is missing may be out of order by so much, as what came may.
                late = self.bars.lateness_ns
                self.want(frame, *self.bars.mender.touched(frame, gap.start - late, gap.end + late))

    def begin(self, found: Mapping[Timeframe, Sequence[Known]]) -> None:
        """Put the history before everything live (see `Seam`)."""
        seam = self.seam
        if seam is None or seam.held is None:
            return
        lead = seam.lead(self.bars, found)
        self._given = {bar.timeframe: bar.start for bar in lead} | self._given
        if seam.last_end is not None:
            # A trade that came for one of these bars now would open it once more.
            seam.held += self.bars.settle(seam.last_end)
        self.feed.lead([*lead, *seam.take_held()])
        seam.ask(self.bars, self.want)

    async def mend(self, frame: Timeframe, known: Sequence[Known], low: int, high: int) -> Mended:
        """Put what the service's bars say of ``[low, high)`` in, and tell what has changed."""
        closed = self.bars.settle(high)
        mended = self.bars.mender.mend(frame, known, low, high)
        await self._give(closed)
        if self.tell_events:
            # One that was skipped, for it was partial, is new to the reader.
            revised = mended.revised
            await self._deliver([attrs.evolve(r, is_new=True) if self.skip_first else r for r in revised])
        else:
            await self._deliver(self._in_time(mended.revised))
        return mended

    def _in_time(self, revised: Sequence[BarRevised]) -> list[Bar]:
        """Return the bars that were not given and come before any later one was: they were never missing."""
        found = [each.bar for each in revised if each.is_new or self.skip_first]
        found = [bar for bar in found if bar.start > self._given.get(bar.timeframe, bar.start)]
        self._given.update((bar.timeframe, bar.start) for bar in found)
        return found

    async def _deliver(self, items: Sequence[Bar | BarRevised | Gap]) -> None:
        if not items:
            return
        if self.seam is None or not self.seam.hold(items):
            self.begin({})  # where there is no room to wait for the history, it comes too late
            await self.feed.deliver(items)

    async def _give(self, closed: Sequence[Bar]) -> None:
        for event in self.bars.take_told():
            self.tell(event)
            if event.trades and not isinstance(event.timeframe, BarKind):
                # The service has had them.
                span = self.bars.mender.touched(event.timeframe, event.first_ts, event.last_ts)
                self.want(event.timeframe, *span)
        self.timings.bars += len(closed)
        shown = [bar for bar in closed if not (self.skip_first and bar.partial)]
        self._given.update((bar.timeframe, bar.start) for bar in shown)
        items: list[Bar | BarRevised | Gap] = [*shown]
        revised = self.bars.take_revised()
        if self.tell_events:
            items += [each for each in revised if not (self.skip_first and each.bar.partial)]
        if items:
            await self._deliver(items)
        if self.update_every_s is not None and self._has_changed:
            self._show_forming(self.update_every_s)

    @property
    def _waits_for_history(self) -> bool:
        return self.seam is not None and self.seam.held is not None

    def _show_forming(self, every_s: float) -> None:
        now = trio.current_time()
        if now < self._next_update or self._waits_for_history:
            return
        self._next_update, self._has_changed = now + every_s, False
        for timeframe in self.bars.timeframes:
            bar = self.bars.forming(timeframe)
            if bar is not None and not (self.skip_first and bar.partial):
                self.feed.offer_latest(bar)

    def _note_joining(self, serial: int, first_ts: int) -> None:
        """Up to the first batch after the acknowledgement, bars may have holes: they are ``partial``.

        What comes before it is left over from an earlier subscription; between the two the hub sent nothing.
        """
        if not self._steady:
            self.bars.rejoin()
            if self._missed_until > first_ts:
                self.bars.covered(self._missed_until)  # the trades of this batch are sent again
            self._steady = self.joined is not None and serial > self.joined
            if self._steady and self.seam is not None:
                self.seam.first_ts = first_ts
                self.seam.ask(self.bars, self.want)

    def _note_lack(self, until: int) -> None:
        """What came first had been sent to others already, and between it and ``until`` nothing was sent to us."""
        if until <= self._missed_until:
            return  # a gap was told
        self._missed_until = until
        self.bars.rejoin()
        self.bars.covered(until)
        if self.seam is not None:
            self.seam.until_ts = until
            self.seam.ask(self.bars, self.want)

    def _watch_lateness(self, trades: int, ts_recv: int) -> None:
        """Tell it when everything is late: a stamp in the future has closed all bars up to it, and no bar comes."""
        late, before, in_a_row = self.bars.late(), self._late, self._late_in_a_row
        if late == before and in_a_row == (0, 0):
            return
        finest, coarsest = (
            count + trades if now - was == trades else 0
            for count, now, was in zip(in_a_row, late, before, strict=True)
        )
        self._late, self._late_in_a_row = late, (finest, coarsest)
        frame = self.bars.finest
        if in_a_row[0] < _ALL_LATE <= finest and frame is not None:
            _log.warning(
                "%s: the last %s trades came too late for bars of %s",
                self.feed.pipe.name,
                finest,
                frame,
                extra=fields(
                    "trades_late", contract=self.bars.contract_id, timeframe=str(frame), count=finest
                ),
            )
            self.tell(TradesLate(self.bars.contract_id, frame, finest, ts_recv))
        if coarsest >= _ALL_LATE:
            self.feed.fail(
                ProtocolError(
                    f"the last {coarsest} trades are older than bars that were closed: a trade before "
                    "them had a stamp in the future; open the stream again"
                )
            )

    def fail(self, error: TrioProjectXError) -> None:
        """Break the stream, behind what waits for its history."""
        self.begin({})
        self.feed.fail(error)

    def end(self) -> None:
        """End the stream, behind what waits for its history."""
        self.begin({})
        self.feed.end()

    def rows(self, contract_id: str, counts: TradeCounts) -> Iterable[LedgerRow]:
        """Return one row for each timeframe."""
        for timeframe in self.bars.timeframes:
            mine = self.bars.counts(timeframe)
            yield LedgerRow(
                contract_id=contract_id,
                timeframe=timeframe,
                received=counts.received,
                before=self.before,
                in_bars=mine.in_bars,
                forming=mine.forming,
                late=mine.late,
                rejected=counts.rejected,
                builder_failed=self.builder_failed + mine.failed,
                in_flight=counts.in_flight + self.due,
                duplicates=counts.duplicates,
                outside=mine.outside,
            )


def was_there(joined: int | None, missing_after: int | None) -> bool:
    """Whether a subscription was acknowledged before trades were missing; ``missing_after`` None: none are."""
    return joined is not None and missing_after is not None and joined <= missing_after
