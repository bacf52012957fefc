"""The pipes of the streams that are open, for the ledger; of those that were closed only the sums are kept."""

from __future__ import annotations

from typing import Protocol

import attrs

from trio_projectx.flow.ledger import StreamRow


class Countable(Protocol):
    """A `Pipe`, whatever its items are."""

    @property
    def closed(self) -> bool:
        """Whether its counts are final."""
        ...

    def row(self) -> StreamRow:
        """Return its counts."""
        ...


@attrs.define(slots=True, eq=False)
class OpenPipes:
    """Knows each pipe from when it was made until it is closed; it holds those that are open, and those just closed."""

    _pipes: list[Countable] = attrs.field(factory=list[Countable])
    _closed: StreamRow = attrs.field(factory=lambda: StreamRow("closed streams"))

    def add(self, pipe: Countable) -> None:
        """Count ``pipe`` from now on."""
        self._put_away()
        self._pipes.append(pipe)

    def rows(self) -> tuple[StreamRow, ...]:
        """Return a row for each open stream, in the order in which they were opened."""
        self._put_away()
        return tuple([pipe.row() for pipe in self._pipes])

    def closed(self) -> StreamRow:
        """Return the sums of the streams that were closed."""
        self._put_away()
        return self._closed

    def _put_away(self) -> None:
        """Add up what is closed: its counts change no more."""
        done = [pipe for pipe in self._pipes if pipe.closed]
        if done:
            for pipe in done:
                self._closed = self._closed.plus(pipe.row())
            self._pipes = [pipe for pipe in self._pipes if not pipe.closed]
