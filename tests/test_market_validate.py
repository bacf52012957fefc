from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx._config import Limits
from trio_projectx._errors import ConfigError, ContractError
from trio_projectx._events import Side
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.grid import PriceGrid
from trio_projectx.market.reasons import Reason
from trio_projectx.market.stamps import format_stamp, parse_stamp
from trio_projectx.market.validate import Validator
from trio_projectx.market.wire import WireTrade

MNQ = "CON.F.US.MNQ.U26"
STAMP = "2026-08-19T20:51:30.052+00:00"
NS = 1_787_172_690_052_000_000
LIMITS = Limits()


def validator(contract: str = MNQ, tick: str = "0.25", **options: float) -> Validator:
    bounds: dict[str, Any] = {
        "stamp_min_ns": LIMITS.stamp_min_ns,
        "stamp_max_ns": LIMITS.stamp_max_ns,
        "trade_size_max": LIMITS.trade_size_max,
    }
    return Validator(contract, PriceGrid.from_tick_size(tick), **(bounds | options))


def trade(
    price: float = 29547.25,
    timestamp: str = STAMP,
    volume: int = 3,
    kind: int | None = 1,
    symbol_id: str | None = "F.US.MNQ",
    contract_id: str | None = MNQ,
) -> WireTrade:
    return WireTrade(price, timestamp, volume, kind, symbol_id, contract_id)


def columns(batch: TradeBatch | None) -> tuple[list[int], list[int], list[int], list[int]] | None:
    return None if batch is None else (batch.ts_event, batch.ticks, batch.volume, batch.side)


def warm() -> Validator:
    """A validator that has every half of a good trade in its memory."""
    it = validator()
    assert it.validate([trade()], 1) is not None
    return it


BAD: list[tuple[WireTrade, Reason]] = [
    (trade(contract_id="CON.F.US.MNQ.Z26"), Reason.FOREIGN_CONTRACT),
    (trade(contract_id="CON.F.US.MES.U26"), Reason.FOREIGN_CONTRACT),
    (trade(contract_id=""), Reason.FOREIGN_CONTRACT),
    (trade(contract_id="../../x\r\n"), Reason.FOREIGN_CONTRACT),
    (trade(symbol_id="F.US.MES"), Reason.FOREIGN_CONTRACT),
    (trade(symbol_id="MNQ"), Reason.FOREIGN_CONTRACT),
    (trade(symbol_id=""), Reason.FOREIGN_CONTRACT),
    (trade(price=math.nan), Reason.PRICE_NOT_FINITE),
    (trade(price=math.inf), Reason.PRICE_NOT_FINITE),
    (trade(price=-math.inf), Reason.PRICE_NOT_FINITE),
    (trade(price=0.0), Reason.PRICE_NOT_POSITIVE),
    (trade(price=-0.0), Reason.PRICE_NOT_POSITIVE),
    (trade(price=-5.0), Reason.PRICE_NOT_POSITIVE),
    (trade(price=-29547.25), Reason.PRICE_NOT_POSITIVE),
    (trade(price=-1e308), Reason.PRICE_NOT_POSITIVE),
    (trade(price=1e9), Reason.PRICE_RANGE),
    (trade(price=1e308), Reason.PRICE_RANGE),
    (trade(price=29547.26), Reason.OFF_GRID),
    (trade(price=29547.1), Reason.OFF_GRID),
    (trade(price=math.nextafter(29547.25, 0)), Reason.OFF_GRID),
    (trade(price=5e-324), Reason.OFF_GRID),
    (trade(volume=0), Reason.SIZE),
    (trade(volume=-1), Reason.SIZE),
    (trade(volume=1_000_001), Reason.SIZE),
    (trade(volume=2**63), Reason.SIZE),
    (trade(volume=-(10**4000)), Reason.SIZE),
    (trade(timestamp=""), Reason.STAMP_FORM),
    (trade(timestamp="2026-08-19T20:51:30.052"), Reason.STAMP_FORM),
    (trade(timestamp="2026-02-30T20:51:30.052+00:00"), Reason.STAMP_FORM),
    (trade(timestamp="2026-08-19T20:51:30.052+00:00\n"), Reason.STAMP_FORM),
    (trade(timestamp="1787172690052"), Reason.STAMP_FORM),
    (trade(timestamp="x" * 1_000_000), Reason.STAMP_FORM),
    (trade(timestamp="0001-01-01T00:00:00Z"), Reason.STAMP_RANGE),
    (trade(timestamp="1601-01-01T00:00:00Z"), Reason.STAMP_RANGE),
    (trade(timestamp="1979-12-31T23:59:59.999Z"), Reason.STAMP_RANGE),
    (trade(timestamp="2100-01-01T00:00:00.001Z"), Reason.STAMP_RANGE),
    (trade(timestamp="2999-01-01T00:00:00Z"), Reason.STAMP_RANGE),
    (trade(timestamp="1980-01-01T00:00:00.000+00:01"), Reason.STAMP_RANGE),
]


def test_a_good_trade_becomes_columns() -> None:
    batch = validator().validate([trade(), trade(price=1.0, volume=1, kind=0)], 77)
    assert batch is not None
    assert columns(batch) == ([NS, NS], [118189, 4], [3, 1], [Side.SELL, Side.BUY])
    assert (batch.contract_id, batch.ts_recv, len(batch)) == (MNQ, 77, 2)


@pytest.mark.parametrize("make", [validator, warm])
@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_bad_trade_is_rejected_for_its_reason_alone(
    make: Callable[[], Validator], bad: WireTrade, reason: Reason
) -> None:
    it = make()
    before = it.accepted
    batch = it.validate([trade(volume=1), bad, trade(volume=2), bad], 5)
    assert batch is not None
    assert batch.volume == [1, 2]
    assert it.accepted == before + 2
    assert attrs.asdict(it.rejected) == {r.value: 2 * (r is reason) for r in Reason}
    assert it.rejected.total == 2
    assert [(r.ts_recv, r.reason) for r in it.rejections] == [(5, reason)] * 2
    for rejection in it.rejections:
        assert rejection.text.isprintable()
        assert rejection.text.isascii()
        assert len(rejection.text) <= 200
    assert it.validate([bad], 6) is None


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_bad_trade_stays_bad_when_it_comes_again(bad: WireTrade, reason: Reason) -> None:
    it = validator()
    for count in (1, 2, 3):
        assert it.validate([bad], 0) is None
        assert getattr(it.rejected, reason.value) == count == it.rejected.total


@pytest.mark.parametrize(
    ("good", "side"),
    [
        (trade(kind=0), Side.BUY),
        (trade(kind=1), Side.SELL),
        (trade(kind=None), Side.UNKNOWN),
        (trade(kind=2), Side.UNKNOWN),
        (trade(kind=-1), Side.UNKNOWN),
        (trade(kind=2**70), Side.UNKNOWN),
    ],
)
def test_a_trade_that_does_not_say_its_side_is_a_trade(good: WireTrade, side: Side) -> None:
    batch = validator().validate([good], 0)
    assert batch is not None
    assert batch.side == [side]


@pytest.mark.parametrize(
    "good", [trade(symbol_id=None), trade(contract_id=None), trade(symbol_id=None, contract_id=None)]
)
def test_a_trade_need_not_say_its_contract(good: WireTrade) -> None:
    for it in (validator(), warm()):
        assert columns(it.validate([good], 0)) == ([NS], [118189], [3], [1])


def test_the_bounds_themselves_are_inside() -> None:
    it = validator(stamp_min_ns=NS, stamp_max_ns=NS + 10**6, trade_size_max=7)
    edge = [trade(timestamp=format_stamp(ns, 9), volume=7) for ns in (NS, NS + 10**6)]
    beyond = [trade(timestamp=format_stamp(ns, 9)) for ns in (NS - 1, NS + 10**6 + 1)]
    assert columns(it.validate(edge + beyond + [trade(volume=8)], 0)) == (
        [NS, NS + 10**6],
        [118189] * 2,
        [7, 7],
        [1, 1],
    )
    assert (it.rejected.stamp_range, it.rejected.size) == (2, 1)


@pytest.mark.parametrize("text", ["", "Z", "+00:00", "x"])
def test_no_text_stands_for_the_epoch(text: str) -> None:
    # With these bounds 0 ns is a legal time: nothing may turn into it.
    it = validator(stamp_min_ns=-1)
    assert it.validate([trade(timestamp=text)] * 2, 0) is None
    assert it.rejected.stamp_form == 2


def test_no_local_clock_is_asked() -> None:
    # Years ahead of and behind any clock, out of order, and with a ts_recv of nonsense: all legal.
    stamps = ["2099-12-31T23:59:59.999Z", "1980-01-01T00:00:00Z", STAMP, STAMP]
    batch = validator().validate([trade(timestamp=s) for s in stamps], -5)
    assert batch is not None
    assert batch.ts_event == [parse_stamp(s) for s in stamps]


def test_the_same_trade_twice_is_two_trades() -> None:
    batch = validator().validate([trade()] * 3, 0)
    assert batch is not None
    assert len(batch) == 3


def test_nothing_gives_nothing() -> None:
    it = validator()
    assert it.validate([], 0) is None
    assert (it.accepted, it.rejected.total) == (0, 0)


def test_a_stamp_that_was_judged_does_not_lend_its_time_to_the_next() -> None:
    # The loop remembers the stamp before: these change it by every way there is.
    seven = "2026-08-19T20:51:30.0520001+00:00"
    bad = trade(timestamp="nonsense")
    off = trade(timestamp="2026-08-19T20:51:31.000+00:00", price=29547.3)
    stamps = [STAMP, seven, STAMP, seven, seven, STAMP]
    trades: list[WireTrade] = []
    for stamp in stamps:
        trades += [trade(timestamp=stamp), bad, off, trade(timestamp=stamp)]
    for _ in range(2):
        it = validator()
        for _ in range(2):
            batch = it.validate(trades, 0)
            assert batch is not None
            assert batch.ts_event == [parse_stamp(s) for s in stamps for _ in range(2)]


# --- the loop with its memory decides as a new validator does for each trade alone

STAMPS = st.one_of(
    st.sampled_from(
        [STAMP, "2026-08-19T20:51:30.053+00:00", "2026-08-19T20:51:31Z", "", "2026-08-19T20:51:30.052"]
    ),
    st.sampled_from(
        ["1970-01-01T00:00:00Z", "2026-08-19T20:51:30.0520001+00:00", "2026-08-19T15:51:30.052-05:00"]
    ),
    st.text("0123456789-:.TZ+", max_size=30),
)
PRICES = st.one_of(
    st.integers(118_000, 118_100).map(lambda ticks: ticks / 4),
    st.sampled_from([29547.1, 0.0, -5.0, 1e308, 1e9, math.nan, math.inf, 5e-324]),
    st.floats(),
)
TRADES = st.builds(
    trade,
    price=PRICES,
    timestamp=STAMPS,
    volume=st.integers(1, 50) | st.sampled_from([0, -1, 10**7, 2**64]),
    kind=st.sampled_from([0, 1, 2, None]),
    symbol_id=st.sampled_from(["F.US.MNQ", "F.US.MNQ", "F.US.MNQ", None, "F.US.MES"]),
    contract_id=st.sampled_from([MNQ, MNQ, MNQ, None, "CON.F.US.MNQ.Z26"]),
)


@given(st.lists(st.lists(TRADES, max_size=12), max_size=6))
@settings(max_examples=60)
def test_memory_and_batching_change_no_verdict(batches: list[list[WireTrade]]) -> None:
    it = validator()
    for number, trades in enumerate(batches):
        alone = [(validator(), t) for t in trades]
        expected: list[tuple[int, int, int, int]] = []
        for one, t in alone:
            got = columns(one.validate([t], number))
            if got is not None:
                expected.append((got[0][0], got[1][0], got[2][0], got[3][0]))
        before = it.rejected
        got = columns(it.validate(trades, number))
        assert ([] if got is None else list(zip(*got, strict=True))) == expected
        for reason in Reason:
            rose = getattr(it.rejected, reason.value) - getattr(before, reason.value)
            assert rose == sum(getattr(one.rejected, reason.value) for one, _ in alone)
    assert it.accepted + it.rejected.total == sum(map(len, batches))


@given(TRADES)
def test_what_is_let_through_is_exact(candidate: WireTrade) -> None:
    batch = validator().validate([candidate], 0)
    if batch is not None:
        assert Decimal(batch.ticks[0]) * Decimal("0.25") == Decimal(candidate.price)
        assert batch.ts_event == [parse_stamp(candidate.timestamp)]
        assert batch.volume == [candidate.volume]
        assert 1 <= candidate.volume <= LIMITS.trade_size_max


# --- bounds, construction, the decoder's refusals


def test_memory_is_bounded_and_the_last_rejected_are_kept() -> None:
    it = validator(rejections_kept=3)
    it.validate([trade(price=ticks / 4) for ticks in range(1, 10_001)], 0)
    it.validate([trade(price=-float(n)) for n in range(1, 100)], 9)
    assert it.accepted == 10_000
    assert len(it._ticks) <= 4096
    assert [r.text.split()[0] for r in it.rejections] == ["price=-97.0", "price=-98.0", "price=-99.0"]
    assert it.rejected.price_not_positive == 99


def test_what_was_rejected_is_kept_without_secrets() -> None:
    it = validator()
    it.validate(
        [trade(contract_id="access_token=abcdef0123456789"), trade(timestamp="Bearer abc.def\r\nX: y")], 0
    )
    shown = repr(it.rejections)
    assert "abcdef0123456789" not in shown
    assert "abc.def" not in shown
    assert "\\r" not in shown.replace("\\\\r", "")


def test_what_the_decoder_refused_is_counted_with_the_rest() -> None:
    it = validator()
    it.refuse(Reason.SCHEMA, "price: missing", 3, 5)
    it.validate([trade(volume=0)], 4)
    assert (it.rejected.schema, it.rejected.size, it.rejected.total) == (5, 1, 6)
    assert [(r.ts_recv, r.reason) for r in it.rejections] == [(3, Reason.SCHEMA), (4, Reason.SIZE)]


@pytest.mark.parametrize("contract", ["", "MNQ", "CON.F.US.MNQ.U26 ", "../../x"])
def test_it_is_for_a_contract_only(contract: str) -> None:
    with pytest.raises(ContractError):
        validator(contract)


@pytest.mark.parametrize("options", [{"trade_size_max": 0}, {"stamp_min_ns": 5, "stamp_max_ns": 4}])
def test_bounds_that_leave_nothing_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        validator(**options)


def test_the_yens_grid_is_exact_too() -> None:
    jpy = "CON.F.US.JY6.U26"
    it = validator(jpy, "0.0000005")
    batch = it.validate([trade(p, symbol_id=None, contract_id=jpy) for p in (0.0068245, 0.00682455, 5e-7)], 0)
    assert batch is not None
    assert batch.ticks == [13649, 1]
    assert it.rejected.off_grid == 1


# --- several lines


def at(ms: int, price: float = 20_000.0, volume: int = 1) -> WireTrade:
    return WireTrade(price, format_stamp(NS + ms * 1_000_000, 3), volume, 0, None, None)


def shown(batch: TradeBatch | None) -> list[tuple[int, float]]:
    """Milliseconds and price of each trade."""
    if batch is None:
        return []
    return [((ts - NS) // 10**6, ticks / 4) for ts, ticks in zip(batch.ts_event, batch.ticks, strict=True)]


def pair(**options: float) -> Validator:
    """Two lines, level with each other."""
    it = validator(**options)
    it.join(1)
    it.join(2)
    assert it.settle(2, 0) is None
    return it


def test_a_trade_of_two_lines_is_let_through_once_and_what_waits_comes_with_the_time_of_its_release() -> None:
    it = validator()
    it.join(1)
    assert shown(it.validate([at(1)], 10, line=1)) == [(1, 20_000)]
    it.join(2)
    assert not it.is_level(2)
    assert it.validate([at(2), at(3)], 11, line=2) is None
    assert (it.accepted, it.waiting, it.duplicates) == (1, 2, 0)
    assert shown(it.validate([at(2)], 12, line=1)) == [(2, 20_000)]
    assert shown(it.validate([at(3)], 13, line=1)) == [(3, 20_000)]
    released = it.validate([at(4)], 14, line=1)
    assert (it.is_level(2), it.waiting, it.duplicates) == (True, 0, 2)
    assert shown(released) == [(4, 20_000)]
    assert shown(it.validate([at(4), at(5)], 15, line=2)) == [(5, 20_000)]
    assert it.leave(1, 16) is None
    assert it.validate([at(5), at(6)], 17, line=1) is None
    assert (it.accepted, it.duplicates, it.rejected.total) == (5, 5, 0)
    assert shown(it.validate([at(6)], 18, line=2)) == [(6, 20_000)]


@pytest.mark.parametrize("how", ["settle", "leave"])
def test_what_waited_comes_as_a_batch_when_nothing_else_will_show_it(how: str) -> None:
    it = validator()
    it.join(1)
    it.join(2)
    it.validate([at(7), at(8)], 5, line=2)
    batch = it.settle(2, 6) if how == "settle" else it.leave(1, 6)
    assert batch is not None
    assert (shown(batch), batch.ts_recv, batch.contract_id) == ([(7, 20_000), (8, 20_000)], 6, MNQ)
    assert (it.accepted, it.waiting, it.is_level(2)) == (2, 0, True)


def test_a_caller_with_one_line_need_not_say_so() -> None:
    it = validator()
    assert shown(it.validate([at(1)] * 2, 0)) == [(1, 20_000)] * 2
    assert it.is_level(0)
    assert it.validate([at(1)], 0, line=3) is None
    assert (it.accepted, it.duplicates) == (2, 1)
    it.leave(0, 0)
    assert it.validate([at(2)], 0) is None
    it.join(4)
    assert shown(it.validate([at(2)], 0, line=4)) == [(2, 20_000)]


def test_a_far_price_that_comes_on_every_line_does_not_confirm_itself() -> None:
    it = pair(price_band=0.1, band_confirm=2)
    for line in (1, 2):
        it.validate([at(1), at(2, 30_000)], 0, line)
    assert (it.accepted, it.held, it.duplicates) == (1, 1, 2)
    it.join(3)
    it.validate([at(1), at(2, 30_000)], 0, 3)
    assert (it.accepted, it.held, it.duplicates, it.waiting) == (1, 1, 4, 0)
    assert it.validate([at(3), at(4)], 0, 1) is not None
    assert (it.held, it.rejected.price_band) == (0, 1)
    assert it.rejections[0].text == f"price=30000.0 volume=1 timestamp={NS + 2 * 10**6} ns"
    it.join(4)
    it.validate([at(2, 30_000), at(4)], 0, 4)
    assert (it.held, it.accepted, it.rejected.total) == (0, 3, 1)


def test_nor_does_one_that_is_sent_again_after_a_reconnect() -> None:
    it = validator(price_band=0.1, band_confirm=2)
    it.validate([at(1), at(2, 30_000)], 0)
    it.expect_replay()
    assert it.validate([at(1), at(2, 30_000)], 0) is None
    assert (it.held, it.accepted, it.rejected.replayed) == (1, 1, 2)
    it.validate([at(3), at(4)], 0)
    assert (it.held, it.rejected.price_band) == (0, 1)
    it.expect_replay()
    it.validate([at(2, 30_000), at(3), at(4), at(5)], 0)
    assert (it.held, it.accepted, it.rejected.replayed) == (0, 4, 5)


def test_what_is_rejected_is_rejected_on_each_line() -> None:
    it = pair()
    for line in (1, 2):
        it.validate([at(1, -1.0), at(2)], 0, line)
    assert (it.accepted, it.duplicates, it.rejected.price_not_positive) == (1, 1, 2)


def test_trades_sent_again_to_a_line_that_joins_another_are_duplicates() -> None:
    it = validator()
    it.join(1)
    it.validate([at(k) for k in range(100)], 0, 1)
    it.join(2)
    it.join(2)
    assert it.validate([at(k) for k in range(50, 100)], 0, 2) is None
    assert (it.duplicates, it.waiting) == (50, 0)
    assert it.leave(1, 0) is None
    assert shown(it.validate([at(100)], 0, 2)) == [(100, 20_000)]
    assert it.rejected.total == 0


def test_while_another_line_is_there_nothing_was_lost() -> None:
    it = pair()
    it.validate([at(1)], 0, 1)
    it.expect_replay()
    assert shown(it.validate([at(1)], 0, 1)) == [(1, 20_000)]
    assert it.rejected.total == 0


def test_after_a_break_each_line_has_its_own_end_of_what_is_sent_again() -> None:
    it = validator()
    it.join(1)
    had = [at(k) for k in range(20)]
    it.validate(had, 0, 1)
    it.leave(1, 0)
    it.expect_replay()
    it.join(2)
    it.join(2)
    assert it.validate(had[:5], 0, 2) is None
    assert it.rejected.replayed == 5
    it.join(3)
    assert it.validate([*had, at(21)], 0, 3) is None
    assert shown(it.validate([*had[5:], at(19), at(20), at(21), at(22)], 0, 2)) == [
        (19, 20_000), (20, 20_000), (21, 20_000), (22, 20_000)
    ]  # fmt: skip
    assert (it.rejected.total, it.accepted, it.waiting, it.is_level(3)) == (5, 24, 0, True)


class Service:
    """The true trades, and lines that bring them into one validator."""

    def __init__(self, truth: list[WireTrade]) -> None:
        self.truth = truth
        self.it = validator(price_band=0.1)
        self.out: list[tuple[int, int, int, int]] = []
        self.handed = self.published = self.joined = 0
        self.at: dict[int, int] = {}

    def join(self, repeated: int) -> None:
        self.joined += 1
        self.it.join(self.joined)
        self.at[self.joined] = max(0, self.published - repeated)

    def bring(self, line: int, n: int) -> None:
        new = self.truth[self.at[line] : self.at[line] + n]
        self.at[line] += len(new)
        self.published = max(self.published, self.at[line])
        self.handed += len(new)
        self.take(self.it.validate(new, 0, line))

    def leave(self, line: int) -> None:
        del self.at[line]
        self.take(self.it.leave(line, 0))

    def take(self, batch: TradeBatch | None) -> None:
        self.out += [] if batch is None else zip(*columns(batch) or (), strict=True)
        it = self.it
        assert it.accepted == len(self.out)
        assert self.handed == it.accepted + it.rejected.total + it.held + it.duplicates + it.waiting


@st.composite
def tapes(draw: st.DrawFn) -> list[WireTrade]:
    """Stamps do not fall; equal trades, bad ones, and prices outside the band."""
    prices = st.sampled_from([20_000.0] * 6 + [20_000.25, 30_000.0, 5_000.0, 20_000.1])
    parts = draw(st.lists(st.tuples(st.sampled_from([0, 0, 1]), prices), min_size=10, max_size=40))
    ms, tape = 0, []
    for later, price in parts:
        ms += later
        tape.append(at(ms, price))
    return tape


moves = st.lists(
    st.tuples(st.sampled_from(["bring", "bring", "join", "leave"]), st.integers(0, 3), st.integers(0, 10)),
    min_size=10,
    max_size=30,
)


@given(tapes(), moves)
@settings(max_examples=80)
def test_what_several_lines_bring_is_judged_as_if_it_came_on_one(
    tape: list[WireTrade], script: list[tuple[str, int, int]]
) -> None:
    service = Service(tape)
    service.join(0)
    for what, which, n in script:
        line = list(service.at)[which % len(service.at)]
        if what == "join" and len(service.at) < 3:
            service.join(n if n > 5 else 0)
        elif what == "leave" and any(service.it.is_level(other) for other in service.at if other != line):
            service.leave(line)
        else:
            service.bring(line, n)
    for line in list(service.at):
        service.bring(line, len(tape))
    one = validator(price_band=0.1)
    expected = columns(one.validate(tape, 0))
    assert service.out == ([] if expected is None else list(zip(*expected, strict=True)))
    assert service.it.held == one.held
