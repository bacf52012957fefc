"""How far a connection is: who it is, its phase, and what has passed over it. No I/O."""

from __future__ import annotations

import re
from typing import Final

import attrs

_HEAD_MAX: Final = 64 * 1024
_REQUEST_LINE: Final = re.compile(rb"[A-Za-z]+ +(?:https?://[^/ ]*)?(/[^ ?\r\n]*)")
_SWITCHING: Final = b"HTTP/1.1 101"
_TEXT: Final = 0x81
_COMPLETION: Final = b'"type":3'


@attrs.define(slots=True, eq=False)
class Where:
    """Who a connection is, as far as is known by now."""

    number: int
    """Of all that were accepted, from 1."""
    hub: str = ""
    """"market", "user", "silent", "rest" or "control"; "" until its first line has come."""
    path: str = ""
    nth: int = 0
    """Of its hub's WebSockets (of REST: connections), from 1."""
    connection_id: str = ""


@attrs.define(slots=True, eq=False)
class Progress:
    """How far a connection is. Phases are those of `catalogue.PHASES`, and "control", where none strikes."""

    where: Where
    phase: str = "connect"
    bytes_in: int = 0
    bytes_out: int = 0
    records_out: int = 0
    """Records sent; counted only while a fault is in place."""
    _head: bytes = b""
    _is_announced: bool = False

    def see(self, data: bytes) -> bool:
        """Look at the first bytes that come; True when they have told what is asked for."""
        if self.where.hub:
            return False
        self._head = (self._head + data)[:_HEAD_MAX]
        if b"\n" not in self._head and len(self._head) < _HEAD_MAX:
            return False
        line = _REQUEST_LINE.match(self._head)
        path = line[1].decode("latin-1").lower() if line else ""
        self._head = b""
        self.begin_request(path.rstrip("/") or "/")
        self._is_announced = True
        return True

    def begin_request(self, path: str) -> bool:
        """Note that a request for ``path`` (lower case) is to be answered; False if `see` has told already."""
        if self._is_announced:
            self._is_announced = False
            return False
        where = self.where
        where.path = path
        if path.startswith("/hubs/"):
            where.hub, _, rest = path.removeprefix("/hubs/").partition("/")
            self.phase = "negotiate" if rest else "upgrade"
        elif path.startswith("/control/"):
            where.hub = self.phase = "control"
        else:
            where.hub = self.phase = "rest"
        return True

    def note_sent(self, data: bytes) -> None:
        """Go on to the next phase, if ``data``, one answer or frame that was sent, is what makes it."""
        if self.phase == "upgrade":
            if data.startswith(_SWITCHING):
                self.phase = "handshake"
        elif self.phase == "handshake":
            if data[:1] == bytes((_TEXT,)):
                self.phase = "subscribe"
        elif self.phase == "subscribe" and _COMPLETION in data:
            self.phase = "stream"
