"""Short runs of the long proofs in load/ (`nox -s load` runs them whole): a life struck at every n-th step, refreshes
under load, reconnects in a row, outages, storms. The proofs' own faults say what must hold.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator

import attrs
import pytest
import reconnects
import recovery
import refreshes
import run
import steps
import storms
import wishes
from sweeps import every

import trio_projectx as px


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Each loss is told in the log; thousands of them help nobody."""
    log = logging.getLogger("trio_projectx")
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)


# Steps


@pytest.mark.slow
@pytest.mark.parametrize("blow", steps.BLOWS)
def test_struck_at_any_step_a_life_ends_as_it_should(blow: steps.Blow) -> None:
    # A sample from another step on each time would be one that nobody can repeat.
    lives = list(steps.sweep(blow, every=19 * every(3), first=1 + 3 * steps.BLOWS.index(blow)))
    assert [(life.at, life.faults()) for life in lives if life.faults()] == []
    assert len(lives) > 10
    assert {"start", "streaming", "reset"} <= {life.reached for life in lives} or blow in steps.SURVIVED


@pytest.mark.slow
@pytest.mark.parametrize("blow", steps.BLOWS)
def test_struck_at_any_step_a_life_with_all_kinds_of_streams_ends_as_it_should(blow: steps.Blow) -> None:
    lives = list(
        steps.sweep(blow, every=400 * every(2), first=20 + 80 * steps.BLOWS.index(blow), is_whole=True)
    )
    assert [(life.at, life.faults()) for life in lives if life.faults()] == []
    assert len(lives) >= 2
    assert blow not in steps.SURVIVED or sum(life.whole_bars for life in lives) > 5


def test_a_life_that_nothing_strikes_is_whole() -> None:
    life = steps.run_life("cancel", None)
    assert (life.faults(), life.reached, life.struck) == ([], "end", False)
    assert (len(life.received), len(life.received.gaps)) == (31 + 20, 1)


GOOD = steps.Life("cancel", 1, struck=True, reached="streaming")


@pytest.mark.parametrize(
    "changes",
    [
        {"hung": True},
        {"tasks_left": 1},
        {"streams_left": 1},
        {"connections_left": 1},
        {"complaints": ["unraisable"]},
        {"untrue": "a trade that is not in the truth"},
        {"late_s": 1.1},
        {"blow": "cancel_dumb", "late_s": 6.1},
        {"error": ValueError()},
        {"error": KeyboardInterrupt()},
        {"struck": False},
        {"blow": "interrupt"},
        {"blow": "interrupt", "reached": "end"},
        {"blow": "reset", "error": px.ConnectError("late"), "was_live": True},
        {"outside": ValueError()},
    ],
    ids=repr,
)
def test_what_is_wrong_with_a_life_is_said(changes: dict[str, object]) -> None:
    assert GOOD.faults() == []
    assert attrs.evolve(GOOD, **changes).faults() != []


# Refreshes, reconnects, outages


@pytest.mark.slow
@pytest.mark.parametrize("how", refreshes.HOWS)
def test_refreshes_under_load_lose_nothing_and_double_nothing(how: refreshes.How) -> None:
    found = refreshes.refresh(how, 20, seed=2)
    assert found.faults() == []
    assert found.refreshes >= 20
    assert found.sound.trades > (500 if how == "in a rush" else 10_000)


@pytest.mark.slow
def test_reconnects_in_a_row_all_come_back_as_fast_as_the_first() -> None:
    found = reconnects.reconnect(20, seed=2)
    assert found.faults() == []
    assert found.sound.gaps == 20


@pytest.mark.slow
def test_an_outage_of_hours_is_survived() -> None:
    found = reconnects.outage(0.4, seed=2)
    assert found.faults() == []
    assert found.sound.missing > 200


async def test_resets_on_sockets_are_recovered_from() -> None:
    """How fast is a matter of the machine; `nox -s load` measures it."""
    found = await recovery.recover_here(3, 0.3, px.Reconnect(refill_s=0.2, young_s=0.1))
    assert [len(each) for each in (found.seen_s, found.live_s, found.trade_s)] == [3, 3, 3]


# Storms


@pytest.mark.slow
@pytest.mark.parametrize("name", storms.STORMS)
def test_a_storm_is_answered_with_few_connections(name: str) -> None:
    found = storms.blow(name, 0.1, seed=2)
    assert found.faults() == []
    assert found.attempts >= 8


@pytest.mark.slow
def test_a_storm_on_two_lines_of_each_hub_has_one_bucket() -> None:
    found = storms.blow("reset at the handshake", 0.1, seed=2, redundant=True)
    assert found.faults() == []
    assert found.attempts > 50


def test_crowding_is_the_fullest_window() -> None:
    rng = random.Random(5)
    for _ in range(50):
        times = sorted(rng.uniform(0, 30) for _ in range(rng.randrange(1, 40)))
        by_force = max(
            sum(begin <= at <= end for at in times) - (end - begin)
            for begin in times
            for end in times
            if end >= begin
        )
        assert math.isclose(storms.crowding(times), by_force, abs_tol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        {"seconds": 1.0, "way_s": 1.0},
        {"seconds": 20.0, "way_s": 0.1, "losses": 3, "redundant": True},
    ],
    ids=["all at once", "losses on two lines"],
)
def test_in_a_storm_of_a_thousand_wishes_the_last_ones_win(kind: dict[str, object]) -> None:
    found = wishes.storm(1000, seed=2, **kind)  # type: ignore[arg-type]
    assert found.faults() == []
    assert found.calls >= 20


# The session


def test_the_session_takes_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.parse(["--hours", "2", "storms"]).hours == 2
    assert run.parse([]).seed != run.parse([]).seed
    assert run.main(["outage", "--hours", "0.01", "--seed", "4"]) == 0
    printed = capsys.readouterr().out
    assert '"seed": 4' in printed
    assert "PASS outage" in printed
    with pytest.raises(SystemExit):
        run.parse(["everything"])
