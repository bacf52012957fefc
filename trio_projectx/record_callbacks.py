"""`RecordCallbacks`: handlers of trades, quotes and the order book."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, Unpack, overload

from trio_projectx._config import Overflow
from trio_projectx._errors import ConfigError
from trio_projectx._events import Book, Depth, Gap, Quote, Trade
from trio_projectx.flow.checks import check_contract, check_events, check_levels
from trio_projectx.flow.keys import depth_stamp, quote_stamp, trade_stamp
from trio_projectx.flow.stream import Stream
from trio_projectx.handlers.arguments import HandlerArguments, wish_for
from trio_projectx.handlers.options import Handler
from trio_projectx.handlers.registration import Registration
from trio_projectx.handlers.registry import Handlers
from trio_projectx.market_data import MarketData
from trio_projectx.streams import Streams


class RecordCallbacks(MarketData):
    """Registers handlers of what the hub sends record by record; `Callbacks` says how they are called."""

    def __init__(self, streams: Streams, wall_clock: Callable[[], int], grace_s: float) -> None:
        super().__init__(streams)
        self._is_replay = streams.in_force(Overflow.ERROR) is Overflow.BLOCK
        self._handlers = Handlers(
            lambda: streams.events(Overflow.DROP_OLDEST, None),
            streams.board.tell,
            wall_clock,
            grace_s=grace_s,
            is_replay=self._is_replay,
        )
        streams.board.before_end(self._handlers.tell)

    @overload
    def on_trade(
        self,
        handler: Handler[Trade],
        contract: str,
        *,
        batch: Literal[False] = False,
        events: Literal[False] = False,
        fallback: Handler[Trade] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_trade(
        self,
        handler: Handler[tuple[Trade, ...]],
        contract: str,
        *,
        batch: Literal[True],
        events: Literal[False] = False,
        fallback: Handler[tuple[Trade, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_trade(
        self,
        handler: Handler[Trade | Gap],
        contract: str,
        *,
        batch: Literal[False] = False,
        events: Literal[True],
        fallback: Handler[Trade | Gap] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_trade(
        self,
        handler: Handler[tuple[Trade | Gap, ...]],
        contract: str,
        *,
        batch: Literal[True],
        events: Literal[True],
        fallback: Handler[tuple[Trade | Gap, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    def on_trade(
        self,
        handler: Callable[..., object],
        contract: str,
        *,
        batch: bool = False,
        events: bool = False,
        fallback: Callable[..., object] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration:
        """Call ``handler`` with each trade that `open_trades` would give; as `Callbacks.on_bar`."""
        check_contract(contract)
        check_events(events)
        overflow, capacity = self._overflow(how), how.get("capacity")

        def source() -> AbstractAsyncContextManager[Stream[object]]:
            return self._streams.trades(contract, overflow, capacity, events=events)

        return self._handlers.add(wish_for("trade", source, trade_stamp, handler, fallback, how, batch=batch))

    @overload
    def on_quote(
        self,
        handler: Handler[Quote],
        contract: str,
        *,
        batch: Literal[False] = False,
        events: Literal[False] = False,
        fallback: Handler[Quote] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_quote(
        self,
        handler: Handler[tuple[Quote, ...]],
        contract: str,
        *,
        batch: Literal[True],
        events: Literal[False] = False,
        fallback: Handler[tuple[Quote, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_quote(
        self,
        handler: Handler[Quote | Gap],
        contract: str,
        *,
        batch: Literal[False] = False,
        events: Literal[True],
        fallback: Handler[Quote | Gap] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_quote(
        self,
        handler: Handler[tuple[Quote | Gap, ...]],
        contract: str,
        *,
        batch: Literal[True],
        events: Literal[True],
        fallback: Handler[tuple[Quote | Gap, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    def on_quote(
        self,
        handler: Callable[..., object],
        contract: str,
        *,
        batch: bool = False,
        events: bool = False,
        fallback: Callable[..., object] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration:
        """Call ``handler`` with each state of the quote that `open_quotes` would give, conflated; as `on_trade`."""
        check_contract(contract)
        check_events(events)
        overflow, capacity = self._overflow(how, Overflow.CONFLATE), how.get("capacity")

        def source() -> AbstractAsyncContextManager[Stream[object]]:
            return self._streams.quotes(contract, overflow, capacity, events=events)

        return self._handlers.add(wish_for("quote", source, quote_stamp, handler, fallback, how, batch=batch))

    @overload
    def on_depth(
        self,
        handler: Handler[Depth],
        contract: str,
        *,
        batch: Literal[False] = False,
        events: Literal[False] = False,
        fallback: Handler[Depth] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_depth(
        self,
        handler: Handler[tuple[Depth, ...]],
        contract: str,
        *,
        batch: Literal[True],
        events: Literal[False] = False,
        fallback: Handler[tuple[Depth, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_depth(
        self,
        handler: Handler[Depth | Gap],
        contract: str,
        *,
        batch: Literal[False] = False,
        events: Literal[True],
        fallback: Handler[Depth | Gap] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_depth(
        self,
        handler: Handler[tuple[Depth | Gap, ...]],
        contract: str,
        *,
        batch: Literal[True],
        events: Literal[True],
        fallback: Handler[tuple[Depth | Gap, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    def on_depth(
        self,
        handler: Callable[..., object],
        contract: str,
        *,
        batch: bool = False,
        events: bool = False,
        fallback: Callable[..., object] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration:
        """Call ``handler`` with each change of the order book that `open_depth` would give; as `on_trade`.

        Where some were skipped by its stream the next one is the whole book (``is_snapshot``); where its rate or its
        breaker skipped them it is not: a handler that keeps a book takes `on_book` instead.
        """
        if how.get("overflow") is Overflow.CONFLATE:
            raise ConfigError("changes of a book cannot be conflated: on_book gives its newest state instead")
        check_contract(contract)
        check_events(events)
        overflow, capacity = self._overflow(how), how.get("capacity")

        def source() -> AbstractAsyncContextManager[Stream[object]]:
            return self._streams.depth(contract, overflow, capacity, events=events)

        return self._handlers.add(wish_for("depth", source, depth_stamp, handler, fallback, how, batch=batch))

    @overload
    def on_book(
        self,
        handler: Handler[Book],
        contract: str,
        *,
        levels: int = 10,
        batch: Literal[False] = False,
        events: Literal[False] = False,
        fallback: Handler[Book] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_book(
        self,
        handler: Handler[tuple[Book, ...]],
        contract: str,
        *,
        levels: int = 10,
        batch: Literal[True],
        events: Literal[False] = False,
        fallback: Handler[tuple[Book, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_book(
        self,
        handler: Handler[Book | Gap],
        contract: str,
        *,
        levels: int = 10,
        batch: Literal[False] = False,
        events: Literal[True],
        fallback: Handler[Book | Gap] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_book(
        self,
        handler: Handler[tuple[Book | Gap, ...]],
        contract: str,
        *,
        levels: int = 10,
        batch: Literal[True],
        events: Literal[True],
        fallback: Handler[tuple[Book | Gap, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    def on_book(
        self,
        handler: Callable[..., object],
        contract: str,
        *,
        levels: int = 10,
        batch: bool = False,
        events: bool = False,
        fallback: Callable[..., object] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration:
        """Call ``handler`` with the best ``levels`` of the book (`open_book`), conflated; as `on_trade`."""
        check_levels(levels)
        check_contract(contract)
        check_events(events)
        overflow, capacity = self._overflow(how, Overflow.CONFLATE), how.get("capacity")

        def source() -> AbstractAsyncContextManager[Stream[object]]:
            return self._streams.book(contract, levels, overflow, capacity, events=events)

        return self._handlers.add(wish_for("book", source, depth_stamp, handler, fallback, how, batch=batch))

    def _overflow(self, how: HandlerArguments, default: Overflow = Overflow.DROP_OLDEST) -> Overflow:
        """Return the policy of a stream of market data.

        It drops by default: a handler that is slow is to stop no other, and nobody reads an error out of its stream.
        """
        return how.get("overflow", Overflow.BLOCK if self._is_replay else default)
