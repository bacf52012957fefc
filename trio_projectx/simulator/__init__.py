"""A ProjectX gateway on loopback: REST, hubs and markets, faithful enough to test a trading client against.

It serves generated markets (pure functions of a seed) or recorded trades, over TCP or over streams in memory,
and is controlled over HTTP. Nothing of it ever talks to another machine, and its tokens say what they are.
"""

from __future__ import annotations

from trio_projectx.simulator.faults import (
    After,
    Fault,
    FaultHandle,
    FaultState,
    Step,
    parse_fault,
    parse_script,
    read_script,
)
from trio_projectx.simulator.player import ReplayState
from trio_projectx.simulator.serve import serve
from trio_projectx.simulator.server import Simulator, open_simulator
from trio_projectx.simulator.settings import SimulatorStatistics
from trio_projectx.simulator.streams import BreakableStream, breakable_pair

__all__ = [
    "After",
    "BreakableStream",
    "Fault",
    "FaultHandle",
    "FaultState",
    "ReplayState",
    "Simulator",
    "SimulatorStatistics",
    "Step",
    "breakable_pair",
    "open_simulator",
    "parse_fault",
    "parse_script",
    "read_script",
    "serve",
]
