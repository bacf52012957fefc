"""What is called: a function or an async function, held or only known, in the event loop or in a thread of its own."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from trio_projectx._errors import ConfigError

_GENERATOR: Final = "it is a generator, of which nothing runs: a handler is a function or an async function"


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
        if is_generator(function):
            raise ConfigError(f"{function!r:.60} cannot be a handler: {_GENERATOR}")
        if thread and is_async(function):
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
        if inspect.isawaitable(result):
            return result
        _refuse_generator(result)
        return None


def is_async(function: Callable[..., object]) -> bool:
    """Whether it is an async function, as far as can be seen."""
    return inspect.iscoroutinefunction(_called(function))


def is_generator(function: Callable[..., object]) -> bool:
    """Whether a call of it runs nothing, but makes a generator, as far as can be seen."""
    called = _called(function)
    if inspect.isasyncgenfunction(called):
        return True
    code = getattr(called, "__code__", None)
    # What `types.coroutine` makes is a generator function, and what that returns can be awaited.
    is_coroutine = code is not None and code.co_flags & inspect.CO_ITERABLE_COROUTINE
    return inspect.isgeneratorfunction(called) and not is_coroutine


def _called(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function that runs in a call: behind a partial, of a bound method, of an object with ``__call__``."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.ismethod(function):
        return function.__func__
    if inspect.isfunction(function) or inspect.isclass(function):
        return function
    called = getattr(type(function), "__call__", function)  # noqa: B004  it is asked what it is, not whether
    return called if inspect.isfunction(called) else function


def _refuse_generator(result: object) -> None:
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(_GENERATOR)


def _weak(
    function: Callable[..., object], on_gone: Callable[[], None]
) -> weakref.WeakMethod[Callable[..., object]]:
    if not inspect.ismethod(function):
        raise ConfigError(
            "weak=True is for a method of an object: of a function nobody else may hold, nothing is left"
        )

    def gone(_: object) -> None:
        on_gone()

    try:
        return weakref.WeakMethod(function, gone)
    except TypeError:
        kind = type(function.__self__).__qualname__
        raise ConfigError(
            f"weak=True needs an object that can be known weakly: give {kind:.60} a __weakref__ slot"
        ) from None


def _call_in_thread(function: Callable[..., object], argument: object) -> None:
    result = function(argument)
    _refuse_generator(result)
    if inspect.iscoroutine(result):
        result.close()
    if inspect.isawaitable(result):
        raise TypeError(
            "with thread=True a handler must not return a coroutine, or what else is to be awaited"
        )
