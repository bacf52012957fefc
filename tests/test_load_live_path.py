"""The proofs of the live path in short: what fails beside it costs no trade and no bar (`nox -s load` measures it)."""

from __future__ import annotations

from array import array

import attrs
import live_path
import pytest
from live_path import CONTRACT, Case, Run, Spread, run

import trio_projectx as px

CASES: list[tuple[Case, float]] = [("plain", 1.0), ("hung-rest", 2.5), ("full-disk", 1.5)]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "seconds"), CASES)
def test_what_fails_beside_the_live_path_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, case: Case, seconds: float
) -> None:
    monkeypatch.setattr(live_path, "_ROOM", 100_000)
    found = run(case, seconds, 5000, 3)
    assert found.wrong == ()
    assert found.is_balanced
    assert found.gaps == (2 if case == "hung-rest" else 0)
    assert found.missing == 0 or case == "hung-rest"
    assert found.trades + found.missing == seconds * 5000
    assert found.trade_ms.count == found.trades
    assert found.bars >= seconds * 45


def fake(**changes: object) -> Run:
    spread = Spread(1.0, 10.0, 50.0, 100)
    whole = Run(
        "plain", 100, 0, 0, 10, 1, spread, spread, 5, 1.0, 0.0, 0.1, 0.0, 30.0, is_balanced=True, beside={}
    )
    return attrs.evolve(whole, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"trade_ms": Spread(3.9, 69.0, 50.0, 100)}, ""),
        ({"trade_ms": Spread(4.1, 10.0, 50.0, 100)}, "trade_ms: p50 is 4.1 ms, and 1.0 ms without"),
        ({"bar_ms": Spread(1.0, 71.0, 50.0, 100)}, "bar_ms: p99 is 71.0 ms, and 10.0 ms without"),
        ({"bar_ms": Spread(1.0, 10.0, 1001.0, 100)}, "bar_ms: 1001.0 ms at most"),
        ({"bar_ms": Spread.of(array("q"))}, "bar_ms"),
        ({"bar_ms": Spread(1.0, 71.0, 50.0, 100), "cpu_wait_s": 6.0}, "bar_ms: p99"),
        ({"bar_ms": Spread(1.0, 171.0, 50.0, 100), "cpu_wait_s": 6.1}, "was not judged"),
        ({"is_balanced": False}, "balance"),
        ({"grown_mib": 33.0}, "33.0 MiB"),
        ({"exit_s": 6.0}, "leaving took 6.0 s"),
        ({"wrong": ("a row too many",)}, "a row too many"),
    ],
)
def test_what_is_wrong_is_seen(changes: dict[str, object], says: str) -> None:
    wrong = fake(**changes).faults(fake(), fake())
    assert (wrong == []) is (says == "")
    assert says in " ".join(wrong)


def test_a_spread() -> None:
    found = Spread.of(array("q", (each * 1_000_000 for each in reversed(range(1, 101)))))
    assert found == Spread(51.0, 100.0, 100.0, 100)


def test_a_bar_is_closed_by_the_first_trade_behind_it() -> None:
    live = live_path.Live(1.0, 10**9, 10**8, array("q"))
    bar = px.Bar(
        CONTRACT, px.Timeframe("1s"), 10**9, 2 * 10**9, 1, 1, 1, 1, 1, 1, None, 0, 0, 1.0, 10**9, 19 * 10**8
    )
    assert live.closed_by(bar) == 10
    assert live.closed_by(attrs.evolve(bar, end=2 * 10**9 + 1)) == 11
    assert live.closed_by(attrs.evolve(bar, timeframe=px.Timeframe("tick:10"))) == 9


def test_the_tape_is_what_is_judged() -> None:
    table = live_path.tape(7, 0.5, 1000, 1)
    stamps = table["ts_event"].to_pylist()
    assert stamps == [7 + number * 1_000_000 for number in range(500)]
    assert all((price * 4).is_integer() for price in table["price"].to_pylist())
