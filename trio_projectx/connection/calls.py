"""Our calls to a hub that wait for the server's completion."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from trio_projectx._errors import ConnectionLost, SubscriptionError, TrioProjectXError, again
from trio_projectx.signalr import CallCompleted, CallFailed, JsonValue


@attrs.define(slots=True, eq=False)
class Call:
    """One call; any number of tasks may wait for its outcome."""

    target: str
    done: trio.Event = attrs.Factory(trio.Event)
    result: JsonValue = None
    error: TrioProjectXError | None = None
    position: int = 0
    """Where in the market data the outcome was read: what comes later has a greater position."""
    then: Callable[[], None] | None = None
    """Called when there is an outcome."""

    def finish(self) -> None:
        """There is an outcome."""
        self.done.set()
        if self.then is not None:
            self.then()

    async def wait(self, seconds: float) -> JsonValue:
        """Return the result.

        :raises SubscriptionError: if the server does not answer within ``seconds``, or refuses.
        :raises ConnectionLost: if the connection goes away first.
        """
        with trio.move_on_after(seconds):
            await self.done.wait()
        if not self.done.is_set():
            raise SubscriptionError(
                f"the hub did not acknowledge {self.target} within {seconds:g} s (or a stream that is not read, "
                "opened with overflow=BLOCK, held its answer back); try again"
            )
        if self.error is not None:
            raise again(self.error)
        return self.result


class PendingCalls:
    """The calls of one connection that have no outcome yet, by invocation id."""

    def __init__(self, clean: Callable[[str], str] = str) -> None:
        self._clean = clean
        self._calls: dict[str, Call] = {}

    def add(self, invocation_id: str, target: str, then: Callable[[], None] | None = None) -> Call:
        """Note a call that is about to be sent."""
        call = self._calls[invocation_id] = Call(target, then=then)
        return call

    def settle(self, event: CallCompleted | CallFailed, position: int = 0) -> None:
        """Give a call its outcome; an id that nobody waits for is not ours any more and is left."""
        call = self._calls.pop(event.invocation_id, None)
        if call is None:
            return
        call.position = position
        if isinstance(event, CallCompleted):
            call.result = event.result
        else:
            text = self._clean(event.error)
            call.error = SubscriptionError(f"the hub refused {call.target}: {text}", None, text)
        call.finish()

    def fail_all(self, error: ConnectionLost) -> None:
        """Fail what is left: the connection is gone."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.error = error
            call.finish()
