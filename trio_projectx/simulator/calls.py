"""The calls of one hub connection: who runs, who waits, and where items, results and cancellations go.

As on ASP.NET Core 9.0.7 (seen on the wire): arguments are bound before a call has its turn, so a call that
does not fit is answered at once; calls have `parallel` turns between them (MaximumParallelInvocationsPerClient),
and while there is none the connection is not read; streams, either way, take no turn; a method that asks the
client gives its turn back and goes on without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_projectx.signalr import CancelInvocation
from trio_projectx.simulator.incoming import Answer, Call, Item
from trio_projectx.simulator.outgoing import completed, event, failed
from trio_projectx.simulator.turns import (
    NO_TEXT,
    BindingError,
    HubError,
    Method,
    Run,
    ServerError,
    Turn,
    Upload,
)

if TYPE_CHECKING:
    from trio_projectx.simulator.link import Link

#: Calls of one client under way, those that wait for something included; more are refused.
_UNDER_WAY: Final = 1024
#: How long the beginning of a call, which waits for nothing, may take before the client is read on.
_BEGINNING_S: Final = 1.0


@attrs.define(slots=True, eq=False)
class _Question:
    """A call of ours at the client; ``answer`` is there when ``come`` is set."""

    come: trio.Event = attrs.Factory(trio.Event)
    answer: Answer | None = None


class Desk:
    """Takes in what concerns calls; the calls run in ``nursery``, which is the connection's."""

    def __init__(
        self,
        link: Link,
        find: Callable[[str], Method | None],
        next_question: Callable[[], str],
        nursery: trio.Nursery,
        parallel: int,
    ) -> None:
        self._link = link
        self._find = find
        self._next_question = next_question
        self._nursery = nursery
        self._turns = trio.CapacityLimiter(parallel)
        self._under_way = 0
        self._streaming: dict[str, Turn] = {}
        self._uploads: dict[str, Upload] = {}
        self._questions: dict[str, _Question] = {}

    async def take(self, message: Call | Item | Answer | CancelInvocation) -> None:
        """Take in what a client sent; while this waits, the client is not read."""
        match message:
            case Call():
                await self.call(message)
            case Item():
                await self.item(message)
            case Answer():
                self.answer(message)
            case CancelInvocation():
                self.cancel(message.invocation_id)

    async def call(self, call: Call) -> None:
        """Start ``call``, waiting for its turn, or answer what is wrong with it."""
        failure = f"Failed to invoke '{call.target}' due to an error on the server."
        method = self._find(call.target)
        if method is None:
            return await self._refuse(call, f"{failure} HubException: Method does not exist.")
        try:
            run = method.bind(call.arguments)
        except BindingError:
            return await self._refuse(call, failure)
        turn = Turn(self._link, call.invocation_id, self._ask)
        if not (call.wants_stream or method.uploads):
            await self._turns.acquire_on_behalf_of(turn)
        error = self._objection(call, method)
        if error is not None:
            self._give_back(turn)
            return await self._refuse(call, error)
        self._start(call, method, run, turn)
        # What has begun is taken in, whatever becomes of the transport: a method runs until it first waits.
        with trio.move_on_after(_BEGINNING_S, shield=True):
            await turn.waits.wait()
        return None

    async def item(self, item: Item) -> None:
        """Pass on an item of an upload, waiting while its method is behind; of an unknown one, drop it."""
        upload = self._uploads.get(item.stream_id)
        if upload is not None and not await upload.put(item.item):
            self._uploads.pop(item.stream_id, None)

    def answer(self, answer: Answer) -> None:
        """End an upload, or give a question of ours its answer; of an unknown id, drop it."""
        upload = self._uploads.pop(answer.invocation_id, None)
        if upload is not None:
            return upload.end(answer.error)
        question = self._questions.pop(answer.invocation_id, None)
        if question is not None:
            question.answer = answer
            question.come.set()
        return None

    def cancel(self, invocation_id: str) -> None:
        """Stop a stream; on any other call the real server does nothing either."""
        turn = self._streaming.get(invocation_id)
        if turn is not None:
            turn.scope.cancel(reason="the client cancelled the stream")

    def _end(self, turn: Turn) -> None:
        turn.waits.set()
        self._give_back(turn)
        self._under_way -= 1

    def _objection(self, call: Call, method: Method) -> str | None:
        attempted = f"The client attempted to invoke the {{}} '{call.target}' method with a {{}} invocation."
        if method.is_stream and not call.wants_stream:
            return attempted.format("streaming", "non-streaming")
        if call.wants_stream and not method.is_stream:
            return attempted.format("non-streaming", "streaming")
        if len(call.stream_ids) != method.uploads:
            told = f"Client sent {len(call.stream_ids)} stream(s), Hub method expects {method.uploads}."
            return f"{_unexpected(call)} HubException: {told}"
        if method.is_stream and call.invocation_id in self._streaming:
            return f"Invocation ID '{call.invocation_id}' is already in use."
        if self._under_way >= _UNDER_WAY:
            return f"{_unexpected(call)} HubException: {_UNDER_WAY} calls of this connection are under way."
        return None

    def _start(self, call: Call, method: Method, run: Run, turn: Turn) -> None:
        self._under_way += 1
        if method.is_stream:
            self._streaming[call.invocation_id or ""] = turn
            self._nursery.start_soon(self._stream, call, run, turn)
        else:
            if method.uploads:
                # A second stream of the same name takes the place of the first, which then never ends.
                self._uploads[call.stream_ids[0]] = turn.upload = Upload()
            self._nursery.start_soon(self._invoke, call, run, turn)

    async def _invoke(self, call: Call, run: Run, turn: Turn) -> None:
        try:
            reply = await self._reply(call, run, turn)
            if call.invocation_id is not None:
                await turn.send(reply)
        finally:
            self._end(turn)
            if turn.upload is not None:
                turn.upload.close()
                if self._uploads.get(call.stream_ids[0]) is turn.upload:
                    del self._uploads[call.stream_ids[0]]

    async def _reply(self, call: Call, run: Run, turn: Turn) -> str:
        answered = call.invocation_id or ""
        try:
            return completed(answered, await run(turn))
        except BindingError:
            # Refused only after it was bound: a contract that nobody knows (GATEWAY.md 2.1 has the text).
            return failed(answered, f"Failed to invoke '{call.target}' due to an error on the server.")
        except HubError as exc:
            return failed(answered, f"{_unexpected(call)} HubException: {exc}")
        except ServerError:
            return failed(answered, _unexpected(call))

    async def _stream(self, call: Call, run: Run, turn: Turn) -> None:
        stream_id = call.invocation_id or ""
        last = completed(stream_id, None)
        try:
            try:
                with turn.scope:
                    await run(turn)
            except HubError as exc:
                told = "An error occurred on the server while streaming results."
                last = failed(stream_id, f"{told} HubException: {exc}")
            del self._streaming[stream_id]
            await turn.send(last)
        finally:
            self._end(turn)

    async def _ask(self, turn: Turn, target: str) -> str:
        question, name = _Question(), self._next_question()
        self._questions[name] = question
        try:
            await turn.send(event(target, (), name))
            self._give_back(turn)
            turn.waits.set()
            await question.come.wait()
        finally:
            self._questions.pop(name, None)
        answer = question.answer
        assert answer is not None
        if answer.error is not None:
            raise HubError(answer.error)
        if answer.result is None:
            raise HubError(NO_TEXT)
        return answer.result

    def _give_back(self, turn: Turn) -> None:
        if turn in self._turns.statistics().borrowers:
            self._turns.release_on_behalf_of(turn)

    async def _refuse(self, call: Call, error: str) -> None:
        if call.invocation_id is not None:
            await self._link.outbox.put(failed(call.invocation_id, error))


def _unexpected(call: Call) -> str:
    return f"An unexpected error occurred invoking '{call.target}' on the server."
