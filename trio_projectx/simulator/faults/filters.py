"""Faults of frames and records on their way out. Name to function; see `catalogue`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
import trio

from trio_projectx.signalr import HandshakeResponse, write_handshake_response
from trio_projectx.simulator.faults.armed import Armed
from trio_projectx.simulator.faults.frames import (
    BINARY,
    PING,
    PONG,
    SEPARATOR,
    TEXT,
    fragments,
    read_frame,
    write_frame,
)
from trio_projectx.simulator.faults.hostile import make_hostile
from trio_projectx.simulator.faults.line import Line
from trio_projectx.simulator.faults.modes import Mode
from trio_projectx.simulator.faults.wire import Now

_EVENT: Final = '{"type":1,"target":"Gateway'
_TRADES: Final = '"target":"GatewayTrade"'
_PING_RECORD: Final = '{"type":6}'
_COMPLETION: Final = '{"type":3,'
_TARGET_CHARS: Final = 100


def has_trades(record: str) -> bool:
    """Whether ``record`` is a GatewayTrade event."""
    return record.find(_TRADES, 0, _TARGET_CHARS) >= 0


def begin_mute_data(line: Line, armed: Armed) -> None:
    """Send no events from now on, but the pings that a hub without events sends."""
    last = trio.current_time()

    def records(found: list[str]) -> list[str]:
        nonlocal last
        kept = [record for record in found if not record.startswith(_EVENT)]
        if not kept and trio.current_time() >= last + line.keep_alive_s:
            kept = [_PING_RECORD]
        if kept:
            last = trio.current_time()
        return kept

    line.begin(Mode(armed=armed, records=records))


def _mute_pings(line: Line, armed: Armed) -> None:
    line.begin(Mode(armed=armed, records=lambda found: [each for each in found if each != _PING_RECORD]))


def _mute_pongs(line: Line, armed: Armed) -> None:
    def frames(data: bytes) -> list[bytes]:
        frame = read_frame(data)
        return [] if frame is not None and frame.opcode == PONG else [data]

    line.begin(Mode(armed=armed, frames=frames))


def _unknown_fields(line: Line, armed: Armed) -> None:
    def more(record: str) -> str:
        record = record.replace('"volume":', '"liquidity":null,"volume":')
        return f'{record[:-1]},"trace":{{"id":[1,"x"]}},"headers":{{"a":"b"}}}}'

    def records(found: list[str]) -> list[str]:
        return [more(each) if each.startswith('{"type"') else each for each in found]

    line.begin(Mode(armed=armed, records=records))


def drop_answer(line: Line, armed: Armed, invocation_id: str) -> None:
    """Do not send the next completion of the call."""
    start = f'{{"type":3,"invocationId":{msgspec.json.encode(invocation_id).decode()}'

    def records(found: list[str]) -> list[str]:
        kept = [record for record in found if not record.startswith(start)]
        if len(kept) < len(found):
            line.end(mode)
        return kept

    mode = Mode(armed=armed, records=records)
    line.begin(mode)


# -- whole texts


def _of_texts(line: Line, armed: Armed, change: Callable[[bytes], list[bytes]]) -> None:
    def frames(data: bytes) -> list[bytes]:
        frame = read_frame(data)
        return change(frame.payload) if frame is not None and frame.opcode == TEXT else [data]

    line.begin(Mode(armed=armed, frames=frames))


def _binary_frames(line: Line, armed: Armed) -> None:
    _of_texts(line, armed, lambda payload: [write_frame(payload, BINARY)])


def _fragmented_frames(line: Line, armed: Armed) -> None:
    ping = write_frame(b"fault", PING)
    _of_texts(line, armed, lambda payload: fragments(payload, armed.fault.chunk_bytes, ping))


def _split_records(line: Line, armed: Armed) -> None:
    def change(payload: bytes) -> list[bytes]:
        # Between characters, so that each message is UTF-8 by itself, and never between records.
        pieces: list[str] = [""]
        for record in payload.decode().split(SEPARATOR)[:-1]:
            middle = (len(record) + 1) // 2
            pieces[-1] += record[:middle]
            pieces.append(record[middle:] + SEPARATOR)
        return [write_frame(piece.encode()) for piece in pieces]

    _of_texts(line, armed, change)


_ANSWERS: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "not_json": b"<html>\x1e",
        "not_object": b"[]\x1e",
        "typed": b'{"type":6}\x1e',
        "unterminated": b"{}",
        "two_records": b'{}\x1e{"type":6}\x1e{"type":6}\x1e',
    }
)


def _handshake_answer(line: Line, armed: Armed) -> None:
    kind = armed.fault.chosen_kind
    said = write_handshake_response(
        HandshakeResponse(armed.fault.error or "The handshake was refused on command.")
    )
    answer = said.encode() if kind == "error" else _ANSWERS[kind]

    def frames(data: bytes) -> list[bytes]:
        line.end(mode)
        return [write_frame(answer)]

    mode = Mode(armed=armed, frames=frames)
    line.begin(mode)


# -- some records: they claim their strike when such a record has come


def _some(
    line: Line,
    armed: Armed,
    is_one: Callable[[str], bool],
    change: Callable[[str, int], list[str]],
    times: int,
) -> None:
    """Put ``change(record, k)`` in the place of the next ``times`` records of a kind, k from 0."""
    done = 0

    def records(found: list[str]) -> list[str]:
        nonlocal done
        out: list[str] = []
        for record in found:
            if done < times and is_one(record) and (done or armed.claim(line.where)):
                out += change(record, done)
                done += 1
            else:
                out.append(record)
        if done >= times or (not done and armed.is_over):
            line.end(mode)
        return out if done else found

    mode = Mode(armed=armed, records=records)
    line.begin(mode)


def _completion_twice(line: Line, armed: Armed) -> None:
    _some(line, armed, lambda record: record.startswith(_COMPLETION), lambda record, _: [record, record], 1)


def _trades_duplicated(line: Line, armed: Armed) -> None:
    _some(line, armed, has_trades, lambda record, _: [record, record], armed.fault.n)


def _trades_swapped(line: Line, armed: Armed) -> None:
    held: list[str] = []

    def change(record: str, number: int) -> list[str]:
        if number % 2 == 0:
            held.append(record)
            return []
        return [record, held.pop()]

    _some(line, armed, has_trades, change, 2 * armed.fault.n)


def _trades_late(line: Line, armed: Armed) -> None:
    def change(record: str, _: int) -> list[str]:
        line.send_later(armed.fault.late_s, record)
        return []

    _some(line, armed, has_trades, change, armed.fault.n)


def _trades_replayed(line: Line, armed: Armed) -> None:
    old = list(armed.memory)
    waits = bool(old)
    # Each line's own: of two that are there at a time both are sent the same, and none of it is to be sent again twice.
    mine = deque(old, armed.fault.n)

    def records(found: list[str]) -> list[str]:
        nonlocal waits
        new = [record for record in found if has_trades(record)]
        if not new:
            return found
        mine.extend(new)
        armed.memory = mine
        if waits and armed.claim(line.where):
            at = found.index(new[0])
            found = [*found[:at], *old, *found[at:]]
        waits = False
        return found

    line.begin(Mode(armed=armed, records=records))


def _hostile(line: Line, armed: Armed) -> None:
    kind = armed.fault.chosen_kind

    def change(record: str, _: int) -> list[str]:
        return [record, make_hostile(kind, record)]

    _some(line, armed, has_trades, change, armed.fault.n)


FILTERS: Final[Mapping[str, Now]] = MappingProxyType(
    {
        "handshake_answer": _handshake_answer,
        "binary_frames": _binary_frames,
        "fragmented_frames": _fragmented_frames,
        "split_records": _split_records,
        "unknown_fields": _unknown_fields,
        "mute_pings": _mute_pings,
        "mute_pongs": _mute_pongs,
        "mute_data": begin_mute_data,
        "completion_twice": _completion_twice,
        "trades_duplicated": _trades_duplicated,
        "trades_swapped": _trades_swapped,
        "trades_late": _trades_late,
        "trades_replayed": _trades_replayed,
        "hostile": _hostile,
    }
)
