"""An account's money and positions: fills in, half-turns, profit and averages out. Pure and exact."""

from __future__ import annotations

from fractions import Fraction

import attrs

from trio_projectx.simulator.orders import COMMISSION, AccountState, Fill, Order, Position, Terms


@attrs.define(slots=True, eq=False)
class Ids:
    """Numbers for everything; orders and trades have more than 32 bits on the real service, positions not."""

    order: int
    trade: int
    position: int

    def next_order(self) -> int:
        """Return the number of a new order."""
        self.order += 1
        return self.order

    def next_trade(self) -> int:
        """Return the number of a new half-turn."""
        self.trade += 1
        return self.trade

    def next_position(self) -> int:
        """Return the number of a new position."""
        self.position += 1
        return self.position


@attrs.define(slots=True, eq=False)
class Ledger:
    """Money and positions of one account.

    At any time: start money + what was sold - what was bought + the signed basis of what is held = ``cash`` +
    all fees and commissions, exactly.
    """

    account_id: int
    name: str
    ids: Ids
    cash: int
    positions: dict[str, Position] = attrs.Factory(dict[str, Position])
    """Open positions by contract."""

    @property
    def state(self) -> AccountState:
        """The account as it stands; with nothing left it may not trade any more."""
        return AccountState(self.account_id, self.name, self.cash, self.cash > 0)

    @property
    def margin(self) -> int:
        """What open positions take."""
        return sum(abs(held.quantity) * held.terms.margin for held in self.positions.values())

    def quantity(self, contract_id: str) -> int:
        """Return what is held of a contract: above 0 is long."""
        held = self.positions.get(contract_id)
        return 0 if held is None else held.quantity

    def apply(self, order: Order, size: int, price: int, ts_ns: int) -> tuple[list[Fill], Position]:
        """Fill ``size`` of ``order`` at ``price``; return its half-turns (closing first) and the position then."""
        contract_id, signed = order.terms.contract_id, order.direction * size
        held = self.positions.get(contract_id)
        fills: list[Fill] = []
        if held is not None and held.quantity * signed < 0:
            closing = min(size, abs(held.quantity))
            held, profit = _reduced(held, closing, price)
            fills.append(self._fill(order, closing, price, ts_ns, profit))
            size -= closing
        if size:
            fresh = held is None or held.quantity == 0
            held = self._opened(order.terms, ts_ns) if held is None or fresh else held
            held = _increased(held, order.direction * size, price)
            fills.append(self._fill(order, size, price, ts_ns, None))
        assert held is not None
        if held.quantity:
            self.positions[contract_id] = held
        else:
            self.positions.pop(contract_id, None)
        return fills, held

    def _fill(self, order: Order, size: int, price: int, ts_ns: int, profit: int | None) -> Fill:
        fees, commissions = order.terms.fee * size, COMMISSION * size
        self.cash += (profit or 0) - fees - commissions
        return Fill(
            id=self.ids.next_trade(),
            account_id=self.account_id,
            terms=order.terms,
            created_ns=ts_ns,
            price=price,
            profit=profit,
            fees=fees,
            commissions=commissions,
            side=order.side,
            size=size,
            order_id=order.id,
        )

    def _opened(self, terms: Terms, ts_ns: int) -> Position:
        return Position(
            id=self.ids.next_position(),
            account_id=self.account_id,
            terms=terms,
            created_ns=ts_ns,
            quantity=0,
            basis=0,
            average=0.0,
        )


def _increased(held: Position, signed: int, price: int) -> Position:
    quantity = held.quantity + signed
    basis = held.basis + abs(signed) * price * held.terms.tick
    ticks = Fraction(basis, abs(quantity) * held.terms.tick)
    average = float(ticks * held.terms.grid.num / held.terms.grid.den)
    return attrs.evolve(held, quantity=quantity, basis=basis, average=average)


def _reduced(held: Position, closing: int, price: int) -> tuple[Position, int]:
    """Close so much at ``price``; return what is left, and the profit. The average stays."""
    size = abs(held.quantity)
    share = held.basis if closing == size else round(Fraction(held.basis * closing, size))
    worth = closing * price * held.terms.tick
    direction = 1 if held.quantity > 0 else -1
    left = attrs.evolve(held, quantity=held.quantity - direction * closing, basis=held.basis - share)
    return left, direction * (worth - share)
