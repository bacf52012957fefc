"""`nox -s bombs`: what a hostile service may send costs at most 32 MiB, each row in a client process of its own.

The client is a gateway that streams bars, trades, quotes and user events; the service is `bomb_server`, another
process. When the client has been live for a while its peak of memory is reset; then the bomb comes, three times where
it can. The cost is the peak after that, less what it had before. Whatever the bomb was, the gateway is live again
afterwards, or the call that met it has raised an error of ours.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import bomb_server
import trio
from ground import CONTRACT

import trio_projectx as px

MOST_MIB: Final = 32.0
BACK_S: Final = 45.0
#: How long a call that meets a bomb is let go on: it is tried again and again, and meets it each time.
_CALL_S: Final = 8.0
_BIG: Final = 256 << 20


@attrs.frozen
class Bomb:
    """One row."""

    faults: str
    """Rows of FAULTS.md."""
    command: Mapping[str, object]
    call: str = ""
    """What the client does when it is set: "history", "search", "login"; empty: it is live, and comes back."""
    times: int = 3
    resets: bool = False
    """Whether the connection is to be lost first: what meets the bomb is the next one."""


def of_a_script() -> dict[str, str]:
    """Return the environment of a script beside this one: it finds its neighbours also where paths are held safe."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}


def _fault(rows: str, name: str, **fields: object) -> Bomb:
    return Bomb(rows, {"fault": {"name": name, "hub": "market", **fields}}, resets="phase" in fields)


def _answers() -> dict[str, Bomb]:
    """Every answer of the door, at each place that suits it."""
    found: dict[str, Bomb] = {}
    for answer in bomb_server.ANSWERS:
        calls = {"history": "/api/History/", "search": "/api/Contract/", "login": "/api/Auth/"}
        if "bars" in answer:
            calls = {"history": calls["history"]}
        elif "contracts" in answer:
            calls = {"search": calls["search"]}
        elif "limit" in answer:
            calls = {"login": calls["login"]}
        else:
            calls = {"history": calls["history"], "": "/hubs/market"}
        for call, match in calls.items():
            where = call or "upgrade"
            found[f"{where}: {answer}"] = Bomb("35", {"answer": answer, "match": match}, call, 1)
    found["negotiate: body of 64 MiB"] = Bomb(
        "35", {"answer": "body of 64 MiB", "match": "/negotiate"}, "", 1
    )
    return found


BOMBS: Final[dict[str, Bomb]] = {
    "record of 256 MiB": _fault("58", "huge_record", record_bytes=_BIG),
    "record to the limit": _fault("58", "huge_record", record_bytes=3_100_000),
    "record without end": _fault("59", "unterminated_record", record_bytes=_BIG),
    "fragments without end": _fault("60", "endless_fragments", record_bytes=_BIG),
    "frame of 2**62 bytes": _fault("61", "claimed_length"),
    "lists in lists, 100,000": _fault("62", "nested_record"),
    "lists in lists, 2,000,000": _fault("62", "nested_record", depth=2_000_000),
    "deflate bomb": _fault("63", "deflate_bomb", record_bytes=_BIG),
    "texts of 1 MB": _fault("71", "hostile", kind="long_string", n=50),
    "numbers 1e400": _fault("73", "hostile", kind="price_1e400", n=200),
    "volumes 2**63": _fault("77", "hostile", kind="volume_2_63", n=200),
    "handshake without end": _fault("39", "handshake_answer", kind="unterminated", phase="handshake"),
    **{name: Bomb("42 67-77 85", {"flood": name, "hub": "market"}) for name in bomb_server.FLOODS},
    "user hub: unknown targets": Bomb("69", {"flood": "unknown targets", "hub": "user"}),
    "user hub: completion with lists": Bomb("42", {"flood": "completion with lists", "hub": "user"}),
    **_answers(),
}
#: Some of each kind, for the suite.
THIN: Final = ("completion with lists",)


@attrs.frozen
class Peer:
    """The server's process: where its service is, and where it takes orders."""

    port: int
    orders: int

    async def tell(self, command: Mapping[str, object]) -> object:
        """Tell it something; return its answer."""
        async with await trio.open_tcp_stream("127.0.0.1", self.orders) as stream:
            await stream.send_all(json.dumps(command).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                answer += await stream.receive_some() or b"\n"
        return json.loads(answer)


@contextmanager
def serving() -> Generator[Peer]:
    """Run the server for the length of the block."""
    command = [sys.executable, str(Path(bomb_server.__file__))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=of_a_script()) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield Peer(*map(int, process.stdout.readline().split()))
        finally:
            process.kill()


@attrs.define
class Found:
    """What one bomb did."""

    name: str
    faults: str
    cost_mib: float = 0.0
    """Peak behind the bomb, less what was there before."""
    stays_mib: float = 0.0
    """What was still there some time after it."""
    struck: int = 0
    error: str = ""
    back_s: float = 0.0
    wrong: list[str] = attrs.Factory(list)


def _memory_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise RuntimeError(f"no {field}")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def meet(name: str, peer: Peer, times: int | None = None) -> Found:
    """Be a client that meets a bomb; the memory is that of this process."""
    bomb, found = BOMBS[name], Found(name, BOMBS[name].faults)
    config = attrs.evolve(
        px.GatewayConfig.simulated(f"http://127.0.0.1:{peer.port}"),
        reconnect=px.Reconnect(young_s=0.05, connect_burst=100, connects_per_s=100.0),
        timeouts=px.Timeouts(handshake_s=5.0, connect_s=5.0),
        negotiate=name.startswith("negotiate"),
    )
    async with px.open_gateway(config) as gateway, trio.open_nursery() as nursery:
        for stream in ("bars", "trades", "quotes", "user"):
            await nursery.start(_read, gateway, stream)
        await gateway.history(CONTRACT, "1m", count=100)
        await trio.sleep(1.0)
        gc.collect()
        before = _memory_kib("VmRSS")
        _reset_peak()
        began = time.monotonic()
        await _throw(bomb, min(bomb.times, times or bomb.times), gateway, peer, found)
        await _come_back(gateway, found)
        found.back_s = round(time.monotonic() - began, 2)
        found.cost_mib = round((_memory_kib("VmHWM") - before) / 1024, 1)
        gc.collect()
        found.stays_mib = round((_memory_kib("VmRSS") - before) / 1024, 1)
        nursery.cancel_scope.cancel()
    if found.cost_mib > MOST_MIB:
        found.wrong.append(f"it costs {found.cost_mib} MiB")
    if not found.struck:
        found.wrong.append("the bomb did not go off")
    return found


async def _read(
    gateway: px.Gateway, kind: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Read a stream for ever; one that breaks is opened again, as a user would."""
    while True:
        opened = {
            "bars": lambda: gateway.open_bars(CONTRACT, "1s", "1m"),
            "trades": lambda: gateway.open_trades(CONTRACT, overflow=px.Overflow.DROP_OLDEST),
            "quotes": lambda: gateway.open_quotes(CONTRACT),
            "user": gateway.open_user_events,
        }[kind]
        try:
            async with opened() as stream:
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                async for _ in stream:
                    pass
        except px.SlowConsumer:
            pass


async def _throw(bomb: Bomb, times: int, gateway: px.Gateway, peer: Peer, found: Found) -> None:
    for _ in range(times):
        said = await peer.tell(bomb.command)
        if bomb.resets:
            await peer.tell({"fault": {"name": "tcp_reset", "hub": "market", "phase": "stream"}})
        if "flood" in bomb.command:
            found.struck += bool(said)
            await trio.sleep(0.5)
            with trio.move_on_after(BACK_S):
                await gateway.wait_connected()
        elif bomb.call:
            await _call(bomb.call, gateway, found)
        else:
            await _wait_struck(peer, found)
    if "flood" not in bomb.command:
        found.struck = int(str(await peer.tell({"struck": True})))
        await peer.tell({"over": True})


async def _wait_struck(peer: Peer, found: Found) -> None:
    struck = found.struck
    with trio.move_on_after(15):
        while found.struck <= struck:
            found.struck = int(str(await peer.tell({"struck": True})))
            await trio.sleep(0.1)
    await trio.sleep(1.0)


async def _call(call: str, gateway: px.Gateway, found: Found) -> None:
    try:
        with trio.fail_after(_CALL_S):
            if call == "history":
                await gateway.history(CONTRACT, "1s", count=50)
            elif call == "search":
                await gateway.rest.contracts("GC")
            else:
                await gateway.refresh_token()
    except px.TrioProjectXError as exc:
        found.error = f"{type(exc).__name__}: {exc}"[:160]
    except trio.TooSlowError:
        found.error = f"given up after {_CALL_S:g} s"


async def _come_back(gateway: px.Gateway, found: Found) -> None:
    with trio.move_on_after(BACK_S) as scope:
        while gateway.health().market.state is not px.HubState.LIVE:
            await trio.sleep(0.05)
        async with gateway.open_trades(CONTRACT, overflow=px.Overflow.DROP_OLDEST) as trades:
            await trades.receive()
    if scope.cancelled_caught:
        found.wrong.append(f"the hub is {gateway.health().market.reason}")


def run_beside(name: str, times: int = 3) -> Found:
    """Meet a bomb in a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--one", name, "--times", str(times)]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False, timeout=180, env=of_a_script()
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return Found(
            name, BOMBS[name].faults, wrong=[f"the client ended with {done.returncode}: {done.stderr[-600:]}"]
        )
    return Found(**json.loads(lines[-1]))


def main(arguments: list[str] | None = None) -> int:
    """Meet the bombs that were named, or all; return 1 if one costs too much."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="BOMB", help="parts of names; all of them")
    parser.add_argument("--times", type=int, help="how often each is thrown at most")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.getLogger("trio_projectx").setLevel(logging.CRITICAL)
    if options.one:
        with serving() as peer:
            print(json.dumps(attrs.asdict(trio.run(meet, options.one, peer, options.times))))
        return 0
    chosen = [name for name in BOMBS if not options.names or any(part in name for part in options.names)]
    failed = 0
    for name in chosen:
        found = run_beside(name, options.times or 3)
        print(json.dumps({"bomb": name, **attrs.asdict(found)}), flush=True)
        print(f"{'FAIL' if found.wrong else 'PASS'} {name} {found.cost_mib} MiB", *found.wrong, flush=True)
        failed += bool(found.wrong)
    print(f"{failed or 'none'} of {len(chosen)} failed", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
