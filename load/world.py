"""The simulator of a long proof, here or in a process of its own: faults in and out, the rate, the time, the truth.

``python load/world.py '{"seed": 1, ...}'`` is that process: `open_simulator` with these options, on loopback.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import attrs
import trio

from trio_projectx.simulator import Fault, FaultHandle, Simulator, open_simulator

_FIELDS: Final = attrs.fields(Fault)
#: How long the process may take to begin, and one answer of it.
_START_S: Final = 30.0
_ANSWER_S: Final = 30.0
_CHUNK: Final = 1 << 20


class World(Protocol):
    """What a proof asks of the simulator."""

    async def inject(self, fault: Fault) -> str:
        """Put a fault in; return its id."""
        ...

    async def struck(self, name: str) -> int:
        """Return how often a fault has struck."""
        ...

    async def clear(self) -> None:
        """Take all faults out."""
        ...

    async def set_rate(self, trades_per_s: float) -> None:
        """Change how much is traded."""
        ...

    def now_ns(self) -> int:
        """Return the market's time."""
        ...


@attrs.define
class Here:
    """A simulator in this process."""

    sim: Simulator
    _handles: dict[str, FaultHandle] = attrs.Factory(dict)

    async def inject(self, fault: Fault) -> str:
        """Put a fault in."""
        handle = self.sim.inject(fault)
        self._handles[handle.id] = handle
        return handle.id

    async def struck(self, name: str) -> int:
        """Ask its handle."""
        return self._handles[name].struck

    async def clear(self) -> None:
        """Take all faults out."""
        self.sim.clear_faults()
        self._handles.clear()

    async def set_rate(self, trades_per_s: float) -> None:
        """Change it."""
        self.sim.set_trades_per_s(trades_per_s)

    def now_ns(self) -> int:
        """Ask its clock."""
        return self.sim.market_now_ns()


@attrs.define
class Elsewhere:
    """A simulator in another process, by its control routes."""

    url: str
    process: trio.Process
    now: Now

    async def inject(self, fault: Fault) -> str:
        """Put a fault in."""
        given = {f.name: getattr(fault, f.name) for f in _FIELDS if getattr(fault, f.name) != f.default}
        return str(json.loads(await self._ask("POST", "fault", json.dumps(given)))["id"])

    async def struck(self, name: str) -> int:
        """Ask for it."""
        return int(json.loads(await self._ask("GET", f"faults/{name}"))["struck"])

    async def clear(self) -> None:
        """Take all faults out."""
        await self._ask("DELETE", "faults")

    async def set_rate(self, trades_per_s: float) -> None:
        """Change it, up to what the control route allows."""
        await self._ask("POST", f"hz?v={trades_per_s:g}")

    def now_ns(self) -> int:
        """Its market keeps the machine's time."""
        return self.now()

    async def truth(self, path: Path, contract_id: str) -> None:
        """Write the truth as an Arrow IPC stream into a file."""
        with path.open("wb") as file:
            await self._receive("GET", f"truth?contract={contract_id}", "", file.write, 600.0)

    async def crashes(self) -> int:
        """End the process; return how often the simulator has failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with trio.fail_after(_ANSWER_S):
            await self.process.stdin.aclose()
            said = b""
            async for chunk in self.process.stdout:
                said += chunk
        return int(said)

    async def _ask(self, method: str, route: str, body: str = "") -> bytes:
        parts: list[bytes] = []
        await self._receive(method, route, body, parts.append, _ANSWER_S)
        return b"".join(parts)

    async def _receive(self, method: str, route: str, body: str, take: object, limit_s: float) -> None:
        """Ask a control route, and give the body of its answer to ``take`` piece by piece."""
        assert callable(take)
        where = urlsplit(self.url)
        assert where.port is not None
        head = (
            f"{method} /control/{route} HTTP/1.0\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        with trio.fail_after(limit_s):
            async with await trio.open_tcp_stream("127.0.0.1", where.port) as stream:
                await stream.send_all(head.encode())
                answer = b""
                while b"\r\n\r\n" not in answer and (data := await stream.receive_some(_CHUNK)):
                    answer += data
                top, _, rest = answer.partition(b"\r\n\r\n")
                if b" 200 " not in top[:20]:
                    raise RuntimeError(f"{method} {route}: {top[:200]!r}")
                take(rest)
                while data := await stream.receive_some(_CHUNK):
                    take(data)


class Now(Protocol):
    """A wall clock, int64 ns."""

    def __call__(self) -> int:
        """Return the time."""
        ...


async def _run_process(command: list[str], task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, task_status=task_status)


@asynccontextmanager
async def open_elsewhere(now: Now, trades_per_s: float, **options: object) -> AsyncGenerator[Elsewhere]:
    """Run a simulator in a process of its own, for the length of the block."""
    given = json.dumps({"trades_per_s": trades_per_s, **options})
    async with trio.open_nursery() as nursery:
        process = await nursery.start(_run_process, [sys.executable, "-W", "error", __file__, given])
        try:
            with trio.fail_after(_START_S):
                url = (await process.stdout.receive_some()).decode().strip()
            yield Elsewhere(url, process, now)
        finally:
            nursery.cancel_scope.cancel()


async def _serve(trades_per_s: float, options: dict[str, object]) -> None:
    async with open_simulator(**options) as sim:  # type: ignore[arg-type]
        sim.set_trades_per_s(trades_per_s)
        print(sim.url, flush=True)
        async with trio.lowlevel.FdStream(0) as stdin:
            while await stdin.receive_some():
                pass
        print(sim.statistics().crashes, flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    trio.run(_serve, given.pop("trades_per_s"), given)
