"""What the tests of the simulator's REST share: requests over streams in memory, and a trader with a user hub."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import h11
import trio
from simulator_tools import HubClient, open_hub, split, virtual_wall

from trio_projectx.simulator import Simulator, open_simulator

MNQ = "CON.F.US.MNQ.U26"


@attrs.frozen(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


async def send(sim: Simulator, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """One request on a connection of its own; header names with _ for -."""
    wire = h11.Connection(h11.CLIENT)
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    request = h11.Request(
        method=method,
        target=path,
        headers=[("Host", "x"), ("Connection", "close"), ("Content-Length", str(len(body))), *named],
    )
    async with await sim.connect("h", 1, tls=False) as stream:
        await stream.send_all((wire.send(request) or b"") + (wire.send(h11.Data(body)) or b""))
        return await _answer(wire, stream)


async def _answer(wire: h11.Connection, stream: trio.abc.Stream) -> Answer:
    head, data = None, bytearray()
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            wire.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            data += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            found = {name.decode(): value.decode() for name, value in head.headers}
            return Answer(head.status_code, found, bytes(data))


@attrs.define(slots=True, eq=False)
class Rest:
    """Posts with one token."""

    sim: Simulator
    token: str

    async def post(self, path: str, **fields: object) -> Answer:
        return await self.raw(path, json.dumps(fields).encode())

    async def raw(self, path: str, body: bytes, kind: str = "application/json") -> Answer:
        return await send(
            self.sim, "POST", f"/api/{path}", body, Authorization=f"Bearer {self.token}", Content_Type=kind
        )

    async def ok(self, path: str, **fields: object) -> dict:
        answer = await self.post(path, **fields)
        assert answer.status == 200, answer
        assert answer.json["success"] is True, answer
        assert (answer.json["errorCode"], answer.json["errorMessage"]) == (0, None)
        return answer.json

    async def refused(self, path: str, **fields: object) -> tuple[int, str | None]:
        answer = await self.post(path, **fields)
        assert answer.status == 200, answer
        assert answer.json["success"] is False, answer
        return answer.json["errorCode"], answer.json["errorMessage"]


@asynccontextmanager
async def running(**options: object) -> AsyncGenerator[tuple[Simulator, Rest]]:
    async with open_simulator(port=None, **{"wall_clock": virtual_wall, **options}) as sim:
        yield sim, Rest(sim, sim.mint_token())


class Trader:
    """An account, and what the user hub told about it."""

    def __init__(self, rest: Rest, hub: HubClient, account_id: int) -> None:
        self.rest = rest
        self.hub = hub
        self.id = account_id

    async def heard(self, seconds: float = 5.0) -> list[tuple[str, int, dict]]:
        """What the hub tells in so many seconds: event, action, entity."""
        self.hub.frames.clear()
        with trio.move_on_after(seconds):
            while True:
                await self.hub.frame()
        records = [record for frame in self.hub.frames for record in split(frame)]
        return [
            (record["target"].removeprefix("GatewayUser"), *record["arguments"][0].values())
            for record in records
            if record["type"] == 1
        ]

    async def place(self, **fields: object) -> int:
        body = {"accountId": self.id, "contractId": MNQ, "type": 2, "side": 0, "size": 1, **fields}
        return (await self.rest.ok("Order/place", **body))["orderId"]

    async def order(self, order_id: int) -> dict:
        return (await self.rest.ok("Order/searchById", accountId=self.id, orderId=order_id))["order"]


@asynccontextmanager
async def trading(**options: object) -> AsyncGenerator[Trader]:
    async with running(**options) as (sim, rest), open_hub(sim, "user", queue=10_000) as hub:
        accounts = (await rest.ok("Account/search", onlyActiveAccounts=True))["accounts"]
        trader = Trader(rest, hub, accounts[0]["id"])
        await hub.call("SubscribeAccounts")
        for name in ("Orders", "Positions", "Trades"):
            await hub.call(f"Subscribe{name}", trader.id)
        yield trader
