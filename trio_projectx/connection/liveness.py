"""Whether the other side of a connection lives: what it sends, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from trio_projectx._config import Timeouts
from trio_projectx._errors import TrioProjectXError
from trio_projectx.connection.bell import Bell
from trio_projectx.connection.endings import Silent
from trio_projectx.connection.transport import Transport, TransportClosed

#: Data that find their place sooner were not held back: the tasks behind the reader had their turn.
_A_WHILE_S: Final = 0.05


class Liveness:
    """The signs of life of one connection.

    Records are signs of life, pongs are not, by default: a server may leave pings unanswered while its data flow
    (FAULTS.md row 17), and may answer them while its hub is dead (row 15).
    """

    def __init__(
        self,
        name: str,
        timeouts: Timeouts,
        *,
        on_proof: Callable[[], None],
        on_silence: Callable[[TrioProjectXError], None],
    ) -> None:
        self._name = name
        self._timeouts = timeouts
        self._on_proof = on_proof
        self._on_silence = on_silence
        self._bell = Bell()
        self._wanted = -math.inf
        self._transport: Transport | None = None
        self.round_trip_s: float | None = None
        self.record_at = -math.inf
        """When the last text came (trio's clock), or the connection began."""
        self.pong_at = -math.inf
        self.proved_until = -math.inf
        """Whatever the hub sent before this time (trio's clock) has been received: a later ping was answered."""
        self.is_held_back = False
        """Whether what was read waits for those behind: our own wait, not the server's silence."""
        self.released_at = -math.inf
        """When that ended last."""
        self.waited_at = -math.inf
        """When it ended last where it took a while."""

    def delivered(self, began: float) -> None:
        """What was read at ``began`` (trio's clock) has found its place."""
        self.is_held_back, self.released_at = False, trio.current_time()
        if self.released_at - began >= _A_WHILE_S:
            self.waited_at = self.released_at

    def is_read_late(self, slack_s: float) -> bool:
        """Whether what was sent may lie unread, because what was read waits, or did so less than ``slack_s`` ago."""
        return self.is_held_back or trio.current_time() - self.waited_at < slack_s

    @property
    def read_at(self) -> float:
        """When the last byte came (trio's clock), be it of a pong or of a part of a record."""
        return self.record_at if self._transport is None else max(self.record_at, self._transport.read_at)

    def begin(self) -> None:
        """The handshake was answered."""
        self.record_at = trio.current_time()

    def prove(self, until: float) -> None:
        """Have a ping answered that is sent after ``until`` (trio's clock): then `proved_until` is not before it."""
        if until > self._wanted:
            self._wanted = until
            self._bell.ring()

    def heard_since(self, at: float) -> bool:
        """Whether the other side has given any sign of life, be it a pong, since ``at`` (trio's clock)."""
        return max(self.record_at, self.pong_at) >= at

    async def receive(self, transport: Transport) -> str:
        """Return the next text.

        :raises Silent: nothing came for ``server_s``, or no whole record for ``record_s``.
        :raises TransportClosed: the connection has ended.
        """
        # The deadline stands around this wait only: what a slow pipeline takes is not the server's silence.
        seconds, until = self._timeouts.server_s, trio.current_time() + self._timeouts.record_s
        while True:
            seen = transport.bytes_in
            with trio.move_on_at(min(until, trio.current_time() + seconds)):
                text = await transport.receive()
                self.record_at = trio.current_time()
                return text
            # A slow line is not a dead one: while bytes come, a record may take longer (FAULTS.md row 18).
            if transport.bytes_in == seen or not transport.is_within_message:  # pongs are bytes, too
                raise Silent(f"{self._name}: no record for {seconds:g} s (not even a ping)")
            if trio.current_time() >= until:
                raise Silent(f"{self._name}: a record was not whole after {self._timeouts.record_s:g} s")

    async def probe(self, transport: Transport) -> None:
        """Ping, for as long as the connection lives."""
        self._transport = transport
        pong_s = self._timeouts.pong_s
        every = self._timeouts.probe_s if pong_s is None else min(self._timeouts.probe_s, pong_s / 3)
        with suppress(TransportClosed):
            while True:
                started = trio.current_time()
                dead_at = self._dead_at(transport, pong_s)
                if started >= dead_at:
                    silent = f"{self._name}: neither a record nor a pong for {pong_s:g} s"
                    self._on_silence(Silent(silent))
                    return
                await self._ping(transport, started, min(every, dead_at - started))
                while trio.current_time() < (
                    due := min(self._next(started + every), self._dead_at(transport, pong_s))
                ):
                    await self._bell.wait(due)  # it is rung when a proof is wanted

    async def _ping(self, transport: Transport, started: float, seconds: float) -> None:
        try:
            self.round_trip_s = await transport.ping(seconds)
        except trio.TooSlowError:
            self.round_trip_s = None
        else:
            self.proved_until, self.pong_at = started, trio.current_time()
            self._on_proof()

    def _next(self, regular: float) -> float:
        """Return when to ping next: sooner for a proof that is wanted, which no ping can give before its time.

        Where the last ping was not answered, another at once would not be either.
        """
        if self._wanted > self.proved_until and self.round_trip_s is not None:
            return min(regular, math.nextafter(self._wanted, math.inf))
        return regular

    def _dead_at(self, transport: Transport, pong_s: float | None) -> float:
        """Return when the other side is dead if nothing more comes; inf where only records are waited for."""
        if pong_s is None or self.is_held_back:
            return math.inf
        # No pong can come in the middle of a slow record: there its bytes are the sign of life (FAULTS.md row 18).
        read_at = transport.read_at if transport.is_within_message else -math.inf
        return max(self.record_at, self.pong_at, self.released_at, read_at) + pong_s
