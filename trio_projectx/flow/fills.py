"""What the pipelines tell of time: from when on trades of a contract were received, and when some may be missing."""

from __future__ import annotations

from typing import Protocol

from trio_projectx._events import Gap


class Fills(Protocol):
    """Who keeps the ledger of time. All instants are the exchange's clock, int64 ns; nothing here may wait."""

    def covered(self, contract_id: str, at_ns: int) -> None:
        """Trades of a contract are received from now on, and were not before."""
        ...

    def broken(self, contract_id: str, at_ns: int, cause: str) -> None:
        """They may be missing since ``at_ns``."""
        ...

    def gap(self, gap: Gap) -> None:
        """They may be missing between two instants, and are received again."""
        ...

    def left(self, contract_id: str, at_ns: int | None) -> None:
        """Nobody wants them any more; ``at_ns`` is the stamp of the last one, if there was one."""
        ...


class NoFills:
    """Nobody keeps it."""

    def covered(self, contract_id: str, at_ns: int) -> None:
        """Do nothing."""

    def broken(self, contract_id: str, at_ns: int, cause: str) -> None:
        """Do nothing."""

    def gap(self, gap: Gap) -> None:
        """Do nothing."""

    def left(self, contract_id: str, at_ns: int | None) -> None:
        """Do nothing."""
