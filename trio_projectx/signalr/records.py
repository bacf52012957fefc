"""Text in, records out: where one ends is told by 0x1e alone, frames carry no meaning.

A record may arrive in any number of pieces (the .NET client puts them together, and servers were seen to cut
them: dotnet/aspnetcore issue 13651), so the pieces are kept, up to a limit: a peer that never ends a record
must not grow us without end.
"""

from __future__ import annotations

import io
from collections import deque
from typing import Final

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr._messages import RECORD_SEPARATOR

DEFAULT_RECORD_LIMIT: Final = 3 << 20
"""Characters of one record; a real server sent an argument of 1,000,000 (it has no limit of its own), and a burst of
20,000 trades is 2.2 million. What is on its way through the layers at once is several times this."""


class RecordBuffer:
    """Cuts a stream of text into records of at most ``record_limit`` characters.

    Its cost is linear in the text, in however small pieces it comes; it holds at most one unfinished record
    of ``record_limit`` characters (four bytes each) besides the whole records that were not taken out yet.
    """

    def __init__(self, record_limit: int = DEFAULT_RECORD_LIMIT) -> None:
        self._limit = record_limit
        self._whole: deque[str] = deque()
        # A StringIO, not a list of pieces: a million pieces of one character would be a million objects.
        self._unfinished = io.StringIO()
        self._unfinished_length = 0
        self._overflown = False
        self._dropped = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held: no whole record, no unfinished one, no overflow to report."""
        return not (self._whole or self._unfinished_length or self._overflown)

    def feed(self, text: str) -> None:
        """Take in ``text``; after a record that is too long there is no more reading, only counting."""
        if self._overflown:
            self._dropped += text.count(RECORD_SEPARATOR)
            return
        *ended, rest = text.split(RECORD_SEPARATOR)
        if ended and self._unfinished_length:
            ended[0] = self._finish(ended[0])
        self._whole.extend(ended)
        if rest:
            self._keep(rest)

    def next_record(self) -> str | None:
        """Return the next whole record without its separator, or None until more text is fed.

        :raises ProtocolError: the next record is longer than the limit, whether it came whole or not; the
            records before it were returned first. Nothing after it is ever returned.
        """
        if self._whole:
            record = self._whole.popleft()
            if len(record) <= self._limit:
                return record
            self._overflown = True
            self._dropped += len(self._whole)
            self._whole.clear()
        if self._overflown:
            raise ProtocolError(f"a record is longer than the limit of {self._limit} characters")
        return None

    def discard(self) -> int:
        """Forget everything; return how many records were held or came after one that was too long."""
        count = self._dropped + len(self._whole)
        self._dropped = 0
        self._whole.clear()
        self._reset()
        return count

    def _keep(self, piece: str) -> None:
        self._unfinished.write(piece)
        self._unfinished_length += len(piece)
        if self._unfinished_length > self._limit:
            self._overflown = True
            self._reset()

    def _finish(self, last_piece: str) -> str:
        self._unfinished.write(last_piece)
        record = self._unfinished.getvalue()
        self._reset()
        return record

    def _reset(self) -> None:
        self._unfinished = io.StringIO()
        self._unfinished_length = 0
