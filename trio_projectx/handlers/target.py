"""What is called: a function or an async function, held or only known, in the event loop or in a thread of its own."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Awaitable, Callable

import trio

from trio_projectx._errors import ConfigError


class Gone(Exception):
    """The object whose method was to be called is no more."""


class Target:
    """One callable of a handler.

    A weak one does not keep the object alive whose method it is; ``on_gone`` is called when that is gone, by whichever
    thread was collecting then.
    """

    __slots__ = ("_limiter", "_method", "_strong")

    def __init__(
        self, function: Callable[..., object], *, weak: bool, thread: bool, on_gone: Callable[[], None]
    ) -> None:
        if not callable(function):
            raise ConfigError(f"a handler must be callable, not {function!r:.60}")
        if thread and inspect.iscoroutinefunction(function):
            raise ConfigError("thread=True is for functions: an async function runs in the event loop")
        self._strong = None if weak else function
        self._method = _weak(function, on_gone) if weak else None
        self._limiter = trio.CapacityLimiter(1) if thread else None

    @property
    def is_gone(self) -> bool:
        """Whether there is nothing to call any more."""
        return self._method is not None and self._method() is None

    def begin(self, argument: object) -> Awaitable[object] | None:
        """Call it; returns what is to be awaited of the call, None if it is over.

        :raises Gone: if the object is no more.
        """
        function = self._method() if self._method is not None else self._strong
        if function is None:
            raise Gone
        if self._limiter is not None:
            # Left behind when its time is over: it keeps the limiter then, so that there is one of them at most.
            return trio.to_thread.run_sync(
                _call_in_thread, function, argument, limiter=self._limiter, abandon_on_cancel=True
            )
        result = function(argument)
        return result if inspect.isawaitable(result) else None


def _weak(
    function: Callable[..., object], on_gone: Callable[[], None]
) -> weakref.WeakMethod[Callable[..., object]]:
    if not inspect.ismethod(function):
        raise ConfigError(
            "weak=True is for a method of an object: of a function nobody else may hold, nothing is left"
        )

    def gone(_: object) -> None:
        on_gone()

    return weakref.WeakMethod(function, gone)


def _call_in_thread(function: Callable[..., object], argument: object) -> None:
    result = function(argument)
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError("with thread=True a handler must not return a coroutine")
