"""The readers of a random life's streams (see `model`): each opens, reads and leaves as it was drawn."""

from __future__ import annotations

from typing import Any

import trio
from beheld import judge_stream
from lived import Reading, Run
from lots import StreamPlan

import trio_projectx as px


class Boom(Exception):
    """Raised in the body of a stream's block."""


async def live_stream(run: Run, reading: Reading) -> None:
    """Open a stream, read it, leave it; then it must be over."""
    await trio.sleep_until(reading.plan.at)
    boom = Boom()
    try:
        with trio.CancelScope() as scope:
            async with _opened(run, reading.plan) as stream:
                await _inside(run, reading, stream, scope, boom)
    except px.TrioProjectXError as exc:
        if reading.stream is None:
            run.notes[f"opening {reading.plan.kind}: {type(exc).__name__}"] += 1
        else:
            run.blame(f"{reading.plan} raised {exc!r} on leaving")
    except Boom as exc:
        if exc is not boom:
            run.blame("another exception came out")
    if reading.stream is not None:
        _judge_left(run, reading.stream)


async def _inside(
    run: Run, reading: Reading, stream: px.Stream[Any], scope: trio.CancelScope, boom: Boom
) -> None:
    reading.stream, reading.is_open, reading.opened_at = stream, True, trio.current_time()
    _, is_there, rest = stream.statistics().name.partition(" of CON")
    if is_there:
        reading.contract_id = "CON" + rest.split(" ")[0]
    try:
        await _read_as_drawn(run, reading, scope, boom)
    finally:
        reading.final, reading.mark = stream.statistics(), stream.unread_mark()
        reading.is_open = False
        judge_stream(run, reading)


def _judge_left(run: Run, stream: px.Stream[Any]) -> None:
    try:
        stream.receive_nowait()
    except trio.ClosedResourceError:
        pass
    except BaseException as exc:  # noqa: BLE001  whatever it is, it is another
        run.blame(f"a stream that was left raises {exc!r}")
    else:
        run.blame("a stream that was left gives items")


def _opened(run: Run, plan: StreamPlan) -> Any:
    gateway, how = run.gateway, {"overflow": plan.policy, "capacity": plan.capacity, **plan.options}
    match plan.kind:
        case "bars":
            return gateway.open_bars(plan.contract, *plan.frames, **how)
        case "trades":
            return gateway.open_trades(plan.contract, **how)
        case "quotes":
            return gateway.open_quotes(plan.contract, **how)
        case "depth":
            return gateway.open_depth(plan.contract, **how)
        case "book":
            return gateway.open_book(plan.contract, **how)
        case "user":
            return gateway.open_user_events(**how)
        case _:
            return gateway.open_events(**how)


async def _read_as_drawn(run: Run, reading: Reading, scope: trio.CancelScope, boom: Boom) -> None:
    plan = reading.plan
    async with trio.open_nursery() as nursery:
        for _ in range(plan.readers):
            nursery.start_soon(_read, run, reading)
        with trio.move_on_at(plan.until):
            await run.is_stopping.wait()
        if plan.how == "drain" or run.is_stopping.is_set():
            await trio.sleep(0.5 if plan.is_prompt or run.is_stopping.is_set() else 0)
        nursery.cancel_scope.cancel()
    if run.is_stopping.is_set() or plan.how == "drain":
        _drain(reading)
    if run.is_stopping.is_set():
        return
    if plan.how == "raise":
        raise boom
    if plan.how == "cancel":
        scope.cancel()
        await trio.lowlevel.checkpoint()


async def _read(run: Run, reading: Reading) -> None:
    plan, count = reading.plan, 0
    try:
        async for item in reading.lasting:
            reading.got.append(item)
            count += 1
            if plan.pause_s and count % plan.burst == 0:
                with trio.move_on_after(plan.pause_s):
                    await run.is_stopping.wait()
    except px.TrioProjectXError as exc:
        reading.error = exc
    except trio.ClosedResourceError:
        pass  # another reader of it was the first to know


def _drain(reading: Reading) -> None:
    """Read what waits."""
    while True:
        try:
            reading.got.append(reading.lasting.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            reading.is_drained = True
            return
        except px.TrioProjectXError as exc:
            reading.error = exc
            return
