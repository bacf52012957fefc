from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_book import CASH, CONTRACT, TERMS, new_order

from trio_projectx._events import Side
from trio_projectx.simulator.ledger import Ids, Ledger
from trio_projectx.simulator.orders import COMMISSION, MONEY, OrderType, Terms
from trio_projectx.simulator.products import available

fills = st.lists(
    st.tuples(st.sampled_from([Side.BUY, Side.SELL]), st.integers(1, 7), st.integers(100_000, 100_400)), max_size=40
)  # fmt: skip


def ledger() -> Ledger:
    return Ledger(7, "PRAC", Ids(1, 1, 1), CASH)


@given(fills)
def test_money_and_positions_are_conserved_exactly(sequence: list[tuple[Side, int, int]]) -> None:
    made, held, turned, costs = ledger(), 0, 0, 0
    for side, size, price in sequence:
        order = new_order(OrderType.MARKET, side)
        halves, position = made.apply(order, size, price, 1)
        held += order.direction * size
        turned += order.direction * size * price * TERMS.tick
        costs += sum(half.fees + half.commissions for half in halves)
        assert position.quantity == held == made.quantity(CONTRACT)
        assert sum(half.size for half in halves) == size
        assert position.basis >= 0
        # What was paid and not got back is what is held, at cost; the rest is profit in cash.
        basis = position.basis if held > 0 else -position.basis
        assert CASH - turned + basis == made.cash + costs
        assert (held == 0) == (CONTRACT not in made.positions) == (position.basis == 0)
    assert costs == sum(size for _, size, _ in sequence) * (TERMS.fee + COMMISSION)


def test_half_turns_profit_and_average() -> None:
    made = ledger()

    def fill(side: Side, size: int, price: int) -> tuple[list[tuple[int, int | None]], float, int]:
        halves, position = made.apply(new_order(OrderType.MARKET, side), size, price, 5)
        return [(half.size, half.profit) for half in halves], position.average, position.id

    tick = TERMS.tick
    assert fill(Side.BUY, 2, 100_000) == ([(2, None)], 25_000.0, 2)
    assert fill(Side.BUY, 2, 100_002) == ([(2, None)], 25_000.25, 2)
    assert fill(Side.SELL, 1, 100_005) == ([(1, 4 * tick)], 25_000.25, 2)  # the average stays
    # Through nothing to the other side: a closing half-turn, then an opening one of a new position.
    assert fill(Side.SELL, 5, 100_000) == ([(3, -3 * tick), (2, None)], 25_000.0, 3)
    assert fill(Side.BUY, 2, 99_990) == ([(2, 20 * tick)], 25_000.0, 3)
    assert made.positions == {}
    assert made.cash == CASH + 21 * tick - 12 * (TERMS.fee + COMMISSION)


@pytest.mark.parametrize("listing", available(1_787_172_660_000_000_000), ids=lambda one: one.contract_id)
def test_the_money_of_a_tick_is_exact_for_every_product(listing) -> None:  # type: ignore[no-untyped-def]
    assert Terms.of(listing).tick / MONEY == listing.tick_value


def test_what_margin_is_taken_and_when_an_account_is_done() -> None:
    made = Ledger(7, "PRAC", Ids(1, 1, 1), 10 * MONEY)
    made.apply(new_order(OrderType.MARKET, Side.SELL), 3, 100_000, 1)
    assert made.margin == 3 * TERMS.margin
    assert made.state.can_trade
    made.apply(new_order(OrderType.MARKET, Side.BUY), 3, 100_010, 1)
    assert not made.state.can_trade
    assert made.margin == 0
