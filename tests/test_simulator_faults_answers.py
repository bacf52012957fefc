"""Faults of `History/retrieveBars`: what each kind makes of an answer, and whom it strikes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trio
import trio.testing
from fault_tools import ask as ask_control
from simulator_rest import MNQ, Answer, Rest, running
from simulator_tools import START_NS, open_hub

from trio_projectx.market.stamps import parse_stamp
from trio_projectx.simulator import Fault, Simulator
from trio_projectx.simulator.faults.answers import KINDS

BODY = {
    "contractId": MNQ, "live": False, "startTime": "2026-08-19T20:00:00Z", "endTime": "2026-08-19T21:00:00Z",
    "unit": 2, "unitNumber": 1, "limit": 20, "includePartialBar": False,
}  # fmt: skip
MINUTE = 60 * 10**9
Bars = list[dict]


async def bars(rest: Rest, **changes: object) -> Bars:
    return (await rest.ok("History/retrieveBars", **{**BODY, **changes}))["bars"]


def starts(found: Bars) -> list[int]:
    """The openings, in minutes before the simulator's start."""
    return [(START_NS - parse_stamp(bar["t"])) // MINUTE for bar in found]


async def struck(sim: Simulator, rest: Rest, kind: str, **options: object) -> tuple[Bars, Bars]:
    """Return the right answer, and that of a fault; the next one is right again."""
    changes = {key: options.pop(key) for key in list(options) if key in BODY}
    before = await bars(rest, **changes)
    handle = sim.inject(Fault("history_bars", kind=kind, **options))  # type: ignore[arg-type]
    after = await bars(rest, **changes)
    assert handle.struck == 1
    assert await bars(rest, **changes) == before
    return before, after


def is_doubled(before: Bars, after: Bars) -> bool:
    return after == [bar for bar in before for _ in range(2)]


def is_off_grid(before: Bars, after: Bars) -> bool:
    rises = [y["h"] - x["h"] for x, y in zip(before, after, strict=True) if x != y]
    return len(rises) == 3 and all(0 < rise < 1e-6 for rise in rises)


def is_begun(before: Bars, after: Bars) -> bool:
    first = after[0]
    only = {first[name] for name in "ohlc"} == {before[0]["o"]}
    return only and first["v"] == 1 and after[1:] == before[1:]


Check = Callable[[Bars, Bars], bool]
#: The question has the last 20 minutes, asked at the 45th second; `n` is 3 and `late_s` 90.
CHECKS: dict[str, Check] = {
    "empty": lambda before, after: after == [],
    "doubled": is_doubled,
    "overlapping": lambda before, after: starts(after) == [*range(1, 27)] and after[:20] == before,
    "shuffled": lambda before, after: after != before and sorted(starts(after)) == starts(before),
    "oldest_first": lambda before, after: after == before[::-1],
    "off_grid": is_off_grid,
    "unaligned": lambda before, after: sum(bar["t"].endswith(":00.5+00:00") for bar in after) == 3,
    "crooked": lambda before, after: sum(bar["l"] > bar["h"] for bar in after) == 3,
    "grown": lambda before, after: sum(b["v"] for b in after) == sum(b["v"] for b in before) + 3,
    "forming": lambda before, after: starts(after) == [*range(20)] and after[1:] == before[:-1],
    "behind": lambda before, after: starts(before)[0] == 1 and after == before[1:],
    "begun": lambda before, after: is_begun(before, [*after, before[-1]]),
    "capped": lambda before, after: after == before[:3],
    "unlimited": lambda before, after: starts(after) == [*range(1, 52)] and after[:20] == before,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind(autojump_clock: object, kind: str) -> None:
    async with running(seed=3) as (sim, rest), open_hub(sim) as hub:
        await hub.call("SubscribeContractTrades", MNQ)
        await trio.sleep(45)
        before, after = await struck(sim, rest, kind, n=3, late_s=90.0)
        assert starts(before) == [*range(1, 21)]
        assert CHECKS[kind](before, after), after


async def test_the_same_seed_goes_the_same_way(autojump_clock: object) -> None:
    found = []
    for seed in (3, 3, 4):
        async with running(seed=seed) as (sim, rest):
            _, after = await struck(sim, rest, "shuffled")
            found.append(starts(after))
    assert found[0] == found[1] != found[2]


async def test_several_strike_one_answer(autojump_clock: object) -> None:
    async with running() as (sim, rest):
        before = await bars(rest)
        sim.inject(Fault("history_bars", kind="capped", n=4, count=0))
        sim.inject(Fault("history_bars", kind="doubled", count=2))
        sim.inject(Fault("history_bars", kind="oldest_first", count=0))
        expected = [bar for bar in before[:4][::-1] for _ in range(2)]
        assert await bars(rest) == await bars(rest) == expected
        assert await bars(rest) == before[:4][::-1]
        sim.clear_faults()
        assert await bars(rest) == before


async def test_others_are_left_alone(autojump_clock: object) -> None:
    """Other routes, and questions that would be refused anyway."""
    async with running() as (sim, rest):
        handle = sim.inject(Fault("history_bars", count=0))
        assert len((await rest.ok("Contract/available", live=False))["contracts"]) > 5
        assert handle.struck == 0
        assert await rest.refused("History/retrieveBars", **{**BODY, "unit": 0}) == (2, None)
        assert await rest.refused("History/retrieveBars", **{**BODY, "unitNumber": 0}) == (3, None)
        assert (await rest.raw("History/retrieveBars", b"{")).status == 400
        assert await bars(rest) == []
        for kind in KINDS:  # far outside, and nothing of it fails
            sim.inject(Fault("history_bars", kind=kind, n=1000))
            await bars(rest, startTime="0001-01-01T00:00:00Z", endTime="9999-12-31T23:59:59Z", unitNumber=7)
        assert sim.statistics().crashes == 0


async def test_a_plan_for_a_route_is_gone_through_in_order(autojump_clock: object) -> None:
    """As docs/faults.md has it: in a script over HTTP, each step with its count."""
    plan = [
        {"name": "http_status", "hub": "rest", "path": "/api/history/*", "status": 500, "count": 3},
        {"name": "http_status", "hub": "rest", "path": "/api/History/*", "status": 429, "retry_after_s": 2},
        {"name": "http_refused", "path": "*/retrievebars", "error_code": 4, "error": "Too many."},
        {"name": "hang", "phase": "rest", "hub": "rest", "path": "/api/history/*"},
        {"name": "history_bars", "kind": "empty"},
    ]
    async with running() as (sim, rest):
        assert await ask_control(sim, "POST", "/control/script", json.dumps(plan)) == (200, {"steps": 5})
        await trio.testing.wait_all_tasks_blocked()
        found: list[Answer | None] = []
        for _ in range(8):
            answer = None
            with trio.move_on_after(30):
                answer = await rest.post("History/retrieveBars", **BODY)
            found.append(answer)
        assert [None if each is None else each.status for each in found] == [500] * 3 + [
            429,
            200,
            None,
            200,
            200,
        ]
        assert found[3] is not None
        assert found[3].headers["retry-after"] == "2"
        refused, empty, whole = (found[at] for at in (4, 6, 7))
        assert refused is not None
        assert empty is not None
        assert whole is not None
        assert refused.json == {
            "bars": None, "success": False, "errorCode": 4, "errorMessage": "Too many.",
        }  # fmt: skip
        assert empty.json["bars"] == []
        assert len(whole.json["bars"]) == 20
        assert all(state.over for state in sim.faults())


@pytest.mark.parametrize(
    ("path", "payload"),
    [("Contract/available", "contracts"), ("Auth/validate", "newToken"), ("Order/cancel", None)],
)
async def test_any_route_can_refuse(autojump_clock: object, path: str, payload: str | None) -> None:
    async with running() as (sim, rest):
        sim.inject(Fault("http_refused", error_code=3))
        answer = await rest.post(path, live=False)
        assert answer.status == 200
        told = {"success": False, "errorCode": 3, "errorMessage": None}
        assert answer.json == ({} if payload is None else {payload: None}) | told


async def test_behind_in_a_market_that_runs(autojump_clock: object) -> None:
    """Ten seconds behind at any time; `begun` then has one bar that is not over."""
    async with running() as (sim, rest):
        asked = {"unit": 1, "limit": 60, "startTime": "2026-08-19T20:50:00Z"}
        await trio.sleep(33.3)
        sim.inject(Fault("history_bars", kind="behind", late_s=10.0, count=0))
        newest = [parse_stamp((await bars(rest, **asked))[0]["t"]) for _ in range(2)]
        await trio.sleep(5)
        newest.append(parse_stamp((await bars(rest, **asked))[0]["t"]))
        ends = [(START_NS + 10**9 * 23.3 - at - 10**9) / 1e9 for at in newest]
        assert 0 <= ends[0] < 3
        assert newest[0] == newest[1] < newest[2]
