from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest
import trio
from simulator_rest import MNQ, running, send
from simulator_tools import open_hub

from trio_projectx.simulator import Simulator, breakable_pair, truth
from trio_projectx.simulator.http import Conversation, Response

MES = "CON.F.US.MES.U26"


async def a_while(sim: Simulator) -> None:
    async with open_hub(sim, queue=9999) as client:
        await client.call("SubscribeContractTrades", MNQ)
        await client.call("SubscribeContractTrades", MES)
        await trio.sleep(20)


async def test_the_truth_as_arrow_and_as_lines(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "PIECE_ROWS", 64)
    async with running() as (sim, _):
        await a_while(sim)
        expected = sim.truth()
        answer = await send(sim, "GET", "/control/truth")
        assert answer.status == 200
        table = pa.ipc.open_stream(answer.body).read_all()
        assert table.schema == expected.schema
        assert table.slice(0, expected.num_rows).equals(expected)
        answer = await send(sim, "GET", f"/control/truth?format=json&contract={MES}&from_seq=100")
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in answer.body.splitlines()]
        rows = sim.truth(MES, 100).to_pylist()
        assert lines == rows[: len(lines)]
        assert len(lines) > 100
        assert list(lines[0]) == ["ts_event", "contract_id", "price", "volume", "side", "seq"]


async def test_nothing_is_a_table_too(autojump_clock: object) -> None:
    async with running() as (sim, _):
        answer = await send(sim, "GET", "/control/truth?contract=none")
        assert pa.ipc.open_stream(answer.body).read_all().num_rows == 0
        assert (await send(sim, "GET", "/control/truth?format=json")).body == b""


async def test_deliveries(autojump_clock: object) -> None:
    async with running() as (sim, _):
        await a_while(sim)
        await trio.sleep(1)
        rows = sim.deliveries().to_pylist()
        answer = await send(sim, "GET", "/control/deliveries?format=json")
        assert [json.loads(line) for line in answer.body.splitlines()] == rows
        answer = await send(sim, "GET", "/control/deliveries")
        assert pa.ipc.open_stream(answer.body).read_all().to_pylist() == rows
        assert len(rows) == 2


@pytest.mark.parametrize(
    "query", ["from_seq=x", "from_seq=-1", "from_seq=99999999999999999999", "format=xml"]
)
async def test_what_makes_no_sense_is_a_400(autojump_clock: object, query: str) -> None:
    async with running() as (sim, _):
        assert (await send(sim, "GET", f"/control/truth?{query}")).status == 400


async def test_what_is_sent_in_pieces_is_made_as_it_is_read(autojump_clock: object) -> None:
    made = []

    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            yield b"x" * 10_000

    ours, theirs = breakable_pair()
    async with theirs, trio.open_nursery() as nursery:
        nursery.start_soon(Conversation(ours, lambda _: Response(chunks=pieces)).run)
        await theirs.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"chunked" in await theirs.receive_some(200)
        await trio.sleep(1)
        assert 0 < len(made) < 500
        wire = 0
        while not (data := await theirs.receive_some(1 << 20)).endswith(b"0\r\n\r\n"):
            wire += len(data)
        assert wire > 9_000_000
    assert len(made) == 1000


async def test_a_long_truth_is_streamed_past_one_that_leaves(autojump_clock: object) -> None:
    """A reader that goes away in the middle ends its own connection only."""
    async with running(speed=60) as (sim, _):
        await a_while(sim)
        assert sim.truth().num_rows > 20_000
        stream = await sim.connect("h", 1, tls=False)
        await stream.send_all(b"GET /control/truth?format=json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"chunked" in await stream.receive_some(200)
        await stream.aclose()
        await trio.sleep(1)
        answer = await send(sim, "GET", "/control/truth?from_seq=20000")
        assert pa.ipc.open_stream(answer.body).read_all()["seq"][0].as_py() == 20_000
        assert sim.statistics().crashes == 0
