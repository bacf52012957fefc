"""FAULTS.md rows 84, 86, 103 to 105 and 111, by the public API, in virtual time: history that fails in every way.

A history that is asked for, and the filling of gaps of live bars. Whatever the service does, what says that it is whole
is the truth, live bars go on, and what is missing can be seen.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pyarrow as pa
import pytest
import trio
from fault_tools import (
    CONTRACT,
    BarRow,
    Seen,
    ask,
    check,
    config_for,
    open_sim,
    oracle,
    row,
    truth_rows,
    virtual_s,
    watch,
)
from hypothesis import given
from hypothesis import strategies as st
from simulator_tools import START_NS, until, virtual_wall
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
WINDOW = {"start": START_NS - 3 * HOUR, "end": START_NS - 2 * HOUR}
#: What belongs to the columns of bars that history knows.
KNOWN = ("start", "end", "open", "high", "low", "close", "volume", "trade_date", "partial")


def of_history(name: str, **options: Any) -> Fault:
    """A fault of the one route."""
    return Fault(name, hub="rest", phase="rest", path="/api/history/*", **options)


async def history(sim: Simulator, timeframe: str = "1m", **window: Any) -> pa.Table:
    """A history as a gateway gives it that has asked for nothing before."""
    async with px.open_gateway(config_for(sim)) as gateway:
        return await gateway.history(CONTRACT, timeframe, **(window or WINDOW))


def rows(table: pa.Table) -> list[tuple[object, ...]]:
    return list(zip(*(table[name].to_pylist() for name in KNOWN), strict=True))


def told(table: pa.Table) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in table.schema.metadata.items()}


# -- a history that is asked for (row 103)

#: The fault, and how long the answer may take (virtual seconds).
PASSING: list[tuple[str, Fault, float, float]] = [
    ("429, come back in 7 s", of_history("http_status", status=429, retry_after_s=7), 7, 8),
    ("429 without a time", of_history("http_status", status=429), 1, 2),
    ("429 twice without a time", of_history("http_status", status=429, count=2), 3, 4),
    ("500 three times", of_history("http_status", status=500, count=3), 0, 10),
    ("503 with a time", of_history("http_status", status=503, retry_after_s=5), 5, 10),
    ("502 from a proxy", of_history("http_status", status=502, body="<html>bad gateway"), 0, 10),
    ("no answer", of_history("hang"), 30, 31),
    ("no answer, and half open", Fault("half_open", hub="rest", phase="rest"), 30, 31),
    ("a reset", of_history("tcp_reset"), 0, 10),
    ("a limit that is refused", of_history("http_refused", error_code=4), 0, 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "least_s", "most_s"), [each[1:] for each in PASSING], ids=[each[0] for each in PASSING]
)
async def test_what_may_pass_is_waited_for(
    autojump_clock: MockClock, fault: Fault, least_s: float, most_s: float
) -> None:
    async with open_sim() as sim:
        wanted = await history(sim)
        async with px.open_gateway(config_for(sim)) as gateway:
            await gateway.wait_connected()
            before = trio.current_time()
            if fault.name in ("half_open", "tcp_reset"):
                fault = attrs.evolve(fault, connection="next", path="*")
            handle = sim.inject(fault)
            table = await gateway.history(CONTRACT, "1m", **WINDOW)
            assert least_s <= trio.current_time() - before <= most_s
            assert handle.struck == max(1, fault.count)
        assert wanted.num_rows == 60
        assert rows(table) == rows(wanted)


#: The fault, and what it is raised as: at once, because it will not change.
STAYING: list[tuple[Fault, type[Exception], str]] = [
    (of_history("http_refused", error_code=1, error="Gone\x1b[2J"), px.ContractError, r"errorCode 1 Gone\\x1b\[2J"),
    (of_history("http_refused", error_code=2), px.GatewayError, "errorCode 2"),
    (of_history("http_refused", error_code=3), px.GatewayError, "errorCode 3"),
    (of_history("http_refused", error_code=77, error="No."), px.GatewayError, r"errorCode 77 No\."),
    (of_history("http_status", status=403, body="no"), px.AuthError, "403"),
    (of_history("http_status", status=404), px.GatewayError, "404"),
    *[
        (of_history("http_body", kind=kind), px.ProtocolError, "bars")
        for kind in ("garbage", "html", "empty", "types", "array")
    ],
]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "error", "says"), STAYING, ids=lambda each: getattr(each, "chosen_kind", None)
)
async def test_what_will_not_pass_is_raised_at_once(
    autojump_clock: MockClock, fault: Fault, error: type[Exception], says: str
) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        sim.inject(attrs.evolve(fault, count=0))
        before = trio.current_time()
        with pytest.raises(error, match=says) as raised:
            await gateway.history(CONTRACT, "1m", **WINDOW)
        assert trio.current_time() - before <= 1
        assert "\x1b" not in str(raised.value)
        sim.clear_faults()
        assert (await gateway.history(CONTRACT, "1m", **WINDOW)).num_rows == 60


async def test_a_history_that_hangs_for_ever_has_its_end(autojump_clock: MockClock) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        await gateway.wait_connected()
        sim.inject(of_history("hang", count=0))
        before = trio.current_time()
        with pytest.raises(px.ConnectTimeout, match="bars: no answer within 120 s") as raised:
            await gateway.history(CONTRACT, "1m", **WINDOW)
        assert trio.current_time() - before == pytest.approx(120, abs=0.1)
        assert raised.value.__cause__ is not None


async def test_an_empty_answer_is_not_remembered(autojump_clock: MockClock) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        sim.inject(Fault("history_bars", kind="empty", count=0))
        table = await gateway.history(CONTRACT, "1m", **WINDOW)
        assert table.num_rows == 0
        sim.clear_faults()
        table = await gateway.history(CONTRACT, "1m", **WINDOW)
        assert table.num_rows == 60


# -- answers that are wrong (row 104)


@pytest.mark.parametrize("timeframe", ["1m", "1h"])
@pytest.mark.parametrize(
    "kind", ["doubled", "overlapping", "shuffled", "oldest_first", "forming", "behind", "begun", "unlimited"]
)
async def test_an_answer_in_disorder_is_the_same_history(
    autojump_clock: MockClock, kind: str, timeframe: str
) -> None:
    async with open_sim() as sim:
        wanted = await history(sim, timeframe)
        options = {"late_s": 60.0} if kind in ("behind", "begun") else {}
        handle = sim.inject(Fault("history_bars", kind=kind, n=3, count=0, **options))
        table = await history(sim, timeframe)
        assert handle.struck >= 1
        assert rows(table) == rows(wanted)
        assert told(table)["conflicts"] == "0"


@pytest.mark.parametrize("n", [1, 2, 7, 59, 60, 61])
async def test_an_answer_that_is_cut_in_silence_is_gone_on_with(autojump_clock: MockClock, n: int) -> None:
    async with open_sim(rate_limits=False) as sim:
        wanted = await history(sim)
        handle = sim.inject(Fault("history_bars", kind="capped", n=n, count=0))
        assert rows(await history(sim)) == rows(wanted)
        assert handle.struck >= 60 / n


@pytest.mark.slow
async def test_more_than_20_000_bars(autojump_clock: MockClock) -> None:
    """Row 104: in one answer that is longer than was asked for, and in pages."""
    window = {"start": START_NS - 15 * 24 * HOUR, "end": START_NS - HOUR}
    async with open_sim(history_cap=50_000) as sim:
        wanted = await history(sim, **window)
        handle = sim.inject(Fault("history_bars", kind="unlimited", count=0))
        table = await history(sim, **window)
        assert wanted.num_rows > 20_000
        assert table.equals(wanted)
        assert handle.struck >= 1
        starts = table["start"].cast("int64").to_pylist()
        assert starts == sorted(set(starts))


@pytest.mark.parametrize("kind", ["off_grid", "crooked", "unaligned"])
async def test_a_bar_that_is_none_is_left_out_and_counted(autojump_clock: MockClock, kind: str) -> None:
    async with open_sim() as sim:
        wanted = await history(sim)
        sim.inject(Fault("history_bars", kind=kind, n=4, count=0))
        table = await history(sim)
        assert int(told(table)["rejected"]) >= 4
        # Nothing that is there is wrong; each question may have met other bars.
        assert set(rows(table)) < set(rows(wanted))
        assert 60 - int(told(table)["rejected"]) <= table.num_rows < 60


@pytest.mark.parametrize("kind", ["off_grid", "crooked", "unaligned"])
async def test_a_bar_that_lacks_a_part_that_was_left_out_says_so(
    autojump_clock: MockClock, kind: str
) -> None:
    """Days and four hours are made of hours: one of them that is none makes them ``partial``."""
    window = {"start": START_NS - 10 * 24 * HOUR, "end": START_NS - 2 * 24 * HOUR}
    for timeframe in ("4h", "1d"):
        async with open_sim() as sim:
            wanted = await history(sim, timeframe, **window)
            sim.inject(Fault("history_bars", kind=kind, n=6, count=0))
            table = await history(sim, timeframe, **window)
            found, right = rows(table), rows(wanted)
            assert any(each[-1] for each in found)
            assert all(each[-1] or each in right for each in found)


@pytest.mark.parametrize("kind", ["behind", "begun", "forming"])
@pytest.mark.parametrize("timeframe", ["1s", "1m"])
async def test_up_to_the_present_nothing_is_given_that_is_not_whole(
    autojump_clock: MockClock, kind: str, timeframe: str
) -> None:
    """The service is a little behind its own feed, and shows bars that are not over."""
    step = {"1s": 1, "5s": 5, "1m": 60}[timeframe]
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        async with gateway.open_trades(CONTRACT, overflow=px.Overflow.DROP_OLDEST):
            options = {} if kind == "forming" else {"late_s": 4.0}
            sim.inject(Fault("history_bars", kind=kind, count=0, **options))
            found: list[tuple[object, ...]] = []
            await rate(sim, 4)
            for wait_s in (150.3, 0.7, 2.9, 3.1, 1.0, 4.0, 60.0):
                await trio.sleep(wait_s)
                table = await gateway.history(CONTRACT, timeframe, start=START_NS + MINUTE)
                found += rows(table)
                newest = table["end"].cast("int64").to_pylist()[-1]
                assert 0 < virtual_wall() - newest <= (14 + 2 * step) * SECOND
            await trio.sleep(70)
        truth = folded(truth_rows(sim.truth()), step)
        assert len(found) > 6
        for start, _, *numbers, _, partial in found:
            assert not partial
            assert tuple(numbers) == truth[ns(start)], start


def ns(stamp: object) -> int:
    """A timestamp of pyarrow's, or a datetime, as int64 ns."""
    return int(stamp.value) if hasattr(stamp, "value") else px_ns(stamp)


def px_ns(stamp: Any) -> int:
    return (stamp - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000


def folded(trades: list[tuple[int, float, int, int]], step_s: int) -> dict[int, tuple[float, ...]]:
    """Open, high, low, close and volume by start, by brute force."""
    spans: dict[int, list[tuple[int, float, int, int]]] = {}
    for trade in sorted(trades, key=lambda trade: trade[0]):
        spans.setdefault(trade[0] // (step_s * SECOND) * step_s * SECOND, []).append(trade)
    return {
        start: (
            each[0][1],
            max(trade[1] for trade in each),
            min(trade[1] for trade in each),
            each[-1][1],
            sum(trade[2] for trade in each),
        )
        for start, each in spans.items()
    }


# -- live bars do not care (rows 103 and 105)


@pytest.mark.parametrize(
    "fault",
    [
        of_history("hang", count=0),
        of_history("http_status", status=500, count=0),
        of_history("http_status", status=429, count=0),
        Fault("history_bars", kind="empty", count=0),
    ],
    ids=["hang", "500", "429", "empty"],
)
async def test_live_bars_are_built_whatever_history_does(autojump_clock: MockClock, fault: Fault) -> None:
    async with open_sim() as sim:
        sim.inject(fault)
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 40, seen))
            await trio.sleep(12.01)
            sim.inject(Fault("tcp_reset", hub="market"))
        assert len(seen.gaps) == 1
        check(seen, sim, is_live=True)
        assert len(seen.bars) >= 36


# -- the filling of gaps (rows 103 to 105)

AT = 8.51
"""When the connection is lost; nobody gets in for `DOWN_S` after that."""
DOWN_S = 4.0
FRAMES = ("1s", "5s", "1m")


@attrs.define
class Stream:
    """What a reader of bars has got: everything, and the last version of each bar."""

    items: list[tuple[float, Any]] = attrs.Factory(list)
    last: dict[tuple[str, int], Any] = attrs.Factory(dict)
    revised: list[Any] = attrs.Factory(list)
    given: set[tuple[str, int]] = attrs.Factory(set)

    @property
    def gaps(self) -> list[Any]:
        return [item for _, item in self.items if isinstance(item, px.Gap)]

    async def read(self, stream: trio.abc.ReceiveChannel[Any]) -> None:
        async for item in stream:
            self.items.append((trio.current_time(), item))
            if isinstance(item, px.Gap):
                continue
            bar = item.bar if isinstance(item, px.BarRevised) else item
            key = bar.timeframe, bar.start
            if isinstance(item, px.BarRevised):
                assert item.late_trades == 0
                assert item.is_new is (key not in self.given)
                self.revised.append(item)
            else:
                assert key not in self.given, "a bar is given once, and then revised"
            self.given.add(key)
            self.last[key] = bar

    def slowest_s(self, frame: str = "1s") -> float:
        """How long after its end a live bar came at most, once the stream was back (virtual seconds)."""
        bars = [(at, item) for at, item in self.items if isinstance(item, px.Bar) and item.timeframe == frame]
        return max(at - virtual_s(bar.end) for at, bar in bars if bar.start > self.gaps[-1].end)

    def check(self, sim: Simulator) -> None:
        """What says that it is whole is the truth, and nothing else is given."""
        trades = truth_rows(sim.truth())
        for frame, step in (("1s", 1), ("5s", 5), ("1m", 60)):
            truth = folded(trades, step)
            for (each, start), bar in self.last.items():
                if each == frame:
                    assert start in truth, "nobody traded in it"
                    numbers = bar.open, bar.high, bar.low, bar.close, bar.volume
                    assert bar.partial or numbers == truth[start], bar
                    self.check_form(bar)

    def check_form(self, bar: Any) -> None:
        unknown = (bar.trades, bar.buy_volume, bar.sell_volume, bar.vwap, bar.first_ts, bar.last_ts)
        if bar.source == "live":
            assert None not in unknown
        else:
            assert bar.source in ("history", "mixed")
            assert set(unknown) == {None}
            assert not bar.partial

    def missing(self, sim: Simulator, until_ns: int) -> list[tuple[str, int]]:
        """Bars of the truth that are not there as whole bars, but for those in which the stream began."""
        trades, lost = truth_rows(sim.truth()), []
        began = {("1s", START_NS), ("5s", START_NS)}  # the gap lies in the first minute, which is read again
        for frame, step in (("1s", 1), ("5s", 5), ("1m", 60)):
            for start in folded(trades, step):
                bar = self.last.get((frame, start))
                if (
                    (frame, start) not in began
                    and start + step * SECOND <= until_ns
                    and (bar is None or bar.partial)
                ):
                    lost.append((frame, start))
        return lost


@asynccontextmanager
async def streaming(sim: Simulator, **options: Any) -> AsyncGenerator[tuple[Any, Stream]]:
    config = config_for(sim, history=px.HistoryOptions(**options))
    async with px.open_gateway(config) as gateway, trio.open_nursery() as nursery:
        async with gateway.open_bars(CONTRACT, *FRAMES, events=True, capacity=50_000) as bars:
            stream = Stream()
            await rate(sim, 5)
            nursery.start_soon(stream.read, bars)
            yield gateway, stream
            nursery.cancel_scope.cancel()


async def rate(sim: Simulator, trades_per_s: float) -> None:
    await ask(sim, "POST", f"/control/hz?v={trades_per_s}")


async def lose(sim: Simulator, stream: Stream, *faults: Fault) -> px.Gap:
    """Lose the market hub at `AT`, for `DOWN_S` or somewhat longer; put ``faults`` in, and return the gap."""
    await trio.sleep(AT - trio.current_time())
    sim.inject(Fault("refuse", count=0, duration_s=DOWN_S))
    sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
    for fault in faults:
        sim.inject(fault)
    await until(lambda: stream.gaps, DOWN_S + 35)
    (gap,) = stream.gaps
    assert isinstance(gap, px.Gap)
    return gap


DISORDER = Fault("history_bars", kind="doubled", count=0), Fault("history_bars", kind="shuffled", count=0)
#: What the filling meets, and how long it may take until all is there again, after the last of it (virtual s).
FILL_FAULTS: list[tuple[str, tuple[Fault, ...]]] = [
    ("nothing", ()),
    ("429, come back in 9 s", (of_history("http_status", status=429, retry_after_s=9, count=2),)),
    ("429", (of_history("http_status", status=429, count=4),)),
    ("500 for a minute", (of_history("http_status", status=500, count=0, duration_s=60),)),
    ("hang twice", (of_history("hang", count=2),)),
    ("reset", (of_history("tcp_reset", count=5),)),
    ("refused", (of_history("http_refused", error_code=2, count=3),)),
    ("a limit refused", (of_history("http_refused", error_code=4, count=2),)),
    ("bodies that are none", tuple(of_history("http_body", kind=k) for k in ("garbage", "truncated", "declared"))),
    ("empty for 40 s", (Fault("history_bars", kind="empty", count=0, duration_s=40),)),
    ("doubled, in disorder", DISORDER),
    ("overlapping", (Fault("history_bars", kind="overlapping", n=5, count=0),)),
    ("oldest first", (Fault("history_bars", kind="oldest_first", count=0),)),
    ("off the grid for 40 s", (Fault("history_bars", kind="off_grid", n=3, count=0, duration_s=40),)),
    ("crooked for 40 s", (Fault("history_bars", kind="crooked", n=3, count=0, duration_s=40),)),
    ("unaligned for 40 s", (Fault("history_bars", kind="unaligned", n=3, count=0, duration_s=40),)),
    ("forming", (Fault("history_bars", kind="forming", count=0),)),
    ("20 s behind", (Fault("history_bars", kind="behind", late_s=20.0, count=0),)),
    ("20 s behind, and begun", (Fault("history_bars", kind="begun", late_s=20.0, count=0),)),
    ("capped", (Fault("history_bars", kind="capped", n=2, count=0),)),
    ("unlimited", (Fault("history_bars", kind="unlimited", count=0),)),
]  # fmt: skip


@pytest.mark.parametrize("faults", [each[1] for each in FILL_FAULTS], ids=[each[0] for each in FILL_FAULTS])
async def test_a_gap_is_filled_in_the_end_and_live_bars_go_on(
    autojump_clock: MockClock, faults: tuple[Fault, ...]
) -> None:
    async with open_sim() as sim, streaming(sim) as (gateway, stream):
        gap = await lose(sim, stream, *faults)
        whole_at = START_NS + 60 * SECOND  # the end of the minute that the gap lies in
        for _ in range(30):
            await trio.sleep(15)
            stream.check(sim)
            if virtual_wall() > whole_at and not stream.missing(sim, whole_at):
                break
        assert stream.missing(sim, whole_at) == []
        report = gateway.coverage(CONTRACT, gap.start, gap.end)
        assert (report.start, report.end) == (gap.start, gap.end)
        assert report.missing == ()
        assert report.history
        touched = [bar for bar in stream.last.values() if bar.start <= gap.end and gap.start < bar.end]
        assert {bar.source for bar in touched} <= {"history", "mixed", "live"}
        assert {bar.source for bar in touched} >= {"history", "mixed"}
        assert stream.slowest_s() <= 1.1
        # Bars that nothing was missing of are the live ones.
        for bar in stream.last.values():
            if bar.start > gap.end or (bar.end <= gap.start and bar.start > START_NS + 2 * SECOND):
                assert bar.source == "live" or bar.timeframe != "1s"
        assert gateway.statistics().market.ledger.balanced


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (of_history("hang", count=0), "no whole answer"),
        (of_history("http_status", status=500, count=0), "500"),
        (of_history("http_status", status=429, count=0), "no whole answer|429"),
        (of_history("http_refused", error_code=2, error="No\x1b", count=0), "errorCode 2"),
        (Fault("history_bars", kind="empty", count=0), "."),
    ],
    ids=["hang", "500", "429", "refused", "empty"],
)
async def test_a_gap_that_cannot_be_filled_stays_to_be_seen(
    autojump_clock: MockClock, fault: Fault, says: str
) -> None:
    """Row 103: tried again for ever, less and less often; told; live bars go on; then it is filled."""
    async with open_sim() as sim, streaming(sim, retry_cap_s=30.0) as (gateway, stream):
        events: list[Any] = []

        async def listen(task_status: trio.TaskStatus[None]) -> None:
            async with gateway.open_events(capacity=10_000) as told:
                task_status.started()
                async for event in told:
                    events.append(event)

        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            gap = await lose(sim, stream, fault)
            await trio.sleep(300)
            report = gateway.coverage(CONTRACT)
            assert report.missing
            assert not report.is_complete
            first = report.missing[0]
            assert first.start <= gap.start
            assert gap.end <= report.missing[-1].end
            assert "connection lost" in " ".join(hole.cause for hole in report.missing)
            tried = [hole for hole in report.missing if hole.attempts]
            assert tried
            assert all("\x1b" not in (hole.last_failure or "") for hole in tried)
            assert any(re.search(says, hole.last_failure or "") for hole in tried)
            assert stream.slowest_s() <= 1.1
            failed = [each for each in events if isinstance(each, px.GapFillFailed)]
            assert failed
            assert max(each.retry_in_s or 0 for each in failed) <= 30
            # 300 s: with waits of 1, 2, 4 ... 30 s no more than these for each timeframe, and what `repeated` asks.
            (handle,) = [state for state in sim.faults() if state.fault == fault]
            assert 3 <= handle.struck <= 3 * 16 * 10
            stream.check(sim)
            sim.clear_faults()
            await trio.sleep(200)
            assert gateway.coverage(CONTRACT, gap.start, gap.end).missing == ()
            assert stream.missing(sim, START_NS + 60 * SECOND) == []
            assert [each for each in events if isinstance(each, px.GapFilled)]
            stream.check(sim)
            nursery.cancel_scope.cancel()


async def test_a_gap_can_be_seen_from_its_beginning_to_its_end(autojump_clock: MockClock) -> None:
    async with open_sim() as sim, streaming(sim) as (gateway, stream):
        await trio.sleep(AT - 1 - trio.current_time())
        assert gateway.coverage(CONTRACT, virtual_wall() - 3 * SECOND, virtual_wall()).missing == ()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose, sim, stream, of_history("http_status", status=500, count=4))
            await trio.sleep(1 + DOWN_S / 2)
            during = gateway.coverage(CONTRACT)
            assert during.missing
            assert during.missing[-1].attempts == 0
        await trio.sleep(90)
        (gap,) = stream.gaps
        after = gateway.coverage(CONTRACT, gap.start, gap.end)
        assert after.missing == ()
        assert after.is_complete
        assert sum(end - start for start, end in (*after.history, *after.live)) == gap.end - gap.start
        assert after.revised >= 3
        assert {each.timeframe for each in after.revisions} == {*FRAMES}


async def test_a_bar_that_is_over_and_only_waits_for_late_trades_is_read_again_too(
    autojump_clock: MockClock,
) -> None:
    """The connection is lost right behind the first trade of a second: the bar before it is open yet, and in doubt."""
    async with open_sim() as sim, streaming(sim) as (_, stream), px.open_gateway(config_for(sim)) as other:
        async with other.open_trades(CONTRACT, overflow=px.Overflow.DROP_OLDEST) as trades:
            for gaps in range(1, 5):
                await trio.sleep(8)
                async for trade in trades:
                    if isinstance(trade, px.Trade) and trade.ts_event % SECOND < SECOND // 10:
                        break
                sim.inject(Fault("tcp_reset", hub="market", phase="stream", connection="all", count=2))
                await until(lambda gaps=gaps: len(stream.gaps) >= gaps, 35)
        await trio.sleep(120)
        stream.check(sim)
        assert stream.missing(sim, START_NS + 120 * SECOND) == []


BAD_HISTORY = {
    "hang": of_history("hang", count=0),
    "500": of_history("http_status", status=500, count=0),
    "empty": Fault("history_bars", kind="empty", count=0),
    "garbage": of_history("http_body", kind="garbage", count=0),
}


async def test_two_gaps_at_once_and_one_in_the_midst_of_filling(autojump_clock: MockClock) -> None:
    async with open_sim() as sim, streaming(sim) as (gateway, stream):
        await lose(sim, stream, of_history("hang", count=1))
        for gaps in (2, 3, 4):
            await trio.sleep(4.3 * gaps)
            sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
            await until(lambda gaps=gaps: len(stream.gaps) == gaps, 35)
        await trio.sleep(180)
        stream.check(sim)
        assert stream.missing(sim, START_NS + 180 * SECOND) == []
        assert gateway.coverage(CONTRACT, stream.gaps[0].start, stream.gaps[-1].end).missing == ()


@pytest.mark.parametrize("fault", [None, *BAD_HISTORY.values()], ids=["good", *BAD_HISTORY])
async def test_live_bars_come_with_and_without_the_history_before_them(
    autojump_clock: MockClock, fault: Fault | None
) -> None:
    """Row 105."""
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        await gateway.wait_connected()
        if fault is not None:
            sim.inject(fault)
        got: list[Any] = []
        with trio.move_on_after(60):
            async with gateway.open_bars(CONTRACT, "1s", history=20, events=True, capacity=1000) as bars:
                async for item in bars:
                    got.append(item)
        made = [item for item in got if isinstance(item, px.Bar)]
        starts = [bar.start for bar in made]
        assert starts == sorted(set(starts))
        live = [bar for bar in made if bar.source == "live"]
        assert len(live) >= 20
        assert len([bar for bar in made if bar.source == "history"]) == (20 if fault is None else 0)
        if fault is None:
            assert made[20].start - made[19].start <= 2 * SECOND
        wanted: dict[int, BarRow] = {each[0]: each for each in oracle(truth_rows(sim.truth()))}
        for bar in live:
            assert bar.partial or row(bar) == wanted[bar.start]


# -- trades that come again, and contracts that roll (rows 84 and 86)


async def test_trades_that_are_sent_again_after_a_reconnect_count_once(autojump_clock: MockClock) -> None:
    """Row 84: the last 50 records, each with trades that had come."""
    async with open_sim() as sim:
        await ask(sim, "POST", "/control/hz?v=20")
        handle = sim.inject(Fault("trades_replayed", hub="market", n=50))
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 25, seen))
            await trio.sleep(10.01)
            sim.inject(Fault("tcp_reset", hub="market"))
        assert handle.struck == 1
        assert len(seen.gaps) == 1
        assert seen.statistics is not None
        counted = seen.statistics.market.contracts[0].rejected
        assert counted.replayed >= 50
        check(seen, sim, is_live=True)
        stamps = [item.ts_event for item in seen.items if isinstance(item, px.Trade)]
        assert stamps == sorted(stamps)


async def test_a_roll_is_a_new_stream_and_no_bar_is_mixed(autojump_clock: MockClock) -> None:
    """Row 86: what a product means is asked anew each time; a stream stays with its contract."""
    before = int(dt.datetime(2026, 9, 9, 23, 59, 0, tzinfo=dt.UTC).timestamp()) * SECOND

    def clock() -> int:
        return before + int(trio.current_time() * 1e9)

    async with open_sim(wall_clock=clock) as sim:
        config = attrs.evolve(config_for(sim), wall_clock=clock)
        async with px.open_gateway(config) as gateway, trio.open_nursery() as nursery:
            got: dict[str, list[px.Bar]] = {"old": [], "new": []}

            async def read(name: str, seconds: float) -> None:
                with trio.move_on_after(seconds):
                    async with gateway.open_bars("MNQ", "1s", "1m") as bars:
                        async for bar in bars:
                            got[name].append(bar)

            nursery.start_soon(read, "old", 200.0)
            await trio.sleep(100)  # past midnight: the contract has rolled
            nursery.start_soon(read, "new", 100.0)
        assert {bar.contract_id for bar in got["old"]} == {"CON.F.US.MNQ.U26"}
        assert {bar.contract_id for bar in got["new"]} == {"CON.F.US.MNQ.Z26"}
        for name, contract in (("old", "CON.F.US.MNQ.U26"), ("new", "CON.F.US.MNQ.Z26")):
            made = [row(bar) for bar in got[name] if bar.timeframe == "1s" and not bar.partial]
            assert len(made) > 90
            assert set(made) <= set(oracle(truth_rows(sim.truth(), contract)))
        assert sim.statistics().crashes == 0


async def test_trades_of_the_next_contract_on_the_old_ones_line_are_in_no_bar(
    autojump_clock: MockClock,
) -> None:
    """Row 86: the service itself mixes them up."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 30, seen))
            await trio.sleep(5.01)
            handle = sim.inject(Fault("hostile", hub="market", kind="foreign_contract", n=40))
        assert handle.struck == 1
        assert seen.rejected >= 40
        assert {bar.contract_id for bar in seen.bars} == {CONTRACT}
        check(seen, sim, is_live=True)


# -- names that are none (row 111)

HOSTILE = [
    "../../x", "..", "/etc/passwd", "MNQ/../../x", "CON.F.US.MNQ.U26/../../x", "CON.F.US.MNQ.U26\0",
    "CON.F.US.MNQ.U26\n",
    "MNQ\r\nHost: evil", "\r\n", "A" * 300, "CON.F.US." + "A" * 300 + ".U26", "\x1b[2J", "", " ", "CON.F.US.МNQ.U26",
    "CON.F.US.MNQ.U٢٦", "con.f.us.mnq.u26", "%2e%2e%2f", "CON.F.US.MNQ.U26?x=1", "contract=x", "\ud800",
]  # fmt: skip


def opened(gateway: px.Gateway, text: str) -> list[Callable[[], Any]]:
    """Every way by which a name may come in."""
    doors: list[Callable[[], Any]] = [
        lambda: gateway.open_bars(text, "1s"),
        lambda: gateway.open_trades(text),
        lambda: gateway.open_quotes(text),
    ]
    return doors


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
async def test_a_name_that_is_none_is_refused_before_anything_is_asked(
    autojump_clock: MockClock, text: str, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    """Before any request, path or log: by every door, and with a cache."""
    caplog.set_level(logging.DEBUG)
    async with open_sim() as sim:
        config = config_for(sim, history=px.HistoryOptions(cache=tmp_path / "cache"))
        async with px.open_gateway(config) as gateway:
            await gateway.wait_connected()
            handle = sim.inject(Fault("http_status", hub="rest", phase="rest", status=500, count=0))
            for door in opened(gateway, text):
                with pytest.raises(px.ContractError) as raised:
                    async with door():
                        raise AssertionError
                check_text(str(raised.value))
            for timeframe in ("1s", "1d"):
                with pytest.raises(px.ContractError) as raised:
                    await gateway.history(text, timeframe, count=5)
                check_text(str(raised.value))
            assert handle.struck == 0
            for look in (gateway.rejections, gateway.quarantine):
                try:
                    assert look(text) == ()
                except px.ContractError as exc:
                    check_text(str(exc))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"]
    for record in caplog.records:
        check_text(record.getMessage())


def check_text(text: str) -> None:
    assert text.isprintable()
    assert len(text) < 400
    text.encode()


@given(st.text(max_size=40).filter(lambda text: not text.startswith("CON.F.US.")))
def test_any_text_is_a_contract_or_an_error_that_can_be_printed(text: str) -> None:
    from trio_projectx.market import find_product

    try:
        found = find_product(text)
    except px.ContractError as exc:
        check_text(str(exc))
        return
    assert found.code.isalnum()
