from __future__ import annotations

import datetime
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_tools import START_NS, open_hub, trades_in, virtual_wall

from trio_projectx._errors import ConfigError, ContractError
from trio_projectx.market.stamps import parse_stamp
from trio_projectx.simulator import open_simulator
from trio_projectx.simulator.replay import DEFAULT_CONTRACT, PER_RECORD, TapeWriter, make_tape, open_tape

SECOND = 1_000_000_000


def table(rows: int = 3000, step_ns: int = 100_000_000) -> pa.Table:
    """Trades ten a second, with sizes of 0 and equal stamps among them."""
    return pa.table({
        "ts_ns": [START_NS + at // 2 * 2 * step_ns for at in range(rows)],
        "price": [1313.7 + at % 13 / 10 for at in range(rows)],
        "size": [at % 5 for at in range(rows)],
    })  # fmt: skip


async def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    pq.write_table(table(), path, row_group_size=700)
    tape = await open_tape(path, None)
    assert tape.contract_id == DEFAULT_CONTRACT
    assert tape.ts.tolist() == table()["ts_ns"].to_pylist()
    assert tape.price.tolist() == table()["price"].to_pylist()
    assert tape.volume.tolist() == table()["size"].to_pylist()
    assert set(tape.side) == {-1}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/Chicago"])
def test_stamps_of_every_kind_become_nanoseconds(unit: str, zone: str | None) -> None:
    instant = datetime.datetime(2026, 8, 19, 20, 51, tzinfo=datetime.UTC)
    column = pa.array([START_NS], pa.timestamp("ns", "UTC")).cast(pa.timestamp(unit, zone))
    tape = make_tape(pa.table({"ts_event": column, "price": [1], "volume": pa.array([1], pa.int16())}), "C")
    assert tape.ts.tolist() == [START_NS]
    assert datetime.datetime.fromtimestamp(tape.ts[0] / 1e9, datetime.UTC) == instant


def test_sides_are_kept_where_they_are_known() -> None:
    rows = table(5).append_column("side", pa.array([0, 1, None, 7, -1]))
    assert make_tape(rows, "C").side.tolist() == [0, 1, -1, -1, -1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.slice(0, 0), "empty"),
        (lambda t: t.drop_columns(["ts_ns"]), "no column ts_event or ts_ns; it has price, size"),
        (lambda t: t.drop_columns(["size"]), "no column volume or size"),
        (lambda t: t.set_column(1, "price", pa.array([1.0, math.nan, 2.0])), "price in row 1"),
        (lambda t: t.set_column(1, "price", pa.array([1.0, None, 2.0])), "price of the replay has 1 missing"),
        (lambda t: t.set_column(2, "size", pa.array([1, None, 2])), "size of the replay has 1 missing"),
        (lambda t: t.set_column(2, "size", pa.array([1.5, 1.0, 2.0])), "does not fit int64"),
        (lambda t: t.set_column(0, "ts_ns", pa.array(["x", "y", "z"])), "does not fit int64"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_a_sentence(change, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=says):
        make_tape(change(table(3)), "C")


async def test_a_path_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        await open_tape(tmp_path / "none.parquet", None)
    (tmp_path / "text.parquet").write_text("not parquet at all")
    with pytest.raises(ConfigError, match="not a Parquet file"):
        await open_tape(tmp_path / "text.parquet", None)
    with pytest.raises(ConfigError, match="not a Parquet file"):
        await open_tape(tmp_path, None)
    with pytest.raises(ContractError):
        await open_tape(table(), "MNQ")


async def test_a_file_too_long_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_projectx.simulator.replay.ROWS_MAX", 10)
    pq.write_table(table(11), tmp_path / "long.parquet")
    with pytest.raises(ConfigError, match="11 trades; a replay takes up to 10"):
        await open_tape(tmp_path / "long.parquet", None)


rows = st.tuples(
    st.integers(0, 4_102_444_800 * SECOND), st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**53),
    st.sampled_from([0, 1, -1]),
)  # fmt: skip


@given(st.lists(rows, min_size=1, max_size=200))
@settings(max_examples=40)
def test_what_is_written_reads_back_exactly(trades: list[tuple[int, float, int, int]]) -> None:
    ts, price, volume, side = (list(column) for column in zip(*trades, strict=True))
    tape = make_tape(
        pa.table({"ts_event": ts, "price": price, "volume": volume, "side": side}), DEFAULT_CONTRACT
    )
    records = [
        json.loads(text) for text in TapeWriter(tape).write(tape.columns(0, len(tape))).split("\x1e")[:-1]
    ]
    assert all(len(record["arguments"][1]) <= PER_RECORD for record in records)
    sent = [trade for record in records for trade in record["arguments"][1]]
    assert [parse_stamp(trade["timestamp"]) for trade in sent] == ts
    assert [float(trade["price"]) for trade in sent] == price
    assert [trade["volume"] for trade in sent] == volume
    assert [trade.get("type", -1) for trade in sent] == side


async def test_at_speed_0_everything_arrives_exactly_and_in_order(autojump_clock: object) -> None:
    source = table()
    async with open_simulator(port=None, wall_clock=virtual_wall, speed=0, replay=source) as sim:
        assert sim.contract_id == DEFAULT_CONTRACT
        async with open_hub(sim) as client:
            assert (await client.call("SubscribeContractTrades", sim.contract_id))["result"] is None
            while len(trades_in(client.frames)) < source.num_rows:
                await client.frame()
            with trio.fail_after(1):
                await sim.replay_done.wait()
            assert trio.current_time() < 0.001  # nothing waited for a clock
        sent = trades_in(client.frames)
        assert [parse_stamp(trade["timestamp"]) for trade in sent] == source["ts_ns"].to_pylist()
        assert [trade["price"] for trade in sent] == source["price"].to_pylist()
        assert [trade["volume"] for trade in sent] == source["size"].to_pylist()
        truth = sim.truth()
        assert truth["ts_event"].to_pylist() == source["ts_ns"].to_pylist()
        assert truth["volume"].to_pylist() == source["size"].to_pylist()
        assert truth["seq"].to_pylist() == list(range(source.num_rows))
        assert sim.replay_state is not None
        assert (sim.replay_state.sent, sim.replay_state.total, sim.replay_state.done) == (3000, 3000, True)
        assert sim.statistics().trades_sent == 3000


async def test_at_speed_0_the_subscriber_sets_the_pace(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall, speed=0, replay=table(100_000)) as sim:
        async with open_hub(sim) as client:
            await client.call("SubscribeContractTrades", sim.contract_id)
            await trio.sleep(5)  # shorter than the limit of a stuck send
            state = sim.replay_state
            assert state is not None
            assert 0 < state.sent < 10_000  # it waits
            while not sim.replay_done.is_set():
                await client.frame()
            with trio.move_on_after(1):
                while True:
                    await client.frame()
        assert len(trades_in(client.frames)) == 100_000
        assert sim.statistics().dropped_slow == 0


@pytest.mark.parametrize("speed", [1.0, 20.0])
async def test_at_a_pace_trades_come_when_they_are_due(speed: float, autojump_clock: object) -> None:
    source = table(600)  # a minute
    async with open_simulator(
        port=None, wall_clock=virtual_wall, speed=speed, replay=source, contract="CON.F.US.MGC.Z26"
    ) as sim:
        async with open_hub(sim, queue=10_000) as client:
            await trio.sleep(100)  # the tape starts with the subscription, not before
            start = trio.current_time()
            await client.call("SubscribeContractTrades", "CON.F.US.MGC.Z26")
            seen = 0
            while seen < 600:
                await client.frame()
                for trade in trades_in(client.frames[-1:]):
                    due = (parse_stamp(trade["timestamp"]) - START_NS) / 1e9 / speed
                    assert trio.current_time() - start == pytest.approx(due, abs=0.011)
                    assert trade["symbolId"] == "F.US.MGC"
                    seen += 1
            assert trio.current_time() - start == pytest.approx(59.8 / speed, abs=0.02)
            await sim.replay_done.wait()


async def test_who_comes_later_joins_where_the_tape_is_and_nobody_waits_for_a_slow_one(
    autojump_clock: object,
) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall, speed=1, replay=table(600)) as sim:
        async with (
            open_hub(sim, queue=10_000) as first,
            open_hub(sim, queue=10_000) as second,
            open_hub(sim) as stuck,
        ):
            await first.call("SubscribeContractTrades", sim.contract_id)
            await stuck.call("SubscribeContractTrades", sim.contract_id)
            await trio.sleep(30.05)
            await second.call("SubscribeContractTrades", sim.contract_id)
            await sim.replay_done.wait()
            for client in (first, second):
                with trio.move_on_after(1):
                    while True:
                        await client.frame()
        late = [parse_stamp(trade["timestamp"]) for trade in trades_in(second.frames)]
        assert len(trades_in(first.frames)) == 600
        assert late == table(600)["ts_ns"].to_pylist()[-len(late) :]
        assert late[0] == pytest.approx(START_NS + 30.2 * SECOND, abs=0.2 * SECOND)
        assert sim.truth().num_rows == 600


async def test_a_lost_connection_leaves_a_gap_and_the_next_goes_on_from_there(autojump_clock: object) -> None:
    source = table(600)
    async with open_simulator(port=None, wall_clock=virtual_wall, speed=1, replay=source) as sim:
        async with open_hub(sim, queue=10_000) as first:
            await first.call("SubscribeContractTrades", sim.contract_id)
            await trio.sleep(20.05)
        await trio.sleep(10)
        assert sim.replay_state is not None
        assert sim.replay_state.sent == 202  # nothing is played to nobody
        async with open_hub(sim, queue=10_000) as second:
            await second.call("SubscribeContractTrades", sim.contract_id)
            await sim.replay_done.wait()
        assert sim.truth()["ts_event"].to_pylist() == source["ts_ns"].to_pylist()


async def test_unsubscribing_stops_the_tape(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall, speed=1, replay=table(600)) as sim:
        async with open_hub(sim, queue=10_000) as client:
            await client.call("SubscribeContractTrades", sim.contract_id)
            await client.call("SubscribeContractTrades", sim.contract_id)  # twice is once
            await client.call("SubscribeContractQuotes", sim.contract_id)  # a tape has none
            await trio.sleep(10.05)
            await client.call("UnsubscribeContractTrades", sim.contract_id)
            await trio.sleep(60)
        assert sim.replay_state is not None
        assert (sim.replay_state.sent, sim.replay_state.done) == (102, False)


async def test_stamps_that_go_back_hold_nothing_up(autojump_clock: object) -> None:
    ts = [START_NS + second * SECOND for second in (0, 5, 3, 4, 6, 2, 7)]
    source = pa.table({"ts_event": ts, "price": [1.0] * 7, "volume": [1] * 7})
    async with open_simulator(port=None, wall_clock=virtual_wall, speed=1, replay=source) as sim:
        async with open_hub(sim, queue=100) as client:
            await client.call("SubscribeContractTrades", sim.contract_id)
            await sim.replay_done.wait()
            assert trio.current_time() == pytest.approx(7, abs=0.01)
            await trio.sleep(1)
        assert sim.truth()["ts_event"].to_pylist() == ts


async def test_other_contracts_have_their_made_market_beside_the_tape(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall, speed=0, replay=table(10)) as sim:
        async with open_hub(sim, queue=1000) as client:
            await client.call("SubscribeContractTrades", "CON.F.US.MNQ.U26")
            with trio.move_on_after(10):
                while True:
                    await client.frame()
        assert len(trades_in(client.frames)) == pytest.approx(200, rel=0.7)


async def test_the_gold_of_2013_arrives_whole(shared: Path) -> None:
    path = shared / "data" / "gc_trades_2013.parquet"
    if not path.is_file():
        pytest.skip("the gold trades are not beside the checkout")
    source = pq.read_table(path)
    async with open_simulator(port=None, speed=0, replay=path) as sim, open_hub(sim) as client:
        await client.call("SubscribeContractTrades", sim.contract_id)
        while not sim.replay_done.is_set():
            await client.frame()
        with trio.move_on_after(0.05):
            while True:
                await client.frame()
        assert "".join(client.frames).count('"price":') == source.num_rows == 156_452
        assert sim.truth()["ts_event"].to_pylist() == source["ts_ns"].to_pylist()
