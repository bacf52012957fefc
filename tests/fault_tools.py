"""What the tests of faults share: our client on a simulator in virtual time, and what must hold whatever goes wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import attrs
import pyarrow as pa
import trio
from simulator_tools import virtual_wall

import trio_projectx as px
from trio_projectx.simulator import Fault, FaultHandle, Simulator, open_simulator

CONTRACT = "CON.F.US.MNQ.U26"
#: What a fault's own options are in tests: the real sizes only cost time.
SMALL = {"record_bytes": 8 << 20, "size_bytes": 3000}

Row = tuple[int, float, int]


def config_for(sim: Simulator, **changes: object) -> px.GatewayConfig:
    config = px.GatewayConfig.simulated(sim.url)
    return attrs.evolve(config, connect=sim.connect, wall_clock=virtual_wall, **changes)


@asynccontextmanager
async def open_sim(seed: int = 5, **options: object) -> AsyncGenerator[Simulator]:
    async with open_simulator(port=None, seed=seed, wall_clock=virtual_wall, **options) as sim:
        yield sim


@attrs.define
class Seen:
    """What our client got, and how it ended."""

    trades: list[px.Trade] = attrs.Factory(list)
    bars: list[px.Bar] = attrs.Factory(list)
    error: px.TrioProjectXError | None = None
    ended_at: float | None = None
    statistics: px.GatewayStatistics | None = None

    def note(self, gateway: px.Gateway) -> None:
        """Take down how it stands; the first time counts."""
        if self.ended_at is None:
            self.ended_at = trio.current_time()
            self.statistics = gateway.statistics()

    @property
    def rows(self) -> list[Row]:
        return [(trade.ts_event, trade.price, trade.volume) for trade in self.trades]

    @property
    def rejected(self) -> int:
        assert self.statistics is not None
        return sum(each.rejected.total for each in self.statistics.market.contracts)


async def watch(sim: Simulator, seconds: float, seen: Seen | None = None, **changes: object) -> Seen:
    """Stream trades and bars of one contract for ``seconds``, or until our client gives up; never an untyped error."""
    seen = Seen() if seen is None else seen
    with trio.move_on_after(seconds):
        try:
            async with px.open_gateway(config_for(sim, **changes)) as gateway:
                try:
                    await _stream(gateway, seen)
                finally:
                    seen.note(gateway)
        except* px.TrioProjectXError as group:
            seen.error = first_of(group)
    if seen.ended_at is None:
        seen.ended_at = trio.current_time()
    return seen


def first_of(group: BaseExceptionGroup[px.TrioProjectXError]) -> px.TrioProjectXError:
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _stream(gateway: px.Gateway, seen: Seen) -> None:
    async with gateway.open_bars(CONTRACT, "1s") as bars, gateway.open_trades(CONTRACT) as trades:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_collect, bars, seen.bars)
                nursery.start_soon(_collect, trades, seen.trades)
        finally:
            seen.note(gateway)  # while there are streams, which are what the ledger is about


async def _collect(stream: trio.abc.ReceiveChannel[object], into: list[object]) -> None:
    async for item in stream:
        into.append(item)


async def meet(
    sim: Simulator, fault: Fault, *, at: float, until: float, **changes: object
) -> tuple[Seen, FaultHandle]:
    """Let our client stream from 0 s until ``until`` and meet ``fault``, put in at ``at`` seconds."""
    seen = Seen()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await watch(sim, until, seen, **changes)

        if at:
            nursery.start_soon(run)
            await trio.sleep(at)
            handle = sim.inject(fault)
        else:
            handle = sim.inject(fault)
            nursery.start_soon(run)
    return seen, handle


async def ask(sim: Simulator, method: str, target: str, body: str = "") -> tuple[int, object]:
    """Send one request; return the status and what the answer says as JSON."""
    async with await sim.connect("h", 1, tls=False) as stream:
        size = len(body.encode())
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
        await stream.send_all((head + body).encode())
        answer = b""
        while data := await stream.receive_some():
            answer += data
    text = answer.partition(b"\r\n\r\n")[2]
    return int(answer[9:12]), json.loads(text) if text else None


def oracle(rows: Iterable[Row]) -> list[tuple[int, float, float, float, float, int, int]]:
    """One-second bars of trades by brute force: start, open, high, low, close, volume, trades."""
    bars: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row[0]):
        bars.setdefault(row[0] // 10**9, []).append(row)
    return [_bar(second, trades) for second, trades in sorted(bars.items())]


def _bar(second: int, trades: list[Row]) -> tuple[int, float, float, float, float, int, int]:
    prices = [price for _, price, _ in trades]
    volume = sum(volume for _, _, volume in trades)
    return second * 10**9, prices[0], max(prices), min(prices), prices[-1], volume, len(trades)


def row(bar: px.Bar) -> tuple[int, float, float, float, float, int, int]:
    return bar.start, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades


def truth_rows(table: pa.Table) -> list[Row]:
    columns = (table[name].to_pylist() for name in ("ts_event", "price", "volume"))
    return list(zip(*columns, strict=True))


def check(seen: Seen, sim: Simulator, *, extra: int = 0, in_order: bool = True) -> None:
    """Hold what our client got against the truth.

    I2: every trade is in the truth, but for ``extra`` that the fault itself has made up and that no validation
    can know from real ones; the bars are those of the trades that came. I1: nothing is missing between the first
    and the last of a connection. The ledger balances.
    """
    sent = truth_rows(sim.truth())
    more = Counter(seen.rows) - Counter(sent)
    assert sum(more.values()) <= extra, more
    if in_order and seen.rows and not extra:
        start = sent.index(seen.rows[0])
        assert seen.rows == sent[start : start + len(seen.rows)]
    made = [row(bar) for bar in seen.bars]
    wanted = oracle(seen.rows)
    assert made == wanted[: len(made)]
    if seen.statistics is not None:
        assert seen.statistics.market.ledger.balanced
    assert sim.statistics().crashes == 0
