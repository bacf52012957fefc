"""The judge of load/: what it lets pass, and what it does not."""

from __future__ import annotations

import attrs
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge import Received, Sound, Unsound, judge, judge_bars

import trio_projectx as px
from trio_projectx._timeframe import Timeframe

SECOND = 1_000_000_000
C = "CON.F.US.MNQ.U26"


def trade(number: int) -> px.Trade:
    """Trades of half a second each; some are equal to the one before them."""
    same = number - number % 3 // 2  # 0, 1, 1, 3, 4, 4, ...
    return px.Trade(C, same * SECOND // 2, 0, 100.0 + same % 5, 1 + same % 2, px.Side(same % 2))


TRUE = [trade(number) for number in range(40)]


def truth(trades: list[px.Trade]) -> pa.Table:
    return pa.table(
        {
            "ts_event": [each.ts_event for each in trades],
            "price": [each.price for each in trades],
            "volume": [each.volume for each in trades],
            "side": [int(each.side) for each in trades],
        }
    )


def received(items: list[px.Trade | px.Gap]) -> Received:
    taken = Received()
    for item in items:
        taken.take(item)
    return taken


def gap(start: px.Trade, end: px.Trade) -> px.Gap:
    return px.Gap(C, start.ts_event, end.ts_event, "lost")


def test_a_run_of_the_truth_is_sound() -> None:
    assert judge(received(TRUE[7:30]), truth(TRUE)) == Sound(23, 0, 0)
    assert judge(received([]), truth(TRUE)) == Sound(0, 0, 0)


@given(st.lists(st.integers(1, 38), min_size=2, max_size=6, unique=True).map(sorted))
def test_what_is_missing_behind_a_gap_is_counted(cuts: list[int]) -> None:
    """Between each other two of the cuts trades are left out, and told."""
    items: list[px.Trade | px.Gap] = list(TRUE[: cuts[0]])
    missing = 0
    for begin, end, until in zip(cuts[::2], cuts[1::2], [*cuts[2::2], 40], strict=False):
        items += [gap(TRUE[begin - 1], TRUE[end]), *TRUE[end:until]]
        missing += end - begin
    sound = judge(received(items), truth(TRUE))
    assert sound.gaps == len(cuts) // 2
    # Where equal trades stand at a seam nobody can tell which of them is missing.
    assert sound.missing <= missing
    assert sound.trades + missing <= 40


A, B = TRUE[:20], TRUE[20:]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([*A[:-1], *B], "0 too many .* 1 missing"),
        ([*A, A[-1], *B], "1 too many"),
        ([*A[:-2], A[-1], A[-2], *B], "0 too many .* 0 missing.*fall 1 times"),
        ([*A, attrs.evolve(A[-1], price=7.0), *B], "1 too many"),
        ([*A, attrs.evolve(B[0], volume=9), *B[1:]], "1 too many .* 1 missing"),
        ([*A, attrs.evolve(B[0], side=px.Side.UNKNOWN), *B[1:]], "1 too many .* 1 missing"),
        ([*A, gap(A[-1], B[0]), *B[3:]], "did not come"),
        ([*A, gap(B[2], B[3]), *B[3:]], "did not come"),
        ([*A, gap(A[-1], B[0]), *A[:5]], "too many"),
    ],
    ids=["lost", "doubled", "moved", "invented", "changed", "changed side", "early", "late", "again"],
)
def test_what_cannot_be_explained_is_unsound(items: list[px.Trade | px.Gap], says: str) -> None:
    with pytest.raises(Unsound, match=says):
        judge(received(items), truth(TRUE))


def bar(second: int, **changes: object) -> px.Bar:
    rows = [each for each in TRUE if each.ts_event // SECOND == second]
    prices = [each.price for each in rows]
    made = px.Bar(
        contract_id=C,
        timeframe=Timeframe("1s"),
        start=second * SECOND,
        end=(second + 1) * SECOND,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum(each.volume for each in rows),
        trades=len(rows),
        trade_date=None,
        buy_volume=0,
        sell_volume=0,
        vwap=0.0,
        first_ts=rows[0].ts_event,
        last_ts=rows[-1].ts_event,
    )
    return attrs.evolve(made, **changes)


def test_bars_that_are_whole_equal_the_truth() -> None:
    bars: list[px.Bar | px.BarRevised | px.Gap] = [bar(1), bar(2, volume=99, partial=True), bar(3)]
    assert judge_bars(bars, truth(TRUE)) == 2


@pytest.mark.parametrize("changes", [{"volume": 99}, {"high": 999.0}, {"trades": 1}, {"start": 0}], ids=repr)
def test_a_bar_that_is_not_what_it_says_is_unsound(changes: dict[str, object]) -> None:
    with pytest.raises(Unsound):
        judge_bars([bar(2, **changes)], truth(TRUE))


def test_bars_in_the_wrong_order_are_unsound() -> None:
    with pytest.raises(Unsound, match="came behind"):
        judge_bars([bar(3), bar(2)], truth(TRUE))
