"""What can be asked of a hub: one kind of data of one contract, or of one account."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

import attrs

from trio_projectx._errors import ConnectionLost, SubscriptionError
from trio_projectx.signalr import JsonValue


class Kind(enum.Enum):
    """The values are the hubs' own method names less their verb (GATEWAY.md section 2.2)."""

    TRADES = "ContractTrades"
    QUOTES = "ContractQuotes"
    DEPTH = "ContractMarketDepth"
    ACCOUNTS = "Accounts"
    ORDERS = "Orders"
    POSITIONS = "Positions"
    USER_TRADES = "Trades"


@attrs.frozen(slots=True)
class Subscription:
    """One kind of data of one contract (by its id), of one account (by its number), or of all (None)."""

    kind: Kind
    subject: str | int | None = None

    @property
    def contract_id(self) -> str:
        """The contract; empty for the user hub's."""
        return self.subject if isinstance(self.subject, str) else ""

    @property
    def arguments(self) -> tuple[JsonValue, ...]:
        """The arguments of both hub methods."""
        return () if self.subject is None else (self.subject,)

    @property
    def subscribe(self) -> str:
        """The hub method that starts it."""
        return f"Subscribe{self.kind.value}"

    @property
    def unsubscribe(self) -> str:
        """The hub method that ends it."""
        return f"Unsubscribe{self.kind.value}"

    def __str__(self) -> str:
        return f"{self.kind.value} of {self.subject}" if self.subject is not None else self.kind.value


class Found(Protocol):
    """What a decoder made of one text."""

    @property
    def records(self) -> int:
        """Records that were decoded."""
        ...

    @property
    def logouts(self) -> int:
        """Those of them that say the session was logged out."""
        ...


D = TypeVar("D", bound=Found)


class Sink(Protocol[D]):
    """Where a hub's data go. Epochs are told apart by their number, the ``line``: no two ever share one."""

    @property
    def serial(self) -> int:
        """How many reads had data in them; says where an answer stood among the data."""
        ...

    def bulk(self, text: str) -> D | None:
        """Decode whole records in one pass, or give up on anything unexpected."""
        ...

    def invocation(self, target: str, arguments: Sequence[JsonValue]) -> D:
        """Decode one call of the server's."""
        ...

    def combined(self, found: list[D]) -> D:
        """Put what came together into one."""
        ...

    def deliver(self, found: D, ts_recv: int, line: int, now: float) -> Awaitable[None]:
        """Take what was read at ``now`` (trio's clock); waits where what comes behind is full."""
        ...

    def join(self, line: int, wanted: Subscription) -> None:
        """``line`` is about to ask for ``wanted``."""
        ...

    def acknowledged(self, line: int, wanted: Subscription, position: int) -> None:
        """The hub has acknowledged it, behind so many reads that had data in them (see `serial`)."""
        ...

    def leave(self, line: int, wanted: Subscription, cause: str) -> None:
        """``line`` brings it no more; ``cause`` is why, should nobody else."""
        ...

    def settle(self, line: int, wanted: Subscription, doubt: str = "") -> None:
        """``line`` is to count as level: both have been there long enough. ``doubt``: why there is a gap."""
        ...

    def doubts(self, line: int, wanted: Subscription, waited_s: float, most_s: float) -> bool | None:
        """Return whether those beside ``line`` may be dead, though neither has brought anything for ``waited_s``.

        None: it has to be waited for longer, but not for more than ``most_s``.
        """
        ...

    def is_level(self, line: int, wanted: Subscription) -> bool:
        """Whether ``line`` has been seen to bring what the others have brought."""
        ...

    def refuse(self, wanted: Subscription, error: SubscriptionError) -> None:
        """Break the streams that need ``wanted``: the hub refuses it."""
        ...

    def lose(self, error: ConnectionLost) -> Awaitable[None]:
        """Break all streams, behind what was read before."""
        ...
