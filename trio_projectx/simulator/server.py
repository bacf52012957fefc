"""`open_simulator`: a ProjectX gateway on loopback, or in memory, whose lifetime is one block."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import pyarrow as pa
import trio

from trio_projectx._errors import ConfigError, ConnectError
from trio_projectx.flow.background import BackgroundTasks, open_background_tasks
from trio_projectx.simulator.clock import MarketClock
from trio_projectx.simulator.control import Control
from trio_projectx.simulator.exchange import Exchange
from trio_projectx.simulator.http import Conversation, Request, Response, Upgrade, problem
from trio_projectx.simulator.hubs import Hubs
from trio_projectx.simulator.outgoing import CLOSE_AND_COME_BACK
from trio_projectx.simulator.player import ReplayState
from trio_projectx.simulator.products import front
from trio_projectx.simulator.replay import Tape, open_tape
from trio_projectx.simulator.rest import RestApi
from trio_projectx.simulator.settings import (
    API_KEY,
    USERNAME,
    Counters,
    Settings,
    SimulatorStatistics,
    check_host,
)
from trio_projectx.simulator.streams import breakable_pair
from trio_projectx.simulator.tokens import TokenOffice

_log = logging.getLogger("trio_projectx")

#: The base URL of a simulator without a socket: nothing listens on this port, so that a gateway that was not
#: given `Simulator.connect` is refused at once.
_NO_SOCKET_PORT: Final = 1
#: How long connections have to close in good order when the simulator is stopped from outside.
_STOP_S: Final = 0.5


class Simulator:
    """A running simulator; made by `open_simulator`."""

    def __init__(self, settings: Settings, tasks: BackgroundTasks, tape: Tape | None) -> None:
        self._settings = settings
        self._tasks = tasks
        self._counters = Counters()
        self._clock = MarketClock.started(settings.speed or 1.0, settings.wall_clock)
        self._tokens = TokenOffice(settings.seed, settings.wall_clock)
        self._exchange = Exchange(settings, self._clock, tasks, self._counters)
        if tape is not None:
            self._exchange.put_on(tape)
        self._hubs = Hubs(settings, self._tokens, self._exchange, self._counters)
        self._rest = RestApi(settings, self._clock, self._tokens)
        self._control = Control(
            settings, self._tokens, self._hubs, self._exchange, self._counters, self._begin_to_stop
        )
        self._stopping = False
        self._host = "127.0.0.1"
        self.port = _NO_SOCKET_PORT
        """The TCP port; 1 if there is no socket."""
        self.stopped = trio.Event()
        """Set when ``POST /control/stop`` has closed every connection; nothing is accepted any more then."""

    @property
    def seed(self) -> int:
        """What everything that is made up is made from."""
        return self._settings.seed

    @property
    def url(self) -> str:
        """The base URL, for `GatewayConfig.simulated`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def rest_url(self) -> str:
        """The base of the REST routes (they begin with ``/api``)."""
        return self.url

    @property
    def market_url(self) -> str:
        """The market hub."""
        return f"{self.url}/hubs/market"

    @property
    def user_url(self) -> str:
        """The user hub."""
        return f"{self.url}/hubs/user"

    @property
    def contract_id(self) -> str:
        """The contract to try first: the replay's, or the active MNQ contract of the market's time."""
        replay = self._exchange.replay
        return front("MNQ", self._clock.now_ns()).contract_id if replay is None else replay.contract_id

    @property
    def replay_done(self) -> trio.Event:
        """Set when the last trade of the replay has gone out to a subscriber.

        :raises ConfigError: if nothing is replayed.
        """
        if self._exchange.replay is None:
            raise ConfigError("this simulator replays nothing; give open_simulator(replay=...)")
        return self._exchange.replay.done

    @property
    def replay_state(self) -> ReplayState | None:
        """How far the replay is; None if nothing is replayed."""
        return None if self._exchange.replay is None else self._exchange.replay.state

    def market_now_ns(self) -> int:
        """Return the market's time as int64 ns: what trades now has about this stamp."""
        return self._clock.now_ns()

    def mint_token(self, ttl_s: float | None = None) -> str:
        """Return a token as `Auth/loginKey` would; negative ``ttl_s`` = one that has expired already."""
        ttl_s = self._settings.token_ttl_s if ttl_s is None else ttl_s
        return self._tokens.mint(self._settings.username, ttl_s)

    def statistics(self) -> SimulatorStatistics:
        """Return a snapshot of the counts."""
        counts = attrs.asdict(self._counters)
        del counts["last_disconnect"]
        return SimulatorStatistics(hub_connections_open=len(self._hubs.links), **counts)

    def truth(self) -> pa.Table:
        """Return all trades sent to at least one subscriber so far, in the order in which they were sent.

        Columns: ``ts_event`` (int64 ns), ``contract_id``, ``price``, ``volume``, ``side`` (0 buy, 1 sell, -1
        unknown), ``seq`` (from 0, without a hole). Held in memory: beyond ten million trades the older half
        is forgotten, which ``seq`` shows.
        """
        return self._exchange.truth.table()

    async def connect(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Return the client's end of a stream in memory to this simulator, whatever ``host`` and ``port``.

        Fits `GatewayConfig.connect`. ``tls`` is taken as spoken: nobody is between the ends.

        :raises ConnectError: if the simulator was stopped.
        """
        del host, port, tls
        await trio.lowlevel.checkpoint()
        if self._stopping:
            raise ConnectError("the simulator was stopped")
        ours, theirs = breakable_pair()
        self._tasks.start_soon(self._serve, ours)
        return theirs

    async def listen(self, host: str, port: int) -> None:
        """Accept TCP connections too; `open_simulator` does this once."""
        listeners = await trio.open_tcp_listeners(port, host=host)
        self._host = host
        self.port = listeners[0].socket.getsockname()[1]
        self._tasks.start_soon(trio.serve_listeners, self._serve, listeners)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection from its first byte to its last; whatever it does ends here."""
        self._counters.accepted += 1
        try:
            async with stream:
                upgraded = await Conversation(stream, self._answer).run()
                if upgraded is not None:
                    await self._hubs.serve(stream, *upgraded)
        except Exception:  # noqa: BLE001 -- a bug here must not take the other connections with it; it is counted and told
            self._counters.crashes += 1
            _log.exception("the simulator failed on a connection")

    def _answer(self, request: Request) -> Response | Upgrade:
        if self._stopping:
            return problem(503, "the simulator is stopping")
        if request.path.startswith("/hubs/"):
            return self._hubs.answer(request)
        if request.path.startswith("/control/"):
            return self._control.answer(request)
        return self._rest.answer(request)

    def _begin_to_stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._tasks.start_soon(self._stop)

    async def _stop(self) -> None:
        await self._hubs.close_all(CLOSE_AND_COME_BACK, _STOP_S)
        self.stopped.set()


def _check_without_replay(speed: float, contract: str | None) -> None:
    if speed == 0:
        raise ConfigError(
            "speed 0, as fast as the subscriber takes it, needs a replay: made markets have a pace"
        )
    if contract is not None:
        raise ConfigError(
            "contract names what a replay plays as; without a replay each contract has its market"
        )


@asynccontextmanager
async def open_simulator(
    *,
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int | None = 0,
    speed: float = 1.0,
    replay: str | os.PathLike[str] | pa.Table | None = None,
    contract: str | None = None,
    username: str = USERNAME,
    api_key: str = API_KEY,
    token_ttl_s: float = 86_400.0,
    wall_clock: Callable[[], int] = time.time_ns,
    allow_remote: bool = False,
    keep_alive_s: float = 15.0,
    client_timeout_s: float = 30.0,
    handshake_s: float = 15.0,
) -> AsyncGenerator[Simulator]:
    """Run a simulator for the length of the block; leaving it ends every connection and task within a second.

    ``port`` 0 takes a free one; None opens no socket, and only `Simulator.connect` leads in: that is the way
    for tests in virtual time, with a ``wall_clock`` that follows trio's. Market time starts at
    ``wall_clock()`` and runs ``speed`` times as fast as trio's clock. ``replay`` (a Parquet file or a table
    of trades, see `trio_projectx.simulator.replay.open_tape`) is sent as ``contract`` (default
    CON.F.US.GCE.Z25), at ``speed`` times its own pace, from the first subscription to that contract's trades
    on; ``speed=0`` is as fast as the subscriber takes it. The three ``..._s`` at the end are the hub's own
    timers, ASP.NET Core's by default.

    What the body raises comes out as it is.

    :raises ConfigError: options that cannot work, a replay that cannot be sent, or a ``host`` that other
        machines can reach without ``allow_remote``.
    :raises OSError: if the port cannot be bound.
    """
    check_host(host, allow_remote=allow_remote)
    if replay is None:
        _check_without_replay(speed, contract)
    settings = Settings(
        seed=seed,
        speed=speed,
        username=username,
        api_key=api_key,
        token_ttl_s=token_ttl_s,
        wall_clock=wall_clock,
        keep_alive_s=keep_alive_s,
        client_timeout_s=client_timeout_s,
        handshake_s=handshake_s,
    )
    tape = None if replay is None else await open_tape(replay, contract)
    async with open_background_tasks() as tasks:
        simulator = Simulator(settings, tasks, tape)
        if port is not None:
            await simulator.listen("127.0.0.1" if host == "localhost" else host, port)
        yield simulator
