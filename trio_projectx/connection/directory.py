"""From what a user writes ("MNQ", "ES", a contract id) to one contract and its price grid.

A full id of a product in the tick table needs no request. A ticker or product is looked up by the service's
search, whose answer is fuzzy ("ES" finds EP, MES, FVA, ...; GATEWAY.md section 3), so that only an exact match of
the product segment counts. Only where the service has no search at all is the front month assumed by rule, and
told.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from typing import Final

import attrs

from trio_projectx._errors import ConfigError, ContractError, GatewayError, ProtocolError
from trio_projectx._logs import fields
from trio_projectx._redact import escape
from trio_projectx.connection.auth import TokenSource
from trio_projectx.connection.rest import RestClient, WireContract
from trio_projectx.market import ContractId, PriceGrid, Product, find_product, front_month

_log = logging.getLogger("trio_projectx")
_NO_SUCH_ROUTE: Final = (404, 405)


@attrs.frozen(slots=True)
class Instrument:
    """One contract and the grid of its prices."""

    contract_id: str
    grid: PriceGrid


@attrs.frozen(slots=True)
class ContractDirectory:
    """Resolves contracts; asks the service at most one thing each time."""

    rest: RestClient = attrs.field(repr=False)
    tokens: TokenSource
    wall_clock: Callable[[], int]

    async def resolve(self, text: str) -> Instrument:
        """Return the contract that ``text`` means.

        A token that has expired meanwhile is renewed once.

        :raises ContractError: if it is malformed, or neither the table nor the service knows it.
        :raises ProtocolError: if the service answers with another contract, or a tick size that is none.
        :raises TrioProjectXError: as `RestClient`, where the service has to be asked.
        """
        if not isinstance(text, str):
            raise ContractError(f"a contract is named by a string such as 'MNQ', not {type(text).__name__}")
        if text.startswith("CON."):
            return await self._by_id(ContractId.parse(text))
        return await self._active(find_product(text))

    async def describe(self, text: str) -> WireContract:
        """Return what the service itself says of the contract that ``text`` means; it is always asked.

        :raises ContractError: as `resolve`, and where only the table knows it.
        """
        if not isinstance(text, str):
            raise ContractError(f"a contract is named by a string such as 'MNQ', not {type(text).__name__}")
        if not text.startswith("CON."):
            product = find_product(text)
            return _only(await self._search(product), product)
        contract = ContractId.parse(text)
        found = await self._described(str(contract))
        if found is None:
            raise ContractError(f"the service does not know {contract}")
        if found.id != str(contract):
            raise ProtocolError(f"the service was asked for {contract} and described {escape(found.id, 40)}")
        return found

    async def _by_id(self, contract: ContractId) -> Instrument:
        try:
            return Instrument(str(contract), find_product(contract.product).grid)
        except ContractError:  # not in the table: ask
            found = await self._described(str(contract))
        if found is None or found.tickSize is None:
            raise ContractError(f"the service does not know {contract}, nor does the tick table here")
        if found.id != str(contract):
            raise ProtocolError(f"the service was asked for {contract} and described {escape(found.id, 40)}")
        return Instrument(found.id, _grid(found.id, found.tickSize))

    async def _described(self, contract_id: str) -> WireContract | None:
        async def ask(token: str) -> WireContract | None:
            return await self.rest.contract(contract_id, token=token)

        return await self.tokens.using(ask)

    async def _active(self, product: Product) -> Instrument:
        try:
            found = await self._search(product)
        except GatewayError as exc:
            if exc.code not in _NO_SUCH_ROUTE:
                raise
            return self._assumed(product)
        return _instrument(_only(found, product), product)

    async def _search(self, product: Product) -> list[WireContract]:
        async def ask(token: str) -> list[WireContract]:
            return await self.rest.search_contracts(product.ticker or product.code, live=False, token=token)

        found = await self.tokens.using(ask)
        active = {c.id: c for c in found if c.activeContract and _product_of(c.id) == product.code}
        return list(active.values())

    def _assumed(self, product: Product) -> Instrument:
        today = datetime.datetime.fromtimestamp(self.wall_clock() // 1_000_000_000, datetime.UTC).date()
        contract = front_month(product.code, today)
        _log.warning(
            "the service has no contract search; assuming that %s means %s",
            product.code,
            contract,
            extra=fields("contract_assumed", contract=str(contract)),
        )
        return Instrument(str(contract), product.grid)


def _only(found: list[WireContract], product: Product) -> WireContract:
    if not found:
        raise ContractError(
            f"the service lists no active contract of {product.code}; give a full contract id"
        )
    if len(found) > 1:
        ids = ", ".join(escape(c.id, 40) for c in found)
        raise ContractError(f"the service lists several active contracts of {product.code}: {ids}; name one")
    return found[0]


def _instrument(found: WireContract, product: Product) -> Instrument:
    # The service's own tick size wins over the table's: it is the newer fact.
    return Instrument(found.id, product.grid if found.tickSize is None else _grid(found.id, found.tickSize))


def _grid(contract_id: str, tick_size: float) -> PriceGrid:
    try:
        return PriceGrid.from_tick_size(tick_size)
    except ConfigError as exc:  # no option of the user's, as that error would say
        raise ProtocolError(f"the service's tick size of {contract_id} is none: {exc}") from exc


def _product_of(contract_id: str) -> str | None:
    try:
        return ContractId.parse(contract_id).product
    except ContractError:
        return None
