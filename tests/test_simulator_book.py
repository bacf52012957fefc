from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from simulator_book import CASH, CONTRACT, TERMS, new_book, price, ticket

from trio_projectx._events import Side
from trio_projectx.simulator.book import POSITION_MAX, Book
from trio_projectx.simulator.orders import (
    ALIVE,
    MONEY,
    AccountState,
    Bracket,
    Fill,
    Order,
    OrderType,
    Position,
    Refused,
    Status,
    UserEvent,
)

BUY, SELL = Side.BUY, Side.SELL
LOSS, PROFIT = Bracket(-10, OrderType.STOP), Bracket(20, OrderType.LIMIT)


def told(events: list[UserEvent]) -> list[tuple]:
    shown: list[tuple] = []
    for event in events:
        match event.entity:
            case Order(id=number, status=status):
                shown.append(("order", number, int(status)))
            case Position(quantity=quantity):
                shown.append(("position", quantity, event.action))
            case Fill(price=at, size=size):
                shown.append(("trade", at, size))
            case AccountState():
                shown.append(("account",))
    return shown


def trade(book: Book, ticks: int, ts: int = 10, aggressor: Side = Side.UNKNOWN) -> list[tuple]:
    book.on_trade(CONTRACT, ts, ticks, aggressor.value)
    return told(book.take_events())


def test_a_market_order_is_told_in_the_documented_order() -> None:
    book = new_book()
    order_id = book.place(ticket(2, BUY, 2), 5)
    assert told(book.take_events()) == [("order", order_id, 6)]
    assert trade(book, 100, ts=4) == []  # what was traded before it came does not concern it
    assert trade(book, 100) == [
        ("trade", 100, 2), ("order", order_id, 2), ("position", 2, 1), ("account",),
    ]  # fmt: skip
    order = book.orders[order_id]
    assert (order.filled, order.fill_price, order.updated_ns) == (2, 100, 10)
    assert trade(book, 100) == []


def test_an_order_beyond_what_may_be_held_is_rejected_after_it_was_taken() -> None:
    book = new_book()
    order_id = book.place(ticket(2, BUY, POSITION_MAX + 1), 5)
    assert told(book.take_events()) == [("order", order_id, 6), ("order", order_id, 5)]
    assert trade(book, 100) == []


def test_a_limit_rests_and_can_be_changed_and_cancelled() -> None:
    book = new_book()
    order_id = book.place(ticket(1, BUY, limit_price=price(100)), 5)
    assert told(book.take_events()) == [("order", order_id, 6), ("order", order_id, 1)]
    assert trade(book, 101, aggressor=SELL) == []
    assert trade(book, 100, aggressor=SELL) == []
    assert trade(book, 99) == [("trade", 100, 1), ("order", order_id, 2), ("position", 1, 1), ("account",)]
    other = book.place(ticket(1, BUY, limit_price=price(100)), 5)
    book.cancel(other, 7)
    book.take_events()
    assert trade(book, 1) == []
    assert (book.orders[other].status, book.orders[other].updated_ns) == (Status.CANCELLED, 7)
    for number, code in ((other, 3), (order_id, 3)):
        with pytest.raises(Refused) as refused:
            book.cancel(number, 8)
        assert refused.value.code == code
    pending = book.place(ticket(2), 5)
    with pytest.raises(Refused) as refused:
        book.cancel(pending, 8)
    assert refused.value.code == 4


def bracketed(book: Book, side: Side = BUY, kind: int = 2, **fields: object) -> int:
    loss, profit = (
        (LOSS, PROFIT) if side is BUY else (Bracket(10, OrderType.STOP), Bracket(-20, OrderType.LIMIT))
    )
    return book.place(ticket(kind, side, 3, stop_loss=loss, take_profit=profit, tag="t", **fields), 5)


def test_the_life_of_a_bracket() -> None:
    book = new_book()
    parent = bracketed(book)
    loss, profit = parent + 1, parent + 2
    assert told(book.take_events()) == [("order", loss, 8), ("order", parent, 6), ("order", profit, 8)]
    legs = [book.orders[loss], book.orders[profit]]
    assert [leg.tag for leg in legs] == ["t-SL", "t-TP"]
    assert [leg.parent_id for leg in legs] == [parent, parent]
    assert [leg.linked_id for leg in legs] == [None, loss]
    assert [(leg.side, leg.limit, leg.stop, leg.distance) for leg in legs] == [
        (SELL, None, None, -10), (SELL, None, None, 20),
    ]  # fmt: skip
    assert trade(book, 100) == [
        ("trade", 100, 3), ("order", parent, 2), ("position", 3, 1), ("account",), ("order", profit, 1),
        ("order", loss, 1),
    ]  # fmt: skip
    assert (book.orders[profit].limit, book.orders[loss].stop) == (120, 90)
    assert trade(book, 119) == []
    assert trade(book, 121) == [
        ("trade", 120, 3), ("order", profit, 2), ("position", 0, 2), ("account",), ("order", loss, 3),
    ]  # fmt: skip
    assert trade(book, 80) == []


def test_the_other_leg_of_a_short() -> None:
    book = new_book()
    parent = bracketed(book, SELL)
    trade(book, 100)
    assert (book.orders[parent + 1].stop, book.orders[parent + 2].limit) == (110, 80)
    assert trade(book, 113)[:2] == [("trade", 113, 3), ("order", parent + 1, 2)]
    assert book.orders[parent + 2].status is Status.CANCELLED


def test_legs_go_with_a_parent_that_is_cancelled_or_rejected() -> None:
    book = new_book()
    parent = bracketed(book, kind=1, limit_price=price(100))
    book.cancel(parent, 6)
    assert [book.orders[parent + at].status for at in range(3)] == [Status.CANCELLED] * 3
    book = new_book()
    parent = book.place(ticket(2, BUY, POSITION_MAX + 1, stop_loss=LOSS), 5)
    assert [book.orders[parent + at].status for at in range(2)] == [Status.REJECTED, Status.CANCELLED]


def test_legs_go_with_the_position() -> None:
    book = new_book()
    parent = bracketed(book)
    waiting = bracketed_limit = book.place(ticket(1, BUY, limit_price=price(50), stop_loss=LOSS), 5)
    trade(book, 100)
    book.place(ticket(2, SELL, 3, is_close=True), 11)
    trade(book, 101, 12)
    assert [book.orders[parent + at].status for at in (1, 2)] == [Status.CANCELLED] * 2
    assert book.orders[waiting].status is Status.OPEN
    assert book.orders[bracketed_limit + 1].status is Status.SUSPENDED


def test_a_closing_order_never_opens() -> None:
    book = new_book()
    parent = bracketed(book)
    trade(book, 100)
    assert not book.is_closing(CONTRACT)
    close = book.place(ticket(2, SELL, 3, is_close=True), 11)
    assert book.is_closing(CONTRACT)
    # The stop is touched by the very trade that would fill the closing order; the stop came first.
    trade(book, 80, 12)
    assert book.orders[parent + 1].status is Status.FILLED
    assert book.orders[close].status is Status.CANCELLED
    assert book.ledger.positions == {}


def test_tags_are_unique_for_ever() -> None:
    book = new_book()
    book.place(ticket(2, tag="a"), 1)
    for tag in ("a", "a-SL", "t"):
        if tag == "t":
            bracketed(book)
        elif tag == "a-SL":
            book.place(ticket(2, tag=tag), 1)
        with pytest.raises(Refused, match="Custom tag"):
            book.place(ticket(2, tag=tag), 1)
    with pytest.raises(Refused, match="Custom tag"):
        book.place(ticket(2, tag="t-TP"), 1)
    book.place(ticket(2, tag="u-TP"), 1)
    with pytest.raises(Refused, match="Custom tag"):  # a leg of it would have the same
        book.place(ticket(2, tag="u", take_profit=PROFIT), 1)


def test_what_the_account_does_not_bear() -> None:
    book = new_book(250 * MONEY)
    with pytest.raises(Refused) as refused:
        book.place(ticket(2, size=3), 1)
    assert refused.value.code == 3
    book.place(ticket(2, size=2), 1)
    trade(book, 100_000)
    with pytest.raises(Refused) as refused:
        book.place(ticket(2), 1)
    assert refused.value.code == 3
    book.place(ticket(2, SELL, 2), 1)  # less is always possible
    trade(book, 90_000)
    with pytest.raises(Refused) as refused:
        book.place(ticket(2), 1)
    assert refused.value.code == 4
    assert not book.orders[101].is_close


def test_a_bracket_in_the_wrong_mode_changes_nothing_but_takes_a_number() -> None:
    book = new_book(auto_oco=False)
    with pytest.raises(Refused) as refused:
        bracketed(book)
    assert refused.value.order_id == 101
    assert book.orders == {}
    assert book.take_events() == []
    assert book.place(ticket(2), 1) == 102


def test_what_is_over_is_forgotten_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_projectx.simulator.book.KEPT", 50)
    book = new_book()
    resting = book.place(ticket(1, BUY, limit_price=price(1)), 1)
    for _ in range(200):
        book.place(ticket(2), 1)
        book.place(ticket(2, SELL), 1)
        trade(book, 100)
    assert len(book.orders) <= 52
    assert len(book.fills) <= 52
    assert resting in book.orders


ticks = st.integers(80, 120)


class Trading(RuleBasedStateMachine):
    """Anything in any order; what must hold does."""

    def __init__(self) -> None:
        super().__init__()
        self.book = new_book()
        self.now = 0
        self.fills: list[Fill] = []
        self.seen: dict[int, list[Status]] = {}

    def take(self) -> None:
        for event in self.book.take_events():
            if isinstance(event.entity, Fill):
                self.fills.append(event.entity)
            elif isinstance(event.entity, Order):
                self.seen.setdefault(event.entity.id, []).append(event.entity.status)

    @rule(
        side=st.sampled_from([BUY, SELL]),
        size=st.integers(1, 4),
        bracket=st.booleans(),
        kind=st.sampled_from([1, 2, 4, 5, 6]),
        at=ticks,
    )
    def place(self, side: Side, size: int, bracket: bool, kind: int, at: int) -> None:
        kind = 7 if kind == 6 and side is SELL else kind
        sign = 1 if side is BUY else -1
        legs = {
            "stop_loss": Bracket(-6 * sign, OrderType.TRAILING_STOP if size == 1 else OrderType.STOP),
            "take_profit": Bracket(9 * sign, OrderType.LIMIT),
        }  # fmt: skip
        made = ticket(
            kind,
            side,
            size,
            limit_price=price(at),
            stop_price=price(at),
            trail_price=price(5),
            **(legs if bracket else {}),
        )
        self.book.place(made, self.now)
        self.take()

    @rule(step=st.integers(0, 2), at=ticks, aggressor=st.sampled_from([-1, 0, 1]))
    def trade(self, step: int, at: int, aggressor: int) -> None:
        self.now += step
        self.book.on_trade(CONTRACT, self.now, at, aggressor)
        self.take()

    @rule(pick=st.integers(0, 1000))
    def cancel(self, pick: int) -> None:
        if self.book.orders:
            number = sorted(self.book.orders)[pick % len(self.book.orders)]
            try:
                self.book.cancel(number, self.now)
            except Refused:
                assert self.book.orders[number].status not in (Status.OPEN, Status.SUSPENDED)
            self.take()

    @rule()
    def close(self) -> None:
        held = self.book.ledger.quantity(CONTRACT)
        if held and not self.book.is_closing(CONTRACT):
            self.book.place(ticket(2, SELL if held > 0 else BUY, abs(held), is_close=True), self.now)
            self.take()

    @invariant()
    def the_position_is_the_sum_of_the_fills(self) -> None:
        held = sum(fill.size if fill.side is BUY else -fill.size for fill in self.fills)
        assert self.book.ledger.quantity(CONTRACT) == held

    @invariant()
    def money_is_conserved(self) -> None:
        position = self.book.ledger.positions.get(CONTRACT)
        basis = 0 if position is None else position.basis * (1 if position.quantity > 0 else -1)
        turned = sum(
            fill.price * fill.size * TERMS.tick * (1 if fill.side is BUY else -1) for fill in self.fills
        )
        costs = sum(fill.fees + fill.commissions for fill in self.fills)
        assert CASH - turned + basis == self.book.ledger.cash + costs
        assert self.book.ledger.cash == CASH + sum(fill.profit or 0 for fill in self.fills) - costs

    @invariant()
    def of_two_legs_one_at_most_is_filled_and_none_outlives_it(self) -> None:
        for order in self.book.orders.values():
            if order.linked_id is None:
                continue
            states = {order.status, self.book.orders[order.linked_id].status}
            if Status.FILLED in states:
                assert states == {Status.FILLED, Status.CANCELLED}

    @invariant()
    def legs_wait_for_their_parent_only(self) -> None:
        for order in self.book.orders.values():
            if order.parent_id is not None and order.status is Status.SUSPENDED:
                assert self.book.orders[order.parent_id].status in (Status.OPEN, Status.PENDING)

    @invariant()
    def an_order_ends_once_and_is_filled_as_told(self) -> None:
        by_order = Counter(fill.order_id for fill in self.fills for _ in range(fill.size))
        for number, order in self.book.orders.items():
            ended = [status for status in self.seen[number] if status not in ALIVE]
            assert len(ended) <= 1
            assert (order.status in ALIVE) == (not ended)
            assert by_order[number] == order.filled
            assert (order.status is Status.FILLED) == (order.filled > 0)


Trading.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestTrading = Trading.TestCase


@given(st.lists(st.tuples(ticks, st.sampled_from([-1, 0, 1])), max_size=30))
@settings(max_examples=20)
def test_the_same_trades_do_the_same(trades: list[tuple[int, int]]) -> None:
    def run() -> list[UserEvent]:
        book = new_book()
        bracketed(book)
        book.place(ticket(5, SELL, trail_price=price(4)), 0)
        book.place(ticket(6), 0)
        for at, (where, aggressor) in enumerate(trades):
            book.on_trade(CONTRACT, at + 5, where, aggressor)
        return book.take_events()

    assert run() == run()
