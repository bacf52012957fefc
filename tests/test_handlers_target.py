from __future__ import annotations

import functools
import gc
import threading
import types
from collections.abc import AsyncGenerator, Callable, Generator

import pytest
import trio

import trio_projectx as px
from trio_projectx.handlers.target import Gone, Target


def nobody() -> None:
    pass


async def call(target: Target, item: object) -> bool:
    """Whether the call was over when it had begun."""
    left = target.begin(item)
    if left is not None:
        await left
    return left is None


def strong(function: object, *, thread: bool = False) -> Target:
    return Target(function, weak=False, thread=thread, on_gone=nobody)  # type: ignore[arg-type]


async def test_functions_async_functions_and_what_is_made_of_them() -> None:
    got: list[object] = []

    async def later(factor: int, item: int) -> None:
        await trio.lowlevel.checkpoint()
        got.append(item * factor)

    class Later:
        async def __call__(self, item: int) -> None:
            got.append(-item)

    assert await call(strong(got.append), 1)
    assert not await call(strong(functools.partial(later, 10)), 2)
    assert not await call(strong(lambda item: later(100, item)), 3)
    assert not await call(strong(Later()), 4)
    assert got == [1, 20, 300, -4]


async def test_in_a_thread_there_is_one_call_at_a_time_also_when_one_is_left_behind() -> None:
    go, seen = threading.Event(), list[tuple[int, str]]()

    def handler(item: int) -> None:
        seen.append((item, threading.current_thread().name))
        if item == 1:
            go.wait(10)

    target = strong(handler, thread=True)
    with trio.move_on_after(0.05) as scope:
        await call(target, 1)
    assert scope.cancelled_caught
    with trio.move_on_after(0.05) as scope:
        await call(target, 2)
    assert scope.cancelled_caught
    go.set()
    assert not await call(target, 3)
    assert [item for item, _ in seen] == [1, 3]
    assert threading.current_thread().name not in {name for _, name in seen}


async def test_a_coroutine_out_of_a_thread_is_a_failure_and_is_closed() -> None:
    async def handler(_: int) -> None: ...

    with pytest.raises(TypeError, match="must not return a coroutine"):
        await call(strong(lambda item: handler(item), thread=True), 1)
    with pytest.raises(px.ConfigError, match="an async function runs in the event loop"):
        strong(handler, thread=True)
    with pytest.raises(px.ConfigError, match="must be callable"):
        strong(3)


async def async_generator(_: object) -> AsyncGenerator[int]:
    yield 1


def generator(_: object) -> Generator[int]:
    yield 1


class Generators:
    async def __call__(self, _: object) -> AsyncGenerator[int]:
        yield 1

    def method(self, _: object) -> Generator[int]:
        yield 1


class AsyncCallable:
    async def __call__(self, item: int) -> None: ...


class Awaitable:
    def __await__(self) -> Generator[object, object, None]:
        yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        async_generator,
        generator,
        Generators(),
        Generators().method,
        functools.partial(functools.partial(async_generator)),
        functools.partial(Generators()),
    ],
)
async def test_generators_are_refused_for_nothing_of_them_would_run(function: object, thread: bool) -> None:
    with pytest.raises(px.ConfigError, match="it is a generator, of which nothing runs"):
        strong(function, thread=thread)


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("function", [async_generator, generator])
async def test_one_that_only_a_call_shows_is_a_failure(
    function: Callable[[object], object], thread: bool
) -> None:
    with pytest.raises(TypeError, match="it is a generator, of which nothing runs"):
        await call(strong(lambda item: function(item), thread=thread), 1)


async def test_what_is_a_generator_and_can_be_awaited_is_awaited() -> None:
    got: list[int] = []

    @types.coroutine
    def old(item: int) -> Generator[object, object, None]:
        yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105
        got.append(item)

    assert not await call(strong(old), 1)
    assert got == [1]


async def test_what_is_to_be_awaited_fails_in_a_thread() -> None:
    with pytest.raises(px.ConfigError, match="an async function runs in the event loop"):
        strong(AsyncCallable(), thread=True)
    with pytest.raises(TypeError, match="what else is to be awaited"):
        await call(strong(lambda _: Awaitable(), thread=True), 1)
    assert not await call(strong(lambda _: Awaitable()), 1)


class Object:
    def __init__(self) -> None:
        self.got: list[int] = []

    def take(self, item: int) -> None:
        self.got.append(item)


async def test_a_weak_target_goes_with_its_object_and_says_so_once() -> None:
    one, gone = Object(), list[bool]()
    target = Target(one.take, weak=True, thread=False, on_gone=lambda: gone.append(True))
    await call(target, 1)
    assert (one.got, target.is_gone, gone) == ([1], False, [])
    del one
    gc.collect()
    assert (target.is_gone, gone) == (True, [True])
    with pytest.raises(Gone):
        await call(target, 2)


async def test_only_methods_can_be_weak() -> None:
    for function in (nobody, lambda _: None, Object):
        with pytest.raises(px.ConfigError, match="weak=True is for a method"):
            Target(function, weak=True, thread=False, on_gone=nobody)
    one = Object()
    kept = Target(one.take, weak=False, thread=False, on_gone=nobody)
    got = one.got
    del one
    gc.collect()
    await call(kept, 5)
    assert got == [5]
