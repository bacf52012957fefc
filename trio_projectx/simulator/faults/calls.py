"""Faults of calls: what becomes of a Subscribe. Name to function; see `catalogue`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, NoReturn, TypeAlias

import trio

from trio_projectx.simulator.faults.armed import Armed
from trio_projectx.simulator.faults.filters import drop_answer
from trio_projectx.simulator.faults.line import Line
from trio_projectx.simulator.turns import BindingError, HubError, Run, Turn

Call: TypeAlias = Callable[[Line, Armed, Turn, Run], Awaitable[str]]
"""Runs, or does not run, the method, and returns its result as JSON."""

_NOTHING: Final = "null"


async def _refused(line: Line, armed: Armed, turn: Turn, run: Run) -> str:
    del line, turn, run
    if armed.fault.error:
        raise HubError(armed.fault.error)
    raise BindingError  # the text of GATEWAY.md 2.1


async def _never(line: Line, armed: Armed, turn: Turn, run: Run) -> str:
    if turn.invocation_id is not None:
        drop_answer(line, armed, turn.invocation_id)
    return await run(turn)


async def _lost(line: Line, armed: Armed, turn: Turn, run: Run) -> str:
    del line, armed, turn, run
    return _NOTHING


async def _hang(line: Line, armed: Armed, turn: Turn, run: Run) -> NoReturn:
    del line, armed, run
    turn.waits.set()  # the client is read on
    await trio.sleep_forever()


CALLS: Final[Mapping[str, Call]] = MappingProxyType(
    {"subscribe_refused": _refused, "subscribe_never": _never, "subscriptions_lost": _lost, "hang": _hang}
)
