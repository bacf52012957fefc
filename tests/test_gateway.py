"""The whole way in virtual time: simulator, memory streams, WebSocket, hub, pipeline, streams."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Literal

import attrs
import pyarrow as pa
import pytest
import trio
from sweeps import every

import trio_projectx as px
from trio_projectx.simulator import Simulator, open_simulator

START = (
    1_787_172_660_000_000_000  # 2026-08-19T20:51:00Z: a market that begins with its minute costs less to make
)


def virtual_wall() -> int:
    """A wall clock that follows trio's, so that it is virtual where that is."""
    return START + round(trio.current_time() * 1e9)


def config_for(sim: Simulator, **changes: object) -> px.GatewayConfig:
    config = px.GatewayConfig.simulated(sim.url)
    return attrs.evolve(config, connect=sim.connect, wall_clock=virtual_wall, **changes)


@asynccontextmanager
async def running(speed: float = 1.0, **changes: object) -> AsyncGenerator[tuple[Simulator, px.Gateway]]:
    async with open_simulator(port=None, seed=5, speed=speed, wall_clock=virtual_wall) as sim:
        async with px.open_gateway(config_for(sim, **changes)) as gateway:
            yield sim, gateway


def oracle(trades: pa.Table, step_s: int) -> list[tuple[int, float, float, float, float, int, int]]:
    """Bars of a table of trades by brute force, without a line of the library's."""
    bars: dict[int, list[tuple[float, int]]] = {}
    rows = zip(
        trades["ts_event"].to_pylist(), trades["price"].to_pylist(), trades["volume"].to_pylist(), strict=True
    )
    for ts, price, volume in sorted(rows, key=lambda row: row[0]):
        bars.setdefault(ts // (step_s * 10**9), []).append((price, volume))
    return [
        (
            k * step_s * 10**9,
            p[0][0],
            max(x for x, _ in p),
            min(x for x, _ in p),
            p[-1][0],
            sum(v for _, v in p),
            len(p),
        )
        for k, p in sorted(bars.items())
    ]


def row(bar: px.Bar) -> tuple[int, float, float, float, float, int, int]:
    return (bar.start, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades)


async def test_bars_of_three_timeframes_equal_the_simulators_truth(
    autojump_clock: trio.testing.MockClock,
) -> None:
    got: dict[str, list[px.Bar]] = {"1s": [], "5s": [], "1m": []}
    async with running() as (sim, gateway), gateway.open_bars("MNQ", "1s", "5s", "1m") as bars:
        assert bars.contract_id == sim.contract_id
        async for bar in bars:
            got[bar.timeframe].append(bar)
            if len(got["1m"]) == 2:
                break
        truth = sim.truth()
        assert gateway.statistics().market.ledger.balanced
        for timeframe, step_s in (("1s", 1), ("5s", 5), ("1m", 60)):
            made = [row(bar) for bar in got[timeframe]]
            assert made == oracle(truth, step_s)[: len(made)]
            assert [bar.partial for bar in got[timeframe][:2]] == [True, False]
            assert bars.table(timeframe)["close"].to_pylist() == [bar.close for bar in got[timeframe]]
    assert len(got["1s"]) > 100


async def test_bars_are_the_products_sessions_if_nothing_else_is_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (_, gateway), gateway.open_bars("MNQ", "1s", "1d") as bars:
        bar = await bars.receive()
        day = bars.forming("1d")
        assert day is not None
        assert (str(bar.trade_date), str(day.trade_date)) == ("2026-08-19", "2026-08-19")
        assert (day.start_time.hour, (day.end - day.start) // (3600 * 10**9)) == (22, 23)
    async with running() as (_, gateway):
        async with gateway.open_bars("MNQ", "1s", "1d", anchor=px.Anchor.utc()) as bars:
            await bars.receive()
            day = bars.forming("1d")
            assert day is not None
            assert (day.trade_date, day.start_time.hour) == (None, 0)


async def test_all_that_a_stream_of_bars_can_be_asked_for_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    closed: list[px.Bar] = []
    looks = 0
    async with running() as (sim, gateway):
        async with gateway.open_bars(
            "MNQ", "1s", "1m", "tick:50", "volume:40", updates=0.5, events=True, late="revise", fill="previous",
            skip_first=True,
        ) as bars:  # fmt: skip
            async for item in bars:
                assert isinstance(item, px.Bar)  # the simulator sends in order: there is nothing to revise
                looks += not item.closed
                if item.closed:
                    closed.append(item)
                if len([bar for bar in closed if bar.timeframe == "1m"]) == 2:
                    break
            assert gateway.statistics().market.ledger.balanced
            assert bars.statistics().balanced
            made = {label: [bar for bar in closed if bar.timeframe == label] for label in bars.timeframes}
        truth = oracle(sim.truth(), 1)
    assert looks > 100
    assert not any(bar.partial for bar in closed)
    assert [row(bar) for bar in made["1s"] if not bar.synthetic] == [
        each for each in truth if made["1s"][0].start <= each[0] <= made["1s"][-1].start
    ]
    starts = [bar.start for bar in made["1s"]]
    assert starts == list(range(starts[0], starts[-1] + 1, 10**9))  # no second is missing
    assert {bar.trades for bar in made["tick:50"]} == {50}
    assert {bar.volume for bar in made["volume:40"]} == {40}


async def test_trades_and_quotes_of_one_contract(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as (sim, gateway):
        async with gateway.open_trades("MNQ") as trades, gateway.open_quotes(sim.contract_id) as quotes:
            got = [await trades.receive() for _ in range(200)]
            await trio.sleep(5)
            quote = await quotes.receive()
        truth = sim.truth().slice(0, 200)
        assert [t.ts_event for t in got] == truth["ts_event"].to_pylist()
        assert [t.price for t in got] == truth["price"].to_pylist()
        assert [t.volume for t in got] == truth["volume"].to_pylist()
        assert [int(t.side) for t in got] == truth["side"].to_pylist()
        assert isinstance(quote, px.Quote)
        assert quote.bid is not None
        assert quote.ask is not None
        assert quote.bid < quote.ask
        assert quotes.statistics().balanced


async def test_two_streams_of_one_contract_are_copies_and_share_the_subscription(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (sim, gateway):
        async with gateway.open_bars("MNQ", "1s") as a, gateway.open_bars(sim.contract_id, "1s") as b:
            first = [await a.receive() for _ in range(5)]
            second = [await b.receive() for _ in range(5)]
            assert [row(bar) for bar in first[1:]] == [row(bar) for bar in second[1:]]
        stats = gateway.statistics()
        assert (stats.connects, stats.logins) == (1, 1)


async def test_a_second_contract_does_not_mix_with_the_first(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as (sim, gateway):
        async with gateway.open_bars("ES", "1s") as es, gateway.open_bars("GC", "1s") as gc:
            for stream, product in ((es, "EP"), (gc, "GCE")):
                bar = await stream.receive()
                assert bar.contract_id == stream.contract_id
                assert bar.contract_id.split(".")[3] == product
                truth = sim.truth()
                mine = truth.filter(pa.compute.equal(truth["contract_id"], bar.contract_id))
                assert row(bar) == oracle(mine, 1)[0]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        (("MNQ",), {}, px.TimeframeError, "name at least one timeframe"),
        (("MNQ", "1m", "1m"), {}, px.TimeframeError, "twice"),
        (("MNQ", "5x"), {}, px.TimeframeError, "write a whole number"),
        (("MNQ", "99999M"), {}, px.TimeframeError, "too long"),
        (("NOPE", "1m"), {}, px.ContractError, "NOPE"),
        (("CON.F.US.MNQ.Z2", "1m"), {}, px.ContractError, "not a contract id"),
        (("CON.F.US.MNQ.Z26\r\nX: y", "1m"), {}, px.ContractError, "not a contract id"),
        ((None, "1m"), {}, px.ContractError, "NoneType"),
        (("MNQ", "1m"), {"history": -5}, px.ConfigError, "history="),
        (("MNQ", "1m"), {"updates": "often"}, px.ConfigError, "updates="),
        (("MNQ", "1m"), {"updates": 0}, px.ConfigError, "updates="),
        (("MNQ", "1m"), {"updates": math.nan}, px.ConfigError, "updates="),
        (("MNQ", "1m"), {"events": 1}, px.ConfigError, "events must be"),
        (("MNQ", "1m"), {"late": "revise"}, px.ConfigError, "needs events=True"),
        (("MNQ", "1m"), {"late": "drop"}, px.ConfigError, "late must be"),
        (("MNQ", "1m"), {"outside": "keep"}, px.ConfigError, "outside must be"),
        (("MNQ", "1m"), {"fill": "zero"}, px.ConfigError, "fill must be"),
        (("MNQ", "1m"), {"fill": "previous", "anchor": px.Anchor.utc()}, px.ConfigError, "has none"),
        (("MNQ", "1m"), {"skip_first": 1}, px.ConfigError, "skip_first"),
        (("MNQ", "1m"), {"skipfirst": True}, TypeError, "unexpected keyword argument 'skipfirst'"),
        (("MNQ", "1m"), {"capacity": 0}, px.ConfigError, "capacity"),
        (("MNQ", "1m"), {"capacity": True}, px.ConfigError, "capacity"),
        (("MNQ", "1m"), {"overflow": "error"}, px.ConfigError, "overflow"),
        (("MNQ", "1m"), {"anchor": "UTC"}, px.ConfigError, "anchor"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_a_sentence(
    arguments: tuple[str, ...],
    options: dict[str, object],
    error: type[Exception],
    says: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (_, gateway):
        with pytest.raises(error, match=says):
            async with gateway.open_bars(*arguments, **options):  # type: ignore[call-overload]
                pass


async def test_a_refused_login_and_an_unreachable_host_are_typed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        config = config_for(sim, credentials=px.Credentials("simulator", "wrong"))
        with pytest.raises(px.AuthError, match="check user name and API key"):
            async with px.open_gateway(config):
                pass

    async def refuse(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        raise ConnectionRefusedError(111, "Connection refused")

    async def hang(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    for connect, error in ((refuse, px.ConnectError), (hang, px.ConnectTimeout)):
        started = trio.current_time()
        with pytest.raises(error, match="api/Auth/loginKey"):
            async with px.open_gateway(attrs.evolve(px.GatewayConfig.simulated("http://h"), connect=connect)):
                pass
        assert trio.current_time() - started <= 30


class Boom(BaseException):
    """Neither an Exception nor anything we know of."""


@pytest.mark.parametrize("exc", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), Boom()], ids=repr)
async def test_an_exception_in_the_body_is_just_that(
    exc: BaseException, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(type(exc)) as info:
        async with running() as (_, gateway), gateway.open_bars("MNQ", "1s") as bars:
            await bars.receive()
            raise exc
    assert info.value is exc


async def test_a_timeout_around_everything_is_just_that(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(3) as scope:
        async with running() as (_, gateway), gateway.open_bars("MNQ", "1h") as bars:
            await bars.receive()
    assert scope.cancelled_caught


async def test_a_user_generator_over_a_stream_may_be_left_half_way(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (_, gateway), gateway.open_bars("MNQ", "1s") as bars:

        async def ranges() -> AsyncGenerator[float]:
            async for bar in bars:
                yield bar.high - bar.low

        async with aclosing(ranges()) as widths:
            async for width in widths:
                assert width >= 0
                break
        assert (await bars.receive()).trades > 0


async def test_streams_end_when_the_gateway_closes_and_only_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: list[px.Bar] = []

    async def read(bars: px.BarStream[px.Bar], done: trio.Event) -> None:
        async for bar in bars:
            seen.append(bar)
        done.set()

    async with trio.open_nursery() as nursery:
        done = trio.Event()
        async with running() as (_, gateway):
            stack = gateway.open_bars("MNQ", "1s")
            bars = await stack.__aenter__()
            nursery.start_soon(read, bars, done)
            await trio.sleep(10)
            assert not done.is_set()
        await done.wait()
        await stack.__aexit__(None, None, None)
    assert len(seen) >= 8


async def test_a_lost_hub_is_a_gap_in_its_streams_and_they_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (sim, gateway):
        async with (
            gateway.open_bars("MNQ", "1s", "1m", events=True) as bars,
            gateway.open_bars("MNQ", "1s") as plain,
            gateway.open_quotes("MNQ", overflow=px.Overflow.ERROR, events=True) as quotes,
        ):
            await bars.receive()
            await control(sim, "drop")
            items = [await bars.receive() for _ in range(70)]
            (gap,) = [item for item in items if isinstance(item, px.Gap)]
            made = [item for item in items if isinstance(item, px.Bar)]
            assert gap.contract_id == bars.contract_id
            assert "market hub: connection lost" in gap.cause
            for bar in made:
                assert bar.partial is (
                    bar.timeframe == "1m" or (bar.start <= gap.end and gap.start < bar.end)
                )
            assert all(bar.end <= gap.start for bar in made[: items.index(gap)] if not bar.partial)
            assert [each for each in made if each.timeframe == "1s"] == [
                await plain.receive() for _ in range(1 + sum(bar.timeframe == "1s" for bar in made))
            ][1:]
            while not isinstance(hole := await quotes.receive(), px.Gap):
                last = hole.ts_event
            after = await quotes.receive()
            assert isinstance(after, px.Quote)
            assert (hole.start, hole.end) == (last, after.ts_event)
        statistics = gateway.statistics()
        assert (statistics.connects, statistics.is_live, statistics.logins) == (2, True, 1)
        assert statistics.market.contracts[0].gaps == 1
        assert gateway.health().market.outages == 1


async def test_a_hub_that_closes_for_good_says_why_and_the_next_stream_connects_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (sim, gateway):
        async with gateway.open_bars("MNQ", "1s") as bars:
            before = await bars.receive()
            await control(sim, "abort")
            with pytest.raises(px.ConnectionLost, match="closed the connection"):
                while True:
                    before = await bars.receive()
            with pytest.raises(px.ConnectionLost):
                await bars.receive()
            assert gateway.health().market.state is px.HubState.CLOSED
        assert not gateway.statistics().is_live
        async with gateway.open_bars("MNQ", "1s") as bars:
            after = await bars.receive()
        assert after.partial
        assert after.start >= before.start
        assert gateway.statistics().connects == 2


async def control(sim: Simulator, what: str, body: bytes = b"") -> None:
    """POST to a control route over a connection of its own."""
    head = f"POST /control/{what} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
    async with await sim.connect("h", 80, tls=False) as stream:
        await stream.send_all(head.encode() + body)
        answer = await stream.receive_some(4096)
        assert b" 200 " in answer


async def test_a_slow_reader_is_told_and_its_neighbour_is_not_touched(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (_, gateway):
        async with (
            gateway.open_bars("MNQ", "1s", capacity=3) as slow,
            gateway.open_bars("MNQ", "1s") as quick,
        ):
            await trio.sleep(30)
            with pytest.raises(px.SlowConsumer, match="capacity of 3"):
                await slow.receive()
            assert (await quick.receive()).trades > 0
            assert gateway.statistics().market.ledger.balanced


async def test_the_ledger_balances_whenever_it_is_looked_at(autojump_clock: trio.testing.MockClock) -> None:
    """Also while a blocked stream holds a batch half-way between two outlets."""
    async with running(speed=20) as (sim, gateway):
        async with (
            gateway.open_bars("MNQ", "1s", overflow=px.Overflow.BLOCK, capacity=1) as blocked,
            gateway.open_bars("MNQ", "1s", "1m") as free,
        ):
            for step in range(300):
                ledger = gateway.statistics().market.ledger
                assert len(ledger.rows) == 3
                assert ledger.balanced
                await trio.sleep(0.07)
                if step % 2:  # one bar each 0.14 s, of the 2.8 that are made: the feed has to wait
                    await blocked.receive()
            assert blocked.statistics().blocked > 0
            assert free.statistics().balanced
            received = gateway.statistics().market.contracts[0].received
        assert 0 < received <= sim.truth().num_rows


async def test_negotiate_and_query_token_work_too(autojump_clock: trio.testing.MockClock) -> None:
    for changes in (
        {"negotiate": True},
        {"token_transport": "query"},
        {"negotiate": True, "token_transport": "query"},
    ):
        async with running(**changes) as (_, gateway), gateway.open_bars("MNQ", "1s") as bars:
            assert (await bars.receive()).volume > 0


async def test_wait_connected_and_statistics(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as (_, gateway):
        assert not gateway.statistics().is_live
        await gateway.wait_connected()
        await trio.sleep(20)
        stats = gateway.statistics()
        assert stats.is_live
        assert stats.round_trip_s is not None
        assert 0 <= stats.round_trip_s < 1


async def test_a_stream_that_holds_the_feed_back_does_not_hold_back_the_news_of_a_loss(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As long as the reader of the socket itself is not held back: the channels in between take some reads."""
    async with running() as (sim, gateway):
        async with (
            gateway.open_bars(
                "MNQ", "1s", overflow=px.Overflow.BLOCK, capacity=1
            ) as blocked,  # nobody reads it
            gateway.open_bars("MNQ", "1s") as same,
            gateway.open_bars("ES", "1s") as other,
        ):
            while not blocked.statistics().blocked:
                await trio.sleep(0.05)
            await control(sim, "abort")
            started = trio.current_time()
            for bars in (same, other):
                with pytest.raises(px.ConnectionLost):
                    while True:
                        await bars.receive()
            assert trio.current_time() - started <= 1.1


async def test_a_feed_that_is_held_back_is_told(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(speed=20) as (_, gateway):
        async with gateway.open_bars("MNQ", "1s", overflow=px.Overflow.BLOCK, capacity=1) as bars:
            while not gateway.statistics().market.held_back:
                await trio.sleep(0.25)
            assert "overflow=BLOCK" in caplog.text
            # Nothing is lost: read on, and it goes on.
            for _ in range(200):
                await bars.receive()
            assert gateway.statistics().market.ledger.balanced


async def test_a_reader_that_waits_is_not_called_slow(autojump_clock: trio.testing.MockClock) -> None:
    """Several bars close at one edge; a stream with room for one of them still gets them all to its reader."""
    async with (
        running() as (_, gateway),
        gateway.open_bars("MNQ", "1s", "5s", "15s", "1m", capacity=1) as bars,
    ):
        for _ in range(100):
            assert (await bars.receive()).trades > 0


async def test_what_cannot_be_used_is_counted_where_users_see_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (sim, gateway), gateway.open_bars("MNQ", "1s") as bars:
        await bars.receive()
        body = f'["{sim.contract_id}",[{{"price":"x"}}]]'.encode()
        await control(sim, "send?target=GatewayTrade", body)
        await control(sim, "send?target=Nonsense", b"[1]")
        await bars.receive()
        await bars.receive()
        stats = gateway.statistics()
        assert stats.texts > 0
        assert (stats.malformed, stats.market.unknown_targets) == (0, 1)
        assert stats.market.contracts[0].rejected.schema == 1
        assert stats.market.ledger.balanced


@pytest.mark.parametrize("config", [None, "http://127.0.0.1", 5])
async def test_open_gateway_wants_a_config(config: object) -> None:
    with pytest.raises(px.ConfigError, match="takes a GatewayConfig"):
        async with px.open_gateway(config):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("url", ["http://api.topstepx.com", "http://192.0.2.1:80"])
async def test_no_secret_goes_to_another_machine_in_clear(url: str) -> None:
    with pytest.raises(px.ConfigError, match="in clear; use https"):
        async with px.open_gateway(px.GatewayConfig.simulated(url)):
            pass


class CancelAt(trio.abc.Instrument):
    """Cancels a scope (or strikes with an exception) at the k-th step of the scheduler."""

    def __init__(self, scope: trio.CancelScope, at: float) -> None:
        self.scope, self.at, self.steps = scope, at, 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self.at:
            self.scope.cancel()


# A tape costs next to nothing to play, and this is played some hundreds of times.
TAPE = pa.table(
    {
        "ts_event": pa.array([START + i * 50_000_000 for i in range(60)], pa.int64()),
        "price": [100.0 + i % 7 for i in range(60)],
        "volume": [1 + i % 3 for i in range(60)],
    }
)


async def life(at: float) -> int:
    """Connect, stream, leave; cancelled at scheduler step ``at``. Returns the steps that there were."""
    before = trio.lowlevel.current_statistics().tasks_living
    contract = "CON.F.US.GCE.Z26"
    with trio.CancelScope() as scope:
        instrument = CancelAt(scope, at)
        trio.lowlevel.add_instrument(instrument)
        started = trio.current_time()
        try:
            async with open_simulator(
                port=None, replay=TAPE, contract=contract, wall_clock=virtual_wall
            ) as sim:
                async with px.open_gateway(config_for(sim)) as gateway:
                    async with gateway.open_bars(contract, "1s") as bars, gateway.open_quotes(contract):
                        await bars.receive()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    if scope.cancelled_caught:
        assert trio.current_time() - started < 20
    assert trio.lowlevel.current_statistics().tasks_living == before
    return instrument.steps


@pytest.mark.slow
async def test_cancel_at_every_scheduler_step_leaves_nothing(autojump_clock: trio.testing.MockClock) -> None:
    steps = await life(math.inf)
    assert steps > 300
    for at in range(1, steps, every(5)):
        await life(at)


class _Steps(trio.abc.Instrument):
    def __init__(self) -> None:
        self.count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@pytest.mark.parametrize("updates", ["every", 1.0])
async def test_looks_at_forming_bars_wait_for_the_history(
    autojump_clock: trio.testing.MockClock, updates: Literal["every"] | float
) -> None:
    steps = _Steps()
    trio.lowlevel.add_instrument(steps)
    async with running() as (_, gateway):
        async with gateway.open_bars("MNQ", "1s", history=1, updates=updates) as bars:
            trio.lowlevel.remove_instrument(steps)
            first, second = await bars.receive(), await bars.receive()
    assert (first.source, first.closed) == ("history", True)
    assert second.start > first.start
    assert steps.count < 5_000


@pytest.mark.parametrize("overflow", list(px.Overflow))
async def test_no_capacity_is_too_small_for_what_waits_for_the_history(
    autojump_clock: trio.testing.MockClock, overflow: px.Overflow
) -> None:
    async with running() as (_, gateway):
        async with gateway.open_bars("MNQ", "1s", "2s", history=5, capacity=1, overflow=overflow) as bars:
            got = [await bars.receive() for _ in range(14)]
    found = [bar for bar in got if not isinstance(bar, px.Dropped)]
    assert [bar.source for bar in found].count("history") == 10
    ones = [bar.start for bar in found if bar.timeframe == "1s"]
    assert ones == list(range(ones[0], ones[-1] + 1, 1_000_000_000))
