from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import RejectionBurst
from trio_projectx.market import PriceGrid, Reason
from trio_projectx.market.depth import DepthJudge, DepthKind, DepthRow
from trio_projectx.simulator.payloads import DepthRow as SentRow
from trio_projectx.simulator.payloads import RecordWriter

MNQ = "CON.F.US.MNQ.U26"
GRID = PriceGrid.from_tick_size("0.25")
STAMP = "2026-08-19T20:51:31.4173693+00:00"
NS = 1_787_172_691_417_369_300
LIVE = {"timestamp": STAMP, "type": 4, "price": 29547, "volume": 2, "currentVolume": 0}


def judge(**options: object) -> DepthJudge:
    return DepthJudge(
        MNQ, GRID, stamp_min_ns=0, stamp_max_ns=4_102_444_800 * 10**9, **options  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_row_that_was_seen_live() -> None:
    it = judge()
    update = it.judge([LIVE], 7)
    assert update.rows == (DepthRow(DepthKind.BEST_BID, NS, 29547 * 4, 2),)
    assert (update.ts_recv, update.top) == (7, "unknown")
    assert it.judge(LIVE, 8).rows == update.rows  # one row that is no list
    counts = it.counts
    assert (counts.received, counts.accepted, counts.nulls, counts.rejected.total) == (2, 2, 0, 0)


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"price": -1}, Reason.PRICE_NOT_POSITIVE, "price=-1.0"),
        ({"price": 0}, Reason.PRICE_NOT_POSITIVE, "price=0.0"),
        ({"price": 29547.1}, Reason.OFF_GRID, "price=29547.1"),
        ({"price": 1e12}, Reason.PRICE_RANGE, "price="),
        ({"price": float("nan")}, Reason.PRICE_NOT_FINITE, "price=nan"),
        ({"price": None}, Reason.SCHEMA, "price: missing"),
        ({"price": "5"}, Reason.SCHEMA, "price: a string instead of a number"),
        ({"volume": -2}, Reason.SIZE, "volume=-0x2"),
        ({"currentVolume": -1}, Reason.SIZE, "volume=-0x1"),
        ({"volume": 1 << 63}, Reason.SIZE, "volume=0x8"),
        ({"volume": 1.5}, Reason.SIZE, "volume: no whole number"),
        ({"volume": None, "currentVolume": None}, Reason.SCHEMA, "volume: missing"),
        ({"type": None}, Reason.SCHEMA, "type: missing"),
        ({"type": "4"}, Reason.SCHEMA, "type: a string instead of a whole number"),
        ({"timestamp": None}, Reason.SCHEMA, "timestamp: missing"),
        ({"timestamp": "2026-08-19T20:51:31"}, Reason.STAMP_FORM, "timestamp=2026"),
        ({"timestamp": "2999-08-19T20:51:31Z"}, Reason.STAMP_RANGE, "timestamp=2999"),
    ],
)
def test_a_bad_row_is_rejected_by_reason_and_costs_its_neighbours_nothing(
    change: dict[str, object], reason: Reason, says: str
) -> None:
    it = judge()
    bad = LIVE | change
    assert len(it.judge([LIVE, bad, LIVE], 1).rows) == 2  # type: ignore[list-item]
    assert it.counts.rejected.total == 1
    (rejection,) = it.rejections
    assert rejection.reason is reason
    assert says in rejection.text


@pytest.mark.parametrize("data", [5, "x", True, [5, "x", []]])
def test_what_is_no_row_is_counted(data: object) -> None:
    it = judge()
    assert it.judge(data, 1).rows == ()  # type: ignore[arg-type]
    assert it.counts.rejected.schema == it.counts.received > 0


def test_null_is_nothing_and_no_list_too() -> None:
    it = judge()
    assert it.judge([None, LIVE, None], 1).rows
    it.judge(None, 1)
    assert (it.counts.nulls, it.counts.received, it.counts.accepted) == (3, 4, 1)


def row(kind: int, price: float, volume: int = 1, current: int = 0) -> dict[str, object]:
    return {"timestamp": STAMP, "type": kind, "price": price, "volume": volume, "currentVolume": current}


def test_the_size_is_the_one_that_is_above_0_and_0_deletes() -> None:
    it = judge()
    rows = [row(1, 5.0, 7, 3), row(1, 5.0, 7, 0), row(1, 5.0, 0, 0), row(1, 5.0, 0, 4)]
    assert [each.size for each in it.judge(rows, 1).rows] == [3, 7, 0, 4]  # type: ignore[arg-type]


def test_types_nobody_has_documented_are_unknown() -> None:
    it = judge()
    kinds = [each.kind for each in it.judge([row(k, 5.0) for k in (0, 11, 12, -3)], 1).rows]  # type: ignore[misc]
    assert kinds == [DepthKind.UNKNOWN, DepthKind.FILL, DepthKind.UNKNOWN, DepthKind.UNKNOWN]


def test_locked_and_crossed_tops_are_flagged_and_counted_behind_each_record() -> None:
    it = judge()
    tops = [
        it.judge(rows, 1).top  # type: ignore[arg-type]
        for rows in (
            [row(4, 10.0)],
            [row(3, 10.25)],
            [row(4, 10.5), row(3, 10.75)],  # crossed between the two, which is nothing
            [row(9, 10.75)],
            [row(10, 10.5)],
            [],
            [row(1, 10.0)],
            [{"timestamp": STAMP, "type": 6, "price": 0, "volume": 0}],
            [row(4, 99.0)],
        )
    ]
    assert tops == [
        "unknown", "open", "open", "locked", "crossed", "crossed", "crossed", "unknown", "unknown"
    ]  # fmt: skip
    assert (it.counts.locked, it.counts.crossed) == (1, 2)
    it.judge([row(3, 98.0)], 1)
    assert it.counts.crossed == 3
    it.forget()
    assert it.judge([row(3, 97.0)], 1).top == "unknown"


def test_what_the_simulator_sends_is_valid() -> None:
    rng = random.Random(3)
    sent = [
        SentRow(NS // 100 * 100, rng.choice([1, 2, 3, 4]), rng.randint(1, 99_999), 3, rng.randint(0, 9))
        for _ in range(50)
    ]
    record = json.loads(RecordWriter(MNQ, "F.US.MNQ", GRID).depth(sent)[:-1])
    rows = judge().judge(record["arguments"][1], 1).rows
    assert [(each.ticks, each.size, int(each.kind)) for each in rows] == [
        (each.ticks, each.current_volume or each.volume, each.kind) for each in sent
    ]
    assert {each.ts_event for each in rows} == {NS // 100 * 100}


def test_a_burst_is_told() -> None:
    told: list[RejectionBurst] = []
    it = judge(tell=told.append)
    it.judge([row(1, -5.0)] * 150, 9)  # type: ignore[list-item]
    assert [(each.what, each.contract_id, each.reason, each.at) for each in told] == [
        ("depth", MNQ, "price_not_positive", 9)
    ]


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(["timestamp", "type", "price", "volume", "currentVolume"])


@settings(max_examples=150)
@given(
    st.lists(
        st.one_of(
            values, st.dictionaries(names, values), st.builds(lambda n, v: LIVE | {n: v}, names, values)
        )
    )
)
def test_whatever_comes_every_row_is_counted_once_and_nothing_raises(data: list[object]) -> None:
    it = judge()
    update = it.judge(data, 1)  # type: ignore[arg-type]
    counts = it.counts
    assert counts.received == len(data) == counts.accepted + counts.rejected.total + counts.nulls
    assert len(update.rows) == counts.accepted
    for each in update.rows:
        assert each.size >= 0
        assert each.kind is DepthKind.RESET or (each.ticks or 0) > 0
