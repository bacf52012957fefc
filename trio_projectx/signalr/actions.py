"""What a `HubSession` wants done, and what it tells, in order; the caller carries it out.

``epoch`` numbers the transports of a session from 1. Whatever comes from a transport is given back with its
number, so that the late news of an old one are never taken for news of the new one.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from trio_projectx.signalr._messages import Invocation
from trio_projectx.signalr.events import CallCompleted, CallFailed, Malformed, StreamEnded, StreamItemReceived


@attrs.frozen(slots=True)
class OpenTransport:
    """Open a new transport, negotiating again; then say `transport_opened` or `transport_lost`."""

    epoch: int


@attrs.frozen(slots=True)
class SendText:
    """Send ``text`` on the transport ``epoch``."""

    epoch: int
    text: str


@attrs.frozen(slots=True)
class CloseTransport:
    """Close the transport ``epoch``, or give up opening it; whatever it still says is ignored."""

    epoch: int


@attrs.frozen(slots=True)
class Started:
    """The first connection is up."""


@attrs.frozen(slots=True)
class StartFailed:
    """The first connection did not come up; it is never retried by itself."""

    error: str


@attrs.frozen(slots=True)
class Reconnecting:
    """The connection is gone and attempts begin; told once, before the first of them."""

    error: str | None


@attrs.frozen(slots=True)
class Reconnected:
    """A new connection is up. The server has forgotten everything: subscribe again, and mark the gap."""


@attrs.frozen(slots=True)
class Closed:
    """The session is over; told once.

    ``error`` is the server's or the transport's; it is None after a stop, an orderly Close, and when all
    attempts were in vain (as in the official client). ``detail`` then says what was tried.
    """

    error: str | None
    detail: str = ""


@attrs.frozen(slots=True)
class Called:
    """The server calls a target that has a handler; if it has an ``invocation_id``, `answer` exactly once."""

    epoch: int
    invocation: Invocation


Action: TypeAlias = (
    OpenTransport
    | SendText
    | CloseTransport
    | Started
    | StartFailed
    | Reconnecting
    | Reconnected
    | Closed
    | Called
    | StreamItemReceived
    | CallCompleted
    | CallFailed
    | StreamEnded
    | Malformed
)
