"""What each timeframe of a set is made of, by what the set was asked for."""

from __future__ import annotations

import attrs
import pytest

from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars import Anchor, Sessions
from trio_projectx.bars.making import Making
from trio_projectx.bars.undo import Journal
from trio_projectx.market.grid import PriceGrid

SESSION = Anchor.session(Sessions.cme("EQ"))
PLAIN = Making(
    "C",
    PriceGrid(1, 4),
    Anchor.utc(),
    "own",
    None,
    lateness_ns=0,
    partial_first=False,
    bars_kept=10,
    revisable=0,
    in_ticks=True,
    journal=Journal(),
)


@pytest.mark.parametrize(
    ("changes", "has_past", "has_filler"),
    [
        ({}, False, False),
        ({"revisable": 3}, True, False),
        ({"anchor": SESSION}, False, False),
        ({"anchor": SESSION, "fill": "previous"}, False, True),
        ({"fill": "previous"}, False, False),
    ],
)
def test_a_rung_has_what_its_set_was_asked_for(
    changes: dict[str, object], has_past: bool, has_filler: bool
) -> None:
    rung = attrs.evolve(PLAIN, **changes).by_time(Timeframe("1m"), 4, None)  # type: ignore[arg-type]
    assert (rung.timeframe, rung.rank) == ("1m", 4)
    assert (rung.builder.past is not None) is has_past
    assert (rung.filler is not None) is has_filler


def test_a_kind_of_bars_has_neither() -> None:
    making = attrs.evolve(PLAIN, revisable=3, anchor=SESSION, fill="previous")
    kind = Timeframe("tick:5")
    assert isinstance(kind, BarKind)
    rung = making.by_kind(kind, 2)
    assert (rung.kind, rung.rank) == ("tick:5", 2)
