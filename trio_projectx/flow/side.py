"""What quotes and depth of a contract share: outlets that are filled by the validator, and what they have missed."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from trio_projectx._errors import TrioProjectXError
from trio_projectx._events import Gap


class Ends(Protocol):
    """The writer's end of a stream, whatever goes through it."""

    def fail(self, error: TrioProjectXError) -> None:
        """Break the stream."""
        ...

    def end(self) -> None:
        """End the stream."""
        ...


class SideOutlet(Protocol):
    """One open stream."""

    @property
    def feed(self) -> Ends:
        """What fills it."""
        ...

    is_open: bool
    """Whether its subscription was acknowledged: before that nothing can be missing."""
    has_missed: bool
    """Whether it was there when a gap began that it has not been told of."""


class SideFlow(Protocol):
    """One kind of data of one contract, beside its trades; the validator task alone calls it."""

    @property
    def outlets(self) -> Sequence[SideOutlet]:
        """The open streams."""
        ...

    def drop(self, outlet: SideOutlet) -> None:
        """Give it nothing more."""
        ...

    def is_level(self, line: int) -> bool:
        """Whether ``line`` has brought what the others have brought."""
        ...

    def join(self, line: int, at_ns: int) -> None:
        """``line`` is about to ask for it."""
        ...

    def acknowledged(self, line: int) -> None:
        """The hub has acknowledged it."""
        ...

    def settle(self, line: int, ts_recv: int) -> Awaitable[None]:
        """``line`` is to count as level."""
        ...

    def leave(self, line: int, cause: str, at_ns: int) -> Awaitable[None]:
        """``line`` brings nothing more."""
        ...


class Missing:
    """The gap that is open, if one is: from the last data before it to the next."""

    def __init__(self, contract_id: str) -> None:
        self._contract_id = contract_id
        self._opened: tuple[int, str] | None = None
        self._last_ts: int | None = None
        self.joined_ns = 0
        """When the first of the lines was about to ask."""

    def begin(self, outlets: Sequence[SideOutlet], cause: str) -> None:
        """Something may be missing from now on."""
        for outlet in outlets:
            outlet.has_missed = True
        if self._opened is None and outlets:
            self._opened = (self.joined_ns if self._last_ts is None else self._last_ts, cause)

    def before(self, ts_event: int) -> Gap | None:
        """Return the gap that data of this stamp end."""
        opened, self._opened, self._last_ts = self._opened, None, ts_event
        if opened is None:
            return None
        start, cause = opened
        # What a service sends again to a new subscription is older than that, and ends nothing.
        return Gap(self._contract_id, start, max(start, ts_event, self.joined_ns), cause)

    def forget(self) -> None:
        """Nobody is there who misses anything."""
        self._opened = None
