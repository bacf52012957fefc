"""Thin samples of `nox -s sweep`, `nox -s bombs` and of the proof that leaving is quick; docs/load.md has the whole.

Each runs in a process of its own: one forks, which is no good beside pytest's threads, the others count memory and
descriptors.
"""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import attrs
import blows
import bomb_server
import bombs
import forks
import fuzz
import pytest
import shutdowns
import sweep
import trio
import trio.testing
import whole_life
from fault_tools import CONTRACT, config_for, open_sim
from hypothesis import given
from hypothesis import strategies as st

import trio_projectx as px
from trio_projectx import ProtocolError
from trio_projectx.signalr import parse_messages
from trio_projectx.simulator import Fault, breakable_pair

LOAD = Path(sweep.__file__).parent


def started(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(LOAD / script), *arguments]
    env = bombs.of_a_script()
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)  # noqa: S603


# The sweep

needs_known_trio = pytest.mark.skipif(
    not forks.is_known_trio(),
    reason=f"runs are led by hand with trio {forks.TRIO} only: nox -s sweep installs it",
)


@needs_known_trio
@pytest.mark.slow
def test_a_whole_life_struck_at_some_of_its_steps() -> None:
    done = started("sweep.py", "--worker", "--points", "24", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    total = json.loads(done.stdout.splitlines()[-1])
    assert total["violations"] == 0
    assert total["points"] >= 24
    assert set(total["kinds"]) == set(blows.KINDS)
    assert {"start", "streaming"} <= set(total["reached"])
    assert total["whole_bars"] > 0


def test_a_child_that_dies_or_is_wrong_is_a_violation() -> None:
    assert "hung" in blows._without_words(blows.Outcome(1, 2, "cancel"), -14).wrong[0]
    assert "died" in blows._without_words(blows.Outcome(1, 2, "cancel"), 70).wrong[0]
    total = sweep.Total()
    total.add(blows.Outcome(1, 2, "cancel", wrong=["x"]))
    assert (total.points, total.violations) == (1, 1)


def test_lives_behind_one_that_a_child_died_of_are_struck_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[list[int]] = []

    def child_that_dies_of_two(job: object) -> tuple[int, bytes]:
        (todo,) = job.__defaults__  # type: ignore[attr-defined]
        children.append([course.seed for course, _ in todo])
        done = [outcome for course, outcome in itertools.takewhile(lambda each: each[0].seed != 2, todo)]
        return (70 if len(done) < len(todo) else 0), b"".join(
            json.dumps(attrs.asdict(outcome)).encode() + b"\n" for outcome in done
        )

    monkeypatch.setattr(blows, "in_a_child", child_that_dies_of_two)
    lives = [SimpleNamespace(seed=n, blows=[(5, "reset")], walk_to=lambda _: None) for n in (1, 2, 3, 4)]
    told: list[blows.Outcome] = []
    blows.strike(lives, frozenset(), told.append)  # type: ignore[arg-type]
    assert children == [[1, 2, 3, 4], [3, 4]]
    assert [(each.seed, each.step, each.kind) for each in told] == [(n, 5, "reset") for n in (1, 2, 3, 4)]
    assert [bool(each.wrong) for each in told] == [False, True, False, False]


@pytest.mark.parametrize(
    ("arguments", "shares"),
    [
        ([], [(3, 5, 50_000, 100_000), (8, 5, 50_000, 100_000)]),
        (["--points", "24"], [(3, 1, 24, 24)]),
        (["--points", "600", "--seeds", "3"], [(3, 1, 200, 200), (4, 2, 400, 200)]),
        (["--points", "600", "--seeds", "3", "--jobs", "1"], [(3, 3, 600, 200)]),
    ],
)
def test_lives_are_divided_among_processes(
    arguments: list[str], shares: list[tuple[int, int, int, int]]
) -> None:
    assert sweep._shares(sweep.parse(["--seed", "3", *arguments])) == shares


def test_all_blows_strike_all_steps_unless_there_are_too_many() -> None:
    assert blows.blows_of(3, 100) == [(step, kind) for step in (1, 2, 3) for kind in blows.KINDS]
    for points in (100, 500, 1000):
        thin = blows.blows_of(300, points)
        assert len(set(thin)) == len(thin) == points
        assert Counter(kind for _, kind in thin) == dict.fromkeys(blows.KINDS, points // 4)


@needs_known_trio
@pytest.mark.slow
def test_lives_beside_each_other_are_what_each_is_alone() -> None:
    """Else a blow that did not hold could not be gone to again by its seed alone."""
    code = (
        "import sys, attrs, json, blows; found = []; "
        "blows.strike_all_of(range(7, 7 + int(sys.argv[1])), 1000, 8, found.append); "
        "print(json.dumps([attrs.asdict(each) for each in found if each.seed == 7]))"
    )
    env = {**bombs.of_a_script(), "PYTHONPATH": str(LOAD), "PYTHONHASHSEED": "0"}

    def beside(lives: int) -> list[dict[str, object]]:
        command = [sys.executable, "-W", "error", "-c", code, str(lives)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)  # noqa: S603
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    alone = beside(1)
    assert len(alone) == 8
    assert not any(each["wrong"] for each in alone)
    assert beside(3) == alone


@pytest.mark.parametrize(
    ("kind", "changes", "error", "outside"),
    [
        ("cancel", {}, KeyboardInterrupt(), None),
        ("interrupt", {}, None, None),
        ("interrupt", {}, ValueError(), None),
        ("interrupt", {}, KeyboardInterrupt(), KeyboardInterrupt()),
        ("interrupt_inside", {"reached": "open"}, None, None),
        ("reset", {"reached": "open"}, None, None),
        ("reset", {"reached": "end", "came_back": False}, None, None),
        ("reset", {"reached": "end", "came_back": True}, px.ConnectError("x"), None),
        (None, {"reached": "filled"}, None, None),
    ],
)
def test_an_end_that_is_not_as_it_should_be_is_seen(
    kind: blows.Kind | None,
    changes: dict[str, object],
    error: BaseException | None,
    outside: BaseException | None,
) -> None:
    outcome = blows.Outcome(1, 2, kind)
    good = whole_life.Story(reached="end", came_back=True)
    felt = KeyboardInterrupt() if kind and kind.startswith("interrupt") else None
    assert blows._ends_as_expected(outcome, good, felt, None)
    bad = whole_life.Story(**changes)  # type: ignore[arg-type]
    assert not blows._ends_as_expected(outcome, bad, error, outside)


async def test_what_is_sent_behind_half_a_frame_is_seen(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = breakable_pair()
    halved = whole_life.HalvedStream(theirs)
    await halved.send_all(b"whole")
    with trio.move_on_after(1):
        await halved.send_all(bytes(theirs._out.capacity))  # its second half finds no room
    assert (halved.is_torn, halved.went_on) == (True, False)
    assert await ours.receive_some()
    await halved.send_all(b"more")
    assert halved.went_on


async def test_a_gateway_that_is_left_while_a_stream_waits_for_history_is_left_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What the sweep has found: for a second it waited for a task that had ended with the gateway."""
    async with open_sim() as sim:
        with trio.move_on_after(2.0) as scope:
            async with px.open_gateway(config_for(sim)) as gateway:
                async with gateway.open_trades(CONTRACT):
                    await trio.sleep(1.9)  # in the middle of a second: its bar has to settle
                    async with gateway.open_bars(CONTRACT, "1s", history=5):
                        pytest.fail("it should be waiting")
        assert scope.cancelled_caught
        assert trio.current_time() == 2.0


# What the sweep, the bombs and the leaves have had changed


@pytest.mark.parametrize("one", ["{}", "[]", "0.1", '"a"', '{"a":1}'])
def test_a_record_of_too_many_values_is_refused_before_it_is_decoded(one: str) -> None:
    many = ",".join([one] * (2_000_000 // (len(one) + 1)))
    with pytest.raises(ProtocolError, match="more values than any has reason to"):
        parse_messages(f'{{"type":1,"target":"x","arguments":[[{many}]]}}\x1e')


def test_a_burst_of_20_000_trades_in_one_record_is_no_such_record() -> None:
    one = '{"symbolId":"F.US.MNQ","price":20000.25,"timestamp":"2026-08-19T20:51:30.052+00:00","type":0,"volume":1}'
    text = f'{{"type":1,"target":"GatewayTrade","arguments":["{CONTRACT}",[{",".join([one] * 20_000)}]]}}\x1e'
    assert len(text) < px.Limits().record_bytes
    (message,) = parse_messages(text)
    assert len(message.arguments[1]) == 20_000  # type: ignore[union-attr,arg-type]


# Bombs


@pytest.mark.slow
@pytest.mark.parametrize("name", bombs.THIN)
def test_a_bomb_costs_little(name: str) -> None:
    found = bombs.run_beside(name, times=1)
    assert found.wrong == []
    assert found.cost_mib > 0.0  # something was measured


def test_every_bomb_can_be_thrown() -> None:
    for bomb in bombs.BOMBS.values():
        if "flood" in bomb.command:
            assert next(iter(bomb_server.FLOODS[str(bomb.command["flood"])]()), "")
        elif "answer" in bomb.command:
            assert bomb.command["answer"] in bomb_server.ANSWERS
        else:
            Fault(**bomb.command["fault"])  # type: ignore[arg-type]


# Leaving


@pytest.mark.slow
def test_leaving_some_states_is_quick_and_leaves_nothing() -> None:
    """A sample of the proof; how long a leave takes there is a matter of the machine."""
    done = started("shutdowns.py", "1", "3", "live", "half open", "replacing connections", "history hangs")
    assert done.returncode == 0, done.stderr
    found = shutdowns.Shutdowns(**json.loads(done.stdout.splitlines()[-1]))
    assert (found.leaves, found.wrong, found.threads_left) == (4, [], 0)


@pytest.mark.parametrize(
    "changes",
    [{"p99_s": 1.1}, {"most_s": 5.1}, {"threads_left": 1}, {"wrong": ["live, left: 1 tasks are left"]}],
)
def test_what_is_wrong_with_leaves_is_said(changes: dict[str, object]) -> None:
    assert shutdowns.Shutdowns(10, 0.1, 0.5, 0.6).faults() == []
    assert attrs.evolve(shutdowns.Shutdowns(10, 0.1, 0.5, 0.6), **changes).faults() != []


# Fuzz


def test_a_property_that_does_not_hold_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @given(st.integers())
    def small(n: int) -> None:
        assert n < 1000

    monkeypatch.setattr(fuzz, "properties", lambda: {"small": small})
    level = logging.getLogger("trio_projectx").level
    assert fuzz.main(["--examples", "200"]) == 1
    assert logging.getLogger("trio_projectx").level == level
    assert "FAIL small" in capsys.readouterr().out


def test_the_properties_are_found() -> None:
    names = set(fuzz.properties())
    assert len(names) > 25
    assert {name.partition(".")[0] for name in names} >= {"fuzz_http", "fuzz_websocket", "fuzz_records"}
