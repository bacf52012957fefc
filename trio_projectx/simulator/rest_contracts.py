"""The REST routes for contracts."""

from __future__ import annotations

from typing import Final

from trio_projectx._errors import ContractError
from trio_projectx.simulator import forms
from trio_projectx.simulator.clock import MarketClock
from trio_projectx.simulator.desk import Desk
from trio_projectx.simulator.envelope import Handler, envelope, posting
from trio_projectx.simulator.http import JsonBody, Response
from trio_projectx.simulator.products import Listing, available, listed, search

_CONTRACT_NOT_FOUND: Final = 1
#: `Contract/search` gives so many at most, without paging.
_FOUND_MAX: Final = 20


class ContractRoutes:
    """``Contract``."""

    def __init__(self, clock: MarketClock, desk: Desk) -> None:
        self._clock = clock
        self._desk = desk
        self.guarded: dict[str, Handler] = {
            "/api/contract/search": posting(forms.SearchContracts, self._search),
            "/api/contract/searchbyid": posting(forms.ContractById, self._search_by_id),
            "/api/contract/available": posting(forms.AvailableContracts, self._available),
        }

    def _search(self, form: forms.SearchContracts) -> Response:
        found = list(search(form.search_text or "", self._clock.now_ns()))[:_FOUND_MAX]
        return envelope(contracts=_entitled(found, live=form.live))

    def _search_by_id(self, form: forms.ContractById) -> Response:
        try:
            listing = listed(form.contract_id)
        except ContractError:
            return envelope(_CONTRACT_NOT_FOUND, contract=None)
        return envelope(contract=_shown(listing, is_active=self._desk.is_active(form.contract_id)))

    def _available(self, form: forms.AvailableContracts) -> Response:
        return envelope(contracts=_entitled(available(self._clock.now_ns()), live=form.live))


def _entitled(listings: list[Listing], *, live: bool) -> JsonBody:
    # The simulator's user has practice credentials: asking for the live tier is an empty success.
    return [] if live else [_shown(listing, is_active=True) for listing in listings]


def _shown(listing: Listing, *, is_active: bool) -> JsonBody:
    return {
        "id": listing.contract_id,
        "name": listing.name,
        "description": listing.description,
        "tickSize": listing.tick_size,
        "tickValue": listing.tick_value,
        "activeContract": is_active,
        "symbolId": listing.symbol_id,
    }
