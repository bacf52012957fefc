"""`Gateway`: the one object that users hold; `opening.open_gateway` makes it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Unpack, overload

import pyarrow as pa

from trio_projectx._config import Overflow
from trio_projectx._events import Dropped
from trio_projectx._user_events import UserItem
from trio_projectx.bars import Anchor
from trio_projectx.callbacks import Callbacks
from trio_projectx.composition import Parts
from trio_projectx.connection.accounts import check_account
from trio_projectx.connection.health import Health
from trio_projectx.connection.lists import Rest
from trio_projectx.flow.stream import Stream
from trio_projectx.flow.user_outlet import item_stamp
from trio_projectx.gateway_statistics import GatewayStatistics, health_of, statistics_of
from trio_projectx.handlers.arguments import HandlerArguments, wish_for
from trio_projectx.handlers.options import Handler
from trio_projectx.handlers.registration import Registration
from trio_projectx.history.coverage import CoverageReport
from trio_projectx.history.fetch import Tell
from trio_projectx.history.history import Instant
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.recorder import Recorder
from trio_projectx.journal.tap import What, open_tapped
from trio_projectx.market_data import Lossless


class Gateway(Callbacks):
    """One login, its hubs and its streams; made by `open_gateway`, which owns every task behind it."""

    def __init__(self, parts: Parts) -> None:
        config = parts.config
        super().__init__(parts.streams, config.wall_clock, config.timeouts.close_s)
        self._parts = parts

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

    @overload
    def on_user_event(
        self,
        handler: Handler[UserItem],
        *,
        account_id: int | None = None,
        batch: Literal[False] = False,
        fallback: Handler[UserItem] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_user_event(
        self,
        handler: Handler[tuple[UserItem, ...]],
        *,
        account_id: int | None = None,
        batch: Literal[True],
        fallback: Handler[tuple[UserItem, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    def on_user_event(
        self,
        handler: Callable[..., object],
        *,
        account_id: int | None = None,
        batch: bool = False,
        fallback: Callable[..., object] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration:
        """Call ``handler`` with what `open_user_events` gives for ``account_id``, its `Gap` included; as `on_bar`.

        What it is not given, because it was too slow or its breaker was open, is told by `HandlerSkipped` and
        ``on_skipped``; look at what REST says of orders and positions then. An account that is none of yours is a
        `ConfigError` out of `run_handlers`.

        :raises ConfigError: as `on_bar`.
        """
        if account_id is not None:
            check_account(account_id)
        overflow, capacity = self._overflow(how), how.get("capacity")

        def source() -> AbstractAsyncContextManager[Stream[object]]:
            return self._streams.user_events(account_id, overflow, capacity)

        return self._handlers.add(
            wish_for("user_event", source, item_stamp, handler, fallback, how, batch=batch)
        )

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
