"""Faults of bytes: what happens to a connection as such. Name to function; see `catalogue`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final, TypeAlias

import trio

from trio_projectx.simulator.faults.armed import Armed
from trio_projectx.simulator.faults.line import Line
from trio_projectx.simulator.faults.modes import Mode

Now: TypeAlias = Callable[[Line, Armed], None]
"""Strikes at once, whoever is sending."""
Sends: TypeAlias = Callable[[Line, Armed], Awaitable[None]]
"""Strikes when nobody else sends."""


def _tcp_reset(line: Line, _: Armed) -> None:
    line.reset()


def _half_open(line: Line, armed: Armed) -> None:
    line.begin(Mode(armed=armed, swallows=True, is_deaf=True, keeps_open=True))


def _stop_reading(line: Line, armed: Armed) -> None:
    line.begin(Mode(armed=armed, is_deaf=True))


def _throttle(line: Line, armed: Armed) -> None:
    line.begin(Mode(armed=armed, bytes_per_s=armed.fault.bytes_per_s))


def _delay(line: Line, armed: Armed) -> None:
    fault = armed.fault
    line.begin(Mode(armed=armed, latency_s=fault.latency_s, jitter_s=fault.jitter_s))


def _rechunk(line: Line, armed: Armed) -> None:
    line.begin(Mode(armed=armed, chunk_bytes=armed.fault.chunk_bytes))


def _bit_flip(line: Line, armed: Armed) -> None:
    line.flip(1 << armed.fault.bit)


def _hang(line: Line, armed: Armed) -> None:
    line.begin(Mode(armed=armed, swallows=True, is_deaf=armed.fault.phase == "connect", keeps_open=True))


async def _tcp_fin(line: Line, armed: Armed) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await line.send_eof()
    line.begin(Mode(armed=armed, swallows=True))


async def _garbage(line: Line, armed: Armed) -> None:
    await line.emit(noise(armed))


def noise(armed: Armed) -> bytes:
    """Return the random bytes of a fault; the same for the same seed, fault and strike."""
    return random.Random(f"{armed.seed}/{armed.struck}").randbytes(armed.fault.size_bytes)


WIRE: Final[Mapping[str, Now]] = MappingProxyType(
    {
        "tcp_reset": _tcp_reset,
        "half_open": _half_open,
        "stop_reading": _stop_reading,
        "throttle": _throttle,
        "delay": _delay,
        "rechunk": _rechunk,
        "bit_flip": _bit_flip,
        "hang": _hang,
    }
)
WIRE_SENDS: Final[Mapping[str, Sends]] = MappingProxyType({"tcp_fin": _tcp_fin, "garbage": _garbage})
