from __future__ import annotations

import attrs
import pytest

from trio_projectx import Timeframe
from trio_projectx.flow.ledger import ContractRow, Ledger, LedgerRow, StreamRow, UserEventsRow

ROW = LedgerRow(
    contract_id="CON.F.US.MNQ.Z26",
    timeframe=Timeframe("1m"),
    received=45,
    before=7,
    in_bars=6,
    forming=5,
    late=4,
    rejected=3,
    builder_failed=2,
    in_flight=1,
    outside=8,
    duplicates=9,
)


def test_a_row_balances_when_every_trade_is_somewhere() -> None:
    assert ROW.balanced
    assert Ledger((ROW, ROW)).balanced
    assert Ledger().balanced


@pytest.mark.parametrize("name", [f.name for f in attrs.fields(LedgerRow) if f.type == "int"])
def test_one_trade_too_many_or_too_few_anywhere_is_seen(name: str) -> None:
    for off in (-1, 1):
        wrong = attrs.evolve(ROW, **{name: getattr(ROW, name) + off})
        assert not wrong.balanced
        assert not Ledger((ROW, wrong)).balanced


@pytest.mark.parametrize(
    "stream", ["trades of {}", "quotes of {}", "depth of {}", "book of {}", "bars of {} (1m)"]
)
def test_a_name_says_which_row_it_is(stream: str) -> None:
    """`LedgerBroken.row` is such a name."""
    account = ContractRow(ROW.contract_id, received=1, given=1, rejected=0, duplicates=0, in_flight=0)
    rows = (ROW, account, UserEventsRow(), StreamRow(stream.format(ROW.contract_id)))
    assert len({row.name for row in rows}) == len(rows)
