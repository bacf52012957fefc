"""The REST routes for orders, positions and half-turns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trio_projectx._errors import ContractError
from trio_projectx._events import Side
from trio_projectx.simulator import forms
from trio_projectx.simulator.book import Book
from trio_projectx.simulator.desk import Desk
from trio_projectx.simulator.envelope import Handler, envelope, posting
from trio_projectx.simulator.http import JsonBody, Response
from trio_projectx.simulator.orders import Bracket, Order, OrderType, Refused, Status
from trio_projectx.simulator.shown import order, position, trade
from trio_projectx.simulator.tickets import Changes, Ticket

_ACCOUNT_NOT_FOUND: Final = 1
_ORDER_REJECTED: Final = 2
_CONTRACT_NOT_FOUND: Final = 8
_CONTRACT_NOT_ACTIVE: Final = 9
#: What searches show: never the suspended legs of brackets, nor what is pending (seen live: only the stream does).
_SEARCHED: Final = (Status.OPEN, Status.FILLED, Status.CANCELLED, Status.REJECTED)
_PAGE_MAX: Final = 1000


class OrderRoutes:
    """``Order``, ``Position`` and ``Trade``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.guarded: dict[str, Handler] = {
            "/api/order/place": posting(forms.PlaceOrder, self._place),
            "/api/order/modify": posting(forms.ModifyOrder, self._modify),
            "/api/order/cancel": posting(forms.OneOrder, self._cancel),
            "/api/order/search": posting(forms.InWindow, self._search),
            "/api/order/searchopen": posting(forms.OfAccount, self._search_open),
            "/api/order/searchbyid": posting(forms.OneOrder, self._search_by_id),
            "/api/order/v2/query": posting(forms.QueryOrders, self._query),
            "/api/position/searchopen": posting(forms.OfAccount, self._positions),
            "/api/position/closecontract": posting(forms.OfContract, self._close),
            "/api/position/partialclosecontract": posting(forms.PartOfContract, self._close_part),
            "/api/trade/search": posting(forms.InWindow, self._trades),
        }

    def _book(self, account_id: int) -> Book:
        book = self._desk.books.get(account_id)
        if book is None:
            raise Refused(_ACCOUNT_NOT_FOUND)
        return book

    def _place(self, form: forms.PlaceOrder) -> Response:
        try:
            order_id = self._desk.place(self._book(form.account_id), self._ticket(form))
        except Refused as refused:
            return envelope(refused.code, refused.message, orderId=refused.order_id)
        return envelope(orderId=order_id)

    def _ticket(self, form: forms.PlaceOrder) -> Ticket:
        try:
            terms = self._desk.terms(form.contract_id)
        except ContractError:
            raise Refused(_CONTRACT_NOT_FOUND) from None
        if not self._desk.is_active(form.contract_id):
            raise Refused(_CONTRACT_NOT_ACTIVE)
        if form.side not in (0, 1):
            raise Refused(_ORDER_REJECTED, "Invalid order side.")
        return Ticket(
            terms=terms,
            type=form.type,
            side=Side(form.side),
            size=form.size,
            limit_price=form.limit_price,
            stop_price=form.stop_price,
            trail_price=form.trail_price,
            tag=form.custom_tag,
            stop_loss=_bracket(form.stop_loss_bracket),
            take_profit=_bracket(form.take_profit_bracket),
        )

    def _modify(self, form: forms.ModifyOrder) -> Response:
        changes = Changes(
            size=form.size,
            limit_price=form.limit_price,
            stop_price=form.stop_price,
            trail_price=form.trail_price,
        )
        try:
            self._desk.modify(self._book(form.account_id), form.order_id, changes)
        except Refused as refused:
            return envelope(refused.code, refused.message)
        return envelope()

    def _cancel(self, form: forms.OneOrder) -> Response:
        try:
            self._desk.cancel(self._book(form.account_id), form.order_id)
        except Refused as refused:
            return envelope(refused.code, refused.message)
        return envelope()

    def _search(self, form: forms.InWindow) -> Response:
        try:
            book = self._book(form.account_id)
        except Refused as refused:
            return envelope(refused.code, orders=None)
        window = _window(form)
        found = [
            each for each in book.orders.values() if each.status in _SEARCHED and each.created_ns in window
        ]
        return envelope(orders=_orders(found))

    def _search_open(self, form: forms.OfAccount) -> Response:
        try:
            book = self._book(form.account_id)
        except Refused as refused:
            return envelope(refused.code, orders=None)
        return envelope(orders=_orders(each for each in book.orders.values() if each.status is Status.OPEN))

    def _search_by_id(self, form: forms.OneOrder) -> Response:
        book = self._desk.books.get(form.account_id)
        found = None if book is None else book.orders.get(form.order_id)
        # SearchOrderById has one code only: 1, OrderNotFound.
        return envelope(1, order=None) if found is None else envelope(order=order(found))

    def _query(self, form: forms.QueryOrders) -> Response:
        try:
            book = self._book(form.filter.account_id)
        except Refused as refused:
            return envelope(refused.code, orders=None, totalCount=None)
        found = _matching(book, form.filter)
        found.sort(key=lambda each: (each.created_ns, each.id) if form.sort_by == 0 else (each.id, 0))
        if form.sort_direction == 1:
            found.reverse()
        first = max(0, form.page_offset)
        page = found[first : first + max(0, min(_PAGE_MAX, form.page_size))]
        return envelope(orders=_orders(page), totalCount=len(found) if form.include_total_count else None)

    def _positions(self, form: forms.OfAccount) -> Response:
        try:
            book = self._book(form.account_id)
        except Refused as refused:
            return envelope(refused.code, positions=None)
        return envelope(positions=[position(held) for held in book.ledger.positions.values()])

    def _close(self, form: forms.OfContract) -> Response:
        return self._closed(form.account_id, form.contract_id, None, pending=6, wrong=5)

    def _close_part(self, form: forms.PartOfContract) -> Response:
        return self._closed(form.account_id, form.contract_id, form.size, pending=7, wrong=5)

    def _closed(
        self, account_id: int, contract_id: str, size: int | None, *, pending: int, wrong: int
    ) -> Response:
        try:
            book = self._book(account_id)
            self._desk.close(book, contract_id, size, pending=pending, wrong=wrong)
        except Refused as refused:
            return envelope(refused.code, refused.message)
        return envelope()

    def _trades(self, form: forms.InWindow) -> Response:
        try:
            book = self._book(form.account_id)
        except Refused as refused:
            return envelope(refused.code, trades=None)
        window = _window(form)
        return envelope(trades=[trade(fill) for fill in book.fills.values() if fill.created_ns in window])


def _bracket(form: forms.BracketForm | None) -> Bracket | None:
    if form is None:
        return None
    try:
        return Bracket(form.ticks, OrderType(form.type))
    except ValueError:
        raise Refused(_ORDER_REJECTED, "Invalid bracket type.") from None


def _window(form: forms.InWindow) -> range:
    """Return the instants from start up to, without, end; without a start there are none."""
    if form.start_timestamp is None:
        return range(0)
    end_ns = 1 << 63 if form.end_timestamp is None else forms.instant(form.end_timestamp)
    return range(forms.instant(form.start_timestamp), end_ns)


def _matching(book: Book, wanted: forms.OrderFilter) -> list[Order]:
    after = -(1 << 63) if wanted.created_after is None else forms.instant(wanted.created_after)
    before = 1 << 63 if wanted.created_before is None else forms.instant(wanted.created_before)
    statuses = set(_SEARCHED if not wanted.statuses else wanted.statuses)
    return [
        each
        for each in book.orders.values()
        if each.status in statuses
        and wanted.contract_id in (None, each.terms.contract_id)
        and after <= each.created_ns < before
    ]


def _orders(found: Iterable[Order]) -> JsonBody:
    return [order(each) for each in found]
