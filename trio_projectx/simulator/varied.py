"""The market's records in every form that the service, its documentation or its users have shown.

The truth of a market does not depend on it but for the digits of the stamps (`traded_at`): prices, volumes,
sides and order are those of the live form, so that a client can be held against one and the same market in
both. Forms are drawn from the seed and from what is written alone, hence the same on every run. Sources:
GATEWAY.md 2.3 and 2.5.
"""

from __future__ import annotations

import datetime
import zlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import attrs

from trio_projectx.simulator.payloads import RECORD_END, DepthRow, QuoteFields, RecordWriter, number

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND: Final = 1_000_000_000
#: Digits of a trade's stamp, one choice for all trades of a second: they stay in order. 7 is .NET's finest.
_DIGITS: Final = (0, 3, 3, 3, 5, 6, 7, 7)
_UNITS_NS: Final = {0: _SECOND, 3: 1_000_000, 5: 10_000, 6: 1_000, 7: 100}
_ZONES: Final = ("+00:00", "+00:00", "+00:00", "Z", "Z", "-05:00")
_OFFSETS_S: Final = {"-05:00": -5 * 3600}
_BEST_ASK, _BEST_BID, _RESET, _NEW_BEST_BID, _NEW_BEST_ASK = 3, 4, 6, 9, 10


def stamp(ns: int, digits: int, zone: str) -> str:
    """Return int64 ns as ISO 8601 with ``digits`` of a fraction (the rest is cut) in ``zone``."""
    second, fraction = divmod(ns, _SECOND)
    instant = _EPOCH + datetime.timedelta(seconds=second + _OFFSETS_S.get(zone, 0))
    shown = f".{f'{fraction:09d}'[:digits]}" if digits else ""
    return f"{instant:%Y-%m-%dT%H:%M:%S}{shown}{zone}"


def scientific(value: float) -> str:
    """Return ``value`` as JSON with an exponent: ``5e-7``, ``2.954725e4``; it reads back exactly."""
    sign, digits, _ = Decimal(repr(value)).normalize().as_tuple()
    first, *rest = map(str, digits)
    mantissa = f"{first}.{''.join(rest)}" if rest else first
    return f"{'-' * sign}{mantissa}e{Decimal(repr(value)).normalize().adjusted()}"


def padded(value: float, places: int) -> str:
    """Return ``value`` with at least ``places`` decimals: ``6335.250000000``; it reads back exactly."""
    decimal = Decimal(repr(value))
    exponent = decimal.as_tuple().exponent
    assert isinstance(exponent, int)
    return f"{decimal:.{max(places, -exponent)}f}"


@attrs.define(slots=True, eq=False)
class VariedWriter(RecordWriter):
    """Writes what `RecordWriter` writes, in one form or another."""

    seed: int = 0

    def traded_at(self, ns: int) -> int:
        """Cut a trade's time to the digits that its stamp will have: the truth is what can be read."""
        return ns - ns % _UNITS_NS[self._digits(ns)]

    def trade_stamp(self, ns: int) -> str:
        """Return the stamp of a trade: 0, 3, 5, 6 or 7 digits; +00:00, Z or -05:00."""
        return stamp(ns, self._digits(ns), _ZONES[self._draw("zone", ns) % len(_ZONES)])

    def price(self, ticks: int) -> str:
        """Return the price of ``ticks`` ticks: short, with a point, with zeros, or with an exponent."""
        value = self.grid.price(ticks)
        match self._draw("price", ticks) % 6:
            case 0:
                return padded(value, 1)
            case 1:
                return padded(value, 9)
            case 2:
                return scientific(value)
            case _:
                return number(value)

    def trade(self, stamp: str, price: str, volume: int, side: int | None) -> str:
        """Return one trade object; its ids may be null or missing, as in the documentation."""
        ids = (f'"symbolId":"{self.symbol_id}"', f'"contractId":"{self.contract_id}"')
        fields = [f'"price":{price}', f'"timestamp":"{stamp}"', f'"volume":{volume}']
        if side is not None:
            fields.insert(2, f'"type":{side}')
        form = self._draw("trade", stamp, price, volume) % 8
        if form > 0:
            fields.insert(0, ids[0] if form > 1 else '"symbolId":null')
        if form > 3:
            fields.append(ids[1] if form > 4 else '"contractId":null')
        return f"{{{','.join(fields)}}}"

    def trades(self, objects: Iterable[str]) -> str:
        """Return the record of some trades: a list, a list with nulls in it, or the one trade by itself."""
        entries = list(objects)
        form = self._draw("trades", *entries) % 8
        if form == 0 and len(entries) == 1:
            return f"{self._head('GatewayTrade')}{entries[0]}]}}{RECORD_END}"
        if form == 1:
            entries.insert(self._draw("null", *entries) % (len(entries) + 1), "null")
        return super().trades(entries)

    def quote(self, quote: QuoteFields) -> str:
        """Return a sparse quote: what is not in it is missing or null."""
        known = [("symbol", f'"{self.symbol_id}"')]
        known += [
            (name, "null" if ticks is None else self.price(ticks))
            for name, ticks in (("lastPrice", quote.last), ("bestBid", quote.bid), ("bestAsk", quote.ask))
        ]
        draw = self._draw("quote", quote.ts_ns, quote.bid, quote.ask, quote.last)
        fields = [
            f'"{name}":{value}' for at, (name, value) in enumerate(known) if value != "null" or draw >> at & 1
        ]
        if quote.session is not None:
            fields.append(self._session(quote.last, quote.session))
        elif draw & 16:
            fields.append('"symbolName":null,"change":null,"open":null,"volume":null')
        updated = stamp(quote.ts_ns, _DIGITS[draw % len(_DIGITS)], _ZONES[draw % len(_ZONES)])
        fields.append(f'"lastUpdated":"{updated}"')
        if draw & 96:
            told = f'"{stamp(quote.ts_ns, 3, "Z")}"' if draw & 32 else "null"
            fields.append(f'"timestamp":{told}')
        return f"{self._head('GatewayQuote')}{{{','.join(fields)}}}]}}{RECORD_END}"

    def depth(self, rows: Sequence[DepthRow]) -> str:
        """Return a record of the book: now and then a single entry, other pointers, or a reset first."""
        if rows[0].kind == _RESET:
            return super().depth(rows)
        draw = self._draw("depth", *((row.ts_ns, row.kind, row.ticks, row.volume) for row in rows))
        if draw % 5 == 0:
            renamed = {_BEST_ASK: _NEW_BEST_ASK, _BEST_BID: _NEW_BEST_BID}
            rows = [attrs.evolve(row, kind=renamed.get(row.kind, row.kind)) for row in rows]
        if draw % 64 == 1:
            return super().depth([DepthRow(rows[0].ts_ns, _RESET, rows[0].ticks, 0, 0), *rows])
        text = super().depth(rows)
        if len(rows) == 1 and draw % 4 == 2:
            return text.replace("[{", "{").replace("}]]", "}]")
        return text

    def _digits(self, ns: int) -> int:
        return _DIGITS[self._draw("digits", ns // _SECOND) % len(_DIGITS)]

    def _draw(self, *what: object) -> int:
        """Return a number that depends on ``what``, the contract and the seed, and on nothing else."""
        return zlib.crc32(repr((self.seed, self.contract_id, what)).encode()) >> 3
