"""`Gateway`: the one object that users hold; `opening.open_gateway` makes it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Unpack, overload

import pyarrow as pa

from trio_projectx._config import Overflow
from trio_projectx._events import Bar, BarRevised, Dropped, Gap, GatewayEvent, Quote, Trade
from trio_projectx._user_events import UserItem
from trio_projectx.bars import Anchor
from trio_projectx.composition import Parts
from trio_projectx.connection.health import Health
from trio_projectx.connection.lists import Rest
from trio_projectx.flow.bar_options import BarOptions
from trio_projectx.flow.bar_stream import BarStream
from trio_projectx.flow.stream import Stream
from trio_projectx.gateway_statistics import GatewayStatistics, health_of, statistics_of
from trio_projectx.history.coverage import CoverageReport
from trio_projectx.history.fetch import Tell
from trio_projectx.history.history import Instant
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.recorder import Recorder
from trio_projectx.journal.tap import What, open_tapped
from trio_projectx.market import Rejection

Lossless = Literal[Overflow.ERROR, Overflow.BLOCK]
"""The policies that never leave an item out, so that no `Dropped` stands in the stream."""


class Gateway:
    """One login, its hubs and its streams; made by `open_gateway`, which owns every task behind it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._streams = parts.streams

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
    def open_user_events(
        self,
        *,
        account_id: int | None = None,
        overflow: Lossless = Overflow.ERROR,
        capacity: int | None = None,
    ) -> AbstractAsyncContextManager[Stream[UserItem]]: ...

    @overload
    def open_user_events(
        self, *, account_id: int | None = None, overflow: Overflow, capacity: int | None = None
    ) -> AbstractAsyncContextManager[Stream[UserItem | Dropped]]: ...

    def open_user_events(
        self,
        *,
        account_id: int | None = None,
        overflow: Overflow = Overflow.ERROR,
        capacity: int | None = None,
    ) -> AbstractAsyncContextManager[Stream[UserItem | Dropped]]:
        """Stream what happens to one account, or to all that are active: orders, positions, trades, balances.

        A `Gap` stands where events may be missing (look at what REST says of orders and positions then). Each event
        comes once, whatever becomes of the connection. Errors as `open_bars`.

        :raises ConfigError: if the account is none of yours.
        """
        return self._streams.user_events(account_id, overflow, capacity)

    def open_events(
        self, *, overflow: Overflow = Overflow.DROP_OLDEST, capacity: int | None = None
    ) -> AbstractAsyncContextManager[Stream[GatewayEvent | Dropped]]:
        """Stream what becomes of the connections (states, tokens, replacements, stalls, clocks) and of the data.

        Of the data it is what is beside the streams: bursts of rejections, builders that failed, trades that all come
        late. Entering asks nothing of the service.
        """
        return self._streams.events(overflow, capacity)

    async def history(
        self,
        contract: str,
        timeframe: str,
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        count: int | None = None,
        anchor: Anchor | None = None,
        continuous: bool = False,
        tell: Tell | None = None,
    ) -> pa.Table:
        """Return the closed bars that open at or after ``start`` and before ``end``, or the last ``count`` of them.

        ``contract``, ``timeframe`` and ``anchor`` are as in `open_bars`; instants are int64 ns or datetimes with a
        zone, ``end`` None is now. Columns: ``contract_id``, then those of `BarStream.table`; null is what the service
        does not say (``trades buy_volume sell_volume vwap first_ts last_ts``), ``source`` is "history". Rows are sorted
        by ``start``; the bar that is not over yet is left out, and so is an interval without a trade. The schema's
        metadata counts what was left out (``rejected``, ``conflicts``, ``straddling``, ``forming``) and says which tier
        of data it is (``live``).

        With ``continuous`` the contract is a product or ticker, and bars before its last roll are those of the
        contracts that stood for it then. ``tell`` is called with a `Progress` after each page. Cancelled, it leaves
        nothing behind; what has come by then is in the cache.

        :raises ConfigError: (`TimeframeError`, `ContractError`) for what cannot be honoured.
        :raises WrongTier: if `HistoryOptions.live` shows these credentials nothing, and the other tier does.
        :raises ConnectTimeout: if a page does not come within two minutes, all attempts together.
        :raises TrioProjectXError: what else the service answers.
        """
        return await self._parts.history.history(
            contract,
            timeframe,
            start=start,
            end=end,
            count=count,
            anchor=anchor,
            continuous=continuous,
            tell=tell,
        )

    @property
    def rest(self) -> Rest:
        """The service's lists, asked with the gateway's token: contracts, accounts, and whether it is there."""
        return self._parts.rest

    def open_recorder(
        self,
        path: Path | str,
        *,
        what: Collection[What] = ("frames", "trades", "quotes"),
        options: JournalOptions = JournalOptions(),  # noqa: B008  frozen
    ) -> AbstractAsyncContextManager[Recorder]:
        """Record what is received into the folder ``path`` until the block is left; `open_replay` plays it again.

        "frames" are the texts of both hubs and all that decides what becomes of them; "trades" the valid trades,
        "quotes" the merged quotes, of what streams are open for. Several may record, into folders of their own. No
        stream waits for the disk; what is wrong with it is told in `open_events`. Leaving writes what waits, for
        ``options.close_s`` at most.

        :raises ConfigError: for options that are wrong, or if somebody records into this folder already.
        :raises OSError: if the folder cannot be made.
        """
        parts, streams, config = self._parts, self._streams, self._parts.config
        tell = streams.board.tell
        return open_tapped(
            path, what, options, parts.taps, streams.market, config.limits, config.wall_clock, tell
        )

    async def wait_connected(self) -> None:
        """Connect the market hub if it is not, and return when it is live, or was so since the call.

        It raises as `open_bars` what a first attempt failed of, and `ConnectionLost` if the hub is lost for good. It
        goes on waiting while the hub reconnects: set a deadline of your own.
        """
        await self._parts.market_hub.live()

    async def refresh_token(self) -> None:
        """Get a new token now; the connections follow, each new one before its old one goes.

        Not needed for tokens that end: they are renewed in time.

        :raises TrioProjectXError: why there is none; everything is as it was then.
        """
        await self._parts.refreshers[self._parts.sites.current].refresh_now()

    def health(self) -> Health:
        """Return how everything stands at this moment, with a sentence for each status. It costs microseconds."""
        return health_of(self._parts)

    def rejections(self, contract: str) -> tuple[Rejection, ...]:
        """Return the last rejected records of a contract, its trades and then the fields of its quotes.

        ``contract`` is a full contract id, or the product or ticker of one that a stream was opened for. Of each, the
        last ``limits.rejections_kept`` are there, oldest first; none of a contract that no stream was opened for.
        """
        found = self._streams.market.known(contract)
        return () if found is None else found.rejections

    def quarantine(self, contract: str) -> tuple[Rejection, ...]:
        """Return the trades of a contract that are held now, and the reason for which they would be rejected."""
        found = self._streams.market.known(contract)
        return () if found is None else found.quarantined

    def coverage(self, contract: str, start: int | None = None, end: int | None = None) -> CoverageReport:
        """Return what is known of a contract's time, what is missing and why, and which bars were revised.

        ``contract`` is as in `rejections`. Without ``start`` (int64 ns) it begins with the first subscription, without
        ``end`` it goes to now. Raises `ContractError` for a product that nobody knows.
        """
        found = self._streams.market.known(contract)
        return self._parts.fills.report(contract if found is None else found.contract_id, start, end)

    def statistics(self) -> GatewayStatistics:
        """Return a snapshot of all counters."""
        return statistics_of(self._parts)
