"""`History/retrieveBars` with its traps, and against what was streamed."""

from __future__ import annotations

import datetime
import time

import attrs
import pyarrow as pa
import pytest
import trio
from simulator_rest import MNQ, Rest, running, send
from simulator_tools import START_NS, HubClient, open_hub, trades_in, virtual_wall

import trio_projectx as px
from trio_projectx.market.stamps import parse_stamp
from trio_projectx.simulator import open_simulator

BEGIN = "2026-08-01T00:00:00Z"
END = "2026-09-30T00:00:00Z"


async def ask(rest: Rest, **fields: object) -> list[dict]:
    body = {
        "contractId": MNQ, "live": False, "startTime": BEGIN, "endTime": END, "unit": 2, "unitNumber": 1, "limit": 100,
        "includePartialBar": False, **fields,
    }  # fmt: skip
    return (await rest.ok("History/retrieveBars", **body))["bars"]


async def test_the_form_and_the_order(autojump_clock: object) -> None:
    async with running() as (_, rest):
        bars = await ask(rest, limit=3)
        assert [bar["t"] for bar in bars] == [f"2026-08-19T20:{minute}:00+00:00" for minute in (50, 49, 48)]
        for bar in bars:
            assert list(bar) == ["t", "o", "h", "l", "c", "v"]
            assert bar["l"] <= min(bar["o"], bar["c"]) <= max(bar["o"], bar["c"]) <= bar["h"]
            assert isinstance(bar["v"], int)
        raw = (
            await rest.post(
                "History/retrieveBars",
                contractId=MNQ,
                live=False,
                startTime=BEGIN,
                endTime=END,
                unit=2,
                unitNumber=1,
                limit=500,
            )
        ).body.decode()
        assert ".0," not in raw
        assert raw.endswith('],"success":true,"errorCode":0,"errorMessage":null}')


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"contractId": "CON.F.US.NONE.U26"}, 1), ({"contractId": "MNQ"}, 1), ({"unit": 0}, 2), ({"unit": 7}, 2),
        ({"unit": -1}, 2), ({"unitNumber": 0}, 3), ({"unitNumber": -5}, 3), ({"unit": 6, "unitNumber": 10**9}, 3),
        ({"limit": 0}, 4), ({"limit": -1}, 4),
        # Of several the first counts.
        ({"contractId": "x", "unit": 0, "unitNumber": 0, "limit": 0}, 1), ({"unit": 0, "unitNumber": 0, "limit": 0}, 2),
    ],
)  # fmt: skip
async def test_codes(autojump_clock: object, change: dict, code: int) -> None:
    async with running() as (sim, rest):
        body = {
            "contractId": MNQ,
            "live": False,
            "startTime": BEGIN,
            "endTime": END,
            "unit": 2,
            "unitNumber": 1,
            "limit": 5,
        }
        answer = await rest.post("History/retrieveBars", **{**body, **change})
        assert answer.json == {"bars": None, "success": False, "errorCode": code, "errorMessage": None}
        assert sim.statistics().crashes == 0


@pytest.mark.parametrize(
    "change",
    [
        {"live": True}, {"startTime": END, "endTime": BEGIN}, {"startTime": END, "endTime": "2027-01-01T00:00:00Z"},
        {"startTime": "2020-01-01T00:00:00Z", "endTime": "2020-01-02T00:00:00Z"}, {"endTime": "0001-01-01T00:00:00"},
    ],
)  # fmt: skip
async def test_empty_successes(autojump_clock: object, change: dict) -> None:
    async with running() as (_, rest):
        assert await ask(rest, **change) == []


async def test_the_names_of_the_other_routes_fields_are_an_empty_success(autojump_clock: object) -> None:
    async with running() as (_, rest):
        body = {
            "contractId": MNQ,
            "live": False,
            "unit": 2,
            "unitNumber": 1,
            "limit": 5,
            "startTimestamp": BEGIN,
            "endTimestamp": END,
        }
        assert (await rest.ok("History/retrieveBars", **body))["bars"] == []


async def test_the_limit_keeps_the_newest_and_the_cap_cuts_in_silence(autojump_clock: object) -> None:
    async with running(history_cap=1000) as (_, rest):
        bars = await ask(rest, limit=20_000)
        assert len(bars) == 1000
        assert bars[:7] == await ask(rest, limit=7)
        assert bars[0]["t"] == "2026-08-19T20:50:00+00:00"
    async with running() as (_, rest):
        start = time.perf_counter()
        assert len(await ask(rest, limit=50_000, startTime="2026-01-01T00:00:00Z")) == 20_000
        assert time.perf_counter() - start < 20  # about one second of work on a free core


async def test_the_forming_bar_is_there_on_demand(autojump_clock: object) -> None:
    async with running() as (_, rest):
        await trio.sleep(90)
        assert [bar["t"][11:19] for bar in await ask(rest, limit=2)] == ["20:51:00", "20:50:00"]
        with_it = await ask(rest, limit=2, includePartialBar=True)
        assert [bar["t"][11:19] for bar in with_it] == ["20:52:00", "20:51:00"]
        await trio.sleep(20)
        later = await ask(rest, limit=2, includePartialBar=True)
        assert later[0]["v"] > with_it[0]["v"]
        assert (later[0]["o"], later[1]) == (with_it[0]["o"], with_it[1])


async def test_days_begin_on_the_eve(autojump_clock: object) -> None:
    async with running() as (_, rest):
        days = await ask(rest, unit=4, limit=3)
        assert [bar["t"] for bar in days] == [f"2026-08-{day}T22:00:00+00:00" for day in (17, 16, 15)]
        weeks = await ask(rest, unit=5, limit=2)
        assert [bar["t"] for bar in weeks] == ["2026-08-09T22:00:00+00:00", "2026-08-02T22:00:00+00:00"]
        (month,) = await ask(rest, unit=6, limit=1, startTime="2020-01-01T00:00:00Z")
        assert month["t"] == "2026-06-30T22:00:00+00:00"
        hours = await ask(rest, unit=3, limit=24, endTime="2026-08-18T22:00:00Z")
        assert (days[0]["o"], days[0]["c"]) == (hours[-1]["o"], hours[0]["c"])
        assert days[0]["v"] == sum(bar["v"] for bar in hours)
        assert days[0]["h"] == max(bar["h"] for bar in hours)


def shown(bars: list[dict]) -> dict[int, tuple]:
    return {parse_stamp(bar["t"]): (bar["o"], bar["h"], bar["l"], bar["c"], bar["v"]) for bar in bars}


async def test_what_was_streamed_is_history_in_every_whole_bar(autojump_clock: object) -> None:
    """The library's own bars of the stream, and the history route afterwards, are equal."""
    async with (
        open_simulator(port=None, wall_clock=virtual_wall, seed=9) as sim,
        px.open_gateway(attrs.evolve(px.GatewayConfig.simulated(sim.url), connect=sim.connect)) as gateway,
        gateway.open_bars("MNQ", "5s", "1m") as bars,
    ):
        await trio.sleep(13)  # somebody looks at the forming minute before
        rest = Rest(sim, sim.mint_token())
        early = await ask(rest, limit=1, includePartialBar=True)
        live: dict[str, dict[int, tuple]] = {"5s": {}, "1m": {}}
        async for bar in bars:
            if not bar.partial:
                live[bar.timeframe][bar.start] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
            if len(live["1m"]) == 4:
                break
        minutes = shown(await ask(rest, limit=10))
        fives = shown(await ask(rest, unit=1, unitNumber=5, limit=1000))
        assert live["1m"] == {start: minutes[start] for start in live["1m"]}
        assert live["5s"] == {start: fives[start] for start in live["5s"]}
        assert len(live["5s"]) > 40
        # The first minute was streamed in part only; history has it whole, as it was told at first.
        first = minutes[START_NS]
        assert (first[0], first[4] > early[0]["v"]) == (early[0]["o"], True)


async def minute_of(client: HubClient) -> dict[int, list[dict]]:
    found: dict[int, list[dict]] = {}
    for trade in trades_in(client.frames):
        found.setdefault(parse_stamp(trade["timestamp"]) // 60_000_000_000, []).append(trade)
    return found


async def test_also_after_changes_of_the_rate_and_for_who_came_late(autojump_clock: object) -> None:
    async with running(speed=6) as (sim, rest), open_hub(sim, queue=99_999) as client:
        await send(sim, "POST", "/control/hz?v=2")
        await trio.sleep(15)
        await client.call("SubscribeContractTrades", MNQ)
        await trio.sleep(21)
        await send(sim, "POST", "/control/hz?v=60")
        await trio.sleep(21)
        with trio.move_on_after(20):
            while True:
                await client.frame()
        history = shown(await ask(rest, limit=100))
        streamed = await minute_of(client)
        whole = sorted(streamed)[1:-1]
        assert len(whole) >= 5
        for minute in whole:
            prices = [trade["price"] for trade in streamed[minute]]
            volume = sum(trade["volume"] for trade in streamed[minute])
            expected = (prices[0], max(prices), min(prices), prices[-1], volume)
            assert history[minute * 60_000_000_000] == expected


@pytest.mark.parametrize("looker", ["nobody", "history", "quotes"])
async def test_the_rate_is_that_of_the_time_whoever_looked_on(autojump_clock: object, looker: str) -> None:
    """One simulator streams all the time, of another only history is asked: the bars are the same."""
    histories = []
    for streams in (True, False):
        async with (
            open_simulator(port=None, wall_clock=lambda: START_NS, speed=6) as sim,
            open_hub(sim, queue=99_999) as client,
        ):
            rest = Rest(sim, sim.mint_token())
            await send(sim, "POST", "/control/hz?v=1")
            if streams:
                await client.call("SubscribeContractTrades", MNQ)
            elif looker == "history":
                await ask(rest, limit=1)
            elif looker == "quotes":
                await client.call("SubscribeContractQuotes", MNQ)
            await trio.sleep(25)
            await send(sim, "POST", "/control/hz?v=90")
            await trio.sleep(41)
            histories.append(shown(await ask(rest, limit=6)))
    streamed, asked = histories
    assert len(streamed) == 6
    # Changes fall into the first and the third minute, for the streamed market up to 50 ms earlier.
    for at in (START_NS, START_NS + 120 * 10**9):
        del streamed[at], asked[at]
    assert asked == streamed
    volumes = [streamed[START_NS + minute * 60 * 10**9][4] for minute in (1, 3)]
    assert 20 * volumes[0] < volumes[1]


async def test_a_tapes_history_is_what_it_has_played(autojump_clock: object) -> None:
    day = int(datetime.datetime(2013, 10, 7, 13, 30, tzinfo=datetime.UTC).timestamp()) * 10**9
    stamps = [day + at * 5 * 10**9 for at in range(240)]
    tape = pa.table(
        {
            "ts_ns": stamps,
            "price": [1313.7 + at % 9 / 10 for at in range(240)],
            "size": [at % 3 for at in range(240)],
        }
    )
    async with running(replay=tape, contract="CON.F.US.GCE.Z13", speed=60) as (sim, rest):
        window = {
            "contractId": sim.contract_id,
            "startTime": "2013-10-07T00:00:00Z",
            "endTime": "2013-10-08T00:00:00Z",
        }
        assert await ask(rest, **window) == []
        async with open_hub(sim, queue=9999) as client:
            await client.call("SubscribeContractTrades", sim.contract_id)
            await trio.sleep(10.5)
            bars = shown(await ask(rest, **window))
            assert sorted(bars) == [day + minute * 60 * 10**9 for minute in range(10)]
            assert bars[day] == (1313.7, 1314.5, 1313.7, 1313.9, 12)
            (hour,) = await ask(rest, **window, unit=3, includePartialBar=True)
            assert hour["t"] == "2013-10-07T13:00:00+00:00"
            assert hour["v"] == sum(sim.truth()["volume"].to_pylist())


async def test_the_market_goes_on_while_a_long_answer_is_made() -> None:
    """On the real clock: the answer takes long, and trades keep coming meanwhile."""
    async with (
        open_simulator(port=None, wall_clock=lambda: START_NS, speed=5) as sim,
        open_hub(sim, queue=9999) as client,
    ):
        await client.call("SubscribeContractTrades", MNQ)
        rest, gaps = Rest(sim, sim.mint_token()), []

        async def watch() -> None:
            last = trio.current_time()
            while True:
                await client.frame()
                gaps.append(trio.current_time() - last)
                last = trio.current_time()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            bars = await ask(
                rest, contractId="CON.F.US.MES.U26", unit=3, limit=20_000, startTime="2025-01-01T00:00:00Z"
            )
            nursery.cancel_scope.cancel()
        assert len(bars) > 8_000
        assert len(gaps) > 5
        assert sorted(gaps)[len(gaps) // 2] < 0.5
