from __future__ import annotations

import pytest
from simulator_book import new_order, price, ticket

from trio_projectx._events import Side
from trio_projectx.simulator.orders import Bracket, OrderType, Refused
from trio_projectx.simulator.tickets import NO_AUTO_OCO, Changes, Prices, amended, check

LOSS, PROFIT = Bracket(-10, OrderType.STOP), Bracket(20, OrderType.LIMIT)


@pytest.mark.parametrize(
    ("made", "prices"),
    [
        (ticket(2), Prices()), (ticket(1, limit_price=price(100_000)), Prices(limit=100_000)),
        (ticket(4, stop_price=price(7)), Prices(stop=7)), (ticket(5, trail_price=2.5), Prices(distance=10)),
        (ticket(6), Prices()), (ticket(7, Side.SELL), Prices()),
        (ticket(2, stop_loss=LOSS, take_profit=PROFIT), Prices()),
        (ticket(2, Side.SELL, stop_loss=Bracket(10, OrderType.TRAILING_STOP)), Prices()),
        (ticket(2, limit_price=0.1), Prices()),  # a price that the type does not have is not looked at
    ],
)  # fmt: skip
def test_good_tickets(made, prices: Prices) -> None:  # type: ignore[no-untyped-def]
    assert check(made, auto_oco=True) == prices


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (ticket(0), "type"), (ticket(3), "type"), (ticket(8), "type"), (ticket(2, size=0), "size"),
        (ticket(2, size=-1), "size"), (ticket(2, size=10**6), "size"), (ticket(1), "limit price"),
        (ticket(1, limit_price=25_000.1), "limit price"), (ticket(1, limit_price=0), "limit price"),
        (ticket(1, limit_price=-5), "limit price"), (ticket(4), "stop price"), (ticket(5), "trail price"),
        (ticket(6, Side.SELL), "side"), (ticket(7, Side.BUY), "side"),
        (ticket(2, stop_loss=Bracket(10, OrderType.STOP)), "stop loss. Ticks must be less than zero when going long"),
        (ticket(2, stop_loss=Bracket(0, OrderType.STOP)), "stop loss"),
        (ticket(2, Side.SELL, stop_loss=LOSS), "greater than zero when going short"),
        (ticket(2, stop_loss=Bracket(-10, OrderType.LIMIT)), "stop loss"),
        (ticket(2, take_profit=Bracket(-20, OrderType.LIMIT)), "take profit. Ticks must be greater"),
        (ticket(2, take_profit=Bracket(20, OrderType.STOP)), "take profit"),
        (ticket(2, take_profit=Bracket(0, OrderType.LIMIT)), "take profit"),
    ],
)  # fmt: skip
def test_bad_tickets_are_refused_with_a_sentence(made, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Refused) as refused:
        check(made, auto_oco=True)
    assert refused.value.code == 2
    assert says in (refused.value.message or "")
    assert refused.value.order_id is None


def test_brackets_need_the_accounts_mode_and_an_id_is_given_all_the_same() -> None:
    with pytest.raises(Refused) as refused:
        check(ticket(2, stop_loss=LOSS), auto_oco=False)
    assert (refused.value.code, refused.value.message) == (2, NO_AUTO_OCO)
    assert refused.value.order_id is not None
    assert check(ticket(2), auto_oco=False) == Prices()


def test_changes() -> None:
    limit = new_order(OrderType.LIMIT, Side.BUY, limit=100)
    assert amended(limit, Changes()) == limit
    assert amended(limit, Changes(size=4, limit_price=price(90))).limit == 90
    assert amended(limit, Changes(stop_price=price(90))) == limit
    trailing = new_order(OrderType.TRAILING_STOP, Side.SELL, stop=100, distance=5)
    changed = amended(trailing, Changes(stop_price=price(98), trail_price=price(7)))
    assert (changed.stop, changed.distance) == (98, 7)
    for wrong in (Changes(size=0), Changes(limit_price=0.1), Changes(limit_price=-1)):
        with pytest.raises(Refused) as refused:
            amended(limit, wrong)
        assert refused.value.code == 3
