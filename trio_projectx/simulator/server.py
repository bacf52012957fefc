"""`open_simulator`: a ProjectX gateway on loopback, or in memory, whose lifetime is one block."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs
import pyarrow as pa
import trio

from trio_projectx._errors import ConfigError, ConnectError
from trio_projectx._logs import fields
from trio_projectx.flow.background import BackgroundTasks, open_background_tasks
from trio_projectx.market.contracts import ContractId
from trio_projectx.simulator.clock import MarketClock
from trio_projectx.simulator.control import Control
from trio_projectx.simulator.desk import Desk
from trio_projectx.simulator.exchange import Exchange
from trio_projectx.simulator.faults import Fault, FaultHandle, FaultState, Step, parse_script
from trio_projectx.simulator.faults.engine import Faults
from trio_projectx.simulator.http import Conversation, JsonBody, Request, Response, Upgrade, problem
from trio_projectx.simulator.hubs import Hubs
from trio_projectx.simulator.outgoing import CLOSE_AND_COME_BACK
from trio_projectx.simulator.player import ReplayState
from trio_projectx.simulator.products import front
from trio_projectx.simulator.replay import Tape, make_tape, open_tape
from trio_projectx.simulator.rest import RestApi
from trio_projectx.simulator.settings import (
    API_KEY,
    USERNAME,
    Counters,
    Payloads,
    Settings,
    SimulatorStatistics,
    check_host,
    check_port,
)
from trio_projectx.simulator.streams import breakable_pair, reset_stream
from trio_projectx.simulator.tokens import TokenOffice
from trio_projectx.simulator.user_events import UserAction, UserKind

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
        self._faults = Faults(
            tasks,
            self._counters,
            self._tokens.expire_all,
            settings.keep_alive_s,
            settings.seed,
            self._exchange.now_ns,
        )
        self._hubs = Hubs(settings, self._tokens, self._exchange, self._counters, self._faults.around)
        desk = Desk(settings, self._exchange, self._hubs.publish)
        self._rest = RestApi(settings, self._clock, self._tokens, self._exchange, desk)
        tasks.start_soon(self._exchange.truth.run)
        self._control = Control(
            settings,
            self._tokens,
            self._hubs,
            self._exchange,
            self._counters,
            self._faults,
            self._begin_to_stop,
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

    def publish(
        self, kind: UserKind, account_id: int, action: UserAction, entity: Mapping[str, JsonBody]
    ) -> int:
        """Send an event of ``account_id`` to its subscribers on the user hub; return how many there were.

        ``entity`` is the whole entity as REST shows it; what is null in it is left out, as on the live stream.
        """
        return self._hubs.publish(kind, account_id, action, entity)

    def log_out(self, connection_id: str | None = None) -> int:
        """Send ``GatewayLogout`` to one hub connection, or to all; return to how many."""
        return self._hubs.log_out(connection_id)

    def statistics(self) -> SimulatorStatistics:
        """Return a snapshot of the counts."""
        counts = attrs.asdict(self._counters)
        del counts["last_disconnect"]
        return SimulatorStatistics(hub_connections_open=len(self._hubs.links), **counts)

    def truth(self, contract_id: str | None = None, from_seq: int = 0) -> pa.Table:
        """Return the trades that the markets made so far, in order; all of them or those of one contract.

        A contract's begin with the first subscription to its trades (or order in it); from there on none is
        missing, whether or not somebody was connected. Columns: ``ts_event`` (int64 ns), ``contract_id``,
        ``price``, ``volume``, ``side`` (0 buy, 1 sell, -1 unknown), ``seq`` (from 0, without a hole unless
        the disk is full). What is long ago lies on disk and is mapped, not read. Good after the block too.
        """
        return self._exchange.truth.table(contract_id, from_seq)

    def forget_truth(self, before_seq: int) -> None:
        """Forget the truth before a number, for those who take it in pieces: what is on disk stays there."""
        self._exchange.truth.forget(before_seq)

    def set_trades_per_s(self, trades_per_s: float) -> None:
        """Change how much happens in every made market, from now on; 0 is nothing at all."""
        self._exchange.set_trades_per_s(trades_per_s)

    def deliveries(self) -> pa.Table:
        """Return which trades of the truth were handed to which connection: one row for each subscription.

        Columns: ``connection_id``, ``contract_id``, ``first_seq`` and ``last_seq`` (all trades of the contract
        with these numbers and between, once and in order; null if none was), ``opened`` and ``closed`` (market
        time, int64 ns; null while it lasts).
        """
        return self._exchange.deliveries.table()

    def play(self, trades: pa.Table, contract: str) -> None:
        """Let ``trades`` be the market of ``contract`` from the first subscription to its trades on.

        The table is that of ``open_simulator(replay=...)``, and so is the pace; `replay_state` is then its.

        :raises ConfigError: if it cannot be sent, or the contract has been trading already.
        :raises ContractError: if ``contract`` is malformed.
        """
        self._exchange.put_on(make_tape(trades, str(ContractId.parse(contract))))

    def inject(self, fault: Fault) -> FaultHandle:
        """Let something go wrong, at once or when it is due; the handle tells how often it has struck."""
        return self._faults.inject(fault)

    def run_script(self, script: str | bytes | Iterable[Step]) -> None:
        """Put faults in one after the other: a script (see `parse_script`), whose time begins now.

        :raises ConfigError: if the script cannot be done; nothing of it is done then.
        """
        steps = parse_script(script) if isinstance(script, (str, bytes)) else tuple(script)
        self._faults.run_script(steps)

    def faults(self) -> tuple[FaultState, ...]:
        """Return the faults that were put in, with how often each has struck, also those that are over."""
        return self._faults.states()

    def clear_faults(self) -> int:
        """Take all faults out and end what they have begun; return how many there were."""
        return self._faults.clear()

    async def connect(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Return the client's end of a stream in memory to this simulator, whatever ``host`` and ``port``.

        Fits `GatewayConfig.connect`. ``tls`` is taken as spoken: nobody is between the ends.

        :raises ConnectError: if the simulator was stopped.
        :raises ConnectionRefusedError: if a fault says so.
        """
        del host, port, tls
        await trio.lowlevel.checkpoint()
        if self._stopping:
            raise ConnectError("the simulator was stopped")
        if self._faults.refuses():
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        ours, theirs = breakable_pair()
        self._tasks.start_soon(self._serve, ours)
        return theirs

    async def listen(self, host: str, port: int) -> None:
        """Accept TCP connections too; `open_simulator` does this once."""
        listeners = await trio.open_tcp_listeners(port, host=host)
        self._host = host
        self.port = listeners[0].socket.getsockname()[1]
        self._tasks.start_soon(trio.serve_listeners, self._accept, listeners)

    async def _accept(self, stream: trio.abc.Stream) -> None:
        """Serve a TCP connection; it is there already, so to refuse it is to reset it."""
        if self._faults.refuses():
            reset_stream(stream)
        else:
            await self._serve(stream)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection from its first byte to its last; whatever it does ends here."""
        self._counters.accepted += 1
        try:
            async with self._faults.attach(stream) as line:
                upgraded = await Conversation(line, self._answer, self._faults.meddler(line)).run()
                if upgraded is not None:
                    self._faults.upgraded(line, upgraded[0].identity)
                    await self._hubs.serve(line, *upgraded)
        except Exception:  # noqa: BLE001 -- a bug here must not take the other connections with it; it is counted and told
            self._counters.crashes += 1
            _log.exception("the simulator failed on a connection", extra=fields("simulator_failed"))

    def _answer(self, request: Request) -> Response | Upgrade | Awaitable[Response]:
        if self._stopping:
            return problem(503, "the simulator is stopping")
        if request.path.startswith("/hubs/"):
            return self._hubs.answer(request)
        if request.path.startswith("/control/"):
            return self._control.answer(request)
        return self._rest.answer(request)

    def let_go(self) -> None:
        """Break what faults keep open; `open_simulator` does this at its end."""
        self._faults.end()

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
    parallel: int = 1,
    close_on_expiry: bool = True,
    rate_limits: bool = True,
    retry_after: bool = False,
    history_cap: int = 20_000,
    auto_oco: bool = True,
    payloads: Payloads = "live",
    step_s: float = 0.05,
    candles_kept: int | None = None,
) -> AsyncGenerator[Simulator]:
    """Run a simulator for the length of the block; leaving it ends every connection and task within a second.

    ``port`` 0 takes a free one; None opens no socket, and only `Simulator.connect` leads in: that is the way
    for tests in virtual time, with a ``wall_clock`` that follows trio's. Market time starts at
    ``wall_clock()`` and runs ``speed`` times as fast as trio's clock. ``replay`` (a Parquet file or a table
    of trades, see `trio_projectx.simulator.replay.open_tape`) is sent as ``contract`` (default
    CON.F.US.GCE.Z25), at ``speed`` times its own pace, from the first subscription to that contract's trades
    on; ``speed=0`` is as fast as the subscriber takes it. ``keep_alive_s``, ``client_timeout_s`` and ``handshake_s``
    are the hub's own timers, ASP.NET Core's by default; ``parallel`` is how many calls of one connection run at a
    time, and ``close_on_expiry`` whether a connection ends with its token. ``payloads="varied"`` writes made markets in
    every form that the service is known to use, not only in the live one (`trio_projectx.simulator.varied`).
    A made market is looked at every ``step_s``, and what happened since goes out as one frame; ``candles_kept`` is how
    many seconds and minutes it keeps as candles (None: 90,000 and 90,720), for those who let it run for days.

    Of REST: ``rate_limits=False`` answers no 429, ``retry_after=True`` says in one when to come back,
    ``history_cap`` is how many bars an answer holds at most, and ``auto_oco=False`` has accounts refuse
    orders with brackets.

    What the body raises comes out as it is.

    :raises ConfigError: options that cannot work, a replay that cannot be sent, or a ``host`` that other
        machines can reach without ``allow_remote``.
    :raises OSError: if the port cannot be bound.
    """
    check_host(host, allow_remote=allow_remote)
    check_port(port)
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
        parallel=parallel,
        close_on_expiry=close_on_expiry,
        rate_limits=rate_limits,
        retry_after=retry_after,
        history_cap=history_cap,
        auto_oco=auto_oco,
        payloads=payloads,
        step_s=step_s,
        candles_kept=candles_kept,
    )
    tape = None if replay is None else await open_tape(replay, contract)
    async with open_background_tasks() as tasks:
        simulator = Simulator(settings, tasks, tape)
        if port is not None:
            await simulator.listen("127.0.0.1" if host == "localhost" else host, port)
        try:
            yield simulator
        finally:
            simulator.let_go()
