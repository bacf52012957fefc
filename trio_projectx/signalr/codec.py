"""Records to messages and back: strict where the two official clients differ, exact in every number.

Where the JavaScript and the .NET client disagree, the one that refuses is followed, with three exceptions
that real servers need: a field that is not in the spec is ignored, a record of an unknown type is skipped,
and a null ``error`` is no error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, cast

import msgspec

from trio_projectx._errors import ProtocolError
from trio_projectx._redact import escape
from trio_projectx.signalr import _wire
from trio_projectx.signalr._messages import (
    RECORD_SEPARATOR,
    Completion,
    Invocation,
    Message,
    StreamInvocation,
    StreamItem,
    UnsetType,
)
from trio_projectx.signalr.errors import LocalProtocolError

_RECORDS: Final[msgspec.json.Decoder[_wire.Record]] = msgspec.json.Decoder(_wire.Record)
_TYPES: Final = msgspec.json.Decoder(_wire.TypeOnly)
_ENCODER: Final = msgspec.json.Encoder()

# What msgspec raises on text from outside: DecodeError and ValidationError are ValueErrors, so is the
# UnicodeError of a lone surrogate; RecursionError comes from nesting about a thousand deep (.NET allows 64).
UNREADABLE: Final = (ValueError, RecursionError)

#: Python objects are many times the text they are made of: 4 MiB of ``{},`` are 100 MiB of dicts. So what a long record
#: will come to is estimated before it is decoded: an object and its table, a list, what stands behind a comma (bytes,
#: CPython 3.11). Commas and brackets in texts are counted too; no real record comes near. 20,000 trades weigh 11 MiB.
_LONG: Final = 64 * 1024
_HEAVIEST: Final = 16 << 20
_WEIGHTS: Final = (("{", 200), ("[", 64), (",", 60))


def is_heavy(record: str) -> bool:
    """Tell whether a record would come to more objects than any has reason to hold (about 16 MiB of them)."""
    return sum(record.count(mark) * weight for mark, weight in _WEIGHTS) > _HEAVIEST


def parse_messages(text: str | bytes) -> list[Message]:
    """Return the messages of ``text``, which is whole records, each ended by 0x1e; unknown types are skipped.

    Empty text is no record. Bytes must be UTF-8.

    :raises ProtocolError: a record is not what the protocol allows, or the last one is not ended. Nothing of
        the text is returned then; a `HubConnection` delivers the good records before the bad one.
    """
    *records, rest = _decoded(text).split(RECORD_SEPARATOR)
    if rest:
        raise ProtocolError("the text ends inside a record: the last 0x1e is missing")
    parsed = (parse_record(record) for record in records)
    return [message for message in parsed if message is not None]


def parse_record(record: str) -> Message | None:
    """Return the message of one record (without its separator), or None if its type is unknown.

    :raises ProtocolError: the record is not what the protocol allows; the text names the field.
    """
    if len(record) > _LONG and is_heavy(record):
        raise ProtocolError("a record breaks the hub protocol: it holds more values than any has reason to")
    try:
        return _RECORDS.decode(record).to_message()
    except msgspec.ValidationError as exc:
        if _is_unknown_type(record):
            return None
        raise unreadable("a record", exc) from None
    except UNREADABLE as exc:
        raise unreadable("a record", exc) from None


def write_message(message: Message) -> str:
    """Return ``message`` as one record, its separator included; no other 0x1e is in it.

    :raises LocalProtocolError: the message cannot be said in JSON (NaN, infinity, a lone surrogate, bytes, a
        key that is no str, nesting too deep) or breaks the protocol (an empty id or target, a result with an
        error).
    """
    try:
        text = _ENCODER.encode(_wire.to_record(message)).decode()
        _check_payload(message)
        # Reading it back applies every constraint of the wire classes, so that nothing leaves which this
        # codec would refuse; sending is rare, and this costs a few microseconds.
        _RECORDS.decode(text)
    except (*UNREADABLE, TypeError) as exc:
        raise LocalProtocolError(f"this {type(message).__name__} cannot be sent: {_why(exc)}") from None
    return text + RECORD_SEPARATOR


def unreadable(what: str, exc: BaseException) -> ProtocolError:
    """Return the error for undecodable text of the other side; none of it is shown raw."""
    return ProtocolError(f"{what} breaks the hub protocol: {_why(exc)}")


def _why(exc: BaseException) -> str:
    if isinstance(exc, UnicodeError):
        return "text that is not Unicode (a lone surrogate)"
    if isinstance(exc, RecursionError):
        return "nested too deep"
    return escape(str(exc))


def _decoded(text: str | bytes) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ProtocolError("the bytes are not UTF-8") from None


def _is_unknown_type(record: str) -> bool:
    """Whether the record is JSON whose type is a whole number, and not one of the nine."""
    try:
        return _TYPES.decode(record).type not in _wire.KNOWN_TYPES
    except UNREADABLE:
        return False


def _check_payload(message: Message) -> None:
    """Refuse what msgspec would quietly turn into something else: NaN into null, bytes and dates into text.

    It is called after the message was encoded, which has already refused a list that holds itself.
    """
    todo: list[object] = _payload(message)
    while todo:
        value = todo.pop()
        match value:
            case float() if not math.isfinite(value):
                raise ValueError(f"{value} is not a JSON number")
            case None | str() | int() | float():
                pass
            case list() | tuple():
                todo.extend(cast("Sequence[object]", value))
            case dict():
                todo.extend(_checked_values(cast("dict[object, object]", value)))
            case _:
                raise TypeError(f"{type(value).__name__} is not a JSON value")


def _checked_values(value: dict[object, object]) -> Iterable[object]:
    if not all(isinstance(key, str) for key in value):
        raise TypeError("a key of a JSON object must be a str")
    return value.values()


def _payload(message: Message) -> list[object]:
    match message:
        case Invocation() | StreamInvocation():
            return list(message.arguments)
        case StreamItem():
            return [message.item]
        case Completion(result=result) if not isinstance(result, UnsetType):
            return [result]
        case _:
            return []
