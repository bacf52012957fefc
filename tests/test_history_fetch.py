"""Asking until everything is there: tiers, limits, failures, progress; and against the simulator, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from history_tools import DAY, HOUR, INSTRUMENT, MINUTE, MNQ, SECOND, T0, FakeService, candle
from simulator_tools import START_NS, virtual_wall

import trio_projectx as px
from trio_projectx import AuthError, ConfigError, ConnectTimeout, GatewayError
from trio_projectx.bars import Anchor, Sessions
from trio_projectx.connection.answers import BarsQuestion, TryLater, WireCandle
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.pacer import Pacer, Urgency
from trio_projectx.connection.rest import RestClient
from trio_projectx.history.candles import read_page
from trio_projectx.history.fetch import Fetcher, Progress, WrongTier
from trio_projectx.history.history import History
from trio_projectx.history.paging import Pager
from trio_projectx.history.rolls import Leg
from trio_projectx.history.units import MINUTE as MINUTES
from trio_projectx.simulator import Simulator, open_simulator

UTC = Anchor.utc()


def day_of_minutes(days: int = 1) -> list:
    return [candle(T0 + n * MINUTE) for n in range(days * 1440) if n % 11]


def history(service: FakeService, now: int = T0 + 30 * DAY, **options: object) -> History:
    return History(Fetcher(service, **options), lambda: now)  # type: ignore[arg-type]


# Tiers


@pytest.mark.parametrize("tier", [False, True])
async def test_the_tier_is_found_out_once(autojump_clock: object, *, tier: bool) -> None:
    service = FakeService(day_of_minutes(), tier=tier)
    fetcher = Fetcher(service)
    assert fetcher.tier is None
    for _ in range(2):
        pager = await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)
        assert pager.candles == service.bars
    assert fetcher.tier is tier
    assert len([q for q in service.asked if q.live is not tier]) == int(tier)  # one empty answer, if at all


async def test_who_asks_while_the_tier_is_found_out_misses_nothing(autojump_clock: object) -> None:
    """An empty answer of the wrong tier must not pass for an empty market, whoever has found the right one."""
    service = FakeService(day_of_minutes(), tier=True, cap=400)
    delays = iter([5, 1, 3, 2, 4, 1, 2, 1, 9, 1] + [1] * 99)

    async def slowly(question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        answer = await service(question, urgency)
        await trio.sleep(next(delays))
        return answer

    fetcher, found = Fetcher(slowly), []

    async def one() -> None:
        found.append((await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)).candles)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
            await trio.sleep(0.7)
    assert found == [service.bars] * 5


@pytest.mark.parametrize("wish", [False, True])
async def test_a_tier_that_was_asked_for_and_shows_nothing_is_told(
    autojump_clock: object, *, wish: bool
) -> None:
    service = FakeService(day_of_minutes(), tier=not wish)
    fetcher = Fetcher(service, live=wish)
    with pytest.raises(WrongTier, match=f"live={wish} shows these credentials none"):
        await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)
    assert fetcher.tier is None
    with pytest.raises(WrongTier):  # and it stays what was asked for
        await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)


async def test_a_time_without_trades_is_empty_in_both_and_no_error(autojump_clock: object) -> None:
    service = FakeService(day_of_minutes())
    fetcher = Fetcher(service)
    assert (await fetcher.fetch(INSTRUMENT, MINUTES, T0 - DAY, T0)).candles == []
    assert fetcher.tier is None
    assert (await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)).candles == service.bars
    for extra in (2, 1):  # once the tier has shown bars, the other one is looked at once a minute
        asked = len(service.asked)
        assert (await fetcher.fetch(INSTRUMENT, MINUTES, T0 - DAY, T0)).candles == []
        assert len(service.asked) == asked + extra
    assert fetcher.tier is False


async def test_an_account_that_changes_to_the_other_tier_is_noticed_and_told(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """After a tier was confirmed its empty answers would be believed for ever."""
    service = FakeService(day_of_minutes())
    fetcher = Fetcher(service)
    assert (await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)).candles == service.bars
    service.tier = True
    assert (await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)).candles == service.bars
    assert fetcher.tier is True
    assert "history is that of live=True: the other tier shows no bars" in caplog.text
    fixed = Fetcher(service, live=True)
    assert (await fixed.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)).candles == service.bars
    service.tier = False
    with pytest.raises(WrongTier):
        await fixed.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)


@pytest.mark.parametrize("wish", [None, False])
async def test_an_empty_time_of_a_tier_that_has_bars_is_no_change_of_the_account(
    autojump_clock: object, *, wish: bool | None
) -> None:
    """An account may see both tiers; what one lacks does not make it the wrong one."""
    hole = (T0 + 300 * MINUTE, T0 + 310 * MINUTE)
    ours = FakeService([bar for bar in day_of_minutes() if not hole[0] <= bar.start < hole[1]])
    other = FakeService(day_of_minutes(), tier=True)

    async def ask(question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        return await (other if question.live else ours)(question, urgency)

    fetcher = Fetcher(ask, live=wish)
    assert (await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)).candles == ours.bars
    assert (await fetcher.fetch(INSTRUMENT, MINUTES, *hole)).candles == []
    assert fetcher.tier is False
    assert len(other.asked) == 1


async def test_an_empty_success_between_two_pages_is_asked_again(autojump_clock: object) -> None:
    service = FakeService(day_of_minutes(), cap=500)

    async def ask(question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        answer = await service(question, urgency)
        return [] if len(service.asked) == 2 else answer

    start = trio.current_time()
    pager = await Fetcher(ask).fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)
    assert pager.candles == service.bars
    assert (pager.doubts, pager.is_proven) == (1, True)
    assert trio.current_time() - start == 1.0


# Failures (FAULTS.md row 103), limits, progress


async def test_what_passes_is_asked_again_and_nothing_is_missing(autojump_clock: object) -> None:
    service = FakeService(day_of_minutes(3), cap=1000)
    service.failures = [GatewayError("HTTP 500", 500), TryLater("429", 429), ConnectTimeout("hang")]
    table = await history(service).bars(INSTRUMENT, "1m", start=T0, end=T0 + 3 * DAY, anchor=UTC)
    assert table.num_rows == len(service.bars)


async def test_a_hang_ends_at_the_pages_deadline_with_what_it_was(autojump_clock: object) -> None:
    async def hang(question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        await trio.sleep_forever()
        raise AssertionError

    start = trio.current_time()
    with pytest.raises(ConnectTimeout, match="bars: no answer within 120 s"):
        await Fetcher(hang).fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)
    assert trio.current_time() - start == 120


async def test_what_does_not_pass_is_raised(autojump_clock: object) -> None:
    service = FakeService([], failures=[AuthError("no")])
    with pytest.raises(AuthError):
        await Fetcher(service).fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)


async def test_a_service_of_small_limits(autojump_clock: object) -> None:
    service = FakeService(day_of_minutes(), limit_most=1000, cap=1000)
    pager = await Fetcher(service).fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)
    assert pager.candles == service.bars
    assert [q.limit for q in service.asked] == [20_000, 1000, 1000, 1000][: len(service.asked)]
    service = FakeService(day_of_minutes(), limit_most=10)
    with pytest.raises(GatewayError, match="errorCode 4"):
        await Fetcher(service).fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)
    assert len(service.asked) == 3


async def test_progress_goes_from_nothing_to_everything(autojump_clock: object) -> None:
    told: list[Progress] = []
    service = FakeService(day_of_minutes(3), cap=500)
    await history(service).bars(INSTRUMENT, "1m", start=T0, end=T0 + 3 * DAY, anchor=UTC, tell=told.append)
    assert [each.pages for each in told] == list(range(1, len(told) + 1))
    shares = [each.share for each in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert told[-1].bars == len(service.bars)


# Bars by time and by count


@pytest.mark.parametrize("cap", [1000, 20_000])
@pytest.mark.parametrize("count", [1, 7, 300, 100_000])
async def test_the_last_so_many_closed_bars(autojump_clock: object, cap: int, count: int) -> None:
    service = FakeService(day_of_minutes(4), cap=cap, inclusive=True)
    now = T0 + 4 * DAY - 30 * SECOND  # in the middle of the last minute
    table = await history(service, now).bars(INSTRUMENT, "5m", count=count, anchor=UTC)
    all_bars = await history(service, now).bars(INSTRUMENT, "5m", start=T0, end=now, anchor=UTC)
    assert all_bars["end"].cast("int64").to_pylist()[-1] <= now
    assert table.equals(all_bars.slice(max(0, all_bars.num_rows - count)))
    assert table.num_rows == min(count, all_bars.num_rows)


async def test_a_weekend_before_it_does_not_make_the_count_short(autojump_clock: object) -> None:
    old = [candle(T0 - 60 * DAY + n * MINUTE) for n in range(300)]
    table = await history(FakeService(old)).bars(INSTRUMENT, "1m", count=200, anchor=UTC)
    assert table["start"].cast("int64").to_pylist() == [bar.start for bar in old[100:]]


async def test_a_bar_belongs_to_where_it_opens(autojump_clock: object) -> None:
    service = FakeService(day_of_minutes())
    table = await history(service).bars(
        INSTRUMENT, "1h", start=T0 + 10 * MINUTE, end=T0 + 2 * HOUR + 10 * MINUTE, anchor=UTC
    )
    assert table["start"].cast("int64").to_pylist() == [T0 + HOUR, T0 + 2 * HOUR]


BAD = [
    {},
    {"start": T0, "count": 3},
    {"count": 0},
    {"count": True},
    {"start": 1.5},
    {"start": px.to_datetime(T0).naive()},
    {"start": T0 + 60 * DAY},
    {"start": T0, "end": T0 - 1},
    {"start": -(1 << 63)},
    {"start": T0, "end": (1 << 63) - 1},
    {"count": 5, "end": -1},
    {"start": T0 // SECOND * 10**12},
]


@pytest.mark.parametrize("options", BAD, ids=str)
async def test_nonsense_is_refused_before_anything_is_asked(
    autojump_clock: object, options: dict[str, object]
) -> None:
    service = FakeService(day_of_minutes())
    with pytest.raises(ConfigError):
        await history(service).bars(INSTRUMENT, "1m", anchor=UTC, **options)  # type: ignore[arg-type]
    assert service.asked == []


async def test_stitched_bars_name_their_contract_and_none_is_mixed(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = (
        FakeService(day_of_minutes(4)),
        FakeService([candle(T0 + n * MINUTE, 9) for n in range(4 * 1440)]),
    )
    by_name = {"CON.F.US.MNQ.M26": old, MNQ: new}

    async def ask(question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        return await by_name[question.contract_id](question, urgency)

    roll = T0 + DAY + 90 * MINUTE
    parts = [
        (Instrument("CON.F.US.MNQ.M26", INSTRUMENT.grid), Leg("CON.F.US.MNQ.M26", T0, roll)),
        (INSTRUMENT, Leg(MNQ, roll, T0 + 3 * DAY)),
    ]
    past = History(Fetcher(ask), lambda: T0 + 9 * DAY)
    table = await past.stitched(parts, "1h", anchor=UTC)
    starts, names = table["start"].cast("int64").to_pylist(), table["contract_id"].to_pylist()
    assert starts == [T0 + n * HOUR for n in range(72)]
    assert names == ["CON.F.US.MNQ.M26"] * 26 + [MNQ] * 46
    whole = await past.bars(INSTRUMENT, "1h", start=T0, end=T0 + 3 * DAY, anchor=UTC)
    assert table.slice(26).equals(whole.slice(26))
    assert "no bars" not in caplog.text
    new.bars, new._folded = [], {}
    assert (await past.stitched(parts, "1h", anchor=UTC)).num_rows == 26
    assert f"the continuous history has no bars of {MNQ}" in caplog.text  # a hole is not to be silent
    with pytest.raises(ConfigError, match="overlap"):
        await past.stitched(parts[::-1], "1h", anchor=UTC)


@pytest.mark.slow
async def test_other_tasks_are_not_held_up_by_many_bars() -> None:
    """On the real clock: 25,000 bars take half a second of work, and a task of live data runs all the time."""
    service = FakeService([candle(T0 + n * MINUTE) for n in range(25_000)])
    answers = {}
    pager = Pager(T0, T0 + 25_000 * MINUTE)
    while (span := pager.next) is not None:
        question = BarsQuestion(MNQ, 2, 1, span.start, span.end, span.limit)
        answers[question.end_ns] = service.answer(question)
        pager.take(read_page(answers[question.end_ns], INSTRUMENT.grid, MINUTE))

    async def ask(question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        return answers[question.end_ns]

    late: list[float] = []

    async def tick() -> None:
        while True:
            due = trio.current_time() + 0.005
            await trio.sleep_until(due)
            late.append(trio.current_time() - due)

    past = History(Fetcher(ask), lambda: T0 + 90 * DAY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        table = await past.bars(INSTRUMENT, "1m", start=T0, end=T0 + 25_000 * MINUTE, anchor=UTC)
        nursery.cancel_scope.cancel()
    assert table.num_rows == 25_000
    # All of it in one step of this thread would let the other task run twice or so.
    assert len(late) > 10


# Against the simulator, over HTTP, with the pacer


@asynccontextmanager
async def of_simulator(sim: Simulator) -> AsyncGenerator[History]:
    token = sim.mint_token()
    async with RestClient(
        sim.url, connect=sim.connect, deadline_s=60, body_limit=16 << 20, pacer=Pacer()
    ) as rest:

        async def ask(question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
            return await rest.bars(question, token, urgency)

        yield History(Fetcher(ask), virtual_wall)


async def test_one_table_whatever_the_cap_of_the_simulator(autojump_clock: object) -> None:
    tables = []
    for cap in (300, 1_000, 20_000):
        async with (
            open_simulator(port=None, wall_clock=virtual_wall, history_cap=cap) as sim,
            of_simulator(sim) as past,
        ):
            tables.append(await past.bars(INSTRUMENT, "1m", start=START_NS - 2 * DAY, end=START_NS))
    assert tables[0].num_rows > 2_000
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


async def test_history_equals_what_was_streamed_live(autojump_clock: object) -> None:
    names = ["start", "end", "open", "high", "low", "close", "volume", "trade_date"]
    async with (
        open_simulator(port=None, wall_clock=virtual_wall, seed=9) as sim,
        of_simulator(sim) as past,
        px.open_gateway(attrs.evolve(px.GatewayConfig.simulated(sim.url), connect=sim.connect)) as gateway,
        gateway.open_bars("MNQ", "5s", "1m") as bars,
    ):
        with trio.move_on_after(200):
            async for _ in bars:
                pass
        for label in ("5s", "1m"):
            live = bars.table(label).slice(1).select(names)
            first = live["start"].cast("int64").to_pylist()[0]
            found = await past.bars(INSTRUMENT, label, start=first, end=virtual_wall())
            shared = found.select(names).slice(0, live.num_rows)
            assert live.num_rows >= 2
            assert shared.equals(live)


async def test_session_days_of_the_simulator(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, of_simulator(sim) as past:
        days = await past.bars(INSTRUMENT, "1d", start=START_NS - 12 * DAY, end=START_NS)
        hours = await past.bars(INSTRUMENT, "1h", start=START_NS - 12 * DAY, end=START_NS)
    sessions = Sessions.for_product("MNQ")
    names = ("trade_date", "start", "end", "volume")
    columns = (days[name] if name in ("trade_date", "volume") else days[name].cast("int64") for name in names)
    rows = zip(*(column.to_pylist() for column in columns), days["scheduled"].to_pylist(), strict=True)
    scheduled = [dict(zip(names, row, strict=False)) for row in rows if row[-1]]
    assert len(scheduled) >= 7
    for row in scheduled:
        expected = sessions.segments(row["trade_date"], row["trade_date"])
        assert [(row["trade_date"], row["start"], row["end"])] == expected
    by_date: dict[object, int] = {}
    for row in hours.to_pylist():
        by_date[row["trade_date"]] = by_date.get(row["trade_date"], 0) + row["volume"]
    assert all(row["volume"] == by_date[row["trade_date"]] for row in scheduled[1:])
