"""`MarketData`: the streams of market data, the same of a gateway and of a replay."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Literal, Unpack, overload

import pyarrow as pa

from trio_projectx._config import Overflow
from trio_projectx._errors import ConfigError
from trio_projectx._events import Bar, BarRevised, Book, Depth, Dropped, Gap, GatewayEvent, Quote, Trade
from trio_projectx.bars import Anchor
from trio_projectx.flow.bar_options import BarOptions
from trio_projectx.flow.bar_stream import BarStream
from trio_projectx.flow.depth import BookStream
from trio_projectx.flow.loop_watch import LoopWatch, watched_loop
from trio_projectx.flow.recent import NO_TRADES
from trio_projectx.flow.stream import Stream
from trio_projectx.market import Rejection
from trio_projectx.streams import Streams

Lossless = Literal[Overflow.ERROR, Overflow.BLOCK]
"""The policies that never leave an item out, so that no `Dropped` stands in the stream."""


class MarketData:
    """What brings market data: it opens streams of them, and shows what was kept out of them."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    @overload
    def open_bars(
        self,
        contract: str,
        *timeframes: str,
        overflow: Lossless = Overflow.ERROR,
        anchor: Anchor | None = None,
        capacity: int | None = None,
        history: int = 0,
        updates: Literal["every"] | float | None = None,
        events: Literal[False] = False,
        **options: Unpack[BarOptions],
    ) -> AbstractAsyncContextManager[BarStream[Bar]]: ...

    @overload
    def open_bars(
        self,
        contract: str,
        *timeframes: str,
        overflow: Lossless = Overflow.ERROR,
        anchor: Anchor | None = None,
        capacity: int | None = None,
        history: int = 0,
        updates: Literal["every"] | float | None = None,
        events: Literal[True],
        **options: Unpack[BarOptions],
    ) -> AbstractAsyncContextManager[BarStream[Bar | BarRevised | Gap]]: ...

    @overload
    def open_bars(
        self,
        contract: str,
        *timeframes: str,
        overflow: Overflow,
        anchor: Anchor | None = None,
        capacity: int | None = None,
        history: int = 0,
        updates: Literal["every"] | float | None = None,
        events: Literal[False] = False,
        **options: Unpack[BarOptions],
    ) -> AbstractAsyncContextManager[BarStream[Bar | Dropped]]: ...

    @overload
    def open_bars(
        self,
        contract: str,
        *timeframes: str,
        overflow: Overflow,
        anchor: Anchor | None = None,
        capacity: int | None = None,
        history: int = 0,
        updates: Literal["every"] | float | None = None,
        events: Literal[True],
        **options: Unpack[BarOptions],
    ) -> AbstractAsyncContextManager[BarStream[Bar | BarRevised | Gap | Dropped]]: ...

    def open_bars(
        self,
        contract: str,
        *timeframes: str,
        overflow: Overflow = Overflow.ERROR,
        anchor: Anchor | None = None,
        capacity: int | None = None,
        history: int = 0,
        updates: Literal["every"] | float | None = None,
        events: bool = False,
        **options: Unpack[BarOptions],
    ) -> AbstractAsyncContextManager[BarStream[Bar | BarRevised | Gap | Dropped]]:
        """Stream the closed bars of ``contract`` in ``timeframes``, live, in the order in which they close.

        ``contract`` is a product ("MNQ"), a ticker ("ES") or a full contract id; a timeframe is "1s", "5m", "4h",
        "1d" and its like. Entering returns once the hub has acknowledged the subscription; the first bar of each
        timeframe is ``partial``. ``anchor`` None is the session of the product (`Sessions.for_product`).
        ``capacity`` is how many bars wait for you at most, ``overflow`` what happens to the next one. Leaving the
        block, in any way, ends the subscription.

        ``history=N`` gives the last N closed bars of each timeframe first (``source`` "history"; they take no room of
        ``capacity``), and then the live ones without a hole: entering waits for them, `HistoryOptions.wait_s` at most,
        and goes on without them where the service has none (`HistoryMissing` in `open_events`). The bar that was
        forming at the time of connecting is ``partial``; when it has closed it is read again and revised. So is every
        bar that a `Gap` touches (see `coverage`).

        ``updates`` adds looks at bars that are forming (``closed`` false), conflated: "every" one with each batch
        of trades, a number at most one in that many seconds. ``events=True`` adds `BarRevised` (if
        ``late="revise"``) and `Gap`, in their places. The other options are those of `BarOptions`.

        :raises ConfigError: (`TimeframeError`, `ContractError`) for what cannot be honoured.
        :raises SubscriptionError: if the hub refuses, or does not answer within ``timeouts.subscribe_s``.
        :raises AuthError: if the hub refuses the token, also a fresh one.
        :raises ConnectError: if the hub is not reached within ``timeouts.connect_s`` and ``handshake_s``; while it
            reconnects, `ConnectTimeout` if that takes longer than these and ``subscribe_s`` allow.
        :raises ConnectionLost: if the hub closes for good meanwhile.
        :raises GatewayError: if the service answers the search for the contract with an error, three times.
        :raises ProtocolError: if the service, or the hub, answers with something that is not the protocol's.
        """
        return self._streams.bars(
            contract,
            timeframes,
            overflow,
            anchor,
            capacity,
            updates,
            options,
            events=events,
            history=history,
        )

    @overload
    def open_trades(
        self,
        contract: str,
        *,
        overflow: Lossless = Overflow.ERROR,
        capacity: int | None = None,
        events: Literal[False] = False,
    ) -> AbstractAsyncContextManager[Stream[Trade]]: ...

    @overload
    def open_trades(
        self,
        contract: str,
        *,
        overflow: Lossless = Overflow.ERROR,
        capacity: int | None = None,
        events: Literal[True],
    ) -> AbstractAsyncContextManager[Stream[Trade | Gap]]: ...

    @overload
    def open_trades(
        self,
        contract: str,
        *,
        overflow: Overflow,
        capacity: int | None = None,
        events: Literal[False] = False,
    ) -> AbstractAsyncContextManager[Stream[Trade | Dropped]]: ...

    @overload
    def open_trades(
        self, contract: str, *, overflow: Overflow, capacity: int | None = None, events: Literal[True]
    ) -> AbstractAsyncContextManager[Stream[Trade | Gap | Dropped]]: ...

    def open_trades(
        self,
        contract: str,
        *,
        overflow: Overflow = Overflow.ERROR,
        capacity: int | None = None,
        events: bool = False,
    ) -> AbstractAsyncContextManager[Stream[Trade | Gap | Dropped]]:
        """Stream the valid trades of ``contract`` in order of arrival; errors as `open_bars`.

        With ``events=True`` a `Gap` stands where trades may be missing.
        """
        return self._streams.trades(contract, overflow, capacity, events=events)

    @overload
    def open_quotes(
        self,
        contract: str,
        *,
        overflow: Lossless,
        capacity: int | None = None,
        events: Literal[False] = False,
    ) -> AbstractAsyncContextManager[Stream[Quote]]: ...

    @overload
    def open_quotes(
        self, contract: str, *, overflow: Lossless, capacity: int | None = None, events: Literal[True]
    ) -> AbstractAsyncContextManager[Stream[Quote | Gap]]: ...

    @overload
    def open_quotes(
        self,
        contract: str,
        *,
        overflow: Overflow = Overflow.CONFLATE,
        capacity: int | None = None,
        events: Literal[False] = False,
    ) -> AbstractAsyncContextManager[Stream[Quote | Dropped]]: ...

    @overload
    def open_quotes(
        self,
        contract: str,
        *,
        overflow: Overflow = Overflow.CONFLATE,
        capacity: int | None = None,
        events: Literal[True],
    ) -> AbstractAsyncContextManager[Stream[Quote | Gap | Dropped]]: ...

    def open_quotes(
        self,
        contract: str,
        *,
        overflow: Overflow = Overflow.CONFLATE,
        capacity: int | None = None,
        events: bool = False,
    ) -> AbstractAsyncContextManager[Stream[Quote | Gap | Dropped]]:
        """Stream the quote state of ``contract`` after each update; conflated by default, errors as `open_bars`.

        After an outage nothing of what was known before it is shown; with ``events=True`` a `Gap` stands there.
        """
        return self._streams.quotes(contract, overflow, capacity, events=events)

    @overload
    def open_depth(
        self,
        contract: str,
        *,
        overflow: Lossless = Overflow.ERROR,
        capacity: int | None = None,
        events: Literal[False] = False,
    ) -> AbstractAsyncContextManager[Stream[Depth]]: ...

    @overload
    def open_depth(
        self,
        contract: str,
        *,
        overflow: Lossless = Overflow.ERROR,
        capacity: int | None = None,
        events: Literal[True],
    ) -> AbstractAsyncContextManager[Stream[Depth | Gap]]: ...

    @overload
    def open_depth(
        self, contract: str, *, overflow: Overflow, capacity: int | None = None, events: bool = False
    ) -> AbstractAsyncContextManager[Stream[Depth | Gap | Dropped]]: ...

    def open_depth(
        self,
        contract: str,
        *,
        overflow: Overflow = Overflow.ERROR,
        capacity: int | None = None,
        events: bool = False,
    ) -> AbstractAsyncContextManager[Stream[Depth | Gap | Dropped]]:
        """Stream what changes in the order book of ``contract``, record by record; errors as `open_bars`.

        It begins with the whole book, and goes on with it (``is_snapshot``) wherever changes are missing: behind a
        `Gap`, a `Dropped`, or where another connection took over. ``CONFLATE`` is refused: see `open_book`.
        """
        return self._streams.depth(contract, overflow, capacity, events=events)

    @overload
    def open_book(
        self,
        contract: str,
        *,
        levels: int = 10,
        overflow: Lossless,
        capacity: int | None = None,
        events: Literal[False] = False,
    ) -> AbstractAsyncContextManager[BookStream[Book]]: ...

    @overload
    def open_book(
        self,
        contract: str,
        *,
        levels: int = 10,
        overflow: Overflow = Overflow.CONFLATE,
        capacity: int | None = None,
        events: Literal[False] = False,
    ) -> AbstractAsyncContextManager[BookStream[Book | Dropped]]: ...

    @overload
    def open_book(
        self,
        contract: str,
        *,
        levels: int = 10,
        overflow: Overflow = Overflow.CONFLATE,
        capacity: int | None = None,
        events: Literal[True],
    ) -> AbstractAsyncContextManager[BookStream[Book | Gap | Dropped]]: ...

    def open_book(
        self,
        contract: str,
        *,
        levels: int = 10,
        overflow: Overflow = Overflow.CONFLATE,
        capacity: int | None = None,
        events: bool = False,
    ) -> AbstractAsyncContextManager[BookStream[Book | Gap | Dropped]]:
        """Stream the best ``levels`` of both sides of the order book of ``contract``; conflated by default.

        Each `Book` is whole, so none that was conflated is missed. Errors as `open_bars`.
        """
        return self._streams.book(contract, levels, overflow, capacity, events=events)

    def recent_trades(self, contract: str, *, count: int | None = None, since: int | None = None) -> pa.Table:
        """Return the last valid trades of a contract that a stream of trades or bars was opened for.

        ``contract`` is as in `rejections`. The window is bounded by ``limits.recent_trades`` and
        ``limits.recent_trades_s``; of it the last ``count`` that are not older than ``since`` (int64 ns) are given, in
        order of arrival. Columns: ``contract_id``, ``ts_event``, ``ts_recv`` (int64 ns), ``price`` (float64),
        ``volume`` (int64), ``side`` (int8, the values of `Side`). Raises `ContractError` for a product that nobody
        knows, `ConfigError` if ``count`` is below 0.
        """
        if count is not None and count < 0:
            raise ConfigError(f"count must not be below 0: {count}")
        found = self._streams.market.known(contract)
        return NO_TRADES if found is None else found.recent.table(count, since)

    def open_events(
        self, *, overflow: Overflow = Overflow.DROP_OLDEST, capacity: int | None = None
    ) -> AbstractAsyncContextManager[Stream[GatewayEvent | Dropped]]:
        """Stream what becomes of the connections (states, tokens, replacements, stalls, clocks) and of the data.

        Of the data it is what is beside the streams: bursts of rejections, builders that failed, trades that all come
        late. Entering asks nothing of the service.
        """
        return self._streams.events(overflow, capacity)

    def watch_loop(self, threshold_s: float = 0.25) -> AbstractContextManager[LoopWatch]:
        """Find what keeps the whole program waiting: a step of any task that takes longer than ``threshold_s``.

        It is told as `LoopStalled` in `open_events`, once per second at most, and logged. What it gives counts them:
        ``stalls``, and ``longest_s``. It costs about a microsecond for each step of each task until the block is left,
        and needs to be entered in the trio run that is to be watched.

        :raises ConfigError: if ``threshold_s`` is not above 0.
        """
        streams = self._streams
        return watched_loop(threshold_s, streams.board.tell, streams.opened.wall_clock)

    def rejections(self, contract: str) -> tuple[Rejection, ...]:
        """Return the last rejected records of a contract, its trades and then the fields of its quotes.

        ``contract`` is a full contract id, or the product or ticker of one that a stream was opened for. Of each, the
        last ``limits.rejections_kept`` are there, oldest first; none of a contract that no stream was opened for.

        :raises ContractError: for a product that nobody knows.
        """
        found = self._streams.market.known(contract)
        return () if found is None else found.rejections

    def quarantine(self, contract: str) -> tuple[Rejection, ...]:
        """Return the trades of a contract that are held now, and the reason for which they would be rejected.

        :raises ContractError: for a product that nobody knows.
        """
        found = self._streams.market.known(contract)
        return () if found is None else found.quarantined
