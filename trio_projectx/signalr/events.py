"""What a `HubConnection` tells, in the order in which it was on the wire.

Text of the server inside an event is raw in payloads (``result``, ``item``, ``arguments``) and fit to print
in everything else: one line, redacted, capped (`trio_projectx._redact.escape`).
"""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeAlias

import attrs

from trio_projectx.signalr._messages import Invocation, JsonValue


class NeedData(enum.Enum):
    """The type of `NEED_DATA`."""

    NEED_DATA = "need data"


NEED_DATA: Final[Literal[NeedData.NEED_DATA]] = NeedData.NEED_DATA
"""There is no event until more text is received (or ever, once the connection is closed)."""


@attrs.frozen(slots=True)
class Handshaken:
    """The server agreed; records may be sent from now on, and a ping should be the first of them."""

    minor_version: int | None = None


@attrs.frozen(slots=True)
class HandshakeFailed:
    """The server refused, or its answer was no handshake response. The connection is closed."""

    error: str
    text: str | None = None
    """The server's own reason, escaped, where it refused."""


@attrs.frozen(slots=True)
class InvocationReceived:
    """The server calls us. With an ``invocation.invocation_id`` it waits for exactly one `Completion`."""

    invocation: Invocation

    @property
    def wants_result(self) -> bool:
        """Whether the server waits for an answer."""
        return self.invocation.invocation_id is not None

    @property
    def key(self) -> str:
        """The target in the form under which handlers are to be kept: names match ignoring case."""
        return self.invocation.target.casefold()

    def matches(self, target: str) -> bool:
        """Whether this is a call of ``target``, ignoring case as both official clients and the server do."""
        return self.key == target.casefold()


@attrs.frozen(slots=True)
class StreamItemReceived:
    """One item of a stream we started."""

    invocation_id: str
    item: JsonValue


@attrs.frozen(slots=True)
class CallCompleted:
    """A plain call ended well; ``result`` is None for a method that returns nothing."""

    invocation_id: str
    result: JsonValue


@attrs.frozen(slots=True)
class CallFailed:
    """A call or stream ended badly: the server said so, broke its contract, or the connection went away."""

    invocation_id: str
    error: str


@attrs.frozen(slots=True)
class StreamEnded:
    """A stream we started ended well."""

    invocation_id: str


@attrs.frozen(slots=True)
class Pinged:
    """A sign of life of the server; it is not to be answered."""


@attrs.frozen(slots=True)
class AckReceived:
    """Stateful reconnect only: the server has processed our counted records up to ``sequence_id``."""

    sequence_id: int


@attrs.frozen(slots=True)
class SequenceReceived:
    """Stateful reconnect only: the server's next counted record has the id ``sequence_id``."""

    sequence_id: int


@attrs.frozen(slots=True)
class CloseReceived:
    """The server ended the connection; nothing that follows in the text is delivered.

    Without ``allow_reconnect`` a client must not come back by itself (TransportProtocols.md, both clients).
    """

    error: str | None
    allow_reconnect: bool


@attrs.frozen(slots=True)
class Malformed:
    """A record could not be read and was left out (``malformed="count"`` only); the connection goes on."""

    reason: str


@attrs.frozen(slots=True)
class ConnectionFailed:
    """The server broke the protocol and the connection is closed: close the transport, then call ``lost``."""

    reason: str


class Why(enum.Enum):
    """Why a record was not made anything of; each is counted."""

    UNKNOWN_TYPE = "a record of a type that this client does not know"
    UNKNOWN_CALL = "an item or an end of a call that is not open: cancelled, ended before, or never made"
    UNEXPECTED = "a record that a server does not send, or a call whose id is already open"
    NOT_STATEFUL = "Ack or Sequence without stateful reconnect"
    AFTER_CLOSE = "a call that wants an answer, after we sent Close: it cannot be answered any more"


@attrs.frozen(slots=True)
class Ignored:
    """A record was read and nothing was made of it, as the protocol asks; see `Why`."""

    why: Why


Event: TypeAlias = (
    Handshaken
    | HandshakeFailed
    | InvocationReceived
    | StreamItemReceived
    | CallCompleted
    | CallFailed
    | StreamEnded
    | Pinged
    | AckReceived
    | SequenceReceived
    | CloseReceived
    | Malformed
    | ConnectionFailed
    | Ignored
)
