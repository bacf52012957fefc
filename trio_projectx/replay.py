"""`open_replay`: a record played again, with the streams of a gateway."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Literal, NoReturn

import attrs
import trio

from trio_projectx._config import Limits, Overflow, Timeouts
from trio_projectx._errors import ConfigError
from trio_projectx._events import HubState
from trio_projectx._redact import install_redaction
from trio_projectx.callbacks import Callbacks
from trio_projectx.connection.health import Health
from trio_projectx.flow.background import BackgroundTasks, open_background_tasks
from trio_projectx.flow.board import EventBoard
from trio_projectx.flow.books import Books
from trio_projectx.flow.marks import recorded_limits
from trio_projectx.flow.open_streams import OpenStreams
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.user_pipeline import UserPipeline
from trio_projectx.gateway import Gateway
from trio_projectx.gateway_statistics import GatewayStatistics, Hubs, HubStatistics
from trio_projectx.market import ContractId, PriceGrid, find_product
from trio_projectx.replaying.ahead import Ahead, Pace
from trio_projectx.replaying.files import Piece, Record, first_state, instruments, recorded
from trio_projectx.replaying.frames import FramePlayer, in_contract
from trio_projectx.replaying.reader import ReadCounts
from trio_projectx.replaying.stage import NoWatch, RecordedDirectory, RecordedHub, RecordedWorld, Times
from trio_projectx.replaying.tables import check_table, table_pieces
from trio_projectx.replaying.trades import QuoteTrack, TableTrack, Track, TrackPlayer, TradeTrack
from trio_projectx.streams import Streams

_log: Final = logging.getLogger("trio_projectx")
Source = Literal["frames", "trades"]
#: Rows that are read at once: a frame may be long.
_FRAME_ROWS: Final = 512
_TRADE_ROWS: Final = 8192
#: Two trades this near to each other come together, where a table is played in time.
_SPAN_NS: Final = 10_000_000
_WAITS: Final = (Overflow.ERROR, Overflow.CONFLATE)
#: How long handlers may go on when the replay is left, or a stream breaks; at its end they may take their time.
_GRACE_S: Final = Timeouts().close_s


@attrs.frozen(slots=True)
class Script:
    """What is played."""

    path: Path
    source: Source | Literal["table"]
    grids: dict[str, PriceGrid]
    limits: Limits


class Replay(Gateway):
    """A record, with the streams of a gateway; made by `open_replay`, which owns every task behind it.

    It has the streams of trades, quotes and bars, and that of events, with the same items; the same code makes them
    that makes live ones, from the decoder on. It waits for its readers: ``ERROR`` and ``CONFLATE`` are ``BLOCK`` here,
    so every stream that is open has to be read. At the end of the record streams end; bars that were forming still
    are (`BarStream.forming`). What makes no sense without a service raises `ConfigError`.
    """

    def __init__(
        self, script: Script, speed: float | None, tasks: BackgroundTasks, *, autostart: bool
    ) -> None:
        self._script = script
        self._tasks = tasks
        self._times = Times()
        self._pace = Pace(speed)
        self._start = trio.Event()
        self._has_ended = False
        self._over = trio.Event()
        self._board = EventBoard()
        world = RecordedWorld(self._times, self._board.tell)
        self._market = MarketPipeline(script.limits, tasks, world)
        self._user = UserPipeline(script.limits, tasks, world.exchange_ns)
        self._player = FramePlayer(self._market, script.limits, self._pace, self._times, self._board.tell)
        self._counts: ReadCounts = self._player.counts
        is_frames = script.source == "frames"
        self._hub = self._player.hub if is_frames else RecordedHub(lambda wanted: self._market.serial)
        self._speed = speed
        streams = Streams(
            script.limits,
            RecordedDirectory(script.grids),
            self._hub,
            self._hub,
            self._market,
            self._user,
            NoWatch(),
            self._board,
            OpenStreams(None, world.exchange_ns, 1.0),  # all of them fill: it waits for its readers
            in_force=_in_force,
            on_wait=self.start if autostart else _nothing,
        )
        Callbacks.__init__(self, streams, world.exchange_ns, _GRACE_S)
        market, tell, wall = self._market, self._board.tell, world.exchange_ns
        totals = partial(market.totals, 0)  # of a record it is not counted how long its texts were
        self._books = Books(market.timings, totals, streams.ledger, tell, wall, tasks.counts)

    def start(self) -> None:
        """Begin to play, if it has not begun."""
        self._start.set()

    @property
    def has_ended(self) -> bool:
        """Whether everything was played."""
        return self._has_ended

    @property
    def at(self) -> int | None:
        """Our wall clock (int64 ns) at the recording, where the replay is now; None before its first row."""
        return self._times.ts_recv or None

    async def wait_ended(self) -> None:
        """Start, and return when everything was played; streams have to be read meanwhile.

        :raises trio.ClosedResourceError: if the replay is left before that.
        """
        self.start()
        await self._over.wait()
        if not self.has_ended:
            raise trio.ClosedResourceError("the replay was left before its end")

    async def wait_connected(self) -> None:
        """Return: a record is always there."""
        await trio.lowlevel.checkpoint()

    def statistics(self) -> GatewayStatistics:
        """Return a snapshot of all counters; of connections and logins there are none.

        Trades of a record of trades were judged when they were recorded: they count as received, and not as accepted.
        """
        played = HubStatistics(
            hub="market",
            state=HubState.CLOSED if self.has_ended else HubState.LIVE,
            texts=self._counts.texts,
            bulk_texts=self._counts.bulk_texts,
            malformed=self._counts.malformed,
        )
        return GatewayStatistics(
            market=self._market.statistics(),
            user=self._user.statistics(),
            hubs=Hubs(played, HubStatistics(hub="user", state=HubState.IDLE)),
            ledger=self._streams.ledger(),
            streams=self._streams.opened.statistics(),
            latency=self._books.latency(),
            rates=self._books.rates(),
            tasks=self._books.tasks.statistics(),
            is_live=not self.has_ended,
        )

    # -- what needs a service

    def health(self) -> Health:
        """Refuse: a record has no connections.

        :raises ConfigError: always.
        """
        _refuse("health: it has no connections, no token and no clock of its own")

    async def refresh_token(self) -> None:
        """Refuse: there is no token.

        :raises ConfigError: always.
        """
        _refuse("token")

    async def history(self, *_: object, **__: object) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse: nobody can be asked.

        :raises ConfigError: always.
        """
        _refuse("history: ask a gateway")

    @property
    def rest(self) -> NoReturn:
        """Refuse: nobody can be asked.

        :raises ConfigError: always.
        """
        _refuse("service to ask")

    def coverage(self, *_: object, **__: object) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse: what was missing then stands in the streams as `Gap`, what was filled as `BarRevised`.

        :raises ConfigError: always.
        """
        _refuse("ledger of time: see its Gap and BarRevised")

    def open_recorder(self, *_: object, **__: object) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse: what is replayed is recorded already.

        :raises ConfigError: always.
        """
        _refuse("recorder: what it plays is recorded already")

    def open_user_events(self, *_: object, **__: object) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse: accounts are not replayed.

        :raises ConfigError: always.
        """
        _refuse("user events: accounts are not played again")

    def on_user_event(self, *_: object, **__: object) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse: accounts are not replayed.

        :raises ConfigError: always.
        """
        _refuse("user events: accounts are not played again")

    # -- the task

    async def run(self) -> None:
        """Wait for the start, play, and end the streams."""
        await self._start.wait()
        threads = trio.CapacityLimiter(1)
        match self._script.source:
            case "frames":
                record = Record(self._script.path, "frames", "hub.market", _FRAME_ROWS)
                await self._player.play(self._ahead(record, threads))
            case "trades":
                await TrackPlayer(self._pace, self._times).play(self._tracks(threads))
            case "table":
                await TrackPlayer(self._pace, self._times).play(self._table(threads))
        await self._finish()

    def _ahead(self, record: Record, threads: trio.CapacityLimiter) -> trio.MemoryReceiveChannel[Piece]:
        ahead = Ahead(record.pieces(), threads, self._books.turn)
        self._tasks.start_soon(ahead.run, name="reading ahead")
        return ahead.receive

    def _tracks(self, threads: trio.CapacityLimiter) -> list[tuple[Track, trio.abc.ReceiveChannel[Piece]]]:
        tracks: list[tuple[Track, trio.abc.ReceiveChannel[Piece]]] = []
        path, tell = self._script.path, self._board.tell
        for contract_id, grid in self._script.grids.items():
            trades = TradeTrack(contract_id, grid, self._market, tell, self._times)
            quotes = QuoteTrack(contract_id, self._market, tell, self._times)
            tracks.append((trades, self._ahead(Record(path, "trades", contract_id, _TRADE_ROWS), threads)))
            tracks.append((quotes, self._ahead(Record(path, "quotes", contract_id, _TRADE_ROWS), threads)))
        return tracks

    def _table(self, threads: trio.CapacityLimiter) -> list[tuple[Track, trio.abc.ReceiveChannel[Piece]]]:
        ((contract_id, grid),) = self._script.grids.items()
        span_ns = None if self._speed is None else math.ceil(_SPAN_NS * self._speed)
        ahead = Ahead(table_pieces(self._script.path), threads, self._books.turn)
        self._tasks.start_soon(ahead.run, name="reading ahead")
        return [(TableTrack(contract_id, grid, self._market, span_ns), ahead.receive)]

    async def _finish(self) -> None:
        """Let everything that was played come through, and end all streams."""
        self._hub.has_ended = True
        judged = None if self._script.source == "frames" else 0  # trades do not pass the validator
        for contract in self._market.contracts:
            await in_contract(self._market, contract, trio.lowlevel.checkpoint, judged)
        self._has_ended = True
        self._market.end()
        self._user.end()
        self._over.set()
        await self._handlers.settled()  # what they are not given of this is told before nothing more is
        self._end()

    def leave(self) -> None:
        """End all streams where they are, for the block is being left; handlers get no longer than a gateway's."""
        self._hub.has_ended = True
        self._end()
        self._handlers.hurry()

    def _end(self) -> None:
        self._market.end()
        self._user.end()
        self._board.end()
        self._over.set()


def _in_force(asked: Overflow) -> Overflow:
    """A replay can wait: nothing has to break, or be merged, because it is faster than its reader."""
    return Overflow.BLOCK if asked in _WAITS else asked


def _nothing() -> None:
    """The user starts it."""


def _refuse(what: str) -> NoReturn:
    raise ConfigError(f"a replay has no {what}")


@asynccontextmanager
async def open_replay(
    path: Path | str,
    speed: float | None = None,
    *,
    source: Source | None = None,
    contract: str | None = None,
    tick_size: float | str | None = None,
    limits: Limits | None = None,
    autostart: bool = True,
) -> AsyncGenerator[Replay]:
    """Play a record again, as a gateway; the block owns all tasks.

    ``path`` is a folder that `Gateway.open_recorder` wrote, also one that is being written, or that a killed process
    left; or one Parquet file of trades of ``contract`` (a full id), sorted by ``ts_event`` (int64 ns), with ``price``,
    ``volume`` and, if you have it, ``side``. ``source`` "frames" plays what the hub sent, which gives the very items
    and bars of then, gaps and connections and all; "trades" the valid trades and quotes. None takes frames if there
    are any. ``speed`` is how many times as fast as it was; None, or 0, as fast as the streams are read.

    Leaving the block ends all streams, wherever they are.

    It begins when first a reader waits for an item; streams that are open by then get everything. ``autostart=False``
    lets it begin with `Replay.start` instead. ``limits`` None are those of the recording. Files are read a few
    thousand rows at a time, by a thread. A file that is damaged is told as `JournalDamaged`, and by a `Gap`.

    :raises ConfigError: for options that are wrong, or if there is nothing to play.
    :raises OSError: if it cannot be read.
    """
    pace = _speed(speed)
    install_redaction()
    # It only reads: cancelled, it is left behind, and a disk that hangs holds nobody.
    script = await trio.to_thread.run_sync(
        _script, Path(path), source, contract, tick_size, limits, abandon_on_cancel=True
    )
    async with open_background_tasks("replay") as tasks:
        replay = Replay(script, pace, tasks, autostart=autostart)
        tasks.start_soon(replay.run, name="replay")
        try:
            yield replay
        finally:
            replay.leave()


def _speed(speed: float | None) -> float | None:
    if speed is None:
        return None
    if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not 0 <= speed < math.inf:
        raise ConfigError(f"speed must be None or a number, 0 or more, not {speed!r:.40}")
    return float(speed) or None


def _script(
    path: Path,
    source: Source | None,
    contract: str | None,
    tick_size: float | str | None,
    limits: Limits | None,
) -> Script:
    """Look what there is; blocks."""
    if path.is_file():
        return _table_script(path, source, contract, tick_size, limits)
    if source not in (None, "frames", "trades"):
        raise ConfigError(f'source must be "frames" or "trades", not {source!r:.40}')
    if contract is not None or tick_size is not None:
        raise ConfigError("contract= and tick_size= are for a Parquet file; a journal knows them")
    has_frames = "hub.market" in recorded(path, "frames")
    traded = recorded(path, "trades")
    chosen: Source = source or ("frames" if has_frames else "trades")
    if not (has_frames if chosen == "frames" else traded):
        raise ConfigError(f"there are no {chosen} to play in {path}")
    state = first_state(path) if has_frames else None
    if limits is None:
        limits = Limits() if state is None else recorded_limits(state)
    grids = instruments(path)
    for each in traded:
        grids.setdefault(each, _grid(each, None))
    return Script(path, chosen, grids, limits)


def _table_script(
    path: Path,
    source: Source | None,
    contract: str | None,
    tick_size: float | str | None,
    limits: Limits | None,
) -> Script:
    if source == "frames":
        raise ConfigError("a Parquet file of trades has no frames")
    if contract is None:
        raise ConfigError('say whose trades these are: contract="CON.F.US.MNQ.U26"')
    check_table(path)
    contract_id = str(ContractId.parse(contract))
    return Script(path, "table", {contract_id: _grid(contract_id, tick_size)}, limits or Limits())


def _grid(contract_id: str, tick_size: float | str | None) -> PriceGrid:
    if tick_size is not None:
        return PriceGrid.from_tick_size(tick_size)
    return find_product(ContractId.parse(contract_id).product).grid
