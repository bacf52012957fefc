"""`Callbacks`: market data by functions that are called with them, for who wants no streams."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, Unpack, overload

import trio

from trio_projectx._config import Overflow
from trio_projectx._errors import ConfigError
from trio_projectx._events import Bar, BarRevised, Gap, GatewayEvent
from trio_projectx.flow.bar_options import bar_policy, update_interval
from trio_projectx.flow.checks import check_contract, checked_frames
from trio_projectx.flow.keys import bar_stamp, event_stamp
from trio_projectx.flow.stream import Stream
from trio_projectx.handlers.arguments import BarHandlerArguments, HandlerArguments, bar_options, wish_for
from trio_projectx.handlers.counts import HandlerStatistics
from trio_projectx.handlers.options import Handler
from trio_projectx.handlers.registration import Registration
from trio_projectx.record_callbacks import RecordCallbacks


class Callbacks(RecordCallbacks):
    """Registers handlers of market data and events, and calls them in tasks of its own: `run_handlers`.

    A handler is a function or an async function of one item; with ``batch=True`` of a tuple of items. Each has a
    stream and a task of its own: one that is slow, or raises, delays no other and no stream. What it raises is counted
    and told (`HandlerFailed`), and opens its breaker where it does so again and again (`HandlerOptions`); while that is
    open ``fallback`` is called, if there is one. What it is not given is counted and told (`HandlerSkipped`). A
    function that is neither async nor has ``HandlerOptions.thread`` keeps the event loop while it runs, as all code
    does.
    """

    @overload
    def on_bar(
        self,
        handler: Handler[Bar],
        contract: str,
        *timeframes: str,
        batch: Literal[False] = False,
        events: Literal[False] = False,
        fallback: Handler[Bar] | None = None,
        **how: Unpack[BarHandlerArguments],
    ) -> Registration: ...

    @overload
    def on_bar(
        self,
        handler: Handler[tuple[Bar, ...]],
        contract: str,
        *timeframes: str,
        batch: Literal[True],
        events: Literal[False] = False,
        fallback: Handler[tuple[Bar, ...]] | None = None,
        **how: Unpack[BarHandlerArguments],
    ) -> Registration: ...

    @overload
    def on_bar(
        self,
        handler: Handler[Bar | BarRevised | Gap],
        contract: str,
        *timeframes: str,
        batch: Literal[False] = False,
        events: Literal[True],
        fallback: Handler[Bar | BarRevised | Gap] | None = None,
        **how: Unpack[BarHandlerArguments],
    ) -> Registration: ...

    @overload
    def on_bar(
        self,
        handler: Handler[tuple[Bar | BarRevised | Gap, ...]],
        contract: str,
        *timeframes: str,
        batch: Literal[True],
        events: Literal[True],
        fallback: Handler[tuple[Bar | BarRevised | Gap, ...]] | None = None,
        **how: Unpack[BarHandlerArguments],
    ) -> Registration: ...

    def on_bar(
        self,
        handler: Callable[..., object],
        contract: str,
        *timeframes: str,
        batch: bool = False,
        events: bool = False,
        fallback: Callable[..., object] | None = None,
        **how: Unpack[BarHandlerArguments],
    ) -> Registration:
        """Call ``handler`` with each bar that `open_bars` would give for the same arguments.

        It is called from the time on when `run_handlers` runs, until it is removed (`Registration`). What only the
        service can know (whether there is the contract) is raised by `run_handlers`.

        :raises ConfigError: (`TimeframeError`) for what cannot be honoured; beyond 32 handlers of one kind.
        """
        check_contract(contract)
        policies = bar_options(how)
        frames = checked_frames(timeframes, "on_bar(handler, ")
        updates, anchor, history = how.get("updates"), how.get("anchor"), how.get("history", 0)
        update_interval(updates)
        self._streams.check_bars(frames, anchor, bar_policy(policies, events=events), history)
        overflow, capacity = self._overflow(how), how.get("capacity")
        return self._handlers.add(
            wish_for(
                "bar",
                lambda: self._streams.bars(
                    contract,
                    timeframes,
                    overflow,
                    anchor,
                    capacity,
                    updates,
                    policies,
                    events=events,
                    history=history,
                ),
                bar_stamp,
                handler,
                fallback,
                how,
                batch=batch,
            )
        )

    @overload
    def on_event(
        self,
        handler: Handler[GatewayEvent],
        *,
        batch: Literal[False] = False,
        fallback: Handler[GatewayEvent] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    @overload
    def on_event(
        self,
        handler: Handler[tuple[GatewayEvent, ...]],
        *,
        batch: Literal[True],
        fallback: Handler[tuple[GatewayEvent, ...]] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration: ...

    def on_event(
        self,
        handler: Callable[..., object],
        *,
        batch: bool = False,
        fallback: Callable[..., object] | None = None,
        **how: Unpack[HandlerArguments],
    ) -> Registration:
        """Call ``handler`` with what `open_events` tells; as `on_bar`.

        What is told of handlers of events is given to none of them.
        """
        if how.get("overflow") is Overflow.BLOCK:
            raise ConfigError("events cannot wait for a handler: choose another overflow than BLOCK")
        overflow, capacity = how.get("overflow", Overflow.DROP_OLDEST), how.get("capacity")

        def source() -> AbstractAsyncContextManager[Stream[object]]:
            return self._streams.events(overflow, capacity, outlasts=True)

        return self._handlers.add(wish_for("event", source, event_stamp, handler, fallback, how, batch=batch))

    async def run_handlers(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Call the registered handlers, and those that are registered meanwhile, until the gateway is closed.

        It owns a task for each. ``await nursery.start(gateway.run_handlers)`` returns when the streams of all that are
        registered are open; a handler that is added later delays nobody. It returns when the gateway is closed, or at
        the end of a replay, or when that is left; cancelled, it ends at once. A run may follow another one, with new
        streams.

        Where a stream breaks or cannot be opened, that is told (`HandlerStopped`), the other handlers are given what
        waits for them already (for ``timeouts.close_s`` at most, and handlers of events, which are told of the others,
        for as long again), and then it is raised here: a program that trades must not go on with half of its handlers.

        :raises ConnectionLost: if a hub is lost for good; what else streams raise, as `open_bars`.
        :raises SlowConsumer: if a handler with ``overflow=Overflow.ERROR`` was too slow.
        :raises trio.BusyResourceError: if it runs already.
        """
        await self._handlers.run(lambda: task_status.started())

    def handlers(self) -> tuple[HandlerStatistics, ...]:
        """Return the counts of each handler that is registered now, in the order of registration."""
        return self._handlers.statistics()
