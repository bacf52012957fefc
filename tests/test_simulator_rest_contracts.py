from __future__ import annotations

import pyarrow as pa
from simulator_rest import running
from simulator_tools import START_NS


async def test_the_next_expiry_is_known_but_not_active(autojump_clock: object) -> None:
    async with running() as (_, rest):
        listed = (await rest.ok("Contract/available", live=False))["contracts"]
        assert len(listed) >= 51
        assert all(contract["activeContract"] for contract in listed)
        for contract_id, active in (
            ("CON.F.US.MNQ.U26", True),
            ("CON.F.US.MNQ.Z26", False),
            ("CON.F.US.MNQ.H25", False),
        ):
            found = await rest.ok("Contract/searchById", contractId=contract_id)
            assert (found["contract"]["id"], found["contract"]["activeContract"]) == (contract_id, active)
        assert (await rest.ok("Contract/available", live=True))["contracts"] == []
        assert await rest.refused("Contract/searchById", contractId="CON.F.US.NONE.U26") == (1, None)


async def test_the_replays_contract_is_active(autojump_clock: object) -> None:
    tape = pa.table({"ts_ns": [START_NS], "price": [1313.7], "size": [1]})
    async with running(replay=tape) as (sim, rest):
        found = await rest.ok("Contract/searchById", contractId=sim.contract_id)
        assert found["contract"]["activeContract"] is True


async def test_a_search_gives_twenty_at_most(autojump_clock: object) -> None:
    async with running() as (_, rest):
        assert len((await rest.ok("Contract/search", live=False))["contracts"]) == 20
        found = (await rest.ok("Contract/search", searchText="ES", live=False))["contracts"]
        assert {"F.US.EP", "F.US.MES", "F.US.FVA", "F.US.JY6", "F.US.MX6", "F.US.TYA"} <= {
            contract["symbolId"] for contract in found
        }
