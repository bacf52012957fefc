"""`open_gateway`: the composition of everything else into the one object that users hold."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, Generator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Literal, TypeVar, Unpack, cast, overload
from urllib.parse import urlsplit

import attrs

from trio_projectx._config import GatewayConfig, Overflow
from trio_projectx._errors import ConfigError, TimeframeError
from trio_projectx._events import Bar, BarRevised, Dropped, Quote, Trade
from trio_projectx._redact import install_redaction
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars import Anchor, BarSet
from trio_projectx.connection.auth import TokenSource
from trio_projectx.connection.directory import ContractDirectory
from trio_projectx.connection.hub import Kind, MarketHub, Subscription
from trio_projectx.connection.negotiator import HubAddress
from trio_projectx.connection.rest import RestClient
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.flow.bar_options import (
    BarOptions,
    bar_key,
    bar_policy,
    bar_stamp,
    check_anchor,
    session_of,
    update_interval,
)
from trio_projectx.flow.bar_stream import BarStream
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.outlets import BarOutlet, TradeOutlet, TradesOutlet
from trio_projectx.flow.pipeline import MarketPipeline, PipelineStatistics
from trio_projectx.flow.stream import Feed, Pipe, Stream, make_pipe

T = TypeVar("T")
Lossless = Literal[Overflow.ERROR, Overflow.BLOCK]
"""The policies that never leave an item out, so that no `Dropped` stands in the stream."""


@attrs.frozen(slots=True)
class GatewayStatistics:
    """A snapshot of what a gateway has counted since it was opened."""

    market: PipelineStatistics
    texts: int
    """Texts received from the market hub; one may hold many records."""
    bulk_texts: int
    """Those of them that were decoded in one pass."""
    malformed: int
    """Records of the market hub that could not be read and were left out."""
    ignored: int
    """Records of which nothing is made: of an unknown type, or an answer nobody waits for."""
    connects: int
    """Connections that the market hub has tried to make."""
    logins: int
    is_live: bool
    round_trip_s: float | None
    """The market hub's last round trip by WebSocket ping, in seconds."""


class Gateway:
    """One login, its hubs and its streams; made by `open_gateway`, which owns every task behind it."""

    def __init__(
        self, config: GatewayConfig, directory: ContractDirectory, hub: MarketHub, market: MarketPipeline
    ) -> None:
        self._config = config
        self._directory = directory
        self._hub = hub
        self._market = market

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
    ) -> AbstractAsyncContextManager[BarStream[Bar | BarRevised]]: ...

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
    ) -> AbstractAsyncContextManager[BarStream[Bar | BarRevised | Dropped]]: ...

    @asynccontextmanager
    async def open_bars(
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
    ) -> AsyncGenerator[BarStream[Bar]]:
        """Stream the closed bars of ``contract`` in ``timeframes``, live, in the order in which they close.

        ``contract`` is a product ("MNQ"), a ticker ("ES") or a full contract id; a timeframe is "1s", "5m", "4h",
        "1d" and its like. Entering returns once the hub has acknowledged the subscription; the first bar of each
        timeframe is ``partial``. ``anchor`` None is the session of the product (`Sessions.for_product`).
        ``capacity`` is how many bars wait for you at most, ``overflow`` what happens to the next one. Leaving the
        block, in any way, ends the subscription.

        ``updates`` adds looks at bars that are forming (``closed`` false), conflated: "every" one with each batch
        of trades, a number at most one in that many seconds. ``events=True`` adds `BarRevised`, if
        ``late="revise"``. The other options are those of `BarOptions`.

        :raises ConfigError: (`TimeframeError`, `ContractError`) for what cannot be honoured.
        :raises SubscriptionError: if the hub refuses, or does not answer within ``timeouts.subscribe_s``.
        :raises AuthError: if the hub refuses the token, also a fresh one.
        :raises ConnectError: if the hub is not reached within ``timeouts.connect_s`` and ``handshake_s``.
        """
        _refuse_what_is_not_there(history)
        every_s, policy = update_interval(updates), bar_policy(options, events=events)
        frames = _timeframes(timeframes)
        check_anchor(anchor, frames, policy)
        limit = self._capacity(capacity, overflow)
        instrument = await self._directory.resolve(contract)
        chosen = session_of(instrument.contract_id) if anchor is None else anchor
        pipeline = self._market.contract(instrument.contract_id, instrument.grid)
        limits = self._config.limits
        bars = BarSet(
            instrument.contract_id,
            frames,
            anchor=chosen,
            grid=pipeline.grid,
            lateness_ns=round(limits.lateness_ms * 1_000_000),
            bars_kept=limits.bars_kept,
            partial_first=True,
            outside=policy.outside,
            late=policy.late,
            fill=policy.fill,
        )
        name = f"bars of {instrument.contract_id} ({', '.join(frames)})"
        pipe: Pipe[Bar | BarRevised] = make_pipe(name, limit, overflow, stamp=bar_stamp, key=bar_key)
        outlet = BarOutlet(
            bars,
            Feed(pipe),
            before=pipeline.counts.built,
            since=self._market.serial,
            update_every_s=every_s,
            quiet_s=limits.quiet_ms / 1000,
            skip_first=policy.skip_first,
            tell_revisions=events,
        )
        with _attached(pipeline, outlet, pipe):
            async with self._subscribed(Kind.TRADES, pipeline) as outlet.joined:
                # The overloads say what else than bars there may be.
                yield cast("BarStream[Bar]", BarStream(pipe, bars, instrument.contract_id))

    @overload
    def open_trades(
        self, contract: str, *, overflow: Lossless = Overflow.ERROR, capacity: int | None = None
    ) -> AbstractAsyncContextManager[Stream[Trade]]: ...

    @overload
    def open_trades(
        self, contract: str, *, overflow: Overflow, capacity: int | None = None
    ) -> AbstractAsyncContextManager[Stream[Trade | Dropped]]: ...

    @asynccontextmanager
    async def open_trades(
        self, contract: str, *, overflow: Overflow = Overflow.ERROR, capacity: int | None = None
    ) -> AsyncGenerator[Stream[Trade]]:
        """Stream the valid trades of ``contract`` in order of arrival; errors as `open_bars`."""
        limit = self._capacity(capacity, overflow)
        instrument = await self._directory.resolve(contract)
        pipeline = self._market.contract(instrument.contract_id, instrument.grid)
        name = f"trades of {instrument.contract_id}"
        pipe: Pipe[Trade] = make_pipe(name, limit, overflow, stamp=_trade_stamp, key=_trade_key)
        outlet = TradesOutlet(pipeline.grid, Feed(pipe), since=self._market.serial)
        with _attached(pipeline, outlet, pipe):
            async with self._subscribed(Kind.TRADES, pipeline):
                yield Stream(pipe)

    @overload
    def open_quotes(
        self, contract: str, *, overflow: Lossless, capacity: int | None = None
    ) -> AbstractAsyncContextManager[Stream[Quote]]: ...

    @overload
    def open_quotes(
        self, contract: str, *, overflow: Overflow = Overflow.CONFLATE, capacity: int | None = None
    ) -> AbstractAsyncContextManager[Stream[Quote | Dropped]]: ...

    @asynccontextmanager
    async def open_quotes(
        self, contract: str, *, overflow: Overflow = Overflow.CONFLATE, capacity: int | None = None
    ) -> AsyncGenerator[Stream[Quote]]:
        """Stream the quote state of ``contract`` after each update; conflated by default, errors as `open_bars`."""
        limit = self._capacity(capacity, overflow)
        instrument = await self._directory.resolve(contract)
        pipeline = self._market.contract(instrument.contract_id, instrument.grid)
        name = f"quotes of {instrument.contract_id}"
        pipe: Pipe[Quote] = make_pipe(name, limit, overflow, stamp=_quote_stamp, key=_quote_key)
        feed = Feed(pipe)
        pipeline.attach_quotes(feed)
        try:
            async with self._subscribed(Kind.QUOTES, pipeline):
                yield Stream(pipe)
        finally:
            pipeline.detach_quotes(feed)
            pipe.close()

    async def wait_connected(self) -> None:
        """Connect the market hub if it is not, and return when it is live; raises as `open_bars`."""
        await self._hub.live()

    def statistics(self) -> GatewayStatistics:
        """Return a snapshot of all counters."""
        counts = self._hub.counts
        return GatewayStatistics(
            market=self._market.statistics(),
            texts=counts.texts,
            bulk_texts=counts.bulk_texts,
            malformed=counts.malformed,
            ignored=counts.ignored,
            connects=self._hub.connects,
            logins=self._directory.tokens.logins,
            is_live=self._hub.is_live,
            round_trip_s=self._hub.round_trip_s,
        )

    @asynccontextmanager
    async def _subscribed(self, kind: Kind, pipeline: ContractPipeline) -> AsyncGenerator[int]:
        wanted = Subscription(kind, pipeline.contract_id)
        joined = await self._hub.subscribe(wanted)
        try:
            yield joined
        finally:
            self._hub.release(wanted)

    def _capacity(self, capacity: int | None, overflow: Overflow) -> int:
        if not isinstance(overflow, Overflow):
            raise ConfigError(f"overflow must be one of the Overflow policies, not {overflow!r:.40}")
        chosen = self._config.limits.stream_items if capacity is None else capacity
        if isinstance(chosen, bool) or not isinstance(chosen, int) or chosen < 1:
            raise ConfigError(f"capacity must be a whole number, 1 or more, not {chosen!r:.40}")
        return chosen


@asynccontextmanager
async def open_gateway(config: GatewayConfig) -> AsyncGenerator[Gateway]:
    """Log in and own everything behind a `Gateway` until the block is left.

    Hubs connect with the first stream that needs them. Leaving the block ends all streams and tasks; what the block
    raises comes out as it is. Cancellation is prompt: closing is shielded, and bounded by ``timeouts.close_s``.

    :raises AuthError: if the service refuses the credentials.
    :raises ConnectError: if it is not reached within ``timeouts.rest_s``.
    """
    if not isinstance(config, GatewayConfig):
        raise ConfigError(f"open_gateway takes a GatewayConfig, not a {type(config).__name__}")
    _refuse_clear_text(config)
    install_redaction()
    rest = RestClient(
        config.endpoints.rest_url,
        connect=config.connect,
        deadline_s=config.timeouts.rest_s,
        body_limit=config.limits.rest_body_bytes,
    )
    async with rest:
        tokens = TokenSource(config.credentials, rest.login)
        await tokens.token()
        async with open_background_tasks("gateway") as tasks:
            market = MarketPipeline(config.limits, tasks)
            address = HubAddress(config.endpoints.market_hub_url, config, rest)
            hub = MarketHub(address, tokens, config, market, tasks)
            directory = ContractDirectory(rest, tokens, config.wall_clock)
            try:
                yield Gateway(config, directory, hub, market)
            finally:
                market.end()


@contextmanager
def _attached(pipeline: ContractPipeline, outlet: TradeOutlet, pipe: Pipe[T]) -> Generator[None]:
    """Attach before the subscription is asked for: what comes with its acknowledgement is wanted already."""
    pipeline.attach(outlet)
    try:
        yield
    finally:
        pipeline.detach(outlet)
        pipe.close()


def _refuse_clear_text(config: GatewayConfig) -> None:
    """Refuse to send a secret over plain http to another machine; a door of the user's own is the user's matter."""
    for url in (config.endpoints.rest_url, config.endpoints.market_hub_url) if config.connect is None else ():
        parts = urlsplit(url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            raise ConfigError(
                f"http://{parts.hostname} would carry the API key and the token in clear; use https"
            )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_what_is_not_there(history: int) -> None:
    if history != 0:
        raise ConfigError("history= is not offered yet: bars begin with the subscription; leave it at 0")


def _timeframes(labels: tuple[str, ...]) -> tuple[Timeframe, ...]:
    if not labels:
        raise TimeframeError('name at least one timeframe, for example open_bars("MNQ", "1m", "5m")')
    frames = tuple(Timeframe(label) for label in labels)
    if len(set(frames)) < len(frames):
        raise TimeframeError(f"a timeframe is named twice in {', '.join(frames)}")
    return frames


def _trade_stamp(trade: Trade) -> int:
    return trade.ts_event


def _trade_key(trade: Trade) -> Hashable:
    return trade.contract_id


def _quote_stamp(quote: Quote) -> int:
    return quote.ts_event


def _quote_key(quote: Quote) -> Hashable:
    return quote.contract_id
