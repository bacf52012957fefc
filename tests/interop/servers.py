"""The two servers under test, run for the length of a block: the simulator, and Microsoft's ASP.NET Core hub.

Both speak the contract of aspnet_hub/CONTROL.md, so one acceptance program drives either. Each has its own port, on
127.0.0.1 only; the hub is a process that ends with its standard input.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import dotnet
import httpx2
import trio
from kit import Kit

from trio_projectx.simulator import open_simulator

_START_S = 30.0
_STOP_S = 5.0


@attrs.frozen(slots=True, kw_only=True)
class Options:
    """What a server is started with; the defaults are ASP.NET Core's, but for ``hz``: a market at rest."""

    keep_alive_s: float = 15.0
    client_timeout_s: float = 30.0
    handshake_s: float = 15.0
    parallel: int = 1
    """Invocations of one client that run at a time."""
    hz: int = 0
    """How often a second each market goes on (the simulator: trades a second)."""
    token_ttl_s: int = 86_400
    """Of the tokens that logging in gives."""
    close_on_expiry: bool = True
    """Whether a connection ends with its token."""
    port: int = 0
    """0: a free one. A given one lets a server come back where another was."""
    mute_on_expiry: bool = False
    """The real hub only: a connection whose token has ended is pinged, and gets no more events of markets."""
    stamp_shift_s: int = 0
    """The real hub only: what its markets' clock is ahead of ours."""


@attrs.frozen(slots=True)
class Server:
    """A running server."""

    kind: str
    url: str
    _http: httpx2.AsyncClient

    def hub(self, name: str = "market") -> str:
        """Return the URL of a hub."""
        return f"{self.url}/hubs/{name}"

    @property
    def token_url(self) -> str:
        """Where the official client's token factory gets a fresh token."""
        return f"{self.url}/control/token?ttl=3600"

    async def get(self, path: str) -> httpx2.Response:
        """GET a route; whatever is answered."""
        return await self._http.get(self.url + path)

    async def post(
        self, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """POST a route; whatever is answered."""
        content = b"" if body is None else json.dumps(body).encode()
        return await self._http.post(self.url + path, content=content, headers=headers)

    async def control(self, action: str, body: object = None) -> dict[str, Any]:
        """POST a control route that is to succeed."""
        answer = await self.post(f"/control/{action}", body)
        assert answer.status_code == 200, (action, answer.status_code, answer.text[:200])
        result: dict[str, Any] = answer.json()
        return result

    async def token(self, ttl_s: float = 3600) -> str:
        """Return a token that is valid for so long."""
        text: str = (await self.get(f"/control/token?ttl={ttl_s:g}")).json()["token"]
        return text

    async def state(self) -> dict[str, Any]:
        """Return what /control/state shows."""
        shown: dict[str, Any] = (await self.get("/control/state")).json()
        return shown

    async def truth(self, contract_id: str) -> list[dict[str, Any]]:
        """Return every trade of the contract's market so far, oldest first."""
        answer = await self.get(f"/control/truth?format=json&contract={contract_id}")
        assert answer.status_code == 200, answer.status_code
        return [json.loads(line) for line in answer.text.splitlines()]

    async def entered(self, count: int = 1) -> dict[str, Any]:
        """Wait until the hubs have seen ``count`` connections come; return the server's state.

        A real hub answers the handshake before it registers the connection: until then no control route finds it.
        """
        return await self._counted("connects", count)

    async def gone(self, count: int = 1) -> dict[str, Any]:
        """Wait until the hubs have seen ``count`` connections end; return the server's state."""
        return await self._counted("disconnects", count)

    async def _counted(self, name: str, count: int) -> dict[str, Any]:
        with trio.fail_after(10):
            while (state := await self.state())[name] < count:
                await trio.sleep(0.01)
        return state


@asynccontextmanager
async def open_server(kind: str, kit: Kit, **changes: Any) -> AsyncGenerator[Server]:
    """Run the server of that kind ("simulator" or "aspnet") with `Options`."""
    options = Options(**changes)
    start = _simulator if kind == "simulator" else _aspnet
    async with start(kit, options) as url, httpx2.AsyncClient(timeout=10, trust_env=False) as http:
        server = Server(kind, url, http)
        await server.control(f"hz?v={options.hz}")
        yield server


@asynccontextmanager
async def _simulator(_: Kit, options: Options) -> AsyncGenerator[str]:
    async with open_simulator(
        seed=7,
        port=options.port,
        close_on_expiry=options.close_on_expiry,
        keep_alive_s=options.keep_alive_s,
        client_timeout_s=options.client_timeout_s,
        handshake_s=options.handshake_s,
        token_ttl_s=options.token_ttl_s,
        parallel=options.parallel,
    ) as simulator:
        yield simulator.url
        counts = simulator.statistics()
    assert (counts.crashes, counts.dropped_slow) == (0, 0), counts


@asynccontextmanager
async def _aspnet(kit: Kit, options: Options) -> AsyncGenerator[str]:
    env = dotnet.environment(
        HUB_STDIN="1",
        HUB_KEEPALIVE_MS=str(round(options.keep_alive_s * 1000)),
        HUB_CLIENTTIMEOUT_MS=str(round(options.client_timeout_s * 1000)),
        HUB_HANDSHAKE_MS=str(round(options.handshake_s * 1000)),
        HUB_PARALLEL=str(options.parallel),
        HUB_TTL_S=str(options.token_ttl_s),
        HUB_CLOSE_ON_EXPIRY=str(int(options.close_on_expiry)),
        HUB_MUTE_ON_EXPIRY=str(int(options.mute_on_expiry)),
        HUB_STAMP_SHIFT_S=str(options.stamp_shift_s),
        HUB_PORT=str(options.port),
        HUB_HZ="0",
    )
    process = await trio.lowlevel.open_process(
        [kit.dotnet, kit.hub],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
        cwd=Path(kit.hub).parent,
    )
    try:
        yield await _ready_url(process)
    finally:
        with trio.CancelScope(shield=True):
            await _stop(process)


async def _ready_url(process: trio.Process) -> str:
    assert process.stdout is not None
    said = b""
    with trio.fail_after(_START_S):
        while not said.endswith(b"\n"):
            chunk = await process.stdout.receive_some()
            assert chunk, f"the hub ended before it was ready: {said!r}"
            said += chunk
    return said.decode().strip().partition("url=")[2]


async def _stop(process: trio.Process) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with trio.move_on_after(_STOP_S):
        await process.stdin.aclose()
        await process.wait()
    process.kill()  # nothing happens if it has ended
    await process.wait()
    await process.stdout.aclose()
