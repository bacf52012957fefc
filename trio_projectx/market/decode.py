"""Records to market data: a fast way for the usual text, an exact way for every other.

The fast way (`Decoder.bulk`) decodes the records of a text straight into typed structs and gives up on the
first thing it does not expect; the text then goes through `trio_projectx.signalr`, record by record, and each
invocation through `Decoder.invocation`, which looks at every field by itself, so that one bad trade does not
take its neighbours with it.

Both give the same `Decoded` for the same records, with one harmless difference: a number that no float holds
(``1e400``) in a field that is not read is a broken record to the exact way, and none to the fast one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import msgspec

from trio_projectx.market.exact import exact_quote, exact_trade
from trio_projectx.market.reasons import Reason
from trio_projectx.market.wire import (
    DEPTH,
    LOGOUT,
    QUOTE,
    TRADE,
    USER,
    DepthRecord,
    LooseRecord,
    LooseTradeRecord,
    QuoteRecord,
    Record,
    TradeRecord,
    WireQuote,
    WireTrade,
)
from trio_projectx.signalr.codec import is_heavy

if TYPE_CHECKING:
    from trio_projectx.signalr import JsonValue

#: Characters above which a text is looked at as a whole first: what is shorter cannot come to much.
_LONG: Final = 1 << 19
_PING: Final = b'{"type":6}'
_TRADE, _QUOTE, _DEPTH, _LOGOUT = (name.lower() for name in (TRADE, QUOTE, DEPTH, LOGOUT))
_USER: Final = frozenset(name.lower() for name in USER)
_NO_ROUTE: Final = "arguments: not a contract id and data"
_Kind: TypeAlias = tuple[str, str | None, Reason]


@attrs.frozen(slots=True)
class Refusal:
    """``count`` trades (or quote fields) of one contract that have not the shape of the wire.

    ``contract_id`` is the routing id, None if that itself could not be read. ``detail`` says where the first
    of them was wrong; it holds names and JSON types, nothing that the other side wrote.
    """

    target: str
    contract_id: str | None
    reason: Reason
    detail: str
    count: int = 1


@attrs.frozen(slots=True)
class Decoded:
    """What some records held. Each trade entry of them is in ``trades``, ``refusals`` or ``null_entries``."""

    trades: Mapping[str, list[WireTrade]] = attrs.Factory(dict[str, list[WireTrade]])
    """The trades by routing contract id, those of a contract in order of arrival; no list is empty."""
    quotes: Sequence[tuple[str, WireQuote]] = attrs.Factory(list[tuple[str, WireQuote]])
    """Routing contract id and quote, in order of arrival."""
    refusals: Sequence[Refusal] = attrs.Factory(list[Refusal])
    """What was refused, summed up by target, contract and reason."""
    records: int = 0
    """How many records these were, pings included."""
    null_entries: int = 0
    """``null`` where a trade or a quote could have been."""
    depth: Sequence[tuple[str, JsonValue]] = attrs.Factory(list[tuple[str, "JsonValue"]])
    """Routing contract id and rows of the order book as they came (`DepthJudge` judges them), in order of arrival."""
    user_events: int = 0
    """Records of the user hub's events, which nothing uses yet."""
    logouts: int = 0
    """Records of ``GatewayLogout``, whose payload nobody has documented."""
    unknown_targets: int = 0
    """Invocations of anything else."""


class Decoder:
    """Decodes market records; holds nothing between calls, and never raises, whatever the other side sent."""

    __slots__ = ("_loose", "_usual")

    def __init__(self) -> None:
        self._usual = msgspec.json.Decoder[Record](Record)
        self._loose = msgspec.json.Decoder[LooseRecord](LooseRecord)

    def bulk(self, text: str) -> Decoded | None:
        """Decode a text of whole records, each ended by 0x1e; None if it takes the exact way.

        That is so when any of them is not a ping or an invocation (without id) of ``GatewayTrade``,
        ``GatewayQuote`` or ``GatewayDepth`` in a shape that the service is known to use.
        """
        # Rows of the book are plain JSON here; what they come to is estimated where a text is longer than a usual read.
        if len(text) > _LONG and is_heavy(text):
            return None
        # Record by record: one pass over all of them (`decode_lines`) cannot tell `{}{}` and an empty record
        # from two good ones, and the checks for that cost what it saves (benchmarked: equal).
        try:
            lines = text.encode().split(b"\x1e")
        except UnicodeEncodeError:
            return None
        if lines.pop():
            return None
        try:
            return _gather(map(self._usual.decode, lines), len(lines))
        except (ValueError, RecursionError):
            return self._bulk_loose(lines)

    def _bulk_loose(self, lines: list[bytes]) -> Decoded | None:
        try:
            return _gather_loose([self._loose.decode(line) for line in lines if line != _PING], len(lines))
        except (ValueError, RecursionError):
            return None

    def invocation(self, target: str, arguments: Sequence[JsonValue]) -> Decoded:
        """Decode one invocation, already parsed; the target's case is free.

        A trade that has not the shape of one becomes a `Refusal`, and so does a bad field of a quote, whose
        other fields stay; what else is wrong with a value is for `Validator` and `QuoteMerger` to say.
        """
        name = target.lower()
        if name == _TRADE:
            return _exact_trades(arguments)
        if name == _QUOTE:
            return _exact_quotes(arguments)
        if name == _DEPTH:
            return _exact_depth(arguments)
        return Decoded(
            records=1,
            user_events=int(name in _USER),
            logouts=int(name == _LOGOUT),
            unknown_targets=int(name != _LOGOUT and name not in _USER),
        )


def join_decoded(parts: Iterable[Decoded]) -> Decoded:
    """Return one `Decoded` of several, in their order: what was read at once goes on at once."""
    parts = list(parts)
    trades: dict[str, list[WireTrade]] = {}
    refusals = _Refusals()
    for part in parts:
        for contract_id, entries in part.trades.items():
            trades.setdefault(contract_id, []).extend(entries)
        for refusal in part.refusals:
            refusals.add((refusal.target, refusal.contract_id, refusal.reason), refusal.detail, refusal.count)
    return Decoded(
        trades,
        [quote for part in parts for quote in part.quotes],
        refusals.list(),
        records=sum(part.records for part in parts),
        null_entries=sum(part.null_entries for part in parts),
        depth=[each for part in parts for each in part.depth],
        user_events=sum(part.user_events for part in parts),
        logouts=sum(part.logouts for part in parts),
        unknown_targets=sum(part.unknown_targets for part in parts),
    )


def _gather(found: Iterable[Record], records: int) -> Decoded:
    """Sort usual records by kind and contract; the hot path of a live feed."""
    trades: dict[str, list[WireTrade]] = {}
    quotes: list[tuple[str, WireQuote]] = []
    depth: list[tuple[str, JsonValue]] = []
    for record in found:
        if isinstance(record, TradeRecord):
            contract_id, entries = record.arguments
            known = trades.get(contract_id)
            if known is not None:
                known += entries
            elif entries:
                trades[contract_id] = entries
        elif isinstance(record, QuoteRecord):
            quotes.append(record.arguments)
        else:
            depth.append(record.arguments)
    return Decoded(trades, quotes, records=records, depth=depth)


def _gather_loose(found: Iterable[LooseRecord], records: int) -> Decoded:
    trades: dict[str, list[WireTrade]] = {}
    quotes: list[tuple[str, WireQuote]] = []
    depth: list[tuple[str, JsonValue]] = []
    nulls = 0
    for record in found:
        if isinstance(record, DepthRecord):
            depth.append(record.arguments)
        elif isinstance(record, LooseTradeRecord):
            contract_id, data = record.arguments
            entries = data if isinstance(data, list) else [data]
            good = [entry for entry in entries if entry is not None]
            nulls += len(entries) - len(good)
            if good:
                trades.setdefault(contract_id, []).extend(good)
        else:
            contract_id, quote = record.arguments
            if quote is None:
                nulls += 1
            else:
                quotes.append((contract_id, quote))
    return Decoded(trades, quotes, records=records, depth=depth, null_entries=nulls)


class _Refusals:
    """Refusals, summed up: a list of a million wrong entries is one refusal with a count."""

    def __init__(self) -> None:
        self._first: dict[_Kind, str] = {}
        self._counts: dict[_Kind, int] = {}

    def add(self, kind: _Kind, detail: str, count: int = 1) -> None:
        self._first.setdefault(kind, detail)
        self._counts[kind] = self._counts.get(kind, 0) + count

    def list(self) -> list[Refusal]:
        return [Refusal(*kind, self._first[kind], count) for kind, count in self._counts.items()]


def _exact_trades(arguments: Sequence[JsonValue]) -> Decoded:
    routed = _route(arguments)
    if routed is None:
        return _refused(TRADE, None, _NO_ROUTE)
    contract_id, data = routed
    good: list[WireTrade] = []
    refusals = _Refusals()
    nulls = 0
    for place, entry in enumerate(data if isinstance(data, list) else [data]):
        trade = None if entry is None else exact_trade(entry)
        if trade is None:
            nulls += 1
        elif isinstance(trade, WireTrade):
            good.append(trade)
        else:
            where = f"arguments[1][{place}]" if isinstance(data, list) else "arguments[1]"
            refusals.add((TRADE, contract_id, trade.reason), trade.path(where))
    trades = {contract_id: good} if good else {}
    return Decoded(trades, refusals=refusals.list(), records=1, null_entries=nulls)


def _exact_quotes(arguments: Sequence[JsonValue]) -> Decoded:
    routed = _route(arguments)
    if routed is None:
        return _refused(QUOTE, None, _NO_ROUTE)
    contract_id, data = routed
    if data is None:
        return Decoded(records=1, null_entries=1)
    quote, faults = exact_quote(data)
    refusals = _Refusals()
    for fault in faults:
        refusals.add((QUOTE, contract_id, fault.reason), fault.path("arguments[1]"))
    quotes = [] if quote is None else [(contract_id, quote)]
    return Decoded(quotes=quotes, refusals=refusals.list(), records=1)


def _exact_depth(arguments: Sequence[JsonValue]) -> Decoded:
    routed = _route(arguments)
    return _refused(DEPTH, None, _NO_ROUTE) if routed is None else Decoded(depth=[routed], records=1)


def _route(arguments: Sequence[JsonValue]) -> tuple[str, JsonValue] | None:
    if len(arguments) != 2:
        return None
    contract_id, data = arguments
    return (contract_id, data) if isinstance(contract_id, str) else None


def _refused(target: str, contract_id: str | None, detail: str) -> Decoded:
    return Decoded(refusals=[Refusal(target, contract_id, Reason.SCHEMA, detail)], records=1)
