"""A connection as faults see it: the byte stream between a socket and whoever serves it, and how far it is.

Whatever goes wrong on purpose goes wrong here. The code that serves the connection knows nothing of it: it
sends and receives, and gets what a broken connection gives. Without a fault a send costs one test more.

What the server sends comes here in units that mean something: one HTTP answer, or one WebSocket frame, per
`send_all`. Faults of frames and records rest on that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from trio_projectx.simulator.faults.armed import Armed
from trio_projectx.simulator.faults.catalogue import WEBSOCKET, Level
from trio_projectx.simulator.faults.frames import text_frame
from trio_projectx.simulator.faults.modes import Mode, Pump, filtered, in_chunks
from trio_projectx.simulator.faults.owner import Owner
from trio_projectx.simulator.faults.progress import Progress, Where
from trio_projectx.simulator.streams import reset_stream, wait_taken

#: How long a fault at a byte waits for the client to have read up to it: a reset destroys what is on its way.
_TAKEN_S: Final = 0.2
#: How long what is still in a slow connection may take after the server has closed it.
_LINGER_S: Final = 5.0


class Line(trio.abc.Stream):
    """One accepted connection."""

    def __init__(
        self, stream: trio.abc.Stream, where: Where, owner: Owner, keep_alive_s: float = 15.0
    ) -> None:
        self.progress = Progress(where)
        self.keep_alive_s = keep_alive_s
        """The hub pings after this long without sending."""
        self._flip = 0
        self._stream = stream
        self._owner = owner
        self._held = b""
        self._pending: list[tuple[Armed, int]] = []
        self._modes: list[Mode] = []
        self._pump: Pump | None = None
        self._is_quiet = False
        self._in_turn = False
        self._is_closed = False
        self._is_met = False
        self._ear = trio.CancelScope()
        self._moved = trio.lowlevel.ParkingLot()

    # -- for whoever serves the connection

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data`` as the faults let it; errors are those of any stream."""
        if not self._is_quiet or self._in_turn:
            await self._send_with_faults(bytes(data))
            return
        self._in_turn = True
        try:
            await self._stream.send_all(data)
        finally:
            self._end_turn()
        self.progress.bytes_out += len(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what the faults let through; errors are those of any stream."""
        if not self._is_met:
            self._is_met = True
            await self.strike_due()  # what was meant for the moment of being accepted
        data = await self._hear(max_bytes)
        is_new = not self.where.hub and self.progress.see(data)
        if is_new:
            self._note_request()
        if self._pending and data:
            data = self._cut_in(data)
        self.progress.bytes_in += len(data)
        if self._pending and (is_new or not self._in_turn):
            await self.strike_due()
        elif self._pending:
            self._owner.start_soon(self._strike_outside)
        return data

    async def wait_send_all_might_not_block(self) -> None:
        """Wait on the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below, or leave it open if a fault wants so."""
        if self._let_go():
            return
        self._owner.leave(self)
        if self._pump is not None:  # as a kernel does: what is on its way goes on, for a while
            self._owner.start_soon(self._drain, self._pump)
        else:
            await self._stream.aclose()

    async def _drain(self, pump: Pump) -> None:
        try:
            with trio.move_on_after(_LINGER_S):
                await pump.finish()
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)

    def reset(self) -> None:
        """Reset the stream below, or leave it open if a fault wants so."""
        if not self._let_go():
            reset_stream(self._stream)

    def _let_go(self) -> bool:
        """Be closed as far as the server goes; whether the stream is kept open nevertheless."""
        was_closed, self._is_closed = self._is_closed, True
        self._moved.unpark_all()
        is_kept = any(mode.keeps_open for mode in self._modes)
        if is_kept:
            self._ear.cancel(reason="the server has closed what a fault keeps open")
        if is_kept and not was_closed:
            self._owner.leave(self)
            self._owner.keep(self._stream)
        return is_kept

    # -- how far it is

    @property
    def where(self) -> Where:
        """Who it is."""
        return self.progress.where

    @property
    def phase(self) -> str:
        """One of `catalogue.PHASES`, or "control"."""
        return self.progress.phase

    async def at_request(self, path: str) -> None:
        """Note that a request for ``path`` (lower case) is there to be answered; strike what is due then."""
        if self.progress.begin_request(path):
            self._note_request()
            await self.strike_due()

    def _note_request(self) -> None:
        if self.where.hub == "control":
            self._pending.clear()
        elif not self.where.nth or self.phase == "upgrade":
            self.where.nth = self._owner.nth(self)
        self._settle()

    def _settle(self) -> None:
        is_free = not (self._pending or self._modes or self._pump or self._flip)
        self._is_quiet = is_free and self.phase in ("stream", "control")

    # -- faults in and out

    def wait_for(self, armed: Armed) -> None:
        """Let ``armed`` strike here when it is due; for a connection that is just being accepted."""
        self._pending.append((armed, self.progress.records_out))

    def add(self, armed: Armed) -> None:
        """Let ``armed`` strike here when it is due; at once, if it is."""
        if self.where.hub == "control" or self._is_closed:
            return
        self.wait_for(armed)
        self._settle()
        if any(self._is_due(*pending) for pending in self._pending):
            self._owner.start_soon(self._strike_outside)

    def begin(self, mode: Mode) -> None:
        """Be in ``mode`` from now on, for as long as its fault says."""
        self._modes.append(mode)
        fault = mode.armed.fault
        if mode.needs_pump and self._pump is None:
            self._pump = Pump(self._modes)
            self._owner.start_soon(self._run_pump, self._pump)
        self._settle()
        if fault.duration_s is not None:
            self._owner.start_soon(self._end_later, mode, fault.duration_s)

    def flip(self, bits: int) -> None:
        """Turn these bits over in the next byte that is sent."""
        self._flip ^= bits
        self._settle()

    def end(self, mode: Mode) -> None:
        """Be in ``mode`` no more."""
        if mode in self._modes:
            self._modes.remove(mode)
        if self._pump is not None:
            self._pump.wake()
        self._settle()
        self._moved.unpark_all()

    def forget(self, armed: Armed) -> None:
        """Let ``armed`` strike here no more; what it has begun goes on."""
        self._pending = [pending for pending in self._pending if pending[0] is not armed]
        self._settle()

    def remove(self, armed: Armed) -> None:
        """Let ``armed`` be over here, in whatever it has begun."""
        self.forget(armed)
        for mode in [mode for mode in self._modes if mode.armed is armed]:
            self.end(mode)

    async def _end_later(self, mode: Mode, after_s: float) -> None:
        await trio.sleep(after_s)
        self.end(mode)

    # -- striking

    def _is_due(self, armed: Armed, records_before: int) -> bool:
        fault = armed.fault
        if self.phase not in fault.phases or (self.phase == "connect" and len(fault.phases) > 1):
            return False  # when a connection is accepted, only what was said to be meant for that moment
        if fault.after_bytes is not None and self._counted(fault.direction) < fault.after_bytes:
            return False
        if (
            fault.after_records is not None
            and self.progress.records_out - records_before < fault.after_records
        ):
            return False
        return armed.reaches(self.where)

    def _counted(self, direction: str) -> int:
        return self.progress.bytes_out if direction == "out" else self.progress.bytes_in

    async def strike_due(self, *, in_frame: bool = False) -> None:
        """Do what is due; the caller has the turn, or nobody sends."""
        if not self._pending:
            return
        for pending in [each for each in self._pending if self._is_due(*each)]:
            armed = pending[0]
            if in_frame and armed.fault.level is not Level.WIRE:
                continue  # a frame inside a frame would be part of it
            if pending in self._pending:
                self._pending.remove(pending)
                await self._strike(armed)
        self._settle()

    async def _strike(self, armed: Armed) -> None:
        if armed.fault.delay_s:
            self._owner.start_soon(self._strike_later, armed)
            return
        if armed.fault.after_bytes or armed.fault.phase:
            with trio.move_on_after(_TAKEN_S):
                await wait_taken(self._stream)
        if armed.fault.level is Level.RECORD or armed.claim(self.where):
            await self._owner.perform(self, armed)

    async def _strike_later(self, armed: Armed) -> None:
        await trio.sleep(armed.fault.delay_s)
        if self._is_closed or not (armed.fault.level is Level.RECORD or armed.claim(self.where)):
            return
        await self.in_turn(self._owner.perform, self, armed, preempts=not armed.fault.sends)

    async def _strike_outside(self) -> None:
        """Do what is due on a line where nobody may be sending for long."""
        for pending in list(self._pending):
            if pending in self._pending and not pending[0].fault.sends and self._is_due(*pending):
                self._pending.remove(pending)
                self._settle()
                await self._strike(pending[0])
        await self.in_turn(self.strike_due)

    # -- sending

    async def in_turn(
        self, fn: Callable[..., Awaitable[object]], *args: object, preempts: bool = False
    ) -> None:
        """Call ``fn`` while nobody else sends; ``preempts`` does not wait for that."""
        if preempts:
            await fn(*args)
            return
        await self._begin_turn()
        try:
            await fn(*args)
        finally:
            self._end_turn()

    async def _begin_turn(self) -> None:
        while self._in_turn and not self._is_closed:
            await self._moved.park()
        if self._is_closed:
            raise trio.ClosedResourceError("this end of the stream is closed")
        self._in_turn = True

    def _end_turn(self) -> None:
        self._in_turn = False
        if self._moved:
            self._moved.unpark_all()

    async def _send_with_faults(self, data: bytes) -> None:
        await self._begin_turn()
        try:
            await trio.lowlevel.checkpoint()
            for piece in self._filtered(data):
                await self.emit(piece)
            self.progress.note_sent(data)
            self._settle()
            await self.strike_due()
        finally:
            self._end_turn()

    def _filtered(self, data: bytes) -> list[bytes]:
        """Return what goes out instead of ``data``, which is one frame or one HTTP answer."""
        if (self._modes or self._pending) and self.phase in WEBSOCKET:
            return filtered(data, self._modes, self.progress)
        return [data]

    async def emit(self, data: bytes) -> None:
        """Send bytes as they are, stopping where a fault wants to strike; the caller has the turn."""
        while data:
            await self.strike_due(in_frame=True)
            cut = self._next_cut(len(data))
            await self._write(data[:cut])
            self.progress.bytes_out += cut
            data = data[cut:]
        await self.strike_due(in_frame=True)

    def send_later(self, after_s: float, *records: str) -> None:
        """Send records as one text after a while, if there is still somebody to send to."""
        self._owner.start_soon(self._send_later, after_s, text_frame(*records))

    async def _send_later(self, after_s: float, data: bytes) -> None:
        await trio.sleep(after_s)
        await self.in_turn(self.emit, data)

    def _next_cut(self, size: int) -> int:
        ahead = [
            armed.fault.after_bytes - self.progress.bytes_out
            for armed, _ in self._pending
            if armed.fault.after_bytes is not None
            and armed.fault.direction == "out"
            and armed.fault.level is Level.WIRE
        ]
        return min([size, *(cut for cut in ahead if cut > 0)])

    async def _write(self, data: bytes) -> None:
        if self._flip and data:
            data, self._flip = bytes((data[0] ^ self._flip,)) + data[1:], 0
            self._settle()
        if self._pump is None or not await self._pump.put(data):
            await self._push(data)

    async def _push(self, data: bytes) -> None:
        if any(mode.swallows for mode in self._modes):
            return
        for part in in_chunks(data, min((m.chunk_bytes for m in self._modes if m.chunk_bytes), default=0)):
            await self._stream.send_all(part)

    async def _run_pump(self, pump: Pump) -> None:
        try:
            await pump.run(self._push)
        finally:
            self._pump = None
            self._settle()

    async def send_eof(self) -> None:
        """End this direction below; where that cannot be, reset."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()
        else:
            reset_stream(self._stream)

    # -- receiving

    async def _hear(self, max_bytes: int | None) -> bytes:
        while True:
            while any(mode.is_deaf for mode in self._modes):
                if self._is_closed:
                    raise trio.ClosedResourceError("this end of the stream is closed")
                await self._moved.park()
            if self._held:
                await trio.lowlevel.checkpoint()
                data, self._held = self._held, b""
                return data
            data, self._ear = b"", trio.CancelScope()
            with self._ear:
                data = bytes(await self._stream.receive_some(max_bytes))
            if self._ear.cancelled_caught:
                raise trio.ClosedResourceError("this end of the stream is closed")
            if not any(mode.is_deaf for mode in self._modes):
                return data
            self._held = data

    def _cut_in(self, data: bytes) -> bytes:
        """Return ``data`` up to where a fault strikes that counts what is read; the rest is kept."""
        cuts = [
            armed.fault.after_bytes - self.progress.bytes_in
            for armed, _ in self._pending
            if armed.fault.after_bytes is not None and armed.fault.direction == "in"
        ]
        cut = min([len(data), *(each for each in cuts if each > 0)])
        self._held = data[cut:] + self._held
        return data[:cut]
