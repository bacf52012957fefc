"""The past of one contract: the very trades that were streamed, and those that would have been, as candles.

For a made market any minute can be made again, trade by trade, from seed, contract and minute. That takes
milliseconds a minute, so it is done where it matters: for whatever is streamed (kept as it is traded, so it costs
nothing later), and from an hour before anybody first looks on. What lies further back, or in a long time in which
nobody looked, is `Coarse`. Once asked for, a minute never changes. A tape's past is what it has played.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

import attrs

from trio_projectx.simulator.candles import SECOND_NS, Candle, Record, fold
from trio_projectx.simulator.coarse import Coarse
from trio_projectx.simulator.minute import Kind, Minute, Session
from trio_projectx.simulator.path import MINUTE_NS
from trio_projectx.simulator.payloads import RecordWriter, StampWriter
from trio_projectx.simulator.products import Listing
from trio_projectx.simulator.truth import TradeColumns

HOUR: Final = 60
#: Dense minutes before the first look, and the longest time without a look that is made dense afterwards.
DENSE_BEFORE: Final = 60
DENSE_AFTER: Final = 240
#: Hours lie coarse beyond this many minutes before the first look: a day more than minutes can be asked for.
HOURS_BEYOND: Final = 64 * 1440
#: Changes of the rate that are known, at 16 bytes each.
CHANGES_KEPT: Final = 65_536
_CACHED: Final = 65_536
#: Minutes whose seconds are kept when they were made again: a client asks for the newest, and for them again.
_SECONDS_CACHED: Final = 8
_EVER: Final = -(1 << 63)
_NEVER: Final = 1 << 63


class _Silent(RecordWriter):
    """Makes no texts: only the trades are wanted. The random numbers drawn are the same."""

    def price(self, ticks: int) -> str:
        return ""

    def trade(self, stamp: str, price: str, volume: int, side: int | None) -> str:
        return ""

    def trades(self, objects: object) -> str:
        return ""


class _NoStamps(StampWriter):
    def millis(self, ns: int) -> str:
        return ""


@attrs.define(slots=True, eq=False)
class Rates:
    """How much happened when: from each instant (without it) on, a rate as of `Market`.

    The last `CHANGES_KEPT` changes are known, or an eighth less; what is older than these had the first of their rates.
    """

    _since: array[int] = attrs.Factory(lambda: array("q", [_EVER]))
    _rates: array[float] = attrs.Factory(lambda: array("d", [1.0]))

    def change(self, at_ns: int, rate: float) -> None:
        """Let ``rate`` be that of everything after ``at_ns``, which is not before the last change."""
        self._since.append(at_ns)
        self._rates.append(rate)
        if len(self._since) > CHANGES_KEPT:
            del self._since[: CHANGES_KEPT // 8], self._rates[: CHANGES_KEPT // 8]
            self._since[0] = _EVER

    def copy(self) -> Rates:
        """Return the same, to be changed by itself."""
        return Rates(self._since[:], self._rates[:])

    def of(self, start_ns: int, end_ns: int) -> Iterator[tuple[int, int, float]]:
        """Yield after which and up to which instant there was which rate, for a span that includes its start."""
        for at in range(bisect_left(self._since, start_ns, 1) - 1, len(self._since)):
            begin, rate = self._since[at], self._rates[at]
            if begin >= end_ns:
                return
            end = self._since[at + 1] if at + 1 < len(self._since) else end_ns
            if begin < end:
                yield max(begin, start_ns - 1), end, rate


class Past:
    """What a contract has traded up to now, by second, minute and hour since 1970.

    ``now_ns`` of the methods is up to where the market has come: nothing after it is told.
    """

    def __init__(
        self, seed: int, listing: Listing | None, rates: Rates, now_ns: int, kept: int | None = None
    ) -> None:
        self.rates = rates
        self._kept = kept
        self.record: Record | None = None
        self.made = 0
        """Minutes made again so far: what a request costs."""
        self._seed = seed
        self._listing = listing
        self._dense: list[list[int]] = []
        self._minutes: dict[int, Candle | None] = {}
        self._hours: dict[int, Candle | None] = {}
        self._seconds: dict[tuple[int, int], dict[int, Candle]] = {}
        self._hours_from = (now_ns // MINUTE_NS - HOURS_BEYOND) // HOUR
        if listing is not None:
            facts = (seed, listing.contract_id, listing.base_ticks, listing.grid)
            self._writer = _Silent(listing.contract_id, listing.symbol_id, listing.grid, _NoStamps())
            self._coarse, self._coarse_hours = Coarse(*facts), Coarse(*facts, HOUR)

    @classmethod
    def of_tape(cls) -> Past:
        """Return the past of a tape: nothing yet."""
        past = cls(0, None, Rates(), 0)
        past.record = Record(_EVER)
        return past

    def begin_record(self, now_ns: int) -> None:
        """From ``now_ns`` (without it) on every trade will be told by `add`."""
        self.look(now_ns)
        if self.record is None:
            self.record = Record(now_ns + 1, self._kept)

    def add(self, trades: TradeColumns) -> None:
        """Keep what was traded just now."""
        if self.record is not None:
            self.record.add(trades)

    def look(self, now_ns: int) -> None:
        """Somebody looks at ``now_ns``: decide where the past is dense, if that is not decided already."""
        if self._listing is None or self.record is not None:
            return
        minute = now_ns // MINUTE_NS
        if not self._dense:
            self._dense.append([minute - DENSE_BEFORE, minute + 1])
        elif minute - self._dense[-1][1] <= DENSE_AFTER:
            self._dense[-1][1] = max(self._dense[-1][1], minute + 1)
        else:
            self._dense.append([minute - DENSE_BEFORE, minute + 1])

    def is_unmade(self, hour: int) -> bool:
        """Whether `hour` would have to make minutes again: it is better to ask for them one by one."""
        return self._listing is not None and not self._is_coarse(hour) and hour not in self._hours

    def hour(self, hour: int, now_ns: int) -> Candle | None:
        """Return the candle of an hour; None if nothing was traded in it."""
        if self._listing is not None and hour < self._hours_from:
            return self._coarse_hours.candle(hour)
        if hour in self._hours:
            return self._hours[hour]
        if self._is_coarse(hour):
            whole: Candle | None = self._coarse.candle(hour * HOUR, HOUR)
            _keep(self._hours, hour, whole)
            return whole
        whole = None
        for minute in range(hour * HOUR, hour * HOUR + HOUR):
            candle = self.minute(minute, now_ns)
            if candle is not None:
                whole = candle if whole is None else whole.merged(candle)
        if self._listing is not None and (hour + 1) * HOUR * MINUTE_NS <= now_ns:
            _keep(self._hours, hour, whole)
        return whole

    def minute(self, minute: int, now_ns: int) -> Candle | None:
        """Return the candle of a minute; None if nothing was traded in it."""
        if self.record is not None and (candle := self.record.minutes.get(minute)) is not None:
            if minute * MINUTE_NS >= self.record.from_ns:
                return candle
        elif self._listing is None:
            return None
        if minute in self._minutes:
            return self._minutes[minute]
        if minute * MINUTE_NS > now_ns:
            return None
        if not self._is_dense(minute):
            return self._coarse.candle(minute)
        candle = fold(self._trades(minute, now_ns), MINUTE_NS).get(minute)
        if (minute + 1) * MINUTE_NS <= now_ns:
            _keep(self._minutes, minute, candle)
        return candle

    def seconds(self, minute: int, now_ns: int) -> dict[int, Candle]:
        """Return the candles of those seconds of a minute in which something was traded, in order."""
        start, record = minute * MINUTE_NS, self.record
        if start > now_ns and self._listing is not None:
            return {}
        recorded_from = _NEVER if record is None else record.seconds_from_ns
        found: dict[int, Candle] = {}
        if self._listing is not None and start < recorded_from:
            found |= self._made_seconds(minute, min(start + MINUTE_NS, recorded_from), now_ns)
        if record is not None and start + MINUTE_NS > recorded_from:
            span = range(max(start, recorded_from) // SECOND_NS, (start + MINUTE_NS) // SECOND_NS)
            for at in span:
                if at in record.seconds:  # the first one may have begun before the record
                    found[at] = found[at].merged(record.seconds[at]) if at in found else record.seconds[at]
        return found

    def _made_seconds(self, minute: int, until_ns: int, now_ns: int) -> dict[int, Candle]:
        """Make the seconds of a minute again, as far as ``until_ns`` (without it): the newest are made once."""
        if (kept := self._seconds.get((minute, until_ns))) is not None:
            return kept
        upto = min(until_ns - 1, now_ns)
        rows = self._trades(minute, upto) if self._is_dense(minute) else self._coarse.trades(minute)
        seconds = fold(rows, SECOND_NS)
        if upto == until_ns - 1:
            if len(self._seconds) >= _SECONDS_CACHED:
                del self._seconds[next(iter(self._seconds))]
            self._seconds[minute, until_ns] = seconds
        return seconds

    def _is_coarse(self, hour: int) -> bool:
        """Whether no minute of ``hour`` is dense, now and for ever."""
        return bool(self._dense) and (hour + 1) * HOUR <= self._dense[0][0]

    def _is_dense(self, minute: int) -> bool:
        if self.record is not None and minute * MINUTE_NS >= self.record.from_ns:
            return True
        at = bisect_right(self._dense, minute, key=lambda span: span[0]) - 1
        return at >= 0 and minute < self._dense[at][1]

    def _trades(self, minute: int, now_ns: int) -> list[tuple[int, float, int]]:
        """Make a minute's trades again, up to ``now_ns``: stamp, price, volume."""
        assert self._listing is not None
        self.made += 1
        start = minute * MINUTE_NS
        rows: list[tuple[int, float, int]] = []
        for after, upto, rate in self.rates.of(start, start + MINUTE_NS):
            session = Session(self._listing.base_ticks)
            made = Minute(self._seed, self._writer, self._listing.base_ticks, session, rate)
            for event in made.events(minute, Kind(0)):
                if after < event.ts_ns <= min(upto, now_ns):
                    rows += [(event.ts_ns, price, volume) for price, volume, _ in event.trades]
        return rows


def _keep(cache: dict[int, Candle | None], key: int, candle: Candle | None) -> None:
    if len(cache) >= _CACHED:
        del cache[next(iter(cache))]
    cache[key] = candle
