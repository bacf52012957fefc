"""Stateful reconnect: what lets records survive the loss of a transport, as two counters and a buffer.

Facts (SIGNALR.md section 9, seen on the wire and in MessageBuffer.cs): the records of the types 1 to 5 are
counted, from 1, each direction by itself, for as long as the connection id lives. A side keeps what it has
sent until the other's Ack covers it. On a new transport each side first sends Sequence with the id of the
first record that it will send again, or the last id + 1 if there is none, then those records; until the
other's Sequence has come, whatever it sends is ignored. The receiver goes on counting from that id and drops
what it has processed before. A Sequence that skips a record is fatal: that record is lost for good.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr._messages import (
    Ack,
    CancelInvocation,
    Completion,
    Invocation,
    Message,
    Sequence,
    StreamInvocation,
    StreamItem,
)
from trio_projectx.signalr.errors import LocalProtocolError

DEFAULT_BUFFER_BYTES: Final = 100_000
"""What both implementations keep for replay before sends have to wait."""

_COUNTED: Final = (Invocation, StreamItem, Completion, StreamInvocation, CancelInvocation)


def is_counted(message: Message) -> bool:
    """Whether ``message`` has a number: the types 1 to 5 do, the others and the handshake do not."""
    return isinstance(message, _COUNTED)


@attrs.frozen(slots=True)
class _Kept:
    text: str
    size: int


class StatefulBuffer:
    """Both directions of one side of a connection id, across its transports.

    Sending: ask `can_send`, give each counted record to `sending`, and send it. Receiving: give each message
    to `received` and process it only if that says so; send `ack` now and then (both implementations: a second
    after a record came). After a loss: `reconnected`, send `replay` first, then go on.
    """

    def __init__(self, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> None:
        self._limit = buffer_bytes
        self._kept: deque[_Kept] = deque()
        self._kept_bytes = 0
        self._last_sent = 0
        self._last_processed = 0
        self._next_received = 1
        self._last_acked = 0
        self._awaiting_sequence = False

    @property
    def can_send(self) -> bool:
        """Whether there is room: False once the kept records reach the limit, until an Ack releases some."""
        return self._kept_bytes < self._limit

    @property
    def kept_bytes(self) -> int:
        """The UTF-8 size of the records that wait for an Ack."""
        return self._kept_bytes

    @property
    def last_processed(self) -> int:
        """The id of the last record of the other side that was processed; 0 before the first."""
        return self._last_processed

    def sending(self, message: Message, text: str) -> None:
        """Number and keep ``text``, the record of ``message``, if it is of the counted kinds.

        :raises LocalProtocolError: there is no room; wait for an Ack.
        """
        if not is_counted(message):
            return
        if not self.can_send:
            raise LocalProtocolError(f"{self._kept_bytes} bytes wait for an Ack; send nothing before it")
        kept = _Kept(text, len(text.encode()))
        self._kept.append(kept)
        self._kept_bytes += kept.size
        self._last_sent += 1

    def received(self, message: Message) -> bool:
        """Whether ``message`` is to be processed; Ack and Sequence are done here and say no.

        :raises ProtocolError: an Ack of what was never sent, or a Sequence beyond the next record or that
            belongs to no reconnect. The connection is beyond repair then.
        """
        if isinstance(message, Sequence):
            self._resume(message.sequence_id)
            return False
        if self._awaiting_sequence:
            return False
        if isinstance(message, Ack):
            self._release(message.sequence_id)
            return False
        return not is_counted(message) or self._count()

    def ack(self) -> Ack | None:
        """Return the Ack that is due, or None if nothing was processed since the last one."""
        if self._last_processed == self._last_acked:
            return None
        self._last_acked = self._last_processed
        return Ack(self._last_processed)

    def reconnected(self) -> Sequence:
        """Note that a new transport is there; return the record to send first (then `replay`)."""
        self._awaiting_sequence = True
        # An Ack may have been lost with the old transport: the next one says it again.
        self._last_acked = 0
        return Sequence(self._last_sent - len(self._kept) + 1)

    def replay(self) -> list[str]:
        """Return the texts of all records that no Ack covers, oldest first."""
        return [kept.text for kept in self._kept]

    def _count(self) -> bool:
        record_id = self._next_received
        self._next_received += 1
        if record_id <= self._last_processed:
            return False
        self._last_processed = record_id
        return True

    def _resume(self, sequence_id: int) -> None:
        # Unasked for, it would make new records look like old ones, and they would be dropped in silence.
        if not self._awaiting_sequence or sequence_id < 1:
            raise ProtocolError("a Sequence that belongs to no reconnect, or below the first id")
        if sequence_id > self._last_processed + 1:
            raise ProtocolError("Sequence skips records that were never received: they are lost")
        self._next_received = sequence_id
        self._awaiting_sequence = False

    def _release(self, sequence_id: int) -> None:
        if sequence_id > self._last_sent:
            raise ProtocolError("Ack for a record that was never sent")
        while self._kept and self._last_sent - len(self._kept) < sequence_id:
            self._kept_bytes -= self._kept.popleft().size
