"""What a process holds: memory after everything that can be given back was, descriptors, tasks."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import msgspec
import pyarrow as pa
import trio

_KIB: Final = 1024
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class Held:
    """What there was at one moment."""

    memory_kib: int
    """Resident, but for what is mapped from files."""
    descriptors: int
    tasks: int


def held(root: trio.lowlevel.Task, *, collect: bool = True) -> Held:
    """Return what the process holds; with ``collect``, after garbage and freed memory were given back."""
    if collect:
        give_back()
    return Held(memory_kib(), len(os.listdir("/proc/self/fd")), tasks_below(root))


def give_back() -> None:
    """Collect garbage, and give what Python, malloc and Arrow keep for later back to the system."""
    # Python remembers where attributes were found, by their names (4,096 of them), and these live with that: C code
    # makes a new one for each look, so that it takes a day or two until the memory is full of such.
    clear = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    if clear is not None:
        clear()
    gc.collect()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others give back by themselves
    if trim is not None:
        trim(0)


def touch_stack() -> None:
    """Need as much of the stack as nested JSON can: it is never given back, and no growth where a fault needs it."""
    with suppress(RecursionError):
        msgspec.json.decode(b"[" * 100_000)


@contextmanager
def frozen() -> Generator[None]:
    """Have what there is looked at by no collection in the block; what was frozen before it stays so behind it."""
    before = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not before:
            gc.unfreeze()


def memory_kib() -> int:
    """Return the resident memory of this process less what is mapped from files, in KiB."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * _PAGE // _KIB


def tasks_below(task: trio.lowlevel.Task) -> int:
    """Return how many tasks live in nurseries of ``task``, and in theirs."""
    children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return len(children) + sum(tasks_below(child) for child in children)
