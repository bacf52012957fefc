"""A line: one connection kept alive. Its task runs epochs, one at a time, until it is stopped or the end is final."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from typing import Final, Generic, Protocol

import attrs
import trio

from trio_projectx._config import GatewayConfig
from trio_projectx._errors import AuthError, ConnectionLost, SubscriptionError, TrioProjectXError
from trio_projectx._events import HubName
from trio_projectx._logs import fields
from trio_projectx.connection.backoff import Backoff
from trio_projectx.connection.bell import Bell
from trio_projectx.connection.breaker import YoungDeaths
from trio_projectx.connection.bucket import ConnectBucket
from trio_projectx.connection.cells import Cell, Cells, CellState
from trio_projectx.connection.epoch import Epoch, EpochCounts
from trio_projectx.connection.sites import Site, Sites
from trio_projectx.connection.verdict import Action, Verdict, verdict
from trio_projectx.flow.background import BackgroundTasks, open_background_tasks
from trio_projectx.flow.subscriptions import D, Sink, Subscription
from trio_projectx.flow.taps import Taps

_log = logging.getLogger("trio_projectx")
#: The share by which the ages of connections differ.
_AGE_SPREAD: Final = 0.1
#: Tokens that a connection may cost in a row: the fresh one that follows a refusal.
_FRESH_LOGINS: Final = 1


class Owner(Protocol):
    """The hub that a line belongs to."""

    def acknowledged(self, cell: Cell) -> None:
        """A subscription is on."""
        ...

    def refused(self, cell: Cell, error: SubscriptionError) -> None:
        """The service does not take a subscription."""
        ...

    def is_established(self, wanted: Subscription) -> bool:
        """Whether streams are open for it."""
        ...

    def lines_changed(self) -> None:
        """Something changed; look again."""
        ...


@attrs.frozen(slots=True)
class LineTools(Generic[D]):
    """What all lines of a hub share."""

    hub: HubName
    config: GatewayConfig
    sites: Sites
    sink: Sink[D]
    bucket: ConnectBucket
    rng: random.Random
    number: Callable[[], int]
    """Gives the next epoch's number."""
    counts: EpochCounts
    on_proof: Callable[[], None]
    """Called when a ping was answered."""
    taps: Taps = attrs.Factory(Taps)

    def show_text(self, epoch: int, text: str, ts_recv: int, now: float) -> None:
        """Show a text that was read to whoever records."""
        if self.taps.is_open:
            self.taps.show(lambda tap: tap.text(self.hub, epoch, text, ts_recv, now))

    @property
    def name(self) -> str:
        """How the hub is called in sentences."""
        return f"{self.hub} hub"

    def now(self) -> float:
        """Return the time of trio's clock."""
        return trio.current_time()


class Line(Generic[D]):
    """One connection kept alive, for the subscriptions in ``wishes`` (shared with its owner, who rings `poke`)."""

    def __init__(
        self,
        tools: LineTools[D],
        owner: Owner,
        wishes: set[Subscription],
        *,
        site: int | None = None,
        once: bool = False,
        after: Line[D] | None = None,
    ) -> None:
        self._after = after
        self._tools = tools
        self._owner = owner
        self.wishes = wishes
        self._is_first = once
        self._site_no = tools.sites.current if site is None else site
        self._backoff = Backoff(tools.config.reconnect, tools.rng)
        self._breaker = YoungDeaths(tools.config.reconnect)
        self._bell = Bell()
        self._scope = trio.CancelScope()
        self._failures = 0
        self._fresh_logins = 0
        self.epoch: Epoch[D] | None = None
        self.cells: Cells[D] | None = None
        self.live_since: float | None = None
        self.fatal: TrioProjectXError | None = None
        """The end, if it is final."""
        self.last_error: TrioProjectXError | None = None
        self.next_attempt_at = -math.inf
        self.stopped = False
        self.spread = 1.0 - _AGE_SPREAD * tools.rng.random()
        """By how much this one's age is shorter than the rest's, so that they do not all go at once."""
        self.token_ends_at = math.inf
        """When the token of its connection ends (trio's clock)."""
        self._gone = trio.Event()

    # -- what the owner asks

    @property
    def site_no(self) -> int:
        """The number of the endpoint it uses."""
        return self._site_no

    @property
    def site(self) -> Site:
        """The endpoint it uses."""
        return self._tools.sites[self._site_no]

    @property
    def is_live(self) -> bool:
        """Whether it has an epoch that can be spoken to."""
        return self.epoch is not None and self.epoch.live and not self.stopped

    @property
    def is_settled(self) -> bool:
        """Whether it is live, and the hub has answered every wish."""
        return self.is_live and self.cells is not None and self.cells.is_settled

    @property
    def is_over(self) -> bool:
        """Whether it will never be live again."""
        return self.stopped or self.fatal is not None

    def brings(self, wanted: Subscription) -> bool:
        """Whether it is subscribed to ``wanted``, acknowledged."""
        return self.is_live and self.cells is not None and self.cells.is_on(wanted)

    def is_on(self, wanted: Subscription) -> bool:
        """Whether it was acknowledged, and its sink has not been told yet that it is over."""
        return self.cells is not None and self.cells.is_on(wanted)

    def has_lived(self, until: float, slack_s: float) -> bool:
        """Whether what was sent to it before ``until`` (trio's clock) is known to be here; asks for a proof of that.

        A pong to a later ping is one. Where pings are not answered, a record that came ``slack_s`` after it will do.
        """
        if self.epoch is None:
            return False
        liveness = self.epoch.liveness
        liveness.prove(until)
        return liveness.proved_until >= until or liveness.record_at >= until + slack_s

    @property
    def answers_pings(self) -> bool:
        """Whether the other side of its connection has answered a ping."""
        return self.epoch is not None and self.epoch.liveness.pong_at > -math.inf

    def refuses(self, wanted: Subscription) -> bool:
        """Whether its connection was refused ``wanted``."""
        cell = None if self.cells is None else self.cells.get(wanted)
        return self.is_live and cell is not None and cell.state is CellState.REFUSED

    @property
    def why(self) -> TrioProjectXError | None:
        """Why its last connection ended, or could not be made."""
        error = None if self.epoch is None else self.epoch.error or self.epoch.why_mute
        return error or self.last_error

    @property
    def outage_attempts(self) -> int:
        """Attempts of the present outage that have ended."""
        return self._backoff.attempts

    @property
    def has_old_token(self) -> bool:
        """Whether there is a newer token than its connection's."""
        epoch = self.epoch
        return epoch is not None and epoch.live and epoch.token_generation < self.site.tokens.generation

    def poke(self) -> None:
        """The wishes have changed."""
        self._bell.ring()

    def retry(self, wanted: Subscription) -> None:
        """Ask again for what was refused."""
        if self.cells is not None:
            self.cells.retry(wanted)

    def stop(self, cause: str) -> None:
        """Leave for good. What it brings is left at once; closing the connection takes its bounded time."""
        if not self.stopped:
            self.stopped = True
            if self.cells is not None:
                self.cells.leave(cause)
            self._scope.cancel(reason=cause)

    def fail(self, error: ConnectionLost) -> None:
        """Give up the present connection, and make another."""
        if self.epoch is not None:
            self.epoch.fail(error)

    # -- the task

    async def run(self) -> None:
        """Keep a connection until `stop`, or until `fatal` says why there can be none. Raises only what is a bug.

        Cancellation closes the connection in bounded time.
        """
        try:
            with self._scope:
                await self._wait_for_other()
                async with open_background_tasks(self._tools.name, self._tools.counts.tasks) as tasks:
                    while self.fatal is None:
                        await self._wait_for_turn()
                        if self.fatal is None:
                            await self._live_once(tasks)
        finally:
            self.live_since = None
            self._gone.set()
            self._owner.lines_changed()

    async def _wait_for_other(self) -> None:
        """Let the line before it close its connection, where the service wants one at a time."""
        if self._after is not None:
            timeouts = self._tools.config.timeouts
            with trio.move_on_after(timeouts.close_s + timeouts.send_s):
                await self._after._gone.wait()  # noqa: SLF001  a line's own kind
            self._after = None

    async def _wait_for_turn(self) -> None:
        """Wait as the back-off, the breaker and the gateway's bucket say."""
        now = trio.current_time()
        self.next_attempt_at = now + max(self._backoff.delay(now), self._breaker.wait(now))
        await trio.sleep_until(self.next_attempt_at)
        if self._has_given_up():
            return
        now = trio.current_time()
        with self._tools.bucket.turn(now) as wait_s:
            self.next_attempt_at = now + wait_s
            await trio.sleep(wait_s)
        self._breaker.started(trio.current_time())

    async def _live_once(self, tasks: BackgroundTasks) -> None:
        tools, site = self._tools, self.site
        started = trio.current_time()
        tools.counts.connects += 1
        epoch = self.epoch = Epoch(
            tools.name,
            tools.number(),
            site.address_of(tools.hub),
            site.tokens,
            tools.config,
            tools.sink,
            tools.counts,
            on_change=self._changed,
            on_proof=tools.on_proof,
            on_text=tools.show_text,
        )
        self.cells = None
        tasks.start_soon(epoch.run, name=f"{tools.name} epoch {epoch.number}")
        try:
            await epoch.settled.wait()
            if epoch.live:
                await self._serve(epoch)
            await epoch.over.wait()
        finally:
            self._ended(epoch, started)

    async def _serve(self, epoch: Epoch[D]) -> None:
        tools = self._tools
        self.live_since = trio.current_time()
        self.token_ends_at = self.live_since + self.site.tokens.expires_in_s()
        cells = self.cells = Cells(
            epoch,
            tools.sink,
            self.wishes,
            self._owner,
            subscribe_s=tools.config.timeouts.subscribe_s,
            ring=self._bell.ring,
        )
        while not (epoch.over.is_set() or self.stopped):
            again_at = cells.act(trio.current_time())
            self._owner.lines_changed()
            await self._bell.wait(again_at)

    def _changed(self) -> None:
        self._bell.ring()
        self._owner.lines_changed()

    # -- the end of an epoch, in one step without a checkpoint

    def _ended(self, epoch: Epoch[D], started: float) -> None:
        now, error = trio.current_time(), epoch.error
        if self.cells is not None:
            self.cells.leave(str(error or "the connection was left"))
        epoch.fail_calls()
        lived = None if self.live_since is None else now - self.live_since
        self.live_since = None
        if error is None:
            return
        self.last_error = error
        ruling = verdict(error, negotiated=self._tools.config.negotiate)
        self._note_age(now, now - started, lived, ruling)
        self._decide(error, ruling, was_live=lived is not None)
        self._owner.lines_changed()

    def _note_age(self, now: float, took: float, lived: float | None, ruling: Verdict) -> None:
        options = self._tools.config.reconnect
        if lived is None:
            self._backoff.failed(now, took, ruling.retry_after_s)
        else:
            self._backoff.lived(now, lived)
            self._breaker.died(now, lived)
        if lived is not None and lived >= options.young_s:
            self._failures = 0
        else:
            self._failures += 1
        if lived is not None and lived >= options.refill_s:
            self._fresh_logins = 0

    def _decide(self, error: TrioProjectXError, ruling: Verdict, *, was_live: bool) -> None:
        if ruling.action is Action.FATAL or (self._is_first and not was_live and self._was_last_site()):
            self.fatal = error
        elif ruling.action is Action.LOGIN:
            self._log_in_again(error)
        else:
            self._has_given_up()
        self._is_first &= not was_live
        _log.warning(
            "a connection was lost, or not made: %s",
            error,
            extra=fields("connection_ended", hub=self._tools.hub),
        )
        self._consider_another_site()

    def _has_given_up(self) -> bool:
        exhausted = self._backoff.exhausted(trio.current_time())
        if exhausted is not None:
            self.fatal = ConnectionLost(
                f"{self._tools.name}: {exhausted}; the last reason: {self.last_error}"
            )
            self.fatal.__cause__ = self.last_error
        return exhausted is not None

    def _was_last_site(self) -> bool:
        """Whether each endpoint has had its one attempt to begin with."""
        return self._failures >= len(self._tools.sites)

    def _log_in_again(self, error: TrioProjectXError) -> None:
        self._fresh_logins += 1
        if self._fresh_logins > _FRESH_LOGINS:
            self.fatal = ConnectionLost(f"{error}; also with a fresh login")
            self.fatal.__cause__ = error
            return
        try:
            self.site.tokens.renew_generation(self.epoch.token_generation if self.epoch is not None else -1)
        except AuthError as exc:
            exc.__cause__ = error
            self.fatal = exc

    def _consider_another_site(self) -> None:
        sites = self._tools.sites
        most = 1 if self._is_first else self._tools.config.reconnect.failover_after
        if self._failures >= most and len(sites) > 1:
            self._failures = self._failures if self._is_first else 0
            self._site_no = (self._site_no + 1) % len(sites)
            _log.warning(
                "%s: trying endpoint %d of %d",
                self._tools.name,
                self._site_no + 1,
                len(sites),
                extra=fields("endpoint_changed", hub=self._tools.hub, endpoint=self._site_no + 1),
            )
