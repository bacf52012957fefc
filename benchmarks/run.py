"""`nox -s bench`: one JSON line for each benchmark. Look at ratios within one run; machines differ.

Arguments choose benchmarks by a part of their name; `--rounds N` (default 5) medians, `--ticks N`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import trio
from flood import CONTRACT, FloodStream, frames_of, make_trades, trade_record

import trio_projectx as px
from trio_projectx.bars import BarSet
from trio_projectx.connection.joining import FrameJoiner
from trio_projectx.market import Decoder, PriceGrid, Validator

EIGHT = ("1s", "5s", "15s", "1m", "5m", "15m", "1h", "4h")
GRID = PriceGrid.from_tick_size("0.25")


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median CPU time of ``work`` (one thread, a shared machine), after a round that does not count."""
    work()
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def report(name: str, ticks: int, took: float, **more: object) -> float:
    """Print the line of one benchmark; return its microseconds per tick."""
    us = took / ticks * 1e6
    line = {
        "bench": name,
        "ticks": ticks,
        "us_per_tick": round(us, 4),
        "ticks_per_s": round(ticks / took),
        **more,
    }
    print(json.dumps(line), flush=True)
    return us


def validator() -> Validator:
    limits = px.Limits()
    return Validator(
        CONTRACT,
        GRID,
        stamp_min_ns=limits.stamp_min_ns,
        stamp_max_ns=limits.stamp_max_ns,
        trade_size_max=limits.trade_size_max,
    )


def bench_join(ticks: int, rounds: int) -> None:
    """Frames joined below trio-websocket, of 64 KiB reads."""
    data = frames_of(make_trades(ticks, 1000))
    reads = [data[i : i + 65536] for i in range(0, len(data), 65536)]

    def work() -> None:
        joiner = FrameJoiner()
        for read in reads:
            joiner.feed(read)

    report("join frames", ticks, seconds(work, rounds))


def bench_decode(ticks: int, rounds: int) -> None:
    """Text of whole records to wire trades, and on to a validated batch."""
    trades = make_trades(ticks, 1000)
    for batch in (8, 64, 512):
        texts = [
            b"".join(trade_record([t]) for t in trades[i : i + batch]).decode()
            for i in range(0, ticks, batch)
        ]
        decoder = Decoder()
        report("decode", ticks, seconds(lambda: [decoder.bulk(t) for t in texts], rounds), batch=batch)  # noqa: B023
        wires = [decoded.trades[CONTRACT] for t in texts if (decoded := decoder.bulk(t)) is not None]
        judge = validator()
        report(
            "stamps and validate",
            ticks,
            seconds(lambda judge=judge, wires=wires: [judge.validate(w, 0) for w in wires], rounds),
            batch=batch,
        )


def bench_bars(ticks: int, rounds: int) -> None:
    """Validated batches to bars of 1 and of 8 timeframes; `ratio_8_to_1` is what seven more cost."""
    trades = make_trades(ticks, 1000)
    decoder, judge = Decoder(), validator()
    for batch in (8, 64, 512):
        batches = []
        for i in range(0, ticks, batch):
            decoded = decoder.bulk(b"".join(trade_record([t]) for t in trades[i : i + batch]).decode())
            assert decoded is not None
            made = judge.validate(decoded.trades[CONTRACT], 0)
            assert made is not None
            batches.append(made)
        cost = {}
        for frames in (("1s",), EIGHT):

            def work(frames: tuple[str, ...] = frames, batches: list[px.market.TradeBatch] = batches) -> None:
                bars = BarSet(CONTRACT, frames, anchor=px.Anchor.utc(), grid=GRID, lateness_ns=50_000_000)
                for each in batches:
                    bars.update(each)

            cost[len(frames)] = seconds(work, rounds)
        report("bars", ticks, cost[1], batch=batch, timeframes=1)
        report("bars", ticks, cost[8], batch=batch, timeframes=8, ratio_8_to_1=round(cost[8] / cost[1], 2))


def bench_snapshot(ticks: int, rounds: int) -> None:
    """`table()` over few and many stored bars: the cost must not grow with them."""
    cost = {}
    for stored in (1_000, 100_000):
        bars = BarSet(CONTRACT, ["1s"], anchor=px.Anchor.utc(), grid=GRID, lateness_ns=0)
        second = 10**9
        for i in range(stored + 1):
            bars.update(px.market.TradeBatch(CONTRACT, [i * second], [1], [1], [0], 0))
        cost[stored] = seconds(lambda: [bars.table("1s") for _ in range(200)], rounds) / 200  # noqa: B023
        print(
            json.dumps({"bench": "snapshot", "stored_bars": stored, "us": round(cost[stored] * 1e6, 2)}),
            flush=True,
        )
    print(
        json.dumps({"bench": "snapshot", "ratio_100k_to_1k": round(cost[100_000] / cost[1_000], 2)}),
        flush=True,
    )


async def stream(flood: bytes, ticks: int, timeframes: tuple[str, ...]) -> float:
    """The whole way from WebSocket bytes to bars in user code; seconds for all ticks."""

    async def connect(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        return FloodStream(flood)

    config = px.GatewayConfig(credentials=px.Credentials.from_token("token"), connect=connect)
    async with px.open_gateway(config) as gateway:
        await gateway.wait_connected()
        started = time.process_time()
        async with gateway.open_bars(CONTRACT, *timeframes, capacity=100_000) as bars:
            while True:
                with trio.move_on_after(0.002):
                    await bars.receive()
                    continue
                mine = gateway.statistics().market.contracts[0]
                if mine.accepted == ticks and not mine.in_flight:
                    break
            took = time.process_time() - started
            assert gateway.statistics().market.ledger.balanced
            return took


def bench_whole(ticks: int, rounds: int) -> None:
    """Bytes of a socket -> frames -> decode -> validate -> bars -> `receive()`, one trade a frame and 1 to 10."""
    trades = make_trades(ticks, 1000)
    for label, flood in (("1", frames_of(trades)), ("5", frames_of(trades, 1, 5))):
        cost = {}
        for frames in (("1s",), EIGHT):
            times = [trio.run(stream, flood, ticks, frames) for _ in range(rounds + 1)][1:]
            cost[len(frames)] = statistics.median(times)
        for n, took in cost.items():
            report("whole path", ticks, took, records_per_frame=int(label), timeframes=n)
        print(json.dumps({"bench": "whole path", "ratio_8_to_1": round(cost[8] / cost[1], 2)}), flush=True)


ALL = {
    "join": bench_join,
    "decode": bench_decode,
    "bars": bench_bars,
    "snapshot": bench_snapshot,
    "whole": bench_whole,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ALL)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ticks", type=int, default=100_000)
    options = parser.parse_args()
    print(json.dumps({"python": platform.python_version(), "trio_projectx": px.__name__}), flush=True)
    for name, bench in ALL.items():
        if not options.names or any(part in name for part in options.names):
            bench(options.ticks, options.rounds)


if __name__ == "__main__":
    main()
