"""A hub: whatever connection it has now, and the subscriptions that its streams need.

For now a lost connection is lost: its streams break with `ConnectionLost`, and the next stream that is opened
connects anew. The supervisor that reconnects grows here.
"""

from __future__ import annotations

import enum
from collections import Counter
from contextlib import suppress

import attrs
import trio

from trio_projectx._config import GatewayConfig
from trio_projectx._errors import ConnectionLost, again
from trio_projectx.connection.auth import TokenSource
from trio_projectx.connection.calls import Call
from trio_projectx.connection.epoch import Epoch, EpochCounts
from trio_projectx.connection.negotiator import HubAddress
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.flow.pipeline import MarketPipeline


class Kind(enum.Enum):
    """What can be subscribed to for a contract; the values are the hub's own method names less their verb."""

    TRADES = "ContractTrades"
    QUOTES = "ContractQuotes"


@attrs.frozen(slots=True)
class Subscription:
    """One kind of data of one contract."""

    kind: Kind
    contract_id: str

    @property
    def subscribe(self) -> str:
        """The hub method that starts it."""
        return f"Subscribe{self.kind.value}"

    @property
    def unsubscribe(self) -> str:
        """The hub method that ends it."""
        return f"Unsubscribe{self.kind.value}"


class MarketHub:
    """The market hub of one gateway. It connects when the first stream needs it."""

    def __init__(
        self,
        address: HubAddress,
        tokens: TokenSource,
        config: GatewayConfig,
        pipeline: MarketPipeline,
        tasks: BackgroundTasks,
    ) -> None:
        self._address = address
        self._tokens = tokens
        self._config = config
        self._pipeline = pipeline
        self._tasks = tasks
        self._epoch: Epoch | None = None
        self._users: Counter[Subscription] = Counter()
        self._asked: dict[Subscription, Call] = {}
        self.connects = 0
        self.counts = EpochCounts()

    @property
    def is_live(self) -> bool:
        """Whether the hub is connected, has answered the handshake, and has not ended since."""
        return self._epoch is not None and self._epoch.live

    @property
    def round_trip_s(self) -> float | None:
        """The last measured round trip by WebSocket ping, in seconds; None if there is none."""
        return self._epoch.round_trip_s if self._epoch is not None and self._epoch.live else None

    async def live(self) -> Epoch:
        """Return the live epoch, connecting where there is none; all who come meanwhile share the attempt.

        :raises TrioProjectXError: what the attempt failed of. It is bounded by the timeouts of its steps.
        :raises trio.ClosedResourceError: the gateway was closed.
        """
        while (last := self._epoch) is not None and last.over.is_set():
            if isinstance(last.error, ConnectionLost):
                # Its streams are about to be told, among them the caller's, which is attached already.
                raise again(last.error)
            await trio.lowlevel.checkpoint()  # until `_run` has let go of a failed attempt
        epoch = self._epoch or self._connect()
        await epoch.settled.wait()
        if not epoch.live:
            raise again(epoch.error or ConnectionLost("market hub: the connection has ended"))
        return epoch

    def _connect(self) -> Epoch:
        epoch = Epoch(
            "market hub",
            self._address,
            self._tokens,
            self._config,
            self._pipeline.deliver,
            self.counts,
            self._position,
        )
        self._tasks.start_soon(self._run, epoch, name="market hub")
        self._epoch = epoch
        self._asked.clear()
        return epoch

    async def _run(self, epoch: Epoch) -> None:
        self.connects += 1
        try:
            self._tasks.start_soon(epoch.run, name="market hub epoch")
            await epoch.over.wait()
        finally:
            # All in one step, up to the first checkpoint of `lose`, which notes what is open now: who learns of
            # the loss and tries again at once opens a stream that is not lost with the others.
            self._epoch = None
            epoch.fail_calls()
        if isinstance(epoch.error, ConnectionLost):
            await self._pipeline.lose(epoch.error)

    def _position(self) -> int:
        return self._pipeline.serial

    async def subscribe(self, wanted: Subscription) -> int:
        """Count one more user of ``wanted`` and return when the hub has acknowledged it: the position of that.

        :raises SubscriptionError: if the hub refuses it or does not answer in time; the user is not counted
            then.
        :raises TrioProjectXError: if there is no connection.
        """
        self._users[wanted] += 1
        try:
            epoch = await self.live()
            call = self._asked.get(wanted)
            if call is None or call.error is not None:
                call = self._asked[wanted] = epoch.invoke(wanted.subscribe, wanted.contract_id)
            await call.wait(self._config.timeouts.subscribe_s)
            return call.position
        except BaseException:  # also when cancelled: whoever is not subscribed is no user
            self.release(wanted)
            raise

    def release(self, wanted: Subscription) -> None:
        """Count one user less; the last one ends the subscription, also one that was never acknowledged."""
        self._users[wanted] -= 1
        if self._users[wanted] > 0:
            return
        del self._users[wanted]
        call = self._asked.pop(wanted, None)
        if call is None or call.error is not None or self._epoch is None or not self._epoch.live:
            return
        with suppress(ConnectionLost):  # with the connection the subscription goes too
            self._epoch.tell(wanted.unsubscribe, wanted.contract_id)
