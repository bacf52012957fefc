"""A thin sample of `nox -s model`, and what its checks would see; docs/hostile.md has the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import lots
import model
import pyarrow.compute as pc
import pytest
from bombs import of_a_script
from fault_tools import CONTRACT
from tapped import Offered, wrong_of

import trio_projectx as px
from trio_projectx.flow.buffers import Buffer
from trio_projectx.simulator import Simulator

LOAD = Path(model.__file__).parent
#: Three short lives that have, together, everything that lives can have.
SEED = 144


def started(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(LOAD / "model.py"), *arguments]
    env = of_a_script()
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)  # noqa: S603


@pytest.mark.slow
def test_some_random_lives_hold() -> None:
    done = started("--seed", str(SEED), "--lives", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *_, figures, verdict = done.stdout.splitlines()
    assert json.loads(first)["seed"] == SEED
    total = json.loads(figures)
    assert (total["lives"], total["violations"]) == (3, 0)
    looked_at = ("looks", "streams", "handlers", "faults", "whole bars", "trades held against the truth")
    assert all(total["counts"][name] > 0 for name in looked_at)
    assert verdict == f"PASS model; seed {SEED}"


def test_the_same_seed_is_the_same_plan() -> None:
    plans = [lots.draw(seed) for seed in (7, 7, 8)]
    assert plans[0] == plans[1] != plans[2]


# What it would see


def calm(*streams: lots.StreamPlan) -> lots.Plan:
    """Return a life in which nothing happens."""
    return lots.Plan(
        seed=7,
        seconds=10.0,
        start="2026-08-19T18:30:00Z",
        rate=12.0,
        sim={"step_s": 0.25},
        config={"history": px.HistoryOptions()},
        contracts=("MNQ",),
        streams=streams,
        handlers=(),
        faults=(),
        refreshes=(),
        runs=(),
        pressure=(),
    )


def prompt(kind: str, *frames: str) -> lots.StreamPlan:
    options: dict[str, Any] = {"events": True, **({"outside": "own"} if frames else {})}
    return lots.StreamPlan(
        kind, "MNQ", 0.0, 1e9, px.Overflow.ERROR, 1_000_000, frames=frames, options=options
    )


CALM = calm(prompt("trades"), prompt("bars", "1s", "5s"))


def test_a_calm_life_holds() -> None:
    outcome = model.live(CALM)
    assert outcome.wrong == []
    assert outcome.counts["whole bars"] > 100
    assert outcome.counts["trades held against the truth"] > 200


def test_a_truth_that_is_another_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Simulator.truth

    def another(self: Simulator, contract_id: str) -> object:
        table = truth(self, contract_id)
        at = table.schema.get_field_index("volume")
        return table.set_column(at, "volume", pc.add(table["volume"], 1).cast(table["volume"].type))

    monkeypatch.setattr(Simulator, "truth", another)
    wrong = "\n".join(model.live(CALM).wrong)
    assert "whole bars are not the truth's" in wrong
    assert "is no run of the truth" in wrong
    assert "recent trades that never were" in wrong


def test_an_item_that_is_lost_on_its_way_to_the_reader_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    get = Buffer.get

    def forgetful(self: Buffer[Any]) -> object:
        item = get(self)
        return get(self) if self.delivered == 7 and not self.is_empty else item

    monkeypatch.setattr(Buffer, "get", forgetful)
    wrong = "\n".join(model.live(calm(prompt("trades"))).wrong)
    assert ", and should be Trade" in wrong


def test_counts_that_balance_and_are_others_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Buffer.put

    def miscounted(self: Buffer[Any], item: object) -> None:
        put(self, item)
        if self.offered == 7:
            self.offered += 5
            self.delivered += 5

    monkeypatch.setattr(Buffer, "put", miscounted)
    wrong = "\n".join(model.live(calm(prompt("trades"))).wrong)
    assert "were offered: StreamStatistics" in wrong
    assert "items came: " in wrong


def test_what_is_raised_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(model, "judge_told", broken)
    (wrong,) = model.live(calm(prompt("trades"))).wrong
    assert wrong.startswith("raised ZeroDivisionError()")


def trade(at: int) -> px.Trade:
    return px.Trade(CONTRACT, at, at, 100.0, 1, px.Side.BUY)


def log_of(policy: px.Overflow, count: int) -> Offered:
    buffer = Buffer[Any](3, policy, lambda item: item.ts_event, lambda item: item.contract_id)
    return Offered(buffer, puts=[trade(at) for at in range(count)])


@pytest.mark.parametrize(
    ("got", "wrong"),
    [
        ([0, 1, 2, 3, 4], None),
        ([0, (1, 2), 3, 4], None),
        ([0, (1, 2), 4], "should be"),
        ([0, 1, 2, 3], "1 of 5 were neither given nor told"),
        ([0, 1, 1, 2, 3, 4], "should be"),
        ([1, 0, 2, 3, 4], "should be"),
        ([0, 1, 2, (3, 5)], "only 2 more were offered"),
        ([0, (1, 1), (2, 2), 3, 4], "two marks in a row"),
    ],
)
def test_what_a_reader_should_not_have_got_is_seen(got: list[Any], wrong: str | None) -> None:
    log = log_of(px.Overflow.DROP_OLDEST, 5)
    items = [px.Dropped(at[1] - at[0] + 1, *at) if isinstance(at, tuple) else log.puts[at] for at in got]
    found = wrong_of(log, items, is_whole=True)
    assert found is None if wrong is None else wrong in str(found)


def test_a_mark_that_names_another_time_is_seen() -> None:
    log = log_of(px.Overflow.DROP_OLDEST, 3)
    assert "what is missing there is of (0, 1)" in str(
        wrong_of(log, [px.Dropped(2, 0, 2), log.puts[2]], is_whole=True)
    )


@pytest.mark.parametrize(
    ("got", "is_wrong"), [([4], False), ([0, 4], False), ([3], True), ([4, 3], True), ([], True)]
)
def test_a_newest_state_that_did_not_come_is_seen(got: list[int], is_wrong: bool) -> None:
    log = log_of(px.Overflow.CONFLATE, 5)
    assert bool(wrong_of(log, [log.puts[at] for at in got], is_whole=True)) == is_wrong


# Many lives


def test_lives_behind_one_that_hangs_are_lived_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[int, int]] = []

    def dies_in_the_second(seed: int, lives: int) -> subprocess.Popen[bytes]:
        begun.append((seed, lives))
        is_first = len(begun) == 1
        told = [attrs.asdict(model.Outcome(seed + n)) for n in range(1 if is_first else lives)]
        code = (
            f"import json; [print(json.dumps(each)) for each in {told!r}]; raise SystemExit({int(is_first)})"
        )
        code = code.replace("Counter()", "{}")
        return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)  # noqa: S603

    monkeypatch.setattr(model, "_worker", dies_in_the_second)
    found = list(model.live_all(3, 4))
    assert begun == [(3, 4), (5, 2)]
    assert [(each.seed, bool(each.wrong)) for each in found] == [
        (3, False),
        (4, True),
        (5, False),
        (6, False),
    ]


@pytest.mark.parametrize(("wrong", "verdict"), [([], "PASS"), (["a bar is another"], "FAIL")])
def test_one_life_that_does_not_hold_fails_the_session(
    wrong: list[str], verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = [model.Outcome(3, counts=Counter(looks=2)), model.Outcome(4, wrong, Counter(looks=3))]
    monkeypatch.setattr(model, "live_all", lambda seed, lives: iter(outcomes))
    assert model.main(["--seed", "3", "--lives", "2"]) == bool(wrong)
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"{verdict} model; seed 3"
    assert json.loads(said.splitlines()[-2])["counts"] == {"looks": 5}
    assert ("FAIL --seed 4 --lives 1" in said) == bool(wrong)
