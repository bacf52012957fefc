"""Watches the market hub's data: whether they come, how old they are, and how the two clocks stand to each other.

The pipelines report here what they read (`Surroundings`); one task looks whether something is missing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from trio_projectx._config import GatewayConfig
from trio_projectx._errors import ConfigError, TrioProjectXError
from trio_projectx._events import (
    ClockSkewed,
    DataEvent,
    GatewayEvent,
    HubState,
    HubStateChanged,
    MarketStalled,
)
from trio_projectx._logs import fields
from trio_projectx.bars import Sessions
from trio_projectx.connection.bell import Bell
from trio_projectx.connection.endings import Silent
from trio_projectx.connection.hub import Hub, proved_until
from trio_projectx.connection.ntp import suspended_s
from trio_projectx.connection.skew import SkewEstimate
from trio_projectx.connection.stalls import Stalled, StallWatch
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.market import ContractId, Decoded

_log = logging.getLogger("trio_projectx")
#: What a probe finds may be on its way just then.
_ON_ITS_WAY_S: Final = 1.0
#: A machine that slept longer than this has lost its connections, whatever they look like.
_SLEPT_S: Final = 1.0

Probe = Callable[[str, int], Awaitable[int | None]]
"""Asks the service for the start (int64 ns) of a contract's newest bar since a stamp; None if there is none."""


class MarketWatch:
    """The second clock of the market hub's health; the first is the epoch's."""

    def __init__(
        self,
        config: GatewayConfig,
        probe: Probe,
        tasks: BackgroundTasks,
        tell: Callable[[GatewayEvent], None],
    ) -> None:
        self._config = config
        self._probe = probe
        self._tasks = tasks
        self._tell = tell
        self._hub: Hub[Decoded] | None = None
        self._bell = Bell()
        self._last_ts: dict[str, int] = {}
        self._newest: dict[str, int] = {}  # of what the service had when a connection was given up for it
        self._suspended_s = suspended_s()
        self.turn: Callable[[float], float] = _no_turn
        """Called at each look with trio's clock; returns when it wants to be called again, at the latest."""
        self.stalls = StallWatch(config.timeouts.stall_s, config.limits.stall_intervals)
        self.skew = SkewEstimate()

    def begin(self, hub: Hub[Decoded]) -> None:
        """Watch ``hub`` from now on."""
        self._hub = hub
        self._tasks.start_soon(self._run, name="market watch")

    # -- what the pipelines report and ask

    @property
    def has_clock(self) -> bool:
        """True: this is live."""
        return True

    def heard(self, contract_id: str, now: float) -> None:
        """A read had data of a contract."""
        if self.stalls.heard(contract_id, now):
            self._bell.ring()

    def stamped(self, contract_id: str, ts_event: int, ts_recv: int, now: float) -> None:
        """They had this stamp."""
        self._last_ts[contract_id] = ts_event
        self.skew.heard(ts_event, ts_recv, now)
        is_skewed = self.skew.judge(self._config.limits.skew_ms)
        if is_skewed is not None:
            skew_ms = self.skew.skew_ms or 0.0
            side = "is off by" if is_skewed else "is right again within"
            _log.info(
                "our clock %s %.0f ms against the exchange's stamps",
                side,
                abs(skew_ms),
                extra=fields("clock_skewed", skew_ms=skew_ms),
            )
            self._tell(ClockSkewed(skew_ms, is_skewed, self._config.wall_clock()))

    def tell(self, event: DataEvent) -> None:
        """Tell what is to be told of a contract's data."""
        self._tell(event)

    def proved_until(self, contract_id: str) -> float:
        """Return the time (trio's clock) up to which every trade that was sent has been received."""
        if self._hub is None:
            return -math.inf
        return proved_until(self._hub, Subscription(Kind.TRADES, contract_id))

    def prove(self, until: float) -> None:
        """Have it proved up to ``until``."""
        if self._hub is not None:
            self._hub.keeper.prove(until)

    def now(self) -> float:
        """Return the time of trio's clock."""
        return trio.current_time()

    def exchange_ns(self) -> int:
        """Return what the exchange's clock shows, as near as we know."""
        return self.skew.exchange_ns(self._config.wall_clock(), trio.current_time())

    def silent_s(self, contract_id: str, since: float) -> float:
        """Return how long a contract was silent since then in its hours; 0 if a probe found nothing missing."""
        return self.stalls.silent_s(contract_id, since, trio.current_time(), self.exchange_ns())

    # -- what is watched

    def changed(self, event: GatewayEvent) -> None:
        """Listen to the hub's states: a new connection begins to be silent only now."""
        if isinstance(event, HubStateChanged) and event.hub == "market":
            if event.state is HubState.LIVE and event.before not in (HubState.STALE, HubState.BLOCKED):
                self.stalls.restart(trio.current_time())
            self._bell.ring()

    def watch(self, contract_id: str) -> None:
        """A stream needs a contract."""
        try:
            sessions = Sessions.for_product(ContractId.parse(contract_id).product)
        except ConfigError:  # no sessions are known for it
            sessions = None
        self.stalls.watch(contract_id, sessions, trio.current_time())
        self._bell.ring()

    def unwatch(self, contract_id: str) -> None:
        """No stream needs it any more."""
        self.stalls.unwatch(contract_id)
        self._bell.ring()

    # -- the task

    async def _run(self) -> None:
        assert self._hub is not None
        while True:
            now = trio.current_time()
            self._look_for_sleep(self._hub)
            if self._hub.is_live:
                if _is_held_back(self._hub):  # by a stream that blocks: data may be there, unread
                    self.stalls.restart(now)
                for stalled in self.stalls.look(now, self.exchange_ns()):
                    self._suspect(stalled)
            self._say(self._hub)
            due = min(self.stalls.due(now) if self._hub.is_live else math.inf, self.turn(now))
            # Also without a contract the machine may sleep; the bell does not ring for that.
            await self._bell.wait(min(due, now + 30.0))

    def _look_for_sleep(self, hub: Hub[Decoded]) -> None:
        """Where the machine slept, trio's clock stood still with it: no deadline has noticed."""
        before, self._suspended_s = self._suspended_s, suspended_s()
        if before is None or self._suspended_s is None or self._suspended_s - before < _SLEPT_S:
            return
        slept = self._suspended_s - before
        self.stalls.slept(slept)
        for line in hub.lines:
            line.fail(Silent(f"market hub: the machine slept for {slept:.0f} s"))

    def _say(self, hub: Hub[Decoded]) -> None:
        stalled = self.stalls.stalled
        hub.suspect(f"no data of {', '.join(stalled)}, in trading hours" if stalled else None)

    def _suspect(self, stalled: Stalled) -> None:
        _log.warning(
            "market hub: no data of %s for %.0f s in its trading hours (%.0f s are allowed); asking the service",
            stalled.contract_id,
            stalled.silent_s,
            stalled.bound_s,
            extra=fields(
                "market_stalled", hub="market", contract=stalled.contract_id, silent_s=stalled.silent_s
            ),
        )
        self._tell(
            MarketStalled(stalled.contract_id, stalled.silent_s, stalled.bound_s, self._config.wall_clock())
        )
        self._tasks.start_soon(self._ask, stalled, name=f"probe {stalled.contract_id}")

    async def _ask(self, stalled: Stalled) -> None:
        """Look whether the service has newer trades than we: then the connection is dead, else the market is quiet."""
        assert self._hub is not None
        contract_id, since = stalled.contract_id, self._silent_since(stalled)
        try:
            newest = await self._probe(contract_id, since)
        except TrioProjectXError as exc:
            _log.warning(
                "market hub: the service could not be asked about %s: %s",
                contract_id,
                exc,
                extra=fields("probe_failed", hub="market", contract=contract_id),
            )
            if contract_id in self.stalls.stalled:  # a new connection costs nothing where the old one is well
                self._hub.keeper.replace_doubtful(
                    f"no data of {contract_id}, and the service cannot be asked"
                )
                self._hub.look()
            return
        await trio.sleep(_ON_ITS_WAY_S)
        if contract_id not in self.stalls.stalled or _is_held_back(self._hub):
            return
        if newest is None or newest <= since:
            self.stalls.quiet(contract_id, trio.current_time())
            self._bell.ring()
            return
        self._newest[contract_id] = newest
        self._hub.keeper.fail(
            contract_id,
            Silent(
                f"market hub: no data of {contract_id} for {stalled.silent_s:.0f} s, and the service has newer"
            ),
        )

    def _silent_since(self, stalled: Stalled) -> int:
        """Return what the exchange's clock showed when the silence began: at our last data, or at the connection.

        What was traded before the connection was made, and is missing, is no fault of this one: in a thin market it
        would be given up every half minute for it. Our clock alone does not say when that was, for it may be off; but
        what the service had when the connection before was given up, it had before this one.
        """
        name = stalled.contract_id
        had = [each[name] for each in (self._last_ts, self._newest) if name in each]
        if not had or self.skew.skew_ms is not None:
            had.append(self.exchange_ns() - round(stalled.silent_s * 1e9))
        return max(had)


def _no_turn(now: float) -> float:
    """Nobody has anything to do."""
    return math.inf


def _is_held_back(hub: Hub[Decoded]) -> bool:
    """Whether what a line has read waits for those behind it."""
    return any(line.epoch is not None and line.epoch.liveness.is_held_back for line in hub.lines)
