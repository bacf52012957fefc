"""The REST route for bars, with all its traps (GATEWAY.md 1.3)."""

from __future__ import annotations

from typing import Final

import trio

from trio_projectx._errors import ContractError
from trio_projectx.simulator import forms
from trio_projectx.simulator.candles import Candle
from trio_projectx.simulator.envelope import Handler, posting
from trio_projectx.simulator.exchange import Exchange
from trio_projectx.simulator.history import BarQuery, bars
from trio_projectx.simulator.http import Response
from trio_projectx.simulator.past import Past
from trio_projectx.simulator.payloads import number
from trio_projectx.simulator.periods import Unit, period
from trio_projectx.simulator.settings import Settings
from trio_projectx.simulator.shown import stamp

#: errorCodes of retrieveBars.
_CONTRACT_NOT_FOUND: Final = 1
_UNIT_INVALID: Final = 2
_UNIT_NUMBER_INVALID: Final = 3
_LIMIT_INVALID: Final = 4
#: Others get a turn after so many steps of the search, and after each minute that had to be made again.
_STEPS: Final = 500


class HistoryRoutes:
    """``History``."""

    def __init__(self, settings: Settings, exchange: Exchange) -> None:
        self._settings = settings
        self._exchange = exchange
        self.guarded: dict[str, Handler] = {
            "/api/history/retrievebars": posting(forms.RetrieveBars, self._retrieve)
        }

    async def _retrieve(self, form: forms.RetrieveBars) -> Response:
        start_ns, end_ns = forms.instant(form.start_time), forms.instant(form.end_time)
        try:
            past, now_ns = self._exchange.past(form.contract_id)
        except ContractError:
            return _answer(_CONTRACT_NOT_FOUND)
        if form.unit not in set(Unit):
            return _answer(_UNIT_INVALID)
        unit = Unit(form.unit)
        if not _is_good(unit, form.unit_number, now_ns):
            return _answer(_UNIT_NUMBER_INVALID)
        if form.limit < 1:
            return _answer(_LIMIT_INVALID)
        if form.live:
            # The simulator's user has practice credentials; the wrong tier is an empty success.
            return _answer()
        query = BarQuery(start_ns, end_ns, unit, form.unit_number, form.include_partial_bar)
        return _answer(0, await _found(past, query, now_ns, min(form.limit, self._settings.history_cap)))


async def _found(past: Past, query: BarQuery, now_ns: int, limit: int) -> list[str]:
    """Return the newest ``limit`` bars as text, newest first, giving others a turn now and then."""
    found: list[str] = []
    made = past.made
    for step, bar in enumerate(bars(past, query, now_ns)):
        if bar is not None:
            found.append(_shown(*bar))
            if len(found) == limit:
                break
        if past.made > made or step % _STEPS == 0:
            made = past.made
            await trio.lowlevel.checkpoint()
    return found


def _is_good(unit: Unit, count: int, now_ns: int) -> bool:
    try:
        return count >= 1 and period(unit, count, now_ns)[1] > now_ns
    except OverflowError:
        return False


def _shown(start_ns: int, bar: Candle) -> str:
    return (
        f'{{"t":"{stamp(start_ns)}","o":{number(bar.open)},"h":{number(bar.high)},"l":{number(bar.low)},'
        f'"c":{number(bar.close)},"v":{bar.volume}}}'
    )


def _answer(code: int = 0, found: list[str] | None = None) -> Response:
    shown = "null" if code else f"[{','.join(found or [])}]"
    success = "false" if code else "true"
    text = f'{{"bars":{shown},"success":{success},"errorCode":{code},"errorMessage":null}}'
    return Response(body=text.encode(), content_type="application/json; charset=utf-8")
