"""Which calls are open, in both directions: the ids of one connection and what each of them still owes.

The two sides' ids are separate spaces (servers name theirs "s1", ...), so there are three sets here: our
calls and streams that wait for the server, our upload streams, and the server's calls that wait for us.
"""

from __future__ import annotations

import enum

from trio_projectx._redact import escape
from trio_projectx.signalr._messages import (
    CancelInvocation,
    Completion,
    Invocation,
    Message,
    StreamInvocation,
    StreamItem,
    UnsetType,
)
from trio_projectx.signalr.errors import LocalProtocolError
from trio_projectx.signalr.events import (
    CallCompleted,
    CallFailed,
    Ignored,
    InvocationReceived,
    StreamEnded,
    StreamItemReceived,
    Why,
)


class _Kind(enum.Enum):
    CALL = "call"
    STREAM = "stream"


class CallTable:
    """The open calls of one connection. Ids are fresh decimal strings, counted up from ``first_id``."""

    def __init__(self, first_id: int = 1) -> None:
        self._next_id = first_id
        self._ours: dict[str, _Kind] = {}
        self._uploads: set[str] = set()
        self._theirs: set[str] = set()

    @property
    def next_id(self) -> int:
        """The number that `fresh_id` returns now; it only ever grows."""
        return self._next_id

    @property
    def open_calls(self) -> int:
        """How many of our calls and streams wait for the server."""
        return len(self._ours)

    @property
    def owed_answers(self) -> int:
        """How many calls of the server wait for our answer."""
        return len(self._theirs)

    def fresh_id(self) -> str:
        """Return the id for the next call; it is taken once a message with it was noted by `sending`."""
        return str(self._next_id)

    def owes_answer(self, invocation_id: str) -> bool:
        """Whether ``invocation_id`` is a call of the server that was not answered."""
        return invocation_id in self._theirs

    def sending(self, message: Message) -> None:
        """Note what ``message`` opens or ends; it is about to be sent.

        :raises LocalProtocolError: it refers to a call that is not open, or opens one that is. Nothing is
            noted.
        """
        match message:
            case Invocation(invocation_id=None):
                self._open_uploads(message)
            case Invocation(invocation_id=str() as invocation_id):
                self._open(message, invocation_id, _Kind.CALL)
            case StreamInvocation():
                self._open(message, message.invocation_id, _Kind.STREAM)
            case CancelInvocation():
                if self._ours.pop(message.invocation_id, None) is None:
                    raise LocalProtocolError("there is no open call of that id to cancel")
            case StreamItem():
                if message.invocation_id not in self._uploads:
                    raise LocalProtocolError("there is no open upload stream of that id")
            case Completion():
                self._answer(message.invocation_id)
            case _:
                pass

    def called(self, message: Invocation) -> InvocationReceived | Ignored:
        """Return the event for a call of the server; one with an id is owed an answer from now on."""
        if message.invocation_id is not None:
            if message.invocation_id in self._theirs:
                return Ignored(Why.UNEXPECTED)
            self._theirs.add(message.invocation_id)
        return InvocationReceived(message)

    def item(self, message: StreamItem) -> StreamItemReceived | CallFailed | Ignored:
        """Return the event for an item of the server; a plain call that gets one has failed."""
        kind = self._ours.get(message.invocation_id)
        if kind is None:
            return Ignored(Why.UNKNOWN_CALL)
        if kind is _Kind.STREAM:
            return StreamItemReceived(message.invocation_id, message.item)
        del self._ours[message.invocation_id]
        return CallFailed(message.invocation_id, "the server answered a plain call with a stream item")

    def completed(self, message: Completion) -> CallCompleted | StreamEnded | CallFailed | Ignored:
        """Return the event for the end of one of our calls; a second end of the same call finds none open."""
        invocation_id = message.invocation_id
        kind = self._ours.pop(invocation_id, None)
        if kind is None:
            return Ignored(Why.UNKNOWN_CALL)
        if message.error is not None:
            return CallFailed(invocation_id, escape(message.error))
        result = None if isinstance(message.result, UnsetType) else message.result
        if kind is _Kind.CALL:
            return CallCompleted(invocation_id, result)
        if result is not None:
            return CallFailed(invocation_id, "the server ended a stream with a result")
        return StreamEnded(invocation_id)

    def fail_all(self, reason: str) -> list[CallFailed]:
        """Forget everything that is open; return the failures of our calls, oldest first."""
        failed = [CallFailed(invocation_id, reason) for invocation_id in self._ours]
        self._ours.clear()
        self._uploads.clear()
        self._theirs.clear()
        return failed

    def _open(self, message: Invocation | StreamInvocation, invocation_id: str, kind: _Kind) -> None:
        if invocation_id in self._ours:
            raise LocalProtocolError("a call of that id is already open")
        self._open_uploads(message)
        self._ours[invocation_id] = kind
        self._skip_taken_ids()

    def _open_uploads(self, message: Invocation | StreamInvocation) -> None:
        ids = set(message.stream_ids)
        if len(ids) < len(message.stream_ids) or ids & self._uploads:
            raise LocalProtocolError("an upload stream of that id is already open")
        self._uploads |= ids
        self._skip_taken_ids()

    def _skip_taken_ids(self) -> None:
        while str(self._next_id) in self._ours or str(self._next_id) in self._uploads:
            self._next_id += 1

    def _answer(self, invocation_id: str) -> None:
        if invocation_id in self._theirs:
            self._theirs.remove(invocation_id)
        elif invocation_id in self._uploads:
            self._uploads.remove(invocation_id)
        else:
            raise LocalProtocolError("nobody waits for a completion of that id (each call is answered once)")
