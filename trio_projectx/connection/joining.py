"""A stream between the socket and trio-websocket that joins neighbouring WebSocket text frames.

SignalR's JSON records end in 0x1E, so where one WebSocket message ends and the next begins means nothing to
the hub (SIGNALR.md section 3), while each message costs trio-websocket some 13 us whatever is in it
(PERFORMANCE.md). So all whole, final text frames of one read leave here as ONE text frame. Everything else
leaves as it came and in order: control frames, fragments, binary, what is too long to hold, and whatever RFC
6455 forbids, which wsproto above alone judges.

Two properties hold (tests/test_connection_joining.py): wsproto sees the same text, the same other events and
the same failure as without this stream; and no more is held than one frame of `HOLD_LIMIT` and one read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

import trio
from trio.abc import Stream

from trio_projectx.connection.network import close_forcefully
from trio_projectx.connection.upgrade import ANSWER_LIMIT

READ_SIZE: Final = 64 << 10
CLAIM_LIMIT: Final = 64 << 20
"""A frame that claims to be longer ends the stream at once (one above ``max_message_bytes`` ends it with 1009)."""
JOIN_LIMIT: Final = 256 << 10
"""The longest joined payload, in bytes; a single frame may be longer and goes up alone."""
HOLD_LIMIT: Final = 64 << 10
"""The longest payload held until it is whole; of a longer one the parts go up as they come, unjoined."""

_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_CONTROL: Final = frozenset((_CLOSE, 0x89, 0x8A))
_FIRST: Final = frozenset((0x01, _TEXT, 0x02, 0x82))
_CONTINUATION: Final = frozenset((0x00, 0x80))
_LEAST: Final = MappingProxyType({0: 0, 2: 126, 8: 1 << 16})
"""The least payload a length field of so many bytes may claim (RFC 6455 section 5.2: minimal encoding)."""


class FrameJoiner:
    """The joining without the I/O: bytes of a server's frames in, bytes for the client's wsproto out.

    ``frames_in`` and ``frames_out`` count frames that came and that left, up to the first one after which
    wsproto reads nothing more (a Close frame, or what RFC 6455 forbids).
    """

    def __init__(
        self, join_limit: int = JOIN_LIMIT, hold_limit: int = HOLD_LIMIT, claim_limit: int = CLAIM_LIMIT
    ) -> None:
        self._claim_limit = claim_limit
        self.frames_in = 0
        self.frames_out = 0
        self._join_limit = join_limit
        self._hold_limit = hold_limit
        self._held = bytearray()  # the beginning of a frame that is not whole yet
        # How long _held must be before it is worth another look: else a slow drip costs its length squared.
        self._need = 0
        self._through = 0  # payload bytes still to come of a frame that is not held
        self._fragmented = False
        self._over = False
        self.claimed: int | None = None
        """The length that a frame claimed to have which is never taken in; nothing behind it is passed."""

    @property
    def is_within_message(self) -> bool:
        """Whether a frame, or a message of several, has begun and is not whole yet."""
        return bool(self._held) or self._through > 0 or self._fragmented

    def feed(self, data: bytes) -> bytes:
        """Take what was read; return what wsproto shall see of it now (perhaps nothing)."""
        if self._over:
            return data
        if self._held:
            self._held += data
            if len(self._held) < self._need:
                return b""
            data = bytes(self._held)
            self._held.clear()
        out: list[bytes] = []
        pos = self._pass_through(data, out)
        while True:
            start = pos
            if not self._fragmented:
                pos = self._join_run(data, pos, out)
            if pos == start and (pos := self._pass_one(data, pos, out)) == start:
                break
        if pos < len(data) and self.claimed is None:
            self._held += data[pos:]
        return out[0] if len(out) == 1 else b"".join(out)

    def end(self) -> bytes:
        """Return the beginning of a frame that the end of the stream cut: nobody will complete it."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def _pass_through(self, data: bytes, out: list[bytes]) -> int:
        """Pass the payload still owed to a long frame; return where the next frame begins."""
        if not self._through:
            return 0
        part = data[: self._through]
        self._through -= len(part)
        out.append(part)
        return len(part)

    def _join_run(self, data: bytes, pos: int, out: list[bytes]) -> int:
        """Join the whole text frames from ``pos`` on; return where the first thing of another kind begins.

        This is the hot loop: one turn per record of the feed.
        """
        first, end = pos, len(data)
        room = self._join_limit
        run: list[bytes] = []
        while end - pos >= 2 and data[pos] == _TEXT:
            size = data[pos + 1]
            start = pos + 2
            if size > 125:
                start = pos + 4
                # An 8-byte length, a mask or a length that is not minimal: none of these is to be joined.
                if size != 126 or start > end or (size := data[pos + 2] << 8 | data[pos + 3]) < 126:
                    break
            stop = start + size
            room -= size
            if stop > end or room < 0:
                break
            run.append(data[start:stop])
            pos = stop
        if len(run) == 1:
            self.frames_in += 1
            self.frames_out += 1
            out.append(data[first:pos])
        elif run:
            self.frames_in += len(run)
            self._write_run(run, out)
        return pos

    def _write_run(self, run: list[bytes], out: list[bytes]) -> None:
        """Write payloads as one frame, unless one of them is not UTF-8: that one then stands alone.

        A text may be cut inside a character only where the next payload begins with a continuation byte, so
        a join that decodes, with no such payload in it, is made of payloads that each decode.
        """
        payload = b"".join(run)
        if payload.isascii() or (
            _is_utf8(payload) and not any(0x80 <= part[0] < 0xC0 for part in run if part)
        ):
            out += (_text_header(len(payload)), payload)
            self.frames_out += 1
            return
        bad = next(i for i, part in enumerate(run) if not _is_utf8(part))
        good = b"".join(run[:bad])
        if bad:
            out += (_text_header(len(good)), good)
            self.frames_out += 1
        # wsproto fails the connection (1007) at the first bad one, so the rest needs no joining.
        for part in run[bad:]:
            out += (_text_header(len(part)), part)
        self.frames_out += len(run) - bad

    def _pass_one(self, data: bytes, pos: int, out: list[bytes]) -> int:
        """Pass the frame at ``pos`` as it is; return where the next begins, or ``pos`` to wait for more."""
        have = len(data) - pos
        if have < 2:
            self._need = 2
            return pos
        first, code = data[pos], data[pos + 1]
        if not self._is_legal(first, code):
            return self._pass_rest(data, pos, out)
        field = 0 if code < 126 else 2 if code == 126 else 8
        if have < 2 + field:
            self._need = 2 + field
            return pos
        size = int.from_bytes(data[pos + 2 : pos + 2 + field], "big") if field else code
        if size < _LEAST[field] or size >> 63:
            return self._pass_rest(data, pos, out)
        if size > self._claim_limit:
            self.claimed = size
            self._over = True
            return pos
        whole = 2 + field + size
        if whole > have and size <= self._hold_limit:
            self._need = whole
            return pos
        return self._pass_frame(data, pos, whole, out)

    def _is_legal(self, first: int, code: int) -> bool:
        """Tell whether a server may begin a frame so here (RFC 6455 sections 5.1, 5.2, 5.4 and 5.5)."""
        if first in _CONTROL:
            return code <= 125
        return code <= 127 and first in (_CONTINUATION if self._fragmented else _FIRST)

    def _pass_frame(self, data: bytes, pos: int, whole: int, out: list[bytes]) -> int:
        first, stop = data[pos], min(pos + whole, len(data))
        if first == _CLOSE:
            return self._pass_rest(data, pos, out)
        self.frames_in += 1
        self.frames_out += 1
        self._through = pos + whole - stop
        if first not in _CONTROL:
            self._fragmented = first < 0x80
        out.append(data[pos:stop])
        return stop

    def _pass_rest(self, data: bytes, pos: int, out: list[bytes]) -> int:
        """Pass all from here on, for ever: behind a Close frame, or a breach, wsproto reads nothing more."""
        self._over = True
        self.frames_in += 1
        self.frames_out += 1
        out.append(data[pos:])
        return len(data)


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text_header(size: int) -> bytes:
    if size < 126:
        return bytes((_TEXT, size))
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


_HEAD_END: Final = re.compile(rb"\n\r?\n")
_SWITCHING: Final = re.compile(rb"HTTP/1\.[0-9] 101\b")


class JoiningStream(Stream):
    """A `trio.abc.Stream` over another, for a WebSocket's client end: joins what comes, as the module says.

    Until the server has said 101 it watches the answer: what goes up is unchanged, but an answer that is no
    101 ends after `ANSWER_LIMIT` bytes, and one that is not HTTP ends at once. ``answer`` holds what came
    until then.

    trio-websocket waits for ever for an answer that can no longer come, so ``on_early_end`` is called, once,
    when the stream ends or breaks before a 101. ``deaf`` is asked before each read; while it is true the
    stream reads as ended, for trio-websocket would pile up what comes behind a protocol error.

    What breaks in `send_all` half-way, be it by cancellation, closes the stream: the peer has half a frame,
    and whatever came next would be read as its other half.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        join_limit: int = JOIN_LIMIT,
        on_early_end: Callable[[], None] | None = None,
        deaf: Callable[[], bool] | None = None,
    ) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.read_at = -math.inf
        self.upgraded = False
        self.answer = bytearray()
        self.error: Exception | None = None
        """What broke the stream, if anything did; its end of file is no error."""
        self._stream = stream
        self._joiner = FrameJoiner(join_limit)
        self._on_early_end = on_early_end
        self._deaf = deaf
        self._ready = b""
        self._ended = False
        self._refused = False

    @property
    def frames_in(self) -> int:
        """Frames that came from the server so far."""
        return self._joiner.frames_in

    @property
    def frames_out(self) -> int:
        """Frames that left here towards wsproto so far; ``frames_in`` less those joined to another."""
        return self._joiner.frames_out

    @property
    def is_within_message(self) -> bool:
        """Whether a message has begun and is not whole yet."""
        return self._joiner.is_within_message

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what wsproto shall see next, of one read below; ``b""`` is the end, or a refusal's.

        Cancellation loses nothing: what was read is kept until it is returned.
        """
        if self._ready:
            await trio.lowlevel.checkpoint()
        while not self._ready:
            if not (await self._read()):
                break
        data = self._ready if max_bytes is None else self._ready[:max_bytes]
        self._ready = self._ready[len(data) :]
        return data

    async def _read(self) -> bool:
        """Read once into ``_ready``; tell whether there may be more to come."""
        if self._ended or (self._deaf is not None and self._deaf()):
            await trio.lowlevel.checkpoint()
            return False
        try:
            data = bytes(await self._stream.receive_some(READ_SIZE))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._end(exc)
            raise
        self.bytes_in += len(data)
        self.read_at = trio.current_time()
        if self.upgraded:
            self._ready = self._joiner.feed(data) if data else self._joiner.end()
            if self._joiner.claimed is not None:
                # Not to be waited for: what is refused at once is not found dead half a minute later.
                claim = f"a frame claims to have {self._joiner.claimed} bytes"
                self._end(trio.BrokenResourceError(claim))
        elif data:
            self._ready = self._feed_answer(data)
        if not data:
            self._end()
        return not self._ended

    def _feed_answer(self, data: bytes) -> bytes:
        """Take a part of the upgrade's answer; return what goes up: nothing before its head is whole."""
        answer = self.answer
        searched = max(0, len(answer) - 2)
        answer += data
        if self._refused:
            if len(answer) > ANSWER_LIMIT:
                self._end()
            return data
        head = _HEAD_END.search(answer, searched)
        if head is None:
            if len(answer) > ANSWER_LIMIT or not answer.startswith(b"HTTP/1."[: len(answer)]):
                self._end()
            return b""
        if _SWITCHING.match(answer) is None:
            self._refused = True
            return bytes(answer)
        self.upgraded = True
        rest = bytes(answer[head.end() :])
        del answer[head.end() :]
        return bytes(answer) + self._joiner.feed(rest)

    def _end(self, error: Exception | None = None) -> None:
        self._ended = True
        self.error = self.error or error
        if not self.upgraded and self._on_early_end is not None:
            self._on_early_end()
            self._on_early_end = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``; if that breaks or is cancelled after it began, the stream is closed.

        Cancellation that is due before anything was sent closes nothing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            await self._stream.send_all(data)
        except BaseException as exc:  # whatever it is: half a frame may be on its way; nothing may follow it
            broken = exc if isinstance(exc, Exception) else trio.BrokenResourceError("a send was cut off")
            self._end(broken)
            await close_forcefully(self._stream)  # noqa: ASYNC102  it shields itself
            raise
        self.bytes_out += len(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` might not block, as the stream below says."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._stream.aclose()
