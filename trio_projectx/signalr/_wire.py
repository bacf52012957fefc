"""The form of each record on the wire, for msgspec; nothing outside the codec sees these classes.

A class says both what may come in (types and constraints, checked while decoding) and what goes out (a field
at its default is left out). ``rename="camel"`` makes ``invocation_id`` the spec's ``invocationId``. A payload
is ``Any`` to msgspec, which then yields exactly the types of `JsonValue`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias, assert_never

import msgspec
from msgspec import UNSET, Meta, UnsetType

from trio_projectx.signalr import _messages as m

_Name: TypeAlias = Annotated[str, Meta(min_length=1)]
_Count: TypeAlias = Annotated[int, Meta(ge=0)]


class _Record(msgspec.Struct, rename="camel", tag_field="type", omit_defaults=True):
    """What all records share: a tag in ``type`` that says which one it is."""


class _Headed(_Record):
    """The records that may carry headers: every one with an invocation id."""

    headers: dict[str, str] = {}


class Invocation(_Headed, tag=1, kw_only=True):
    """Type 1."""

    # UNSET, not None: both official clients refuse a null id (they do not refuse an absent one).
    invocation_id: _Name | UnsetType = UNSET
    target: _Name
    arguments: list[Any]
    stream_ids: list[str] = []

    def to_message(self) -> m.Invocation:
        """Return the public form."""
        return m.Invocation(
            target=self.target,
            arguments=self.arguments,
            invocation_id=None if isinstance(self.invocation_id, UnsetType) else self.invocation_id,
            stream_ids=self.stream_ids,
            headers=self.headers,
        )


class StreamItem(_Headed, tag=2, kw_only=True):
    """Type 2."""

    invocation_id: _Name
    item: Any

    def to_message(self) -> m.StreamItem:
        """Return the public form."""
        return m.StreamItem(invocation_id=self.invocation_id, item=self.item, headers=self.headers)


class Completion(_Headed, tag=3, kw_only=True):
    """Type 3."""

    invocation_id: _Name
    result: Any = UNSET
    error: str | None = None

    def __post_init__(self) -> None:
        """Refuse a result together with an error by presence, as .NET does (JavaScript: by truth)."""
        if self.error is not None and self.result is not UNSET:
            raise ValueError("a completion has a result or an error, not both")

    def to_message(self) -> m.Completion:
        """Return the public form."""
        return m.Completion(
            invocation_id=self.invocation_id, result=self.result, error=self.error, headers=self.headers
        )


class StreamInvocation(_Headed, tag=4, kw_only=True):
    """Type 4."""

    invocation_id: _Name
    target: _Name
    arguments: list[Any]
    stream_ids: list[str] = []

    def to_message(self) -> m.StreamInvocation:
        """Return the public form."""
        return m.StreamInvocation(
            invocation_id=self.invocation_id,
            target=self.target,
            arguments=self.arguments,
            stream_ids=self.stream_ids,
            headers=self.headers,
        )


class CancelInvocation(_Headed, tag=5, kw_only=True):
    """Type 5."""

    invocation_id: _Name

    def to_message(self) -> m.CancelInvocation:
        """Return the public form."""
        return m.CancelInvocation(invocation_id=self.invocation_id, headers=self.headers)


class Ping(_Record, tag=6):
    """Type 6."""

    def to_message(self) -> m.Ping:
        """Return the public form."""
        return m.Ping()


class Close(_Record, tag=7):
    """Type 7."""

    error: str | None = None
    allow_reconnect: bool = False

    def to_message(self) -> m.Close:
        """Return the public form."""
        return m.Close(error=self.error, allow_reconnect=self.allow_reconnect)


class Ack(_Record, tag=8):
    """Type 8."""

    sequence_id: _Count

    def to_message(self) -> m.Ack:
        """Return the public form."""
        return m.Ack(self.sequence_id)


class Sequence(_Record, tag=9):
    """Type 9."""

    sequence_id: _Count

    def to_message(self) -> m.Sequence:
        """Return the public form."""
        return m.Sequence(self.sequence_id)


Record: TypeAlias = (
    Invocation | StreamItem | Completion | StreamInvocation | CancelInvocation | Ping | Close | Ack | Sequence
)
KNOWN_TYPES: Final = range(1, 10)


class TypeOnly(msgspec.Struct):
    """Just the ``type`` of a record that is none of the above."""

    type: int


class HandshakeRequest(msgspec.Struct):
    """The client's first record."""

    protocol: str
    version: int


class HandshakeResponse(msgspec.Struct, rename="camel", omit_defaults=True):
    """The server's first record; ``type`` is here only to be noticed: no handshake has one."""

    error: str | None = None
    minor_version: int | None = None
    type: Any = UNSET


def to_record(message: m.Message) -> Record:
    """Return the wire form of ``message``; nothing is checked here."""
    match message:
        case m.Invocation():
            return Invocation(
                target=message.target,
                arguments=list(message.arguments),
                invocation_id=UNSET if message.invocation_id is None else message.invocation_id,
                stream_ids=list(message.stream_ids),
                headers=dict(message.headers),
            )
        case m.StreamInvocation():
            return StreamInvocation(
                invocation_id=message.invocation_id,
                target=message.target,
                arguments=list(message.arguments),
                stream_ids=list(message.stream_ids),
                headers=dict(message.headers),
            )
        case m.StreamItem():
            return StreamItem(
                invocation_id=message.invocation_id, item=message.item, headers=dict(message.headers)
            )
        case m.Completion():
            return Completion(
                invocation_id=message.invocation_id,
                result=message.result,
                error=message.error,
                headers=dict(message.headers),
            )
        case m.CancelInvocation():
            return CancelInvocation(invocation_id=message.invocation_id, headers=dict(message.headers))
        case m.Ping():
            return Ping()
        case m.Close():
            return Close(error=message.error, allow_reconnect=message.allow_reconnect)
        case m.Ack():
            return Ack(message.sequence_id)
        case m.Sequence():
            return Sequence(message.sequence_id)
        case _:
            assert_never(message)
