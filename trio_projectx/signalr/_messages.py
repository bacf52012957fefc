"""The nine records of the hub protocol as frozen values, in the spec's own words.

Source of the fields: HubProtocol.md of dotnet/aspnetcore, section "JSON Encoding", where both official
clients agree with it. JSON arrays and objects inside a message are Python's own (``list``, ``dict``): read
them, do not change them.
"""

from __future__ import annotations

from collections import abc
from typing import Final, TypeAlias

import attrs
from msgspec import UNSET, UnsetType

__all__ = [
    "RECORD_SEPARATOR",
    "UNSET",
    "Ack",
    "CancelInvocation",
    "Close",
    "Completion",
    "Invocation",
    "JsonValue",
    "Message",
    "Ping",
    "Sequence",
    "StreamInvocation",
    "StreamItem",
    "UnsetType",
]

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""What JSON can say. Integers are exact however long; a float is finite; a str has no lone surrogate."""

RECORD_SEPARATOR: Final = "\x1e"
"""Ends every record. It never stands inside one: JSON has to escape it (TextMessageFormat of the spec)."""


def _own_list(values: abc.Iterable[JsonValue]) -> list[JsonValue]:
    return list(values)


def _own_names(values: abc.Iterable[str]) -> list[str]:
    return list(values)


def _own_headers(values: abc.Mapping[str, str]) -> dict[str, str]:
    return dict(values)


def _no_names() -> list[str]:
    return []


def _no_headers() -> dict[str, str]:
    return {}


@attrs.frozen(slots=True, kw_only=True)
class Invocation:
    """Type 1: call ``target`` on the other side; without ``invocation_id`` no answer will ever come.

    ``stream_ids`` name upload streams whose items follow as `StreamItem`.
    """

    target: str
    arguments: abc.Sequence[JsonValue] = attrs.field(converter=_own_list)
    invocation_id: str | None = None
    stream_ids: abc.Sequence[str] = attrs.field(factory=_no_names, converter=_own_names)
    headers: abc.Mapping[str, str] = attrs.field(factory=_no_headers, converter=_own_headers)


@attrs.frozen(slots=True, kw_only=True)
class StreamInvocation:
    """Type 4: like `Invocation`, but the answer is a stream of items and then a `Completion`."""

    invocation_id: str
    target: str
    arguments: abc.Sequence[JsonValue] = attrs.field(converter=_own_list)
    stream_ids: abc.Sequence[str] = attrs.field(factory=_no_names, converter=_own_names)
    headers: abc.Mapping[str, str] = attrs.field(factory=_no_headers, converter=_own_headers)


@attrs.frozen(slots=True, kw_only=True)
class StreamItem:
    """Type 2: one item of the stream ``invocation_id`` (null is an item like any other)."""

    invocation_id: str
    item: JsonValue
    headers: abc.Mapping[str, str] = attrs.field(factory=_no_headers, converter=_own_headers)


@attrs.frozen(slots=True, kw_only=True)
class Completion:
    """Type 3: the end of a call or stream, with ``result`` or ``error``, never both.

    ``result`` is `UNSET` where the record had none, which is not the same text as null (though the same
    meaning: servers send either for a method that returns nothing).
    """

    invocation_id: str
    result: JsonValue | UnsetType = UNSET
    error: str | None = None
    headers: abc.Mapping[str, str] = attrs.field(factory=_no_headers, converter=_own_headers)


@attrs.frozen(slots=True, kw_only=True)
class CancelInvocation:
    """Type 5: stop the stream ``invocation_id``."""

    invocation_id: str
    headers: abc.Mapping[str, str] = attrs.field(factory=_no_headers, converter=_own_headers)


@attrs.frozen(slots=True)
class Ping:
    """Type 6: a sign of life; it is never answered."""


@attrs.frozen(slots=True, kw_only=True)
class Close:
    """Type 7: the last record of a connection; ``allow_reconnect`` lets the client come back by itself."""

    error: str | None = None
    allow_reconnect: bool = False


@attrs.frozen(slots=True)
class Ack:
    """Type 8: every counted record up to ``sequence_id`` was processed (stateful reconnect only)."""

    sequence_id: int


@attrs.frozen(slots=True)
class Sequence:
    """Type 9: the id that the next counted record of this side will have (stateful reconnect only)."""

    sequence_id: int


Message: TypeAlias = (
    Invocation | StreamInvocation | StreamItem | Completion | CancelInvocation | Ping | Close | Ack | Sequence
)
