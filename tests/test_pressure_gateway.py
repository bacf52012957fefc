"""A whole gateway under memory pressure, in virtual time: what it gives up, takes back, and how it ends."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from ledger_watch import LedgerWatch
from simulator_tools import START_NS, virtual_wall
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.buffers import Buffer
from trio_projectx.flow.capacities import _is_to_change
from trio_projectx.market import TradeBatch
from trio_projectx.simulator import Fault, Simulator, open_simulator

N, T, H, S, L = px.MemoryLevel
MIB = 1 << 20


@attrs.define
class Memory:
    """A machine of 10,000 MiB."""

    used: int = 100

    def __call__(self) -> px.MemoryReading:
        return px.MemoryReading(self.used * MIB, (10_000 - self.used) * MIB, "a test")


@asynccontextmanager
async def running(
    memory: Memory, speed: float = 1.0, options: px.MemoryOptions | None = None, **changes: object
) -> AsyncGenerator[tuple[Simulator, px.Gateway]]:
    async with open_simulator(port=None, seed=5, speed=speed, wall_clock=virtual_wall) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url),
            connect=sim.connect,
            wall_clock=virtual_wall,
            memory=attrs.evolve(options or px.MemoryOptions(), read=memory),
            **changes,
        )
        async with px.open_gateway(config) as gateway:
            yield sim, gateway


def told(events: px.Stream[px.GatewayEvent]) -> list[px.GatewayEvent]:
    """Return what waits in a stream of events."""
    found: list[px.GatewayEvent] = []
    with pytest.raises(trio.WouldBlock):
        while True:
            found.append(events.receive_nowait())
    return found


def steps(events: px.Stream[px.GatewayEvent]) -> list[px.MemoryPressureChanged]:
    """Return the steps of memory that wait in it."""
    return [event for event in told(events) if isinstance(event, px.MemoryPressureChanged)]


async def test_tight_conflates_the_quotes_that_may_drop_and_tells_it_in_band(
    autojump_clock: MockClock,
) -> None:
    memory, options = Memory(), px.MemoryOptions(calm_s=2)
    async with running(memory, options=options) as (_, gateway), gateway.open_events() as events:
        async with (
            gateway.open_quotes("MNQ", overflow=px.Overflow.DROP_OLDEST) as dropping,
            gateway.open_quotes("MNQ", overflow=px.Overflow.ERROR) as exact,
            gateway.open_quotes("MNQ") as conflated,
        ):
            await trio.sleep(20)
            waiting = dropping.statistics().queued
            assert waiting > 10
            memory.used = 7500
            await trio.sleep(6)
            now = dropping.statistics()
            assert (now.policy, now.queued) == (px.Overflow.CONFLATE, 1)
            assert now.balanced
            assert exact.statistics().policy is px.Overflow.ERROR
            assert exact.statistics().queued > waiting
            mark, quote = dropping.receive_nowait(), dropping.receive_nowait()
            assert isinstance(mark, px.Dropped)
            assert mark.count == now.dropped >= waiting - 1 > 0
            assert isinstance(quote, px.Quote)
            memory.used = 100
            await trio.sleep(8)
            later = dropping.statistics()
            assert (later.policy, later.queued > 1) == (px.Overflow.DROP_OLDEST, True)
            assert later.balanced
            assert conflated.statistics().dropped == 0
        up, down = steps(events)
        assert (up.before, up.level, down.before, down.level) == (N, T, T, N)
        assert up.did == (
            f"1 streams of quotes and books hold the newest state alone ({mark.count:,} items dropped, told in them); "
            "2 others stay as they are",
        )
        assert down.did == ("1 streams of quotes and books have their policy again",)


async def test_a_stream_that_is_opened_under_pressure_is_shed_too(autojump_clock: MockClock) -> None:
    memory = Memory(7500)
    async with running(memory) as (_, gateway), gateway.open_events() as events:
        await trio.sleep(11)
        async with (
            gateway.open_quotes("MNQ", overflow=px.Overflow.DROP_NEWEST) as quotes,
            gateway.open_book("MNQ", overflow=px.Overflow.DROP_OLDEST) as book,
            gateway.open_depth("MNQ", overflow=px.Overflow.DROP_OLDEST) as depth,
        ):
            await trio.sleep(11)
            assert quotes.statistics().policy is px.Overflow.CONFLATE
            assert book.statistics().policy is px.Overflow.CONFLATE
            assert (
                depth.statistics().policy is px.Overflow.DROP_OLDEST
            )  # changes of a book cannot be conflated
        first, second = steps(events)
        assert (first.before, first.level, first.did) == (N, T, ())
        assert (second.before, second.level, len(second.did)) == (T, T, 1)


async def test_limits_say_how_many_bars_late_trades_may_revise(autojump_clock: MockClock) -> None:
    async with running(Memory(), limits=px.Limits(revisable_bars=2)) as (sim, gateway):
        async with gateway.open_bars("MNQ", "1s", late="revise", events=True) as bars:
            contract = gateway._parts.streams.market.known("MNQ")
            assert contract is not None
            for late in (0, 1):
                stamps = [START_NS - (9 - n) * 10**9 + late for n in range(9)]
                ones = [1] * len(stamps)
                contract.counts.received += len(stamps)
                batch = TradeBatch(sim.contract_id, stamps, [80_000] * len(stamps), ones, ones, START_NS)
                await contract.pass_on(batch, 1)
                await trio.testing.wait_all_tasks_blocked()
            revised: list[int] = []
            while len(revised) < 2:
                item = await bars.receive()
                if isinstance(item, px.BarRevised):
                    revised.append(item.bar.start)
            assert revised == [START_NS - (9 - n) * 10**9 for n in (5, 6)]  # the last two wait for lateness


async def test_high_shrinks_tables_and_what_somebody_holds_stays(
    autojump_clock: MockClock, ledger_watch: LedgerWatch
) -> None:
    memory, options, seconds = Memory(), px.MemoryOptions(calm_s=2), 20_000
    limits = px.Limits(bars_kept=20_000, recent_trades=100)
    async with (
        running(memory, options=options, limits=limits) as (sim, gateway),
        gateway.open_events() as events,
    ):
        async with gateway.open_bars("MNQ", "1s", overflow=px.Overflow.DROP_OLDEST) as bars:
            ends = [START_NS - (seconds - n) * 10**9 for n in range(seconds)]
            ones = [1] * seconds
            contract = gateway._parts.streams.market.known("MNQ")
            assert contract is not None
            contract.counts.received += seconds
            await contract.pass_on(
                TradeBatch(sim.contract_id, ends, [80_000] * seconds, ones, ones, START_NS), 1
            )
            await trio.testing.wait_all_tasks_blocked()
            held = bars.table()
            copy = held.slice(0, 10).to_pylist()
            memory.used = 8500
            await trio.sleep(7)
            few = bars.table()
            assert gateway.recent_trades("MNQ").num_rows == 25
            assert 5000 <= few.num_rows < 5000 + 8192 < held.num_rows
            assert held.slice(0, 10).to_pylist() == copy
            assert few["end"][-1].as_py() > held["end"][-1].as_py()  # and live bars go on
            memory.used = 100
            await trio.sleep(12)
            assert bars.table().num_rows > few.num_rows
        did = {step.level: " ".join(step.did) for step in steps(events)}
    assert (
        f"1 streams of bars keep 5,000 bars for their tables ({seconds // 8192 * 8192 - 8192:,} bars went)"
        in did[H]
    )
    assert "5,000 bars of history of each contract are kept in memory (0 went" in did[H]
    assert "1 windows of recent trades hold 25 (" in did[H]
    assert "1 windows of recent trades hold 100 again" in did[T]
    ledger_watch.forgive()  # 20,000 trades went into the builders by a side door


async def test_capacities_follow_the_rate_and_what_memory_allows(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    memory, options = Memory(), px.MemoryOptions(exits=False)
    limits = px.Limits(stream_items=200)
    async with running(memory, 4.0, options, limits=limits) as (_, gateway), gateway.open_events() as events:
        async with (
            gateway.open_trades("MNQ", overflow=px.Overflow.DROP_OLDEST) as mine,
            gateway.open_trades("MNQ", overflow=px.Overflow.DROP_OLDEST, capacity=200) as theirs,
            gateway.open_trades("MNQ") as exact,
            gateway.open_depth("MNQ") as depth,
        ):
            for _ in range(150):
                await trio.sleep(0.1)
                while exact.statistics().queued:
                    exact.receive_nowait()
                while depth.statistics().queued:
                    depth.receive_nowait()
            await trio.sleep(6)
            now = mine.statistics()
            assert now.capacity > 400
            assert now.queued > 200
            assert depth.statistics().capacity > 200
            assert theirs.statistics().capacity == 200
            memory.used = 9999  # 1 MiB is left
            await trio.sleep(6)
            few = mine.statistics()
            assert few.capacity > few.queued > 1 * MIB // 20 // 170  # what waits is not dropped for that,
            assert (few.dropped, exact.statistics().dropped) == (
                now.dropped,
                0,
            )  # and it makes nobody too slow
            while mine.statistics().queued:
                mine.receive_nowait()
            await trio.sleep(2)
            assert mine.statistics().capacity == 200  # at HIGH and beyond it is the default
            assert mine.statistics().balanced
        changes = [event for event in told(events) if isinstance(event, px.CapacityChanged)]
    assert (changes[0].before, changes[0].stream) == (200, mine.statistics().name)
    assert "items a second come, and 30 s of them are to have room" in changes[0].reason
    doubts = [record for record in caplog.records if vars(record)["event"] == "limits_doubtful"]
    assert [record.getMessage()[:35] for record in doubts] == ["limits: Limits.stream_items (200) i"]


@pytest.mark.parametrize(
    ("capacity", "wanted", "least", "most", "changes"),
    [
        (100, 100, 100, math.inf, False),
        (100, 125, 100, math.inf, False),
        (100, 126, 100, math.inf, True),
        (300, 150, 100, math.inf, False),  # it may come back
        (301, 150, 100, math.inf, True),
        (90, 100, 100, math.inf, True),  # below the default only where memory forces it
        (100, 90, 90, 90, True),
    ],
)
def test_a_capacity_changes_where_it_is_worth_it(
    capacity: int, wanted: int, least: float, most: float, changes: bool
) -> None:
    assert _is_to_change(capacity, wanted, least=least, most=most) is changes


async def test_memory_may_force_a_capacity_below_the_default_and_that_is_told(
    autojump_clock: MockClock,
) -> None:
    memory, options = Memory(), px.MemoryOptions(exits=False)
    small = px.Limits(bars_kept=1000, stream_items=2500)
    async with (
        running(memory, options=options, limits=small) as (_, gateway),
        gateway.open_events() as events,
    ):
        async with gateway.open_trades("MNQ") as trades:
            memory.used = 9994
            await trio.sleep(6)
            assert trades.statistics().capacity == 6 * MIB // 20 // 170
            memory.used = 100
            await trio.sleep(2)
            assert trades.statistics().capacity == 2500
        reasons = [event.reason for event in told(events) if isinstance(event, px.CapacityChanged)]
    assert reasons == [
        "a twentieth of the memory that is left has room for no more",
        "the default has room for what comes",
    ]


async def test_a_machine_that_is_not_well_is_degraded_with_a_sentence(autojump_clock: MockClock) -> None:
    memory = Memory()
    async with running(memory) as (_, gateway), gateway.open_bars("MNQ", "1s") as bars:
        await bars.receive()
        await trio.sleep(6)
        well = gateway.health()
        assert (well.status, well.machine.troubles) == ("ok", ())
        assert well.network.market_byte_age_s is not None
        assert well.network.market_byte_age_s < 1
        assert well.machine.memory.sentence == "memory is normal: 100 MiB of 10,000 MiB are used, by a test"
        assert well.machine.loop.lag_s == 0
        gateway._parts.books.turn(trio.current_time() + 5.5)  # as though it had been woken that late
        memory.used = 8000
        await trio.sleep(10)
        now = gateway.health()
        assert (now.status, now.market.score) == ("degraded", 100)  # it is not the hub's
        assert now.machine.memory.level in (T, H)
        assert now.machine.loop.worst_s > 0.25
        assert now.reason.endswith("; ".join(now.machine.troubles))


async def test_the_last_level_gives_streams_what_was_read_then_ends_it_all(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    memory, got, table = Memory(), list[px.Trade](), None
    with pytest.raises(px.MemoryExhausted, match="ends to be started again") as info:
        async with running(memory) as (sim, gateway), gateway.open_bars("MNQ", "1s") as bars:
            async with gateway.open_trades("MNQ") as trades:
                await trio.sleep(10)
                memory.used = 9900
                try:
                    await trio.sleep(1)
                    async for trade in trades:
                        got.append(trade)
                finally:
                    truth, table = sim.truth(), bars.table()
                    statistics = trades.statistics()
                    ledger = gateway.statistics().market.ledger
    assert info.value.exit_code == 75
    assert statistics.balanced
    assert (statistics.queued, statistics.delivered) == (0, len(got))
    assert len(got) > 20
    sent = truth["ts_event"].to_pylist()[: len(got)]
    assert [trade.ts_event for trade in got] == sent
    assert ledger.balanced
    assert table is not None
    assert table.num_rows > 5


async def test_the_last_level_gives_quotes_that_were_read_too(autojump_clock: MockClock) -> None:
    got: list[px.Quote] = []
    with pytest.raises(px.MemoryExhausted):
        async with running(Memory()) as (_, gateway), gateway.open_quotes("MNQ") as quotes:
            await trio.sleep(3)
            last = await quotes.receive()
            assert isinstance(last, px.Quote)
            machine, market = gateway._parts.machine, gateway._parts.streams.market
            flow = market.contracts[0].quotes
            (line,) = flow._bringing
            at = px.to_datetime(last.ts_event + 10**9).isoformat()
            found = market.invocation(
                "GatewayQuote", [last.contract_id, {"bestBid": last.bid, "timestamp": at}]
            )
            merged = flow.merged
            # It was read in the very step before the last level comes.
            await market.deliver(found, virtual_wall(), line)
            assert flow.merged == merged
            async with trio.open_nursery() as nursery:
                nursery.start_soon(machine.pressure._drain, px.MemoryExhausted("no more"))
                with trio.fail_after(10):
                    async for quote in quotes:
                        got.append(quote)
    assert len(got) == 1


async def test_tasks_of_the_block_that_had_it_from_their_streams_give_one_plain_error(
    autojump_clock: MockClock,
) -> None:
    memory = Memory()

    async def read(stream: px.Stream[object]) -> None:
        async for _ in stream:
            pass

    with pytest.raises(px.MemoryExhausted):
        async with running(memory) as (_, gateway), trio.open_nursery() as nursery:
            nursery.start_soon(_read_bars, gateway, read)
            nursery.start_soon(_read_user, gateway, read)
            await trio.sleep(3)
            memory.used = 9900
            await trio.sleep_forever()


async def _read_bars(gateway: px.Gateway, read: object) -> None:
    async with gateway.open_bars("MNQ", "1s") as bars:
        await read(bars)  # type: ignore[operator]


async def _read_user(gateway: px.Gateway, read: object) -> None:
    async with gateway.open_user_events() as events:
        await read(events)  # type: ignore[operator]


async def _scarce_while_it_reconnects(sim: Simulator, gateway: px.Gateway, memory: Memory) -> None:
    sim.inject(Fault("http_status", hub="market", status=503, count=0))
    sim.inject(Fault("tcp_reset", hub="market"))
    await trio.sleep(2)
    memory.used = 9900
    assert gateway.health().market.state is not px.HubState.LIVE


async def _open_trades(gateway: px.Gateway) -> None:
    async with gateway.open_trades("MES"):
        pass


async def _history(gateway: px.Gateway) -> None:
    await gateway.history("MNQ", "1m", count=5)


@pytest.mark.parametrize(
    "wait", [px.Gateway.wait_connected, _open_trades, _history, px.Gateway.refresh_token]
)
@pytest.mark.parametrize("level", [N, L])
async def test_who_waits_at_the_last_level_is_told_that_and_nothing_else(
    autojump_clock: MockClock, wait: Callable[[px.Gateway], Awaitable[None]], level: px.MemoryLevel
) -> None:
    memory = Memory()
    with pytest.raises(px.MemoryExhausted) as info:
        async with running(memory) as (sim, gateway):
            async with gateway.open_bars("MNQ", "1s", overflow=px.Overflow.DROP_OLDEST):
                await trio.sleep(3)
                await _scarce_while_it_reconnects(sim, gateway, memory)
                while gateway.health().machine.memory.level is not level:
                    await trio.sleep(0.1)
                await wait(gateway)
                await trio.sleep_forever()
    assert info.value.exit_code == 75
    assert not hasattr(info.value, "__notes__")


async def test_who_tries_again_and_again_at_the_last_level_does_not_hide_it(
    autojump_clock: MockClock,
) -> None:
    memory, caught = Memory(), list[type[Exception]]()

    async def tries(gateway: px.Gateway) -> None:
        while True:
            try:
                async with gateway.open_bars("MNQ", "1s") as bars:
                    async for _ in bars:
                        memory.used = 9900
            except px.TrioProjectXError as exc:
                caught.append(type(exc))
                await trio.sleep(0.01)

    with pytest.raises(px.MemoryExhausted):
        # A stream that is not read, so that the end takes a while.
        async with running(memory) as (_, gateway), gateway.open_trades("MNQ"):
            await tries(gateway)
    assert set(caught) == {px.MemoryExhausted}
    assert len(caught) > 1


async def test_another_error_of_the_block_is_not_hidden(autojump_clock: MockClock) -> None:
    memory = Memory()

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("mine")

    with pytest.raises(BaseExceptionGroup) as info:
        async with running(memory) as (_, gateway), trio.open_nursery() as nursery:
            memory.used = 9900
            async with gateway.open_bars("MNQ", "1s") as bars:
                nursery.start_soon(fail)
                async for _ in bars:
                    pass
    assert info.group_contains(px.MemoryExhausted)


async def test_a_stream_that_blocks_and_is_not_read_holds_up_the_end_for_its_bounded_time(
    autojump_clock: MockClock,
) -> None:
    memory = Memory()
    with pytest.raises(px.MemoryExhausted):
        async with running(memory) as (_, gateway):
            async with gateway.open_trades("MNQ", overflow=px.Overflow.BLOCK, capacity=1):
                await trio.sleep(6)
                memory.used = 9900
                before = trio.current_time()
                await trio.sleep_forever()
    assert trio.current_time() - before <= 5 + 4 + 5 + 6  # look, levels, drain, closing


@given(
    st.sampled_from([px.Overflow.DROP_OLDEST, px.Overflow.DROP_NEWEST]),
    st.integers(1, 5),
    st.lists(st.one_of(st.integers(0, 30), st.sampled_from(["get", "shed", "back"])), max_size=60),
)
def test_conflating_and_back_keeps_the_equation_and_the_last_of_each_key(
    policy: px.Overflow, capacity: int, acts: list[object]
) -> None:
    buffer = Buffer[int](capacity, policy, stamp=lambda item: item, key=lambda item: item % 3)
    last: dict[int, int] = {}
    marked = 0
    for act in acts:
        if isinstance(act, int):
            buffer.put(act)
        elif act == "get" and not buffer.is_empty:
            found = buffer.get()
            marked += found.count if isinstance(found, px.Dropped) else 0
        elif act == "shed" and buffer.policy is policy:
            waiting = [item for item in buffer._items if not isinstance(item, px.Dropped)]
            last = {item % 3: item for item in waiting}
            assert buffer.conflate() == len(waiting) - len(last)
            assert buffer._slots == last
        elif act == "back" and buffer.policy is px.Overflow.CONFLATE:
            buffer.unconflate(policy)
        assert buffer.offered == buffer.delivered + buffer.conflated + buffer.dropped + len(buffer)
        assert buffer.waiting <= capacity
    while not buffer.is_empty:
        found = buffer.get()
        marked += found.count if isinstance(found, px.Dropped) else 0
    assert marked == buffer.dropped  # all that was dropped was told in band
