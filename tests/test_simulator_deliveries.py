"""Who got what: the deliveries against what connections really received."""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import trio
from simulator_rest import MNQ, running
from simulator_tools import HubClient, open_hub, split, trades_in
from trio_websocket import ConnectionClosed

from trio_projectx.market.stamps import parse_stamp
from trio_projectx.simulator import Simulator
from trio_projectx.simulator.deliveries import KEPT, SCHEMA, Deliveries

MES = "CON.F.US.MES.U26"


async def listen_for(client: HubClient, seconds: float) -> None:
    with trio.move_on_after(seconds), suppress(ConnectionClosed):
        while True:
            await client.frame()


def rows_of(sim: Simulator, delivery: dict) -> list[tuple]:
    truth = sim.truth(delivery["contract_id"], delivery["first_seq"])
    sent = truth.filter(pc.less_equal(truth["seq"], delivery["last_seq"]))
    return list(
        zip(sent["ts_event"].to_pylist(), sent["price"].to_pylist(), sent["volume"].to_pylist(), strict=True)
    )


def got(client: HubClient, contract_id: str) -> list[tuple]:
    return [
        (parse_stamp(trade["timestamp"]), trade["price"], trade["volume"])
        for trade in trades_in(client.frames)
        if trade["contractId"] == contract_id
    ]


async def test_a_gap_can_be_proved(autojump_clock: object) -> None:
    async with running() as (sim, _):
        async with open_hub(sim, queue=9999) as first, open_hub(sim, queue=9999) as other:
            await first.call("SubscribeContractTrades", MNQ)
            await first.call("SubscribeContractTrades", MES)
            await other.call("SubscribeContractTrades", MNQ)
            await listen_for(first, 20)
            await first.ws.aclose()
            await trio.sleep(30)
            async with open_hub(sim, queue=9999) as second:
                await second.call("SubscribeContractTrades", MNQ)
                await trio.sleep(20)
                await listen_for(second, 0.0001)
            await listen_for(first, 0.0001)
            await listen_for(other, 0.0001)
            begun = sim.deliveries().to_pylist()[2]
            assert begun["closed"] is None
        await trio.sleep(1)
        table = sim.deliveries()
        assert table.schema == SCHEMA
        mnq, mes, whole, again = table.to_pylist()
        for delivery in (
            mnq,
            mes,
        ):  # what was handed over in the very moment of the end was not read any more
            read = got(first, delivery["contract_id"])
            assert rows_of(sim, delivery)[: len(read)] == read
            assert 0 <= len(rows_of(sim, delivery)) - len(read) < 60 < len(read)
        assert rows_of(sim, again) == got(second, MNQ)
        assert rows_of(sim, whole)[: len(got(other, MNQ))] == got(other, MNQ)
        gap = sim.truth(MNQ, mnq["last_seq"] + 1)
        missed = gap.filter(pc.less(gap["seq"], again["first_seq"]))
        assert missed.num_rows > 300
        assert mnq["closed"] - mnq["opened"] > 19 * 10**9
        assert again["opened"] - mnq["closed"] > 29 * 10**9
        # The one who stayed got what the other missed.
        assert whole["first_seq"] <= mnq["last_seq"] < again["first_seq"] <= whole["last_seq"]


async def test_of_a_replay_too(autojump_clock: object) -> None:
    tape = pa.table({
        "ts_ns": [10**18 + at * 10**7 for at in range(4000)], "price": [1000.0 + at % 7 for at in range(4000)],
        "size": [1] * 4000,
    })  # fmt: skip
    async with running(replay=tape, contract=MNQ) as (sim, _):
        async with open_hub(sim, queue=9999) as first, open_hub(sim, queue=9999) as second:
            await first.call("SubscribeContractTrades", MNQ)
            await first.call("SubscribeContractTrades", MES)  # its trades stand between the tape's
            await trio.sleep(10)
            await second.call("SubscribeContractTrades", MNQ)
            with trio.fail_after(60):
                await sim.replay_done.wait()
            await listen_for(first, 0.1)
            await listen_for(second, 0.1)
        await trio.sleep(1)
        deliveries = sim.deliveries().to_pylist()
        early, late = (row for row in deliveries if row["contract_id"] == MNQ)
        assert rows_of(sim, early) == got(first, MNQ)
        assert rows_of(sim, late) == got(second, MNQ)
        assert len(got(first, MNQ)) == 4000 > len(got(second, MNQ)) > 2000
        assert sim.truth(MES).num_rows > 100
        assert split(first.frames[-1])


async def test_nothing_sent_is_nothing_said(autojump_clock: object) -> None:
    async with running() as (sim, _), open_hub(sim) as client:
        await client.call("SubscribeContractTrades", MNQ)
        await client.call("UnsubscribeContractTrades", MNQ)
        await client.call("SubscribeContractQuotes", MNQ)
        await trio.sleep(1)
        (row,) = sim.deliveries().to_pylist()
        assert (row["first_seq"], row["last_seq"]) == (None, None)
        assert row["closed"] is not None


def test_they_are_bounded() -> None:
    deliveries = Deliveries()
    for number in range(KEPT + 5):
        deliveries.open(str(number), "C", 0)
    assert deliveries.table().num_rows == KEPT
    assert deliveries.table()["connection_id"][0].as_py() == "5"
