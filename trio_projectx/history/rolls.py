"""Which contract stood for a product at a time: the legs that a continuous history is stitched of."""

from __future__ import annotations

import datetime

import attrs

from trio_projectx.bars import Sessions
from trio_projectx.bars.edges import DAY_NS, EPOCH
from trio_projectx.market import find_product, front_month


@attrs.frozen(slots=True)
class Leg:
    """One contract, for the bars that open in ``[start, end)``, int64 ns."""

    contract_id: str
    start: int
    end: int


def legs(product: str, start_ns: int, end_ns: int, sessions: Sessions | None) -> list[Leg]:
    """Return the contracts of ``product`` from start to end, one after the other without a hole.

    Each gives way with the first open of its roll's trade date (without sessions: at 00:00 UTC). The rule is
    `front_month`'s, a table's and not the service's: whoever knows better makes `Leg`s of their own.

    :raises ContractError: if the product is not known.
    """
    found = find_product(product)
    parts: list[Leg] = []
    while start_ns < end_ns:
        contract = front_month(found.code, _date_of(start_ns, sessions))
        rolls = found.rolls(contract.year, contract.month)
        end = min(end_ns, _open_of(rolls, sessions))
        parts.append(Leg(str(contract), start_ns, end))
        start_ns = end
    return parts


def _date_of(ts_ns: int, sessions: Sessions | None) -> datetime.date:
    if sessions is not None:
        around = sessions.around(ts_ns)
        # Closed hours belong to what was open before them: the contract changes with an open.
        segment = around.here or around.before or around.after
        if segment is not None:
            return segment.trade_date
    return datetime.date.fromordinal(ts_ns // DAY_NS + EPOCH)


def _open_of(date: datetime.date, sessions: Sessions | None) -> int:
    day = date.toordinal() - EPOCH
    segment = None if sessions is None else sessions.source.first_from(day)
    return day * DAY_NS if segment is None else segment.open
