"""What a client sends, read as a real server reads it (ASP.NET Core 9.0.7, every rule seen on the wire).

Written apart from `trio_projectx.signalr`, which is the client's reading: a misunderstanding of the one is
not repeated by the other. The real server is strict in the type of every field it knows, whatever the
record, and lax elsewhere: unknown fields, a second field of one name (the last counts) and text behind the
record are read over.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, TypeAlias, TypeVar

import attrs
import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import Ack, CancelInvocation, Close, Ping, Sequence
from trio_projectx.simulator.json_text import depth

_T = TypeVar("_T")
#: Nesting that .NET reads, the record's own braces included.
_DEPTH_MAX: Final = 64
#: JSON's white space.
_SPACE: Final = " \t\r\n"
_Int32: TypeAlias = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


@attrs.frozen(slots=True)
class Call:
    """An invocation; ``arguments`` are the JSON texts that came."""

    target: str
    arguments: tuple[str, ...]
    invocation_id: str | None
    """None: no answer is wanted, whatever happens."""
    stream_ids: tuple[str, ...] = ()
    """Of the upload streams that follow."""
    wants_stream: bool = False


@attrs.frozen(slots=True)
class Item:
    """One item (JSON) of an upload stream."""

    stream_id: str
    item: str


@attrs.frozen(slots=True)
class Answer:
    """The end of an upload stream, or the client's result: JSON, or an error, or neither."""

    invocation_id: str
    result: str | None
    error: str | None


Incoming: TypeAlias = Call | Item | Answer | CancelInvocation | Ping | Close | Ack | Sequence


class _Record(msgspec.Struct, rename="camel"):
    """Every field of every record: .NET checks them before it knows which record it is."""

    type: _Int32
    invocation_id: str | UnsetType = UNSET
    target: str | UnsetType = UNSET
    arguments: list[Raw] | UnsetType = UNSET
    stream_ids: list[str] | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    item: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: str | UnsetType = UNSET
    allow_reconnect: bool | UnsetType = UNSET
    sequence_id: _Int64 | UnsetType = UNSET


class _Handshake(msgspec.Struct):
    protocol: str
    version: _Int32


_RECORDS: Final = msgspec.json.Decoder(_Record)
_HANDSHAKES: Final = msgspec.json.Decoder(_Handshake)


def read_record(record: str) -> Incoming | None:
    """Return what one record (without its 0x1e) says; None if its type is none of the nine.

    :raises ProtocolError: the real server would close the connection because of it.
    """
    try:
        found = _RECORDS.decode(record)
    except (ValueError, RecursionError):
        record = _first_value(record)
        try:
            found = _RECORDS.decode(record)
        except (ValueError, RecursionError):
            raise ProtocolError("the record cannot be read") from None
    _check(record)
    return _message(found)


def read_handshake(record: str) -> str | None:
    """Return what is wrong with the client's first record, in the real server's words; None if nothing is."""
    try:
        request = _HANDSHAKES.decode(_first_value(record))
    except (ValueError, RecursionError, ProtocolError):
        return "An unexpected error occurred during connection handshake."
    if request.protocol.lower() != "json":
        return f"The protocol '{request.protocol}' is not supported."
    if request.version > 2:
        return f"The server does not support version {request.version} of the 'json' protocol."
    return None


def handshake_version(record: str) -> int:
    """Return the version that a good handshake asks for."""
    return _HANDSHAKES.decode(_first_value(record)).version


def _first_value(record: str) -> str:
    """Return the first JSON value of the text; what stands behind it is not looked at."""
    text = record.lstrip(_SPACE)
    try:
        return text[: json.JSONDecoder().raw_decode(text)[1]]
    except (ValueError, RecursionError):
        raise ProtocolError("the record is not JSON") from None


def _check(record: str) -> None:
    """Refuse what msgspec lets pass in values that are not looked into: lone surrogates, deep nesting."""
    if record.count("[") + record.count("{") > _DEPTH_MAX and depth(record) > _DEPTH_MAX:
        raise ProtocolError("the record nests too deep")
    if "\\u" in record:
        try:
            json.dumps(json.loads(record, parse_int=str), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ProtocolError("the record holds a lone surrogate") from None


def _message(found: _Record) -> Incoming | None:
    match found.type:
        case 1 | 4:
            return _call(found)
        case 2:
            return Item(_named(found.invocation_id), _text(_there(found.item)))
        case 3:
            return _answer(found)
        case 5:
            return CancelInvocation(invocation_id=_named(found.invocation_id))
        case 6:
            return Ping()
        case 7:
            return Close()
        case 8:
            return Ack(_there(found.sequence_id))
        case 9:
            return Sequence(_there(found.sequence_id))
        case _:
            return None


def _call(found: _Record) -> Call:
    wants_stream = found.type == 4
    call_id = _named(found.invocation_id) if wants_stream else found.invocation_id
    return Call(
        _there(found.target),
        tuple(_text(argument) for argument in _there(found.arguments)),
        None if isinstance(call_id, UnsetType) or not call_id else call_id,
        () if isinstance(found.stream_ids, UnsetType) else tuple(found.stream_ids),
        wants_stream,
    )


def _answer(found: _Record) -> Answer:
    result = None if isinstance(found.result, UnsetType) else _text(found.result)
    error = None if isinstance(found.error, UnsetType) else found.error
    if result is not None and error is not None:
        raise ProtocolError("a completion with a result and an error")
    return Answer(_named(found.invocation_id), result, error)


def _named(invocation_id: str | UnsetType) -> str:
    if not invocation_id:
        raise ProtocolError("a record without its id")
    return _there(invocation_id)


def _there(value: _T | UnsetType) -> _T:
    if isinstance(value, UnsetType):
        raise ProtocolError("a record without one of its fields")
    return value


def _text(raw: Raw) -> str:
    return bytes(raw).decode()
