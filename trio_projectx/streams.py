"""What is behind each ``gateway.open_...``: the checks, the outlet, the subscription, and the end of all three."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Hashable, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol, TypeVar

import attrs

from trio_projectx._config import Limits, Overflow
from trio_projectx._errors import ConfigError
from trio_projectx._events import Bar, BarRevised, Book, Depth, Gap, GatewayEvent, Quote, Trade
from trio_projectx._timeframe import Timeframe
from trio_projectx._user_events import UserItem
from trio_projectx.bars import Anchor, BarSet
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.wants import Wants
from trio_projectx.flow.bar_options import (
    BarOptions,
    BarPolicy,
    bar_policy,
    check_anchor,
    check_history,
    session_of,
    update_interval,
)
from trio_projectx.flow.bar_stream import BarStream
from trio_projectx.flow.board import EventBoard
from trio_projectx.flow.checks import check_levels, checked_capacity, checked_frames
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.depth import BookStream, DepthOutlet, TopOutlet
from trio_projectx.flow.keys import (
    bar_key,
    bar_stamp,
    depth_key,
    depth_stamp,
    event_key,
    event_stamp,
    quote_key,
    quote_stamp,
    trade_key,
    trade_stamp,
)
from trio_projectx.flow.ledger import Ledger
from trio_projectx.flow.open_streams import OpenStreams
from trio_projectx.flow.outlets import BarOutlet, TradeOutlet
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.quotes import QuoteOutlet
from trio_projectx.flow.seam import ROOM, Seam
from trio_projectx.flow.side import SideOutlet
from trio_projectx.flow.stream import Feed, Pipe, Stream
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.flow.trades_outlet import TradesOutlet
from trio_projectx.flow.user_outlet import UserOutlet, item_key, item_stamp
from trio_projectx.flow.user_pipeline import UserPipeline
from trio_projectx.history.gap_fill import GapFiller

T = TypeVar("T")


class Directory(Protocol):
    """Who knows contracts and accounts; raises as `Gateway.open_bars`."""

    async def contract(self, text: str) -> Instrument:
        """Return the contract that ``text`` means."""
        ...

    async def accounts(self, account_id: int | None) -> tuple[int, ...]:
        """Return the accounts that are meant."""
        ...


class Subscriber(Protocol):
    """Where data are subscribed to: a hub, or a record of one."""

    @property
    def wants(self) -> Wants:
        """What is needed, by how many."""
        ...

    async def subscribe(self, wanted: Subscription, note: Callable[[int], None] | None = None) -> int:
        """Count one more user; see `Hub.subscribe`."""
        ...

    def release(self, wanted: Subscription) -> None:
        """Count one user less."""
        ...


class Watch(Protocol):
    """Who watches whether data of a contract come."""

    def watch(self, contract_id: str) -> None:
        """A stream needs it."""
        ...

    def unwatch(self, contract_id: str) -> None:
        """No stream needs it any more."""
        ...


def _nobody() -> None:
    """Nobody wants to know."""


@attrs.frozen(slots=True)
class Streams:
    """Opens the streams of one gateway, or of one replay."""

    limits: Limits
    service: Directory
    market_hub: Subscriber
    user_hub: Subscriber
    market: MarketPipeline
    user: UserPipeline
    watch: Watch
    board: EventBoard
    opened: OpenStreams
    fills: GapFiller | None = None
    """Who fills gaps, and knows what was before; None in a replay, which has what was recorded."""
    in_force: Callable[[Overflow], Overflow] = lambda asked: asked
    """The policy that a stream has for the one that was asked for."""
    on_wait: Callable[[], None] = _nobody
    """Called when a reader waits for an item."""

    def ledger(self) -> Ledger:
        """Return where every trade and every item is now."""
        rows, closed = self.opened.rows(), self.opened.closed()
        return attrs.evolve(self.market.ledger(), user=self.user.row(), streams=rows, closed=closed)

    @asynccontextmanager
    async def bars(
        self,
        contract: str,
        timeframes: tuple[str, ...],
        overflow: Overflow,
        anchor: Anchor | None,
        capacity: int | None,
        updates: object,
        options: BarOptions,
        *,
        events: bool,
        history: int = 0,
    ) -> AsyncGenerator[BarStream[Bar | BarRevised | Gap]]:
        """Open bars: see `Gateway.open_bars`."""
        every_s, policy = update_interval(updates), bar_policy(options, events=events)
        frames = checked_frames(timeframes)
        self.check_bars(frames, anchor, policy, history)
        limit = self._capacity(capacity, overflow)
        instrument = await self.service.contract(contract)
        pipeline = self.market.contract(instrument.contract_id, instrument.grid)
        contract_id = pipeline.contract_id
        bars = self._bar_set(pipeline, frames, anchor, policy)
        name = f"bars of {contract_id} ({', '.join(frames)})"
        pipe: Pipe[Bar | BarRevised | Gap] = self._pipe(
            name, limit, overflow, stamp=bar_stamp, key=bar_key, adapts=capacity is None
        )
        outlet = BarOutlet(
            bars,
            Feed(pipe),
            before=pipeline.counts.built,
            since=self.market.serial,
            update_every_s=every_s,
            quiet_s=self.limits.quiet_ms / 1000,
            skip_first=policy.skip_first,
            tell_events=events,
            tell=self.board.tell,
            seam=Seam(history, max(limit, ROOM)) if history else None,
            timings=self.market.timings,
        )
        if self.fills is not None:
            outlet.want = self.fills.wants(pipeline, instrument, outlet)
        with _attached(pipeline, outlet, pipe):
            async with self._subscribed(Kind.TRADES, contract_id, outlet):
                if self.fills is not None and history:
                    await self.fills.begin(pipeline, instrument, outlet, history)
                yield BarStream(pipe, bars, contract_id)

    def check_bars(
        self, frames: tuple[Timeframe, ...], anchor: Anchor | None, policy: BarPolicy, history: int
    ) -> None:
        """Refuse bars that cannot be had, before anything is asked of the service; raises `ConfigError`."""
        check_history(history, frames, self.limits.bars_kept)
        check_anchor(anchor, frames, policy)
        if history and self.fills is None:
            raise ConfigError("a replay has no history before its record: leave history= at 0")

    def _bar_set(
        self,
        pipeline: ContractPipeline,
        frames: tuple[Timeframe, ...],
        anchor: Anchor | None,
        policy: BarPolicy,
    ) -> BarSet:
        limits, contract_id = self.limits, pipeline.contract_id
        return BarSet(
            contract_id,
            frames,
            anchor=session_of(contract_id) if anchor is None else anchor,
            grid=pipeline.grid,
            lateness_ns=round(limits.lateness_ms * 1_000_000),
            bars_kept=limits.bars_kept,
            partial_first=True,
            outside=policy.outside,
            late=policy.late,
            fill=policy.fill,
            revisable=limits.revisable_bars,
        )

    @asynccontextmanager
    async def trades(
        self, contract: str, overflow: Overflow, capacity: int | None, *, events: bool
    ) -> AsyncGenerator[Stream[Trade | Gap]]:
        """Open trades: see `Gateway.open_trades`."""
        limit = self._capacity(capacity, overflow)
        pipeline = await self._pipeline(contract)
        name = f"trades of {pipeline.contract_id}"
        pipe: Pipe[Trade | Gap] = self._pipe(
            name, limit, overflow, stamp=trade_stamp, key=trade_key, adapts=capacity is None
        )
        outlet = TradesOutlet(pipeline.grid, Feed(pipe), since=self.market.serial, tell_events=events)
        with _attached(pipeline, outlet, pipe):
            async with self._subscribed(Kind.TRADES, pipeline.contract_id, outlet):
                yield Stream(pipe)

    @asynccontextmanager
    async def quotes(
        self, contract: str, overflow: Overflow, capacity: int | None, *, events: bool
    ) -> AsyncGenerator[Stream[Quote | Gap]]:
        """Open quotes: see `Gateway.open_quotes`."""
        limit = self._capacity(capacity, overflow)
        pipeline = await self._pipeline(contract)
        name = f"quotes of {pipeline.contract_id}"
        pipe: Pipe[Quote | Gap] = self._pipe(
            name, limit, overflow, stamp=quote_stamp, key=quote_key, adapts=capacity is None
        )
        outlet = QuoteOutlet(Feed(pipe), tell_gaps=events)
        pipeline.quotes.attach(outlet)
        async with self._beside(pipeline, Kind.QUOTES, outlet, pipe):
            outlet.is_open = True
            yield Stream(pipe)

    @asynccontextmanager
    async def depth(
        self, contract: str, overflow: Overflow, capacity: int | None, *, events: bool
    ) -> AsyncGenerator[Stream[Depth | Gap]]:
        """Open depth: see `MarketData.open_depth`."""
        if overflow is Overflow.CONFLATE:
            raise ConfigError(
                "changes of a book cannot be conflated: open_book gives its newest state instead"
            )
        limit = self._capacity(capacity, overflow)
        pipeline = await self._pipeline(contract)
        name = f"depth of {pipeline.contract_id}"
        pipe: Pipe[Depth | Gap] = self._pipe(name, limit, overflow, stamp=depth_stamp, key=depth_key)
        pipe.adapts = capacity is None
        outlet = DepthOutlet(Feed(pipe), tell_gaps=events)
        pipeline.depth.attach(outlet)
        async with self._beside(pipeline, Kind.DEPTH, outlet, pipe):
            pipeline.depth.begin(outlet)
            yield Stream(pipe)

    @asynccontextmanager
    async def book(
        self, contract: str, levels: int, overflow: Overflow, capacity: int | None, *, events: bool
    ) -> AsyncGenerator[BookStream[Book | Gap]]:
        """Open a book: see `MarketData.open_book`."""
        check_levels(levels)
        limit = self._capacity(capacity, overflow)
        pipeline = await self._pipeline(contract)
        name = f"book of {pipeline.contract_id}"
        pipe: Pipe[Book | Gap] = self._pipe(name, limit, overflow, stamp=depth_stamp, key=depth_key)
        outlet = TopOutlet(Feed(pipe), levels, tell_gaps=events)
        pipeline.depth.attach(outlet)
        async with self._beside(pipeline, Kind.DEPTH, outlet, pipe):
            pipeline.depth.begin(outlet)
            yield BookStream(pipe, outlet)

    @asynccontextmanager
    async def _beside(
        self, pipeline: ContractPipeline, kind: Kind, outlet: SideOutlet, pipe: Pipe[T]
    ) -> AsyncGenerator[None]:
        """Subscribe for an outlet that was attached, and end it with the block."""
        try:
            async with self._subscribed(kind, pipeline.contract_id):
                yield
        finally:
            pipeline.sides[kind].drop(outlet)
            pipe.close()

    @asynccontextmanager
    async def user_events(
        self, account_id: int | None, overflow: Overflow, capacity: int | None
    ) -> AsyncGenerator[Stream[UserItem]]:
        """Open user events: see `Gateway.open_user_events`."""
        limit = self._capacity(capacity, overflow)
        accounts = await self.service.accounts(account_id)
        name = f"user events of {'all accounts' if account_id is None else account_id}"
        pipe: Pipe[UserItem] = self._pipe(name, limit, overflow, stamp=item_stamp, key=item_key)
        outlet = UserOutlet(Feed(pipe), account_id, accounts)
        self.user.attach(outlet)
        try:
            async with _all_subscribed(self.user_hub, outlet.subscriptions):
                yield Stream(pipe)
        finally:
            self.user.detach(outlet)
            pipe.close()

    @asynccontextmanager
    async def events(
        self, overflow: Overflow, capacity: int | None, *, outlasts: bool = False
    ) -> AsyncGenerator[Stream[GatewayEvent]]:
        """Open events: see `Gateway.open_events`, and `EventBoard.attach`."""
        if overflow is Overflow.BLOCK:
            raise ConfigError("events cannot wait for a reader: choose another overflow than BLOCK")
        limit = self._capacity(capacity, overflow)
        pipe: Pipe[GatewayEvent] = self._pipe(
            "events", limit, overflow, stamp=event_stamp, key=event_key, is_told=False
        )
        feed = Feed(pipe)
        self.board.attach(feed, outlasts=outlasts)
        try:
            yield Stream(pipe)
        finally:
            self.board.detach(feed)
            pipe.close()

    def _pipe(
        self,
        name: str,
        limit: int,
        overflow: Overflow,
        *,
        stamp: Callable[[T], int],
        key: Callable[[T], Hashable],
        adapts: bool = False,
        is_told: bool = True,
    ) -> Pipe[T]:
        policy = self.in_force(overflow)
        pipe = self.opened.make(name, limit, policy, stamp=stamp, key=key, is_told=is_told)
        pipe.on_wait = self.on_wait
        pipe.adapts = adapts
        return pipe

    async def _pipeline(self, contract: str) -> ContractPipeline:
        instrument = await self.service.contract(contract)
        return self.market.contract(instrument.contract_id, instrument.grid)

    @asynccontextmanager
    async def _subscribed(
        self, kind: Kind, contract_id: str, outlet: TradeOutlet | None = None
    ) -> AsyncGenerator[None]:
        wanted = Subscription(kind, contract_id)

        def note(position: int) -> None:
            if outlet is not None:
                outlet.joined = position

        try:
            await self.market_hub.subscribe(wanted, note)
            try:
                self.watch.watch(contract_id)
                yield
            finally:
                self.market_hub.release(wanted)
        finally:  # also of one that was refused: while it was wanted, who left could not end the watch
            if not self.market_hub.wants.needs(contract_id):
                self.watch.unwatch(contract_id)

    def _capacity(self, capacity: int | None, overflow: Overflow) -> int:
        return checked_capacity(capacity, overflow, self.limits.stream_items)


@contextmanager
def _attached(pipeline: ContractPipeline, outlet: TradeOutlet, pipe: Pipe[T]) -> Generator[None]:
    """Attach before the subscription is asked for: what comes with its acknowledgement is wanted already."""
    pipeline.attach(outlet)
    try:
        yield
    finally:
        pipeline.detach(outlet)
        pipe.close()


@asynccontextmanager
async def _all_subscribed(hub: Subscriber, subscriptions: Sequence[Subscription]) -> AsyncGenerator[None]:
    """Have all of them, one after the other, or none."""
    had: list[Subscription] = []
    try:
        for wanted in subscriptions:
            await hub.subscribe(wanted)
            had.append(wanted)
        yield
    finally:
        for wanted in had:
            hub.release(wanted)
