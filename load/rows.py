"""The faults of a soak: every row of the catalogue that is not fatal, and how each is made to strike."""

from __future__ import annotations

import functools
import random
from typing import Final

import attrs
import trio
from world import World

import trio_projectx as px
from trio_projectx.simulator import Fault
from trio_projectx.simulator.faults.catalogue import SPECS

#: What a fault's own sizes are: the real ones only cost time.
_GIVEN: Final = {
    "record_bytes": 8 << 20, "size_bytes": 3000, "bytes_per_s": 20_000, "chunk_bytes": 64, "depth": 100_000
}  # fmt: skip
#: They end streams, and are meant to: the hub says no to what was asked for.
_FATAL: Final = ("subscribe_refused",)
#: Nobody can tell that data are kept back where the service's own calendar is closed.
_KEEP_BACK: Final = ("mute_data", "subscriptions_lost", "token_expiry")
_OF_TRADES: Final = ("trades_duplicated", "trades_swapped", "trades_late", "trades_replayed", "hostile")
_CALLS: Final = ("completion_twice", "subscribe_never", "subscriptions_lost")
_STATUSES: Final = (500, 502, 503, 504, 408, 429)
_CODES: Final = (1000, 1001, 1002, 1003, 1007, 1009, 1011, 1012, 1013, 3000, 4999)
#: Kinds that are left out. "grown" lies without a sign: no reader can know. A redirect to another origin is refused for
#: good, and so is a hub's refusal in words.
_KINDS_LEFT_OUT: Final = {
    "http_body": ("redirect", "huge"),
    "handshake_answer": ("error",),
    "history_bars": ("grown",),
}
#: Each fragment is a send of its own: a minute and a half of it is a minute of real time.
_DEAR: Final = {"rechunk": 15.0, "fragmented_frames": 15.0, "split_records": 30.0, "throttle": 45.0}
_LASTS_S: Final = 90.0
#: The first record that a fault sees has what was traded since the market was looked at last.
_STEP_NS: Final = 1_000_000_000


@attrs.frozen
class Row:
    """One fault in one phase on one hub ("rest" too)."""

    name: str
    phase: str
    hub: str

    @property
    def needs_data(self) -> bool:
        """Whether it strikes, or is noticed, only while the market trades and our calendar says that it does."""
        return self.name in (*_OF_TRADES, *_KEEP_BACK)

    @property
    def lasts_s(self) -> float:
        """How long it is in place."""
        return _DEAR.get(self.name, _LASTS_S)


def rows() -> list[Row]:
    """Return every row that leaves the streams alive."""
    found: list[Row] = []
    for name, spec in SPECS.items():
        for phase in spec.phases:
            hubs = ("rest",) if phase == "rest" else ("market", "user")
            found += [Row(name, phase, hub) for hub in hubs if _is_wanted(name, phase, hub)]
    return found


def _is_wanted(name: str, phase: str, hub: str) -> bool:
    if name in _FATAL or (hub == "user" and name in _OF_TRADES):
        return False
    if name in _CALLS and phase == "stream":
        return False  # nothing is asked of a hub whose streams are all open
    return not (
        name == "subscribe_never" and hub == "user"
    )  # one answer of seven: that stream ends, and is told


def fault_of(row: Row, rng: random.Random) -> Fault:
    """Return the fault of a row, what is free in it drawn."""
    spec = SPECS[row.name]
    given: dict[str, object] = {key: value for key, value in _GIVEN.items() if key in spec.params}
    if spec.kinds:
        left_out = _KINDS_LEFT_OUT.get(row.name, ())
        given["kind"] = rng.choice([kind for kind in spec.kinds if kind not in left_out])
    if row.name == "http_status":
        given["status"] = rng.choice(_STATUSES)
    if row.name == "ws_close":
        given["code"] = rng.choice(_CODES)
    if row.name == "token_expiry":
        given["policy"] = rng.choice(("close", "logout", "silence"))
    if row.name.startswith("trades_") and row.name != "trades_duplicated":
        given["n"] = rng.randint(1, 20)
    if row.phase == "connect":
        return Fault(row.name, phase="connect", connection="next", **given)  # type: ignore[arg-type]
    if row.name == "history_bars":
        return Fault(row.name, phase="rest", hub="rest", **given)  # type: ignore[arg-type]
    if row.phase == "rest":
        given["path"] = "/api/auth/*" if "path" in given or spec.level.name == "REQUEST" else "*"
    return Fault(row.name, phase=row.phase, hub=row.hub, **given)  # type: ignore[arg-type]


@attrs.frozen
class Strike:
    """A fault that was put in."""

    row: Row
    fault: Fault
    at: float
    """trio's clock."""
    over: float
    """When it was taken out again."""
    struck: int
    market_ns: tuple[int, int]
    """The market's time a step before that, and when it was taken out."""

    @property
    def lies(self) -> bool:
        """Whether it has the wire say what never was, so that nobody can know it from what was."""
        return self.row.name == "trades_duplicated"


async def strike(
    world: World, gateway: px.Gateway, row: Row, rng: random.Random, lasts_s: float | None = None
) -> Strike:
    """Put a fault in, see to it that somebody meets it, wait, and take it out."""
    fault, at, began_ns = fault_of(row, rng), trio.current_time(), world.now_ns()
    if row.phase == "connect":
        # First the loss, a moment from now: the next connection may else be that of who asks for the loss.
        await _reset(world, "market", delay_s=1.0)
    name = await world.inject(fault)
    await _provoke(world, gateway, row)
    await trio.sleep_until(at + (row.lasts_s if lasts_s is None else lasts_s))
    struck = await world.struck(name)
    await world.clear()
    return Strike(row, fault, at, trio.current_time(), struck, (began_ns - _STEP_NS, world.now_ns()))


async def _provoke(world: World, gateway: px.Gateway, row: Row) -> None:
    if row.name == "history_bars":
        await _reset(world, "market")
    elif row.phase == "rest":
        await _refreshed(gateway)
    elif row.name == "trades_replayed":
        for _ in range(1 + (row.phase != "stream")):  # one connection has to bring what the next one repeats
            await trio.sleep(2.0)
            await _reset(world, row.hub)
    elif row.phase not in ("stream", "connect"):
        await _reset(world, row.hub)


@functools.lru_cache(maxsize=8)
def _reset_of(hub: str, delay_s: float) -> Fault:
    """Return the same fault each time: the simulator keeps those that are over, and a soak puts in hundreds."""
    return Fault("tcp_reset", hub=hub, phase="stream", delay_s=delay_s)


async def _reset(world: World, hub: str, delay_s: float = 0.0) -> None:
    await world.inject(_reset_of(hub, delay_s))


async def _refreshed(gateway: px.Gateway) -> None:
    """Ask for a token; again where that failed."""
    for _ in range(2):
        try:
            await gateway.refresh_token()
        except px.TrioProjectXError:
            await trio.sleep(1.0)
        else:
            break
