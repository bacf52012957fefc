"""Faults on command: what can go wrong with a gateway, by name, in process, over HTTP, and by script."""

from __future__ import annotations

from trio_projectx.simulator.faults.armed import FaultHandle, FaultState
from trio_projectx.simulator.faults.catalogue import HOSTILE_KINDS, SPECS, Level, Spec
from trio_projectx.simulator.faults.model import PARAMETERS, Fault, parse_fault
from trio_projectx.simulator.faults.script import After, Step, parse_script, read_script

__all__ = [
    "HOSTILE_KINDS",
    "PARAMETERS",
    "SPECS",
    "After",
    "Fault",
    "FaultHandle",
    "FaultState",
    "Level",
    "Spec",
    "Step",
    "parse_fault",
    "parse_script",
    "read_script",
]
