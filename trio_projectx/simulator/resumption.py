"""Stateful reconnect, the server's side: what is kept for a client whose transport was lost.

As ASP.NET Core 9.0.7 does it (seen on the wire; SIGNALR.md section 9): records of the types 1 to 5 are counted
from 1, each way by itself; what was sent is kept until the client's Ack, and sending waits while 100,000 bytes
are kept; an Ack of ours is due a second after something came. Unlike the clients the server does not wait for
the other side's Sequence before it goes on, and an Ack of what was never sent is nothing to it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs
import trio

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import Ack, Sequence, write_message

#: StatefulReconnectBufferSize of the real server.
KEPT_BYTES: Final = 100_000
ACK_S: Final = 1.0
_COUNTED: Final = tuple(f'{{"type":{kind},' for kind in range(1, 6))


@attrs.define(slots=True, eq=False)
class Resumption:
    """Both directions of one connection id, across its transports."""

    _kept: deque[str] = attrs.Factory(deque[str])
    _kept_bytes: int = 0
    _sent: int = 0
    _next: int = 1
    _processed: int = 0
    _acked: int = 0
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def sending(self, text: str) -> None:
        """Keep the counted records of ``text``, which is sent now."""
        for record in text.split("\x1e")[:-1]:
            if record.startswith(_COUNTED):
                self._kept.append(f"{record}\x1e")
                self._kept_bytes += len(record.encode()) + 1
                self._sent += 1

    async def wait_for_room(self) -> None:
        """Wait until the client has acknowledged enough."""
        while self._kept_bytes >= KEPT_BYTES:
            await self._changed.park()

    def wake(self) -> None:
        """Let `wait_for_room` end: the connection closes, what is kept counts no more."""
        self._kept.clear()
        self._kept_bytes = 0
        self._changed.unpark_all()

    def is_new(self) -> bool:
        """Whether the next counted record of the client was not processed yet; see `processed`."""
        return self._next > self._processed

    def processed(self) -> None:
        """Count a record of the client as taken in."""
        self._processed = max(self._processed, self._next)
        self._next += 1

    def acked(self, sequence_id: int) -> None:
        """Forget what the client has."""
        first = self._sent - len(self._kept) + 1
        for _ in range(min(len(self._kept), sequence_id - first + 1)):
            self._kept_bytes -= len(self._kept.popleft().encode())
        self._changed.unpark_all()

    def resumed(self, sequence_id: int) -> None:
        """Go on counting at ``sequence_id``: the client sends from there again.

        :raises ProtocolError: if it skips a record.
        """
        if sequence_id > self._processed + 1:
            raise ProtocolError("Sequence skips a record")
        self._next = sequence_id

    def due_ack(self) -> str:
        """Return the Ack that is due, which goes before anything else; nothing if nothing came."""
        if self._processed == self._acked:
            return ""
        self._acked = self._processed
        return write_message(Ack(self._processed))

    def replay(self) -> str:
        """Return what begins a new transport: Sequence, then all that the client may not have."""
        self._acked = 0  # an Ack may have been lost with the last transport
        first = self._sent - len(self._kept) + 1
        return write_message(Sequence(first)) + "".join(self._kept)
