"""Faults that put frames or records in, between those of the hub. Name to function; see `catalogue`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from trio_projectx.signalr import Close, Completion, Invocation, write_message
from trio_projectx.simulator.faults.armed import Armed
from trio_projectx.simulator.faults.filters import begin_mute_data
from trio_projectx.simulator.faults.frames import (
    CONTINUATION,
    SEPARATOR,
    TEXT,
    close_frame,
    fragments,
    write_frame,
)
from trio_projectx.simulator.faults.line import Line
from trio_projectx.simulator.faults.modes import Mode
from trio_projectx.simulator.faults.wire import Sends

_PIECE: Final = 64 * 1024
_RSV1: Final = 4
_RSV2: Final = 2
_PING: Final = b'{"type":6}\x1e'
_NORMAL: Final = 1000
_MASK: Final = b"\x01\x02\x03\x04"


def _be_silent(line: Line, armed: Armed) -> None:
    """Let nothing follow; the client's side goes on."""
    line.begin(Mode(armed=armed, swallows=True))


async def _ws_close(line: Line, armed: Armed) -> None:
    await line.emit(close_frame(armed.fault.code, armed.fault.reason))
    _be_silent(line, armed)


async def _close_record(line: Line, armed: Armed) -> None:
    fault = armed.fault
    record = write_message(Close(error=fault.error or None, allow_reconnect=fault.allow_reconnect))
    await line.emit(write_frame(record.encode()))
    await line.emit(close_frame(_NORMAL))
    _be_silent(line, armed)


async def _claimed_length(line: Line, armed: Armed) -> None:
    await line.emit(bytes((0x80 | TEXT, 127)) + (1 << 62).to_bytes(8, "big"))
    _be_silent(line, armed)


async def _endless_fragments(line: Line, armed: Armed) -> None:
    await line.emit(write_frame(b'{"type":1,"x":"', TEXT, fin=False))
    for _ in range(armed.fault.record_bytes // _PIECE):
        await line.emit(write_frame(b"x" * _PIECE, CONTINUATION, fin=False))
    _be_silent(line, armed)


async def _unterminated_record(line: Line, armed: Armed) -> None:
    await line.emit(write_frame(b'{"type":1,"x":"'))
    for _ in range(armed.fault.record_bytes // _PIECE):
        await line.emit(write_frame(b"x" * _PIECE))
    _be_silent(line, armed)


async def _huge_record(line: Line, armed: Armed) -> None:
    head, tail = b'{"type":6,"x":"', b'"}\x1e'
    rest = max(0, armed.fault.record_bytes - len(head) - len(tail))
    frame = write_frame(b"")[:1] + bytes((127,)) + (len(head) + rest + len(tail)).to_bytes(8, "big")
    await line.emit(frame + head)
    for at in range(0, rest, _PIECE):
        await line.emit(b"x" * min(_PIECE, rest - at))
    await line.emit(tail)


async def _deflate_bomb(line: Line, armed: Armed) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    step = 1 << 20
    rest, packed = armed.fault.record_bytes, bytearray()
    while rest > 0:
        packed += packer.compress(b" " * min(step, rest))
        rest -= step
    packed += packer.flush(zlib.Z_SYNC_FLUSH)
    await line.emit(write_frame(bytes(packed), rsv=_RSV1))


async def _rsv_bit(line: Line, _: Armed) -> None:
    await line.emit(write_frame(_PING, rsv=_RSV2))


async def _reserved_opcode(line: Line, _: Armed) -> None:
    await line.emit(write_frame(_PING, 3))


async def _masked_frame(line: Line, _: Armed) -> None:
    await line.emit(write_frame(_PING, mask=_MASK))


async def _invalid_utf8(line: Line, armed: Armed) -> None:
    text = b'{"type":6,"x":"\xe2\x28\xa1"}\x1e'
    if armed.fault.chosen_kind == "whole":
        await line.emit(write_frame(text))
        return
    for piece in fragments(text, text.index(b"\xe2") + 1):
        await line.emit(piece)


async def _nested_record(line: Line, armed: Armed) -> None:
    depth = armed.fault.depth
    text = '{"type":1,"target":"GatewayTrade","arguments":' + "[" * depth + "]" * depth + "}" + SEPARATOR
    await line.emit(write_frame(text.encode()))


async def _unknown_target(line: Line, _: Armed) -> None:
    await line.emit(
        write_frame(write_message(Invocation(target="GatewayNobodyKnows", arguments=[1, None])).encode())
    )


async def _unknown_type(line: Line, _: Armed) -> None:
    await line.emit(write_frame(b'{"type":99,"x":[1,2]}\x1e'))


async def _unknown_completion(line: Line, _: Armed) -> None:
    await line.emit(
        write_frame(write_message(Completion(invocation_id="nobody-asked", result=None)).encode())
    )


async def _token_expiry(line: Line, armed: Armed) -> None:
    match armed.fault.policy:
        case "close":
            await line.emit(write_frame(write_message(Close(allow_reconnect=True)).encode()))
            await line.emit(close_frame(_NORMAL))
            _be_silent(line, armed)
        case "logout":
            await line.emit(
                write_frame(write_message(Invocation(target="GatewayLogout", arguments=[])).encode())
            )
        case _:
            begin_mute_data(line, armed)


INSERTS: Final[Mapping[str, Sends]] = MappingProxyType(
    {
        "ws_close": _ws_close,
        "claimed_length": _claimed_length,
        "endless_fragments": _endless_fragments,
        "deflate_bomb": _deflate_bomb,
        "rsv_bit": _rsv_bit,
        "reserved_opcode": _reserved_opcode,
        "masked_frame": _masked_frame,
        "invalid_utf8": _invalid_utf8,
        "close_record": _close_record,
        "huge_record": _huge_record,
        "unterminated_record": _unterminated_record,
        "nested_record": _nested_record,
        "unknown_target": _unknown_target,
        "unknown_type": _unknown_type,
        "unknown_completion": _unknown_completion,
        "token_expiry": _token_expiry,
    }
)
