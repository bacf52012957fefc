"""A whole life of a gateway, in virtual time: what `load/sweep.py` strikes at each of its steps.

Login, both hubs, bars with history, trades, quotes, user events, a consumer that is too slow; a refresh of the token,
the loss of every hub connection, the filling of the gap, leaving. After a blow that is to be survived it does not do
the rest: it comes back, sees whole bars, and leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack

import attrs
import pyarrow as pa
import pyarrow.compute
import trio
from ground import CONTRACT, Door, config_for
from judge import Received, Unsound, judge, packed

import trio_projectx as px
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.simulator import BreakableStream, Simulator
from trio_projectx.simulator.user_events import UserAction, UserKind

TIMEFRAMES = ("1s", "3s")
#: How long what came back is watched at most: the bars that the blow touched are read again then.
_WATCH_S = 6.0
#: How long a life that nothing has struck then goes on, for whole bars.
_WHOLE_S = 2.5
_ORDER = {
    "contractId": CONTRACT,
    "creationTimestamp": "2026-08-19T18:29:25.3938333+00:00",
    "status": 1,
    "type": 1,
    "side": 0,
    "size": 1,
}


class HalvedStream(trio.abc.Stream):
    """Sends everything in two halves, with a step of the scheduler between, and notes who goes on after the first.

    That is what a full socket buffer does: a cancellation may find half a frame on the wire.
    """

    def __init__(self, stream: BreakableStream) -> None:
        self.stream = stream
        self.is_torn = False
        self.went_on = False
        """Whether more was sent behind half a frame."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send the halves one after the other."""
        self.went_on |= self.is_torn
        whole = memoryview(data)
        middle = len(whole) // 2
        await self.stream.send_all(whole[:middle])
        self.is_torn = True
        await self.stream.send_all(whole[middle:])
        self.is_torn = False

    async def wait_send_all_might_not_block(self) -> None:
        """As that of the stream below."""
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As that of the stream below."""
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """As that of the stream below."""
        await self.stream.aclose()


class TellingDoor(Door):
    """A door whose streams send in halves, and which knows the hubs' from those of REST."""

    def __init__(self, sim: Simulator) -> None:
        super().__init__(sim)
        self.halved: list[tuple[str, HalvedStream]] = []

    async def connect(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Connect, and take note."""
        stream = await super().connect(host, port, tls=tls)
        assert isinstance(stream, BreakableStream)
        halved = HalvedStream(stream)
        self.halved.append((host.partition(".")[0], halved))
        return halved

    def reset_hubs(self) -> None:
        """Reset the connections of both hubs."""
        for host, each in self.halved:
            if host != "rest" and not each.stream._closed:
                each.stream.reset()

    @property
    def went_on(self) -> int:
        """How many streams were sent more behind half a frame."""
        return sum(each.went_on for _, each in self.halved)


@attrs.define
class Story:
    """What one life has seen."""

    reached: str = "start"
    is_struck: bool = False
    """Whether it is to come to its end now: set by who strikes."""
    is_patient: bool = True
    """Whether it then waits for the gap to be filled, and for whole bars; else only for both hubs, and trades."""
    trades: Received = attrs.Factory(Received)
    slow: list[px.Trade | px.Dropped] = attrs.Factory(list)
    bars: list[px.Bar | px.BarRevised | px.Gap] = attrs.Factory(list)
    quotes: int = 0
    orders: list[int] = attrs.Factory(list)
    user_gaps: int = 0
    filled: int = 0
    """Bars that were read again."""
    unequal: list[str] = attrs.Factory(list)
    """Equations that did not hold when they were looked at."""
    came_back: bool = False
    """Whether both hubs were live, and brought trades, some seconds after a blow."""
    is_leaving: bool = False

    @property
    def is_hasty(self) -> bool:
        """Whether it waits for nothing but its coming back."""
        return self.is_struck and not self.is_patient


class Life:
    """One life; ``story`` says what became of it."""

    def __init__(self, sim: Simulator, door: TellingDoor, story: Story) -> None:
        self.sim, self.door, self.story = sim, door, story
        self._news = trio.lowlevel.ParkingLot()
        self._orders = 0

    async def live(self) -> None:
        """Live it, from the login to the end."""
        config = config_for(
            self.door,
            negotiate=True,
            reconnect=px.Reconnect(at_start=True, base_s=0.1, connect_burst=100),
            history=px.HistoryOptions(settle_s=0.5, retry_s=0.2),
        )
        async with px.open_gateway(config) as gateway, AsyncExitStack() as stack:
            events = await stack.enter_async_context(gateway.open_events(capacity=10_000))
            await self._open_streams(gateway, stack, events)
            for stage in (self._first, self._refresh, self._lose, self._fill):
                await stage(gateway)
                self._look(gateway)
                if self.story.is_struck:
                    break
            if self.story.is_struck:
                await self._come_back(gateway)
            self.story.is_leaving = True
        self.story.reached = "end"

    async def _open_streams(
        self,
        gateway: px.Gateway,
        stack: AsyncExitStack,
        events: px.Stream[px.GatewayEvent | px.Dropped],
    ) -> None:
        bars = await stack.enter_async_context(
            gateway.open_bars(CONTRACT, *TIMEFRAMES, history=5, events=True)
        )
        trades = await stack.enter_async_context(gateway.open_trades(CONTRACT, events=True))
        quotes = await stack.enter_async_context(gateway.open_quotes(CONTRACT, events=True))
        user = await stack.enter_async_context(gateway.open_user_events())
        slow = await stack.enter_async_context(
            gateway.open_trades(CONTRACT, overflow=px.Overflow.DROP_OLDEST, capacity=3)
        )
        self._streams = (bars, trades, quotes, user, slow)
        readers = await stack.enter_async_context(open_background_tasks())
        readers.start_soon(self._read_events, events)
        readers.start_soon(self._read_bars, bars)
        readers.start_soon(self._read_trades, trades)
        readers.start_soon(self._read_quotes, quotes)
        readers.start_soon(self._read_user, user)
        readers.start_soon(self._read_slowly, slow)
        (outlet,) = gateway._streams.user.outlets
        self._account = outlet.accounts[0]
        self.story.reached = "open"

    # Stages

    async def _first(self, _: px.Gateway) -> None:
        await self._trades(6)
        self._publish()
        self.story.reached = "streaming"

    async def _refresh(self, gateway: px.Gateway) -> None:
        try:
            await gateway.refresh_token()
        except px.ConnectError:
            if not self.story.is_struck:  # negotiation was reset; the user's call is not repeated by itself
                raise
        await self._trades(4)
        self._publish()
        self.story.reached = "refreshed"

    async def _lose(self, _: px.Gateway) -> None:
        gaps = len(self.story.trades.gaps)
        self.door.reset_hubs()
        self.story.reached = "lost"
        while len(self.story.trades.gaps) == gaps:
            await self._news.park()
        self._publish()
        self.story.reached = "back"

    async def _fill(self, _: px.Gateway) -> None:
        filled = self.story.filled
        with trio.move_on_after(_WATCH_S):
            while self.story.filled == filled and not self.story.is_hasty:
                await self._news.park()
        with trio.move_on_after(_WHOLE_S):
            while not self.story.is_hasty:
                await self._news.park()
        self.story.reached = "filled"

    async def _come_back(self, gateway: px.Gateway) -> None:
        with trio.move_on_after(_WATCH_S):
            await self._is_back(gateway)
            while not _is_live(gateway):  # struck while it looked: it has to come back from that, too
                await self._is_back(gateway)
            if self.story.is_patient:
                await trio.sleep_forever()
        self.story.came_back = _is_live(gateway)
        self._look(gateway)

    async def _is_back(self, gateway: px.Gateway) -> None:
        while not _is_live(gateway):
            await trio.sleep(0.1)
        await self._trades(2)

    def _publish(self) -> None:
        """Let something happen to the account."""
        self._orders += 1
        entity = {"id": self._orders, "accountId": self._account, **_ORDER}
        self.sim.publish(UserKind.ORDERS, self._account, UserAction.UPDATE, entity)

    def _look(self, gateway: px.Gateway) -> None:
        """Look at the equations, wherever everything else stands."""
        ledger = gateway.statistics().market.ledger
        self.story.unequal += [repr(row) for row in ledger.rows if not row.balanced]
        counts = [stream.statistics() for stream in self._streams]
        self.story.unequal += [repr(each) for each in counts if not each.balanced]

    # Readers

    async def _trades(self, count: int) -> None:
        wanted = len(self.story.trades) + count
        while len(self.story.trades) < wanted:
            await self._news.park()

    async def _read_trades(self, stream: px.Stream[px.Trade | px.Gap]) -> None:
        async for item in stream:
            self.story.trades.take(item)
            self._news.unpark_all()

    async def _read_bars(self, stream: px.BarStream[px.Bar | px.BarRevised | px.Gap]) -> None:
        async for item in stream:
            self.story.bars.append(item)

    async def _read_quotes(self, stream: px.Stream[px.Quote | px.Gap | px.Dropped]) -> None:
        async for _ in stream:
            self.story.quotes += 1

    async def _read_user(self, stream: px.Stream[px.UserItem]) -> None:
        async for item in stream:
            if isinstance(item, px.OrderUpdate):
                self.story.orders.append(item.order_id)
            self.story.user_gaps += isinstance(item, px.Gap)

    async def _read_slowly(self, stream: px.Stream[px.Trade | px.Dropped]) -> None:
        while True:
            self.story.slow.append(await stream.receive())
            await trio.sleep(0.5)

    async def _read_events(self, stream: px.Stream[px.GatewayEvent | px.Dropped]) -> None:
        async for event in stream:
            if isinstance(event, px.GapFilled):
                self.story.filled += event.revised
                self._news.unpark_all()


def _is_live(gateway: px.Gateway) -> bool:
    health = gateway.health()
    return health.market.state is health.user.state is px.HubState.LIVE


# What must hold


def check(story: Story, sim: Simulator) -> tuple[list[str], int]:
    """Hold what a life has seen against the truth; return what is wrong, and how many bars were whole."""
    wrong, truth, whole = list(story.unequal), sim.truth(), 0
    try:
        judge(story.trades, _since(story.trades, truth))
        judge_slow(story.slow, truth)
        whole = judge_bars(story.bars, truth)
    except Unsound as exc:
        wrong.append(str(exc))
    if story.orders != sorted(set(story.orders)):
        wrong.append(f"user events out of order: {story.orders}")
    if not story.user_gaps and story.orders != list(range(1, len(story.orders) + 1)):
        wrong.append(f"user events lost without a word: {story.orders}")
    return wrong, whole


def _since(received: Received, truth: pa.Table) -> pa.Table:
    """Return the truth from where the stream began, if that can be known: other streams began before it."""
    if received.gaps and received.gaps[0][0] == 0:  # a gap before its first trade: it says when that was
        return truth.filter(pa.compute.greater_equal(truth["ts_event"], received.gaps[0][1]))
    return truth


def judge_slow(items: Iterable[px.Trade | px.Dropped], truth: pa.Table) -> None:
    """Hold a stream that drops against the truth: what came is a part of it, in its order; a loss is told in its place.

    :raises Unsound: if it is not so.
    """
    true = packed(truth)
    size = len(true) // max(truth.num_rows, 1)
    rows = iter([true[at : at + size] for at in range(0, len(true), size or 1)])
    for item in items:
        if isinstance(item, px.Dropped):
            if item.count < 1 or item.first_ts > item.last_ts:
                raise Unsound(f"{item} tells nothing")
            continue
        note = Received()
        note.take(item)
        if bytes(note.rows) not in rows:
            raise Unsound(f"{item} came to the slow one, and is not in the truth behind the one before it")


def judge_bars(items: Iterable[px.Bar | px.BarRevised | px.Gap], truth: pa.Table) -> int:
    """Hold the last word on each bar against the truth; return how many were whole.

    :raises Unsound: if one that says it is whole is not, or one is older than the one before it.
    """
    columns = (truth[name].to_pylist() for name in ("ts_event", "price", "volume"))
    rows = sorted(zip(*columns, strict=True), key=lambda row: row[0])
    last: dict[tuple[str, int], px.Bar] = {}
    newest: dict[str, int] = {}
    for item in items:
        if isinstance(item, px.Gap):
            continue
        bar = item if isinstance(item, px.Bar) else item.bar
        last[bar.timeframe, bar.start] = bar
        if isinstance(item, px.Bar):
            if bar.start <= newest.get(bar.timeframe, 0):
                raise Unsound(f"the bar of {bar.start} came late, or twice")
            newest[bar.timeframe] = bar.start
    whole = [bar for bar in last.values() if not bar.partial and rows and bar.start > rows[0][0]]
    for bar in whole:
        _check_bar(bar, [row for row in rows if bar.start <= row[0] < bar.end])
    return len(whole)


def _check_bar(bar: px.Bar, rows: list[tuple[int, float, int]]) -> None:
    if not rows:
        raise Unsound(f"{bar} is made of nothing")
    prices = [price for _, price, _ in rows]
    wanted = (prices[0], max(prices), min(prices), prices[-1], sum(row[2] for row in rows))
    if (bar.open, bar.high, bar.low, bar.close, bar.volume) != wanted or bar.trades not in (None, len(rows)):
        raise Unsound(f"{bar} should be {wanted}, of {len(rows)} trades")
