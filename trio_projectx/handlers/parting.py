"""What comes out of a call together with `trio.Cancelled`: whose it is, and what of it goes on."""

from __future__ import annotations

import math
from typing import Final

import trio

from trio_projectx.flow.background import without_cancelled
from trio_projectx.handlers.failures import describe, is_of_memory

_OF_NOBODY: Final = (
    "Cancelled",
    "it was raised where nobody cancels the call: kept and raised again, or out of a scope that is over",
)


def parted(
    exc: trio.Cancelled | BaseExceptionGroup[BaseException],
) -> tuple[tuple[str, str] | None, BaseException | None]:
    """Return the handler's failure in ``exc``, and what is to be raised of it; asked outside of the call's deadline.

    A `trio.Cancelled` is somebody's who cancels now, or nobody's: a handler that kept one (a memoised outcome, one out
    of another task) and raises it would end the run of all handlers without a word, as a nursery takes it for its own.
    Ctrl-C and its like, and memory that ran out, go on as they are, whatever is beside them.
    """
    rest = without_cancelled(exc)
    if rest is not None and (not isinstance(rest, Exception) or is_of_memory(rest)):
        return None, exc
    failure = None if rest is None else describe(rest)
    if trio.current_effective_deadline() > -math.inf:
        return failure or _OF_NOBODY, None
    if isinstance(exc, trio.Cancelled):
        return None, exc
    return failure, exc.split(trio.Cancelled)[0]
