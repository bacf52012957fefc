"""Ten thousand trades a second over real sockets, and then twice as many as there is a processor for.

A process of its own (`source`) sends bytes made beforehand, each second the same trades with stamps of that second, so
that what each bar must be is known. `steady`: nothing is lost, every bar is right, and how long a bar takes from the
wire to its reader. `overload`: what the client can take is measured, then twice as much is offered: what waits is
bounded, the lag is told, streams lose by their policies alone, and it is over soon after.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import trio
from live_path import BUSY, Spread, _cpu_wait_s
from memory import give_back, memory_kib
from source import CONTRACT, SLICES, Sent, Slice, block
from stack import ledger_of

import trio_projectx as px
from trio_projectx.flow.marks import Mark
from trio_projectx.market import DepthUpdate, PriceGrid, TradeBatch

#: A slice of the source is a bar of 100 trades, at 10,000 a second.
FRAMES: Final = ("1s", "2s", "5s", "10s", "30s", "1m", "tick:100", "tick:1000")
#: A bar is closed by the first trade behind it: what is measured is the way, and no waiting for late trades.
PROMPT: Final = px.Limits(lateness_ms=0.0, bars_kept=1000)
P99_MS: Final = 10.0
GROWN_MIB: Final = 32.0
#: Batches whose arrival is remembered.
_KEPT: Final = 20_000
#: A lag that is to be told; and one that is none any more, where it was less before.
LAGS_S: Final = 1.0
RECOVERED_S: Final = 0.5
#: Trades of a second that is sent as fast as it is taken.
_DENSE: Final = 200_000
_IDLE_S: Final = 120.0
_SCRIPT: Final = Path(__file__).with_name("source.py")
Bars: TypeAlias = "px.BarStream[px.Bar | px.BarRevised | px.Gap]"


class Arrivals:
    """A tap that remembers when which batch was read, so that a bar's way can be timed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.gettempdir())  # nothing is written
        self._youngest = array("q")
        self._read_at = array("q")

    def valid(self, batch: TradeBatch, grid: PriceGrid) -> None:
        """Note a batch."""
        last = self._youngest[-1] if self._youngest else 0
        self._youngest.append(max(last, batch.ts_event[-1], batch.ts_event[0]))
        self._read_at.append(batch.ts_recv)
        if len(self._youngest) > 2 * _KEPT:
            del self._youngest[:_KEPT], self._read_at[:_KEPT]

    def closed(self, bar: px.Bar) -> int | None:
        """Return when the trade that closed a bar was read (our clock); None if that is long ago."""
        by = bar.last_ts if bar.timeframe.startswith("tick:") else bar.end
        at = bisect_left(self._youngest, by) if by is not None else 0
        return self._read_at[at] if 0 < at < len(self._read_at) else None

    def instrument(self, contract_id: str, grid: PriceGrid) -> None:
        """Of no use here."""

    def text(self, hub: str, epoch: int, text: str, ts_recv: int, now: float) -> None:
        """Of no use here."""

    def mark(self, mark: Mark, now: float) -> None:
        """Of no use here."""

    def missing(self, contract_id: str) -> None:
        """Of no use here."""

    def depth(self, contract_id: str, update: DepthUpdate, grid: PriceGrid) -> None:
        """Of no use here."""

    def merged(self, quote: px.Quote) -> None:
        """Of no use here."""


@attrs.frozen
class Wanted:
    """What bars are made of where each second brings the same trades."""

    slices: tuple[Slice, ...]

    @classmethod
    def of(cls, trades_per_s: int) -> Wanted:
        """Make the source's second here, too."""
        return cls(tuple(block(trades_per_s)))

    def parts(self, bar: px.Bar) -> tuple[list[Slice], int] | None:
        """Return the slices that a bar is made of, and how many times; None if it does not begin and end with one."""
        if not bar.timeframe.startswith("tick:"):
            return list(self.slices), (bar.end - bar.start) // 10**9
        count, rest = divmod(int(bar.timeframe[5:]), self.slices[0].trades)
        if rest or bar.first_ts is None:
            return None
        first = bar.first_ts * SLICES // 10**9
        return [self.slices[(first + at) % SLICES] for at in range(count)], 1

    def is_right(self, bar: px.Bar, parts: list[Slice], times: int) -> bool:
        """Whether a bar is what its trades make it."""
        highs, lows = max(max(part.prices) for part in parts), min(min(part.prices) for part in parts)
        volume = sum(part.volume for part in parts) * times
        wanted = (parts[0].prices[0], highs, lows, parts[-1].prices[-1], volume)
        return (bar.open, bar.high, bar.low, bar.close, bar.volume) == wanted


@attrs.define
class Taken:
    """What a prompt reader of bars got."""

    arrivals: Arrivals
    wanted: Wanted | None = None
    way_ns: array[int] = attrs.Factory(lambda: array("q"))
    kinds: Counter[str] = attrs.Factory(Counter)
    volume: Counter[str] = attrs.Factory(Counter)
    """In bars, by timeframe."""
    whole: int = 0
    wrong: list[str] = attrs.Factory(list)

    async def read(self, stream: px.BarStream[px.Bar | px.BarRevised | px.Gap]) -> None:
        """Read until cancelled."""
        async for item in stream:
            self.take(item)

    def drain(self, stream: px.BarStream[px.Bar | px.BarRevised | px.Gap]) -> None:
        """Take what waits."""
        while True:
            try:
                self.take(stream.receive_nowait())
            except trio.WouldBlock:
                return

    def take(self, item: px.Bar | px.BarRevised | px.Gap) -> None:
        """Note an item."""
        self.kinds[type(item).__name__] += 1
        if not isinstance(item, px.Bar):
            return
        self.volume[item.timeframe] += item.volume
        read_at = self.arrivals.closed(item)
        if read_at is not None:
            self.way_ns.append(time.time_ns() - read_at)
        parts = None if self.wanted is None or item.partial else self.wanted.parts(item)
        if parts is None or self.wanted is None:
            return
        self.whole += 1
        if not self.wanted.is_right(item, *parts) and len(self.wrong) < 10:
            self.wrong.append(f"{item} is not what its trades make it")


@attrs.define
class Looks:
    """How it stood, again and again."""

    lag_s: float = 0.0
    most_s: float = 0.0
    memory: list[float] = attrs.Factory(list)
    """MiB, garbage and all, once in a second at most."""
    memory_kib: int = 0
    statuses: Counter[str] = attrs.Factory(Counter)
    unbalanced: int = 0
    """Looks at which the ledger did not balance."""

    async def look(self, gateway: px.Gateway) -> None:
        """Look ten times a second, until cancelled."""
        for number in itertools.count():
            health = gateway.health().market
            self.lag_s = (health.lag_ms or 0.0) / 1000
            self.most_s = max(self.most_s, self.lag_s)
            if self.lag_s > LAGS_S:
                self.statuses[health.status] += 1
            now_kib = memory_kib()
            self.memory_kib = max(self.memory_kib, now_kib)
            if number % 10 == 0:
                self.memory.append(now_kib / 1024)
            self.unbalanced += not ledger_of(gateway).balanced
            await trio.sleep(0.1)


class Offer:
    """The process that offers trades; see `source`."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._said = b""
        self.sent = 0
        self.volume = 0

    async def said(self) -> dict[str, float]:
        """Return its next answer."""
        assert self._process.stdout is not None
        while b"\n" not in self._said:
            data = await self._process.stdout.receive_some()
            if not data:
                raise RuntimeError("the source has ended")
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
        found: dict[str, float] = json.loads(line)
        return found

    async def ask(self, **command: float) -> dict[str, float]:
        """Have it do something; return when it has."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(command).encode() + b"\n")
        return await self.said()

    async def send(self, seconds: float, pace: float) -> Sent:
        """Have it send, and wait until all of it is on its way."""
        sent = Sent(**await self.ask(seconds=seconds, pace=pace))  # type: ignore[arg-type]
        self.sent += sent.trades
        self.volume += sent.volume
        return sent


@asynccontextmanager
async def _offering() -> AsyncGenerator[tuple[Offer, int]]:
    async with trio.open_nursery() as nursery:
        command = [sys.executable, str(_SCRIPT)]
        process = await nursery.start(_run_process, command)
        offer = Offer(process)
        try:
            yield offer, int((await offer.said())["port"])
        finally:
            nursery.cancel_scope.cancel()


async def _run_process(command: list[str], task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False, task_status=task_status
    )


@asynccontextmanager
async def _offering() -> AsyncGenerator[tuple[Offer, int]]:
    async with trio.open_nursery() as nursery:
        offer = Offer(await nursery.start(_run_process, [sys.executable, str(_SCRIPT)]))
        try:
            yield offer, int((await offer.said())["port"])
        finally:
            nursery.cancel_scope.cancel()


async def _run_process(command: list[str], task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False, task_status=task_status
    )


@asynccontextmanager
async def _opened(taken: Taken) -> AsyncGenerator[tuple[Offer, px.Gateway, Bars]]:
    async with AsyncExitStack() as stack:
        offer, port = await stack.enter_async_context(_offering())
        url = f"http://127.0.0.1:{port}"
        config = px.GatewayConfig(
            credentials=px.Credentials.from_token("token"),
            endpoints=px.Endpoint(url, f"{url}/hubs/market", f"{url}/hubs/user"),
            timeouts=px.Timeouts(close_s=0.5),
            limits=PROMPT,
        )
        gateway = await stack.enter_async_context(px.open_gateway(config))
        gateway._parts.market_hub.tools.taps.attach(taken.arrivals)
        bars = await stack.enter_async_context(
            gateway.open_bars(CONTRACT, *FRAMES, anchor=px.Anchor.utc(), events=True, capacity=1 << 16)
        )
        yield offer, gateway, bars


async def _idle(gateway: px.Gateway, offer: Offer) -> None:
    """Wait until everything that was sent is in bars."""
    with trio.fail_after(_IDLE_S):
        while True:
            (mine,) = gateway.statistics().market.contracts
            if mine.received >= offer.sent and not mine.in_flight:
                return
            await trio.sleep(0.005)


def _lost(gateway: px.Gateway, offer: Offer, looks: Looks, taken: Taken, bars: Bars) -> list[str]:
    """Return what does not add up, now that all was taken."""
    wrong: list[str] = []
    stood = gateway.statistics().market
    (mine,) = stood.contracts
    if not (mine.received == mine.accepted == offer.sent and ledger_of(gateway).balanced):
        wrong.append(f"{offer.sent} were sent, {mine.received} came, {mine.accepted} are in bars")
    for frame in FRAMES:
        forming = bars.forming(frame)
        volume = taken.volume[frame] + (forming.volume if forming is not None else 0)
        if volume != offer.volume:
            wrong.append(f"a volume of {volume} in {frame} bars, and {offer.volume} was sent")
    if looks.unbalanced:
        wrong.append(f"at {looks.unbalanced} looks the ledger did not balance")
    if taken.kinds["Gap"]:
        wrong.append(f"the connection was lost: {dict(taken.kinds)}")
    return wrong


# -- what a real feed brings, many times over


@attrs.frozen
class Steady:
    """What ten thousand a second have come to."""

    seconds: float
    sent: int
    received: int
    bars: int
    whole: int
    """Bars that were held against what they are made of."""
    bar_ms: Spread
    """From the read of the trade that closes a bar to the hands of its reader."""
    grown_mib: float
    behind_s: float
    """How much longer than it should the source took."""
    cpu_wait_s: float
    wrong: tuple[str, ...]

    @property
    def is_noisy(self) -> bool:
        """Whether other processes had too much of the machine."""
        return self.cpu_wait_s > BUSY * self.seconds

    def faults(self) -> list[str]:
        """Return what did not hold."""
        wrong = list(self.wrong)
        if self.is_noisy:
            wrong.append("other processes took too much of the machine: how long a bar took was not judged")
        elif not self.bar_ms.p99 < P99_MS:
            wrong.append(f"the 99th percentile of a bar's way is {self.bar_ms.p99} ms")
        return wrong


def steady(seconds: float, trades_per_s: int) -> Steady:
    """Stream ``seconds`` of a market of ``trades_per_s``."""
    return trio.run(_steady, seconds, trades_per_s)


async def _steady(seconds: float, trades_per_s: int) -> Steady:
    taken, looks = Taken(Arrivals(), Wanted.of(trades_per_s)), Looks()
    async with _opened(taken) as (offer, gateway, bars):
        await offer.ask(block=trades_per_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taken.read, bars)
            nursery.start_soon(looks.look, gateway)
            waited_s = _cpu_wait_s()
            sent = await offer.send(seconds, 1.0)
            waited_s = _cpu_wait_s() - waited_s
            await _idle(gateway, offer)
            nursery.cancel_scope.cancel()
        taken.drain(bars)
        wrong = [*taken.wrong, *_lost(gateway, offer, looks, taken, bars)]
    third = len(looks.memory) // 3
    grown = round(min(looks.memory[-third:]) - min(looks.memory[third : 2 * third]), 1) if third else 0.0
    if grown > GROWN_MIB:
        wrong.append(f"{grown} MiB more memory at the end than after a third")
    return Steady(
        seconds, sent.trades, offer.sent, taken.kinds["Bar"], taken.whole, Spread.of(taken.way_ns), grown,
        round(sent.took_s - seconds, 2), round(waited_s, 2), tuple(wrong[:10]),
    )  # fmt: skip


# -- more than can be taken


@attrs.frozen
class Overloaded:
    """What twice the measured capacity has come to."""

    capacity_per_s: int
    """Trades that the client takes when they come as fast as it reads."""
    offered_per_s: int
    offered_s: float
    took_s: float
    """How long the source was busy with that: it is held back."""
    sent: int
    received: int
    lag_before_s: float
    lag_most_s: float
    lag_after_s: float
    statuses: Mapping[str, int]
    """What the market hub's health was while it lagged, at so many looks."""
    recovered_s: float
    """From the end of the overload to a lag below what it was before, or a second."""
    grown_mib: float
    queued_most: Mapping[str, int]
    """In each stream, and in the channels behind it, at most."""
    streams: Mapping[str, Mapping[str, int]]
    wrong: tuple[str, ...]


def overload(seconds: float, trades_per_s: int, tell: Callable[[str], None] | None = None) -> Overloaded:
    """Measure the capacity for ``seconds``, offer twice that for as long, then ``trades_per_s`` until it is over."""
    return trio.run(_overload, seconds, trades_per_s, tell or (lambda _: None))


async def _overload(seconds: float, trades_per_s: int, tell: Callable[[str], None]) -> Overloaded:
    taken, looks = Taken(Arrivals()), Looks()
    async with _opened(taken) as (offer, gateway, bars), AsyncExitStack() as stack:
        slow = [
            await stack.enter_async_context(gateway.open_trades(CONTRACT, overflow=policy, capacity=1000))
            for policy in (px.Overflow.DROP_OLDEST, px.Overflow.DROP_NEWEST)
        ]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taken.read, bars)
            for stream in slow:
                nursery.start_soon(_read_slowly, stream)
            nursery.start_soon(looks.look, gateway)
            found = await _phases(offer, gateway, looks, seconds, trades_per_s, tell)
            nursery.cancel_scope.cancel()
        taken.drain(bars)
        wrong = _lost(gateway, offer, looks, taken, bars)
        return _judged(found, wrong, offer, gateway, looks, [bars, *slow])


@attrs.frozen
class _Phases:
    capacity_per_s: int
    offered_s: float
    took_s: float
    before_s: float
    recovered_s: float
    memory_kib: int
    """Before."""


async def _phases(
    offer: Offer,
    gateway: px.Gateway,
    looks: Looks,
    seconds: float,
    trades_per_s: int,
    tell: Callable[[str], None],
) -> _Phases:
    await offer.ask(block=trades_per_s)
    await offer.send(2.0, 1.0)
    before_s = looks.lag_s
    tell(f"{trades_per_s} a second: a lag of {before_s * 1000:.0f} ms")
    capacity = await _capacity(offer, gateway, seconds)
    tell(f"as fast as it is taken: {capacity} a second")
    await offer.ask(block=trades_per_s)
    await offer.send(1.0, 1.0)
    await _idle(gateway, offer)
    await offer.ask(block=2 * capacity)
    give_back()
    memory, looks.memory_kib, looks.most_s = memory_kib(), 0, 0.0
    looks.statuses.clear()
    offered = await offer.send(seconds, 1.0)
    tell(f"twice that for {seconds:g} s took {offered.took_s:.1f} s; a lag of {looks.lag_s:.1f} s")
    began = trio.current_time()
    await offer.ask(block=trades_per_s)
    recovered = math.inf
    while math.isinf(recovered) and trio.current_time() < began + 4 * seconds + 10:
        await offer.send(0.5, 1.0)
        await trio.sleep(0.15)
        if looks.lag_s <= max(2 * before_s, RECOVERED_S):
            recovered = trio.current_time() - began
    await _idle(gateway, offer)
    return _Phases(capacity, seconds, offered.took_s, before_s, recovered, memory)


async def _capacity(offer: Offer, gateway: px.Gateway, seconds: float) -> int:
    """Return how many trades a second are taken, when they come as fast as that."""
    dense = int((await offer.ask(block=_DENSE))["trades"])
    began, trades = trio.current_time(), 0
    while trio.current_time() < began + seconds:
        await offer.send(0.1, 0)
        trades += dense // 10
    await _idle(gateway, offer)
    return int(trades / (trio.current_time() - began))


async def _read_slowly(stream: px.Stream[px.Trade | px.Dropped]) -> None:
    async for _ in stream:
        await trio.sleep(0.01)


def _judged(
    found: _Phases, wrong: list[str], offer: Offer, gateway: px.Gateway, looks: Looks, streams: list[Any],
) -> Overloaded:  # fmt: skip
    stood = gateway.statistics().market
    grown = round((looks.memory_kib - found.memory_kib) / 1024, 1)
    if grown > GROWN_MIB:
        wrong.append(f"{grown} MiB more memory")
    if looks.most_s < LAGS_S or looks.statuses["ok"]:
        wrong.append(f"a lag of {looks.most_s:.1f} s, told as {dict(looks.statuses)}")
    if math.isinf(found.recovered_s):
        wrong.append(f"it has not recovered: a lag of {looks.lag_s:.1f} s")
    if found.took_s < 1.2 * found.offered_s:
        wrong.append(f"the source was not held back: {found.took_s:.1f} s for {found.offered_s:.1f} s")
    told = [each.statistics() for each in streams]
    wrong += [
        f"{s} does not add up"
        for s in told
        if s.offered != s.delivered + s.conflated + s.dropped + s.queued or s.high_water > s.capacity
    ]
    if told[0].dropped or not all(s.dropped for s in told[1:]):
        wrong.append("the prompt stream lost something, or a slow one nothing")
    # What was under way when it was full may stand above the capacity.
    wrong += [f"{each} is beyond its bound" for each in stood.buffers if each.high_water > 2 * each.capacity]
    return Overloaded(
        found.capacity_per_s, 2 * found.capacity_per_s, found.offered_s, round(found.took_s, 1), offer.sent,
        stood.contracts[0].received, round(found.before_s, 3), round(looks.most_s, 2), round(looks.lag_s, 3),
        dict(looks.statuses), round(found.recovered_s, 2), grown,
        {s.name: s.high_water for s in told} | {each.name: each.high_water for each in stood.buffers},
        {s.policy.value: {"offered": s.offered, "delivered": s.delivered, "dropped": s.dropped} for s in told},
        tuple(wrong[:10]),
    )  # fmt: skip
