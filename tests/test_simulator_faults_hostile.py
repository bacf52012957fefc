"""Hostile values (FAULTS.md rows 67 to 85): what is made of a trade, and that none of it gets into a bar."""

from __future__ import annotations

import json

import pytest
from fault_tools import check, meet, open_sim

import trio_projectx as px
from trio_projectx.simulator import Fault
from trio_projectx.simulator.faults import HOSTILE_KINDS
from trio_projectx.simulator.faults.hostile import make_hostile

RECORD = json.dumps(
    {
        "type": 1,
        "target": "GatewayTrade",
        "arguments": [
            "CON.F.US.MNQ.U26",
            [
                None,
                {
                    "symbolId": "F.US.MNQ",
                    "price": 29547.25,
                    "timestamp": "2026-08-19T20:51:30.052+00:00",
                    "type": 1,
                    "volume": 3,
                    "contractId": "CON.F.US.MNQ.U26",
                },
            ],
        ],
    }
)
#: Kinds that are a good trade: a side that cannot be read is no reason to lose it.
GOOD = {"side_unknown", "side_string"}
#: Kinds that say nothing of a trade of this contract: other counters have them.
ELSEWHERE = {
    kind for kind in HOSTILE_KINDS if kind.startswith(("record_", "type_", "target_", "arguments_", "quote_"))
}
ELSEWHERE |= {
    "entry_null",
    "data_null",
    "foreign_route",
    "price_nan",
    "price_infinity",
    "price_minus_infinity",
}
#: No JSON that the codec takes: the record is malformed as such.
ELSEWHERE |= {"price_1e400", "price_1E500", "lone_surrogate"}


@pytest.mark.parametrize("kind", HOSTILE_KINDS)
def test_one_thing_is_wrong_and_it_is_one_record(kind: str) -> None:
    made = make_hostile(kind, RECORD)
    assert "\x1e" not in made
    good = make_hostile("side_unknown", RECORD)
    assert json.loads(good)["arguments"][1][0]["price"] == 29547.25
    assert made != good or kind == "side_unknown"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("price_negative", '"price":-29547.25'),
        ("off_grid", '"price":29547.34'),
        ("jump_10x", '"price":295472.5'),
        ("price_string", '"price":"29547.25"'),
        ("price_1E500", '"price":1E+500'),
        ("volume_2_63", '"volume":9223372036854775808'),
        ("stamp_no_zone", '"timestamp":"2026-08-19T20:51:30"'),
        ("lone_surrogate", r"\ud800"),
        ("record_empty", ""),
    ],
)
def test_what_is_made(kind: str, says: str) -> None:
    assert says in make_hostile(kind, RECORD)


@pytest.mark.parametrize("kind", HOSTILE_KINDS)
async def test_none_of_it_gets_into_a_bar(autojump_clock: object, kind: str) -> None:
    async with open_sim() as sim:
        seen, handle = await meet(sim, Fault("hostile", kind=kind, n=2, hub="market"), at=1.01, until=4)
        assert handle.struck == 1
        assert seen.error is None
        check(seen, sim, extra=2 if kind in GOOD else 0, is_live=True)
        assert seen.outages() == []
        assert len(seen.bars) >= 2
        assert seen.statistics is not None
        market = seen.statistics.market
        rejected = sum(each.rejected.total for each in market.contracts)
        if kind in GOOD:
            assert rejected == 0
        elif kind not in ELSEWHERE:
            assert rejected == 2, (kind, market)
        elif kind in ("entry_null", "data_null", "quote_null"):
            assert market.null_entries == 2


async def test_a_flood_of_records_that_cannot_be_read_costs_the_connection(autojump_clock: object) -> None:
    """60 in a minute, then another connection; what was good among them is not lost."""
    async with open_sim() as sim:
        fault = Fault("hostile", kind="record_invalid_json", n=200, hub="market")
        seen, _ = await meet(sim, fault, at=1.01, until=20)
        assert seen.error is None
        (lost,) = [each for each in seen.told(px.HubStateChanged) if each.state is px.HubState.RECONNECTING]
        assert "unreadable records" in lost.reason
        assert len(seen.outages()) == 1
        assert seen.statistics is not None
        assert 60 <= seen.statistics.malformed <= 200
        check(seen, sim, is_live=True)


@pytest.mark.parametrize("ids", ['"symbolId":null,"contractId":null,', "", '"contractId":null,'])
def test_a_trade_that_does_not_say_whose_it_is_can_be_made_hostile(ids: str) -> None:
    """`payloads="varied"` sends such trades: a connection of the simulator's failed of it."""
    trade = f'{{{ids}"price":1.25,"timestamp":"2026-08-19T18:30:00.100Z","volume":1}}'
    record = f'{{"type":1,"target":"GatewayTrade","arguments":["CON.F.US.MNQ.U26",[{trade}]]}}'
    made = make_hostile("price_negative", record)
    assert '"contractId":"CON.F.US.MNQ.U26"' in made
    assert '"symbolId":"F.US.MNQ"' in made
