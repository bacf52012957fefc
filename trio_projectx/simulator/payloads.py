"""The market's records as text, exactly in the form of the live wire (GATEWAY.md section 2.3).

Templates rather than an encoder: ids are checked to need no escaping, and a simulator has to be a good deal
faster than the client it feeds.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from trio_projectx.market.grid import PriceGrid

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
RECORD_END: Final = "\x1e"


class StampWriter:
    """Writes int64 ns as ISO 8601 with ``+00:00``; the text of the last second is kept."""

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def _fraction(self, ns: int) -> int:
        second, fraction = divmod(ns, 1_000_000_000)
        if second != self._second:
            instant = _EPOCH + datetime.timedelta(seconds=second)
            self._second, self._prefix = second, instant.strftime("%Y-%m-%dT%H:%M:%S.")
        return fraction

    def millis(self, ns: int) -> str:
        """Return the stamp with 3 digits (a trade's); what is finer is cut."""
        fraction = self._fraction(ns)
        return f"{self._prefix}{fraction // 1_000_000:03d}+00:00"

    def ticks(self, ns: int) -> str:
        """Return the stamp with 7 digits (``lastUpdated``, depth); what is finer than 100 ns is cut."""
        fraction = self._fraction(ns)
        return f"{self._prefix}{fraction // 100:07d}+00:00"

    def exact(self, ns: int) -> str:
        """Return the stamp with 3, 7 or 9 digits: the first of them that loses nothing."""
        if ns % 1_000_000 == 0:
            return self.millis(ns)
        if ns % 100 == 0:
            return self.ticks(ns)
        fraction = self._fraction(ns)
        return f"{self._prefix}{fraction:09d}+00:00"


def number(value: float) -> str:
    """Return the shortest JSON number that reads back as ``value``, whole ones without a point."""
    return repr(value).removesuffix(".0")


@attrs.frozen(slots=True)
class QuoteFields:
    """The fields of one sparse quote, prices in ticks; None = not in this record."""

    ts_ns: int
    bid: int | None
    ask: int | None
    last: int | None = None
    session: tuple[int, int, int, int] | None = None
    """Open, high and low in ticks, and the session's volume."""


@attrs.frozen(slots=True)
class DepthRow:
    """One entry of a depth list: ``kind`` is a DomType (GATEWAY.md 1.5), ``ticks`` its price in ticks."""

    ts_ns: int
    kind: int
    ticks: int
    volume: int
    current_volume: int


@attrs.define(slots=True, eq=False)
class RecordWriter:
    """Writes the records of one contract; each returned text is one record with its 0x1e."""

    contract_id: str
    symbol_id: str
    grid: PriceGrid
    stamps: StampWriter = attrs.Factory(StampWriter)

    def _head(self, target: str) -> str:
        return f'{{"type":1,"target":"{target}","arguments":["{self.contract_id}",'

    def traded_at(self, ns: int) -> int:
        """Cut a trade's time to what its stamp shows: the truth of a trade is what can be read of it."""
        return ns - ns % 1_000_000

    def trade_stamp(self, ns: int) -> str:
        """Return the stamp of a trade of a made market."""
        return self.stamps.millis(ns)

    def price(self, ticks: int) -> str:
        """Return the price of ``ticks`` ticks as on the wire."""
        return number(self.grid.price(ticks))

    def trade(self, stamp: str, price: str, volume: int, side: int | None) -> str:
        """Return one trade object; ``side`` None leaves ``type`` out."""
        kind = "" if side is None else f'"type":{side},'
        return (
            f'{{"symbolId":"{self.symbol_id}","price":{price},"timestamp":"{stamp}",{kind}'
            f'"volume":{volume},"contractId":"{self.contract_id}"}}'
        )

    def trades(self, objects: Iterable[str]) -> str:
        """Return the record of a list of trade objects."""
        return f"{self._head('GatewayTrade')}[{','.join(objects)}]]}}{RECORD_END}"

    def quote(self, quote: QuoteFields) -> str:
        """Return the record of one sparse quote."""
        fields = [f'"symbol":"{self.symbol_id}"']
        for name, ticks in (("lastPrice", quote.last), ("bestBid", quote.bid), ("bestAsk", quote.ask)):
            if ticks is not None:
                fields.append(f'"{name}":{self.price(ticks)}')
        if quote.session is not None:
            fields.append(self._session(quote.last, quote.session))
        fields.append(f'"lastUpdated":"{self.stamps.ticks(quote.ts_ns)}"')
        fields.append(f'"timestamp":"{self.stamps.millis(quote.ts_ns)}","contract":"{self.contract_id}"')
        return f"{self._head('GatewayQuote')}{{{','.join(fields)}}}]}}{RECORD_END}"

    def _session(self, last: int | None, session: tuple[int, int, int, int]) -> str:
        opened, high, low, volume = session
        change = self.grid.price((opened if last is None else last) - opened)
        percent = round(100 * change / self.grid.price(opened), 2)
        return (
            f'"change":{number(change)},"changePercent":{number(percent)},"open":{self.price(opened)},'
            f'"high":{self.price(high)},"low":{self.price(low)},"volume":{volume}'
        )

    def depth(self, rows: Sequence[DepthRow]) -> str:
        """Return the record of a list of depth entries."""
        stamp, price = self.stamps.ticks, self.price
        entries = [
            f'{{"timestamp":"{stamp(row.ts_ns)}","type":{row.kind},"price":{price(row.ticks)},'
            f'"volume":{row.volume},"currentVolume":{row.current_volume}}}'
            for row in rows
        ]
        return f"{self._head('GatewayDepth')}[{','.join(entries)}]]}}{RECORD_END}"
