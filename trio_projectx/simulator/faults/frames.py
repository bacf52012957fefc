"""WebSocket frames as bytes, read and written: what a server sends, and what no server may send."""

from __future__ import annotations

from typing import Final

import attrs

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
SEPARATOR: Final = "\x1e"


@attrs.frozen(slots=True)
class Frame:
    """One frame without mask, as a server sends it."""

    opcode: int
    payload: bytes
    is_last: bool = True


def write_frame(
    payload: bytes, opcode: int = TEXT, *, fin: bool = True, rsv: int = 0, mask: bytes = b""
) -> bytes:
    """Return a frame; ``rsv`` is the three reserved bits (4 = RSV1), ``mask`` four bytes or none."""
    first = (fin << 7) | (rsv << 4) | opcode
    size, masked = len(payload), 0x80 if mask else 0
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 1 << 16:
        head = bytes((first, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, masked | 127)) + size.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + mask + payload


def read_frame(data: bytes) -> Frame | None:
    """Return the frame that ``data`` is, all of it; None if it is not one whole frame without mask."""
    if len(data) < 2 or data[1] & 0x80:
        return None
    size, start = data[1] & 0x7F, 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    if len(data) != start + size:
        return None
    return Frame(data[0] & 0x0F, data[start:], bool(data[0] & 0x80))


def fragments(payload: bytes, size: int, between: bytes = b"") -> list[bytes]:
    """Return a text message as frames of ``size`` bytes, with ``between`` behind the first."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    last = len(parts) - 1
    written = [
        write_frame(part, CONTINUATION if number else TEXT, fin=number == last)
        for number, part in enumerate(parts)
    ]
    return [written[0], between, *written[1:]] if between and last else written


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a Close frame; the reason is cut to what a control frame holds."""
    return write_frame(
        code.to_bytes(2, "big") + reason.encode()[:120].decode(errors="ignore").encode(), CLOSE
    )


def text_frame(*records: str) -> bytes:
    """Return ``records``, each with its separator, as one text frame."""
    return write_frame("".join(record + SEPARATOR for record in records).encode(errors="surrogatepass"))


def records_in(payload: bytes) -> list[str]:
    """Return the whole records of a text of the simulator's own, without their separators."""
    return payload.decode().split(SEPARATOR)[:-1]
