"""How commands end: told to by a signal, or because whoever started them is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

import trio

from trio_projectx.flow.background import open_background_tasks
from trio_projectx.simulator import Simulator

_NAMES: Final = ("SIGTERM", "SIGHUP")
_STDIN: Final = 0
_READ: Final = 4096


async def run_until_told(main: Callable[[], Awaitable[object]]) -> int:
    """Run a command and return its exit code; SIGTERM and SIGHUP cancel it, and then it is 128 and their number.

    A signal that is ignored (``nohup``) stays so.
    """
    told: list[int] = []
    wanted = _wanted()
    if not wanted:
        return _code(await main())
    with trio.open_signal_receiver(*wanted) as signals, trio.CancelScope() as scope:
        async with open_background_tasks("command") as tasks:
            tasks.start_soon(_cancel_when_told, signals, scope, told)
            return _code(await main())
    return 128 + told[0]


def _wanted() -> list[int]:
    if threading.current_thread() is not threading.main_thread():
        return []
    found = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    return [number for number in found if signal.getsignal(number) is signal.SIG_DFL]


def _code(returned: object) -> int:
    return returned if isinstance(returned, int) else 0


async def _cancel_when_told(signals: AsyncIterator[int], scope: trio.CancelScope, told: list[int]) -> None:
    async for number in signals:
        told.append(number)
        scope.cancel(reason=f"signal {number}")
        return


async def until_input_ends(simulator: Simulator) -> None:
    """Stop ``simulator`` when standard input ends: the process that holds the other end is gone, however it went."""
    # Not by ``sys.stdin``: the thread that is left behind would hold its lock when the interpreter ends.
    await trio.to_thread.run_sync(_read_out, abandon_on_cancel=True)
    simulator.stopped.set()


def _read_out() -> None:
    with suppress(OSError):  # it is closed: nobody is there either
        while os.read(_STDIN, _READ):
            pass


@contextmanager
def missing_outputs() -> Generator[None]:
    """Have something that can be written to where standard output or error was closed (``>&-``), and is None."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
