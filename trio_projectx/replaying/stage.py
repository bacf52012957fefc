"""What stands in a replay where a gateway has its hub, its service and its watch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs
import trio

from trio_projectx._errors import ConfigError, ContractError
from trio_projectx._events import DataEvent
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.wants import Wants
from trio_projectx.flow.subscriptions import Subscription
from trio_projectx.market import ContractId, PriceGrid, find_product


@attrs.define(slots=True, eq=False)
class Times:
    """The clocks of the record, as far as it was played."""

    ts_recv: int = 0
    """Our wall clock then, of the last row that was played; 0 before the first."""
    now: float = 0.0
    """Trio's clock then."""


@attrs.frozen(slots=True)
class RecordedDirectory:
    """Knows the contracts of a record."""

    grids: Mapping[str, PriceGrid]

    async def contract(self, text: str) -> Instrument:
        """Return the contract that ``text`` means.

        :raises ContractError: if it is malformed, not in the record, or several are meant.
        """
        await trio.lowlevel.checkpoint()
        if not isinstance(text, str):
            raise ContractError(f"a contract is named by a string such as 'MNQ', not {type(text).__name__}")
        if text.startswith("CON."):
            found = [name for name in self.grids if name == str(ContractId.parse(text))]
        else:
            code = find_product(text).code
            found = [name for name in self.grids if ContractId.parse(name).product == code]
        match found:
            case [only]:
                return Instrument(only, self.grids[only])
            case []:
                known = ", ".join(self.grids) or "none at all"
                raise ContractError(f"the record has no such contract; it has {known}")
            case _:
                raise ContractError(
                    f"the record has several contracts of {text}: {', '.join(found)}; name one"
                )

    async def accounts(self, account_id: int | None) -> tuple[int, ...]:
        """Refuse: accounts are not replayed."""
        raise ConfigError("a replay has no accounts: user events are not played again")


class RecordedHub:
    """Acknowledges what the record has acknowledged, where it stands there."""

    def __init__(self, on_wish: Callable[[Subscription], int | None]) -> None:
        self._wants = Wants()
        self._on_wish = on_wish
        self.has_ended = False

    @property
    def wants(self) -> Wants:
        """What is needed, by how many."""
        return self._wants

    async def subscribe(self, wanted: Subscription, note: Callable[[int], None] | None = None) -> int:
        """Count one more user of ``wanted``; ``note`` is called with the place of its acknowledgement.

        :raises trio.ClosedResourceError: if the replay has ended.
        """
        await trio.lowlevel.checkpoint()
        if self.has_ended:
            raise trio.ClosedResourceError("the replay has ended: open streams before it begins")
        want = self._wants.add(wanted)
        position = self._on_wish(wanted)
        if note is not None and position is None:
            want.notes.append(note)
        elif note is not None:
            note(position or 0)
        return position or 0

    def release(self, wanted: Subscription) -> None:
        """Count one user less."""
        self._wants.remove(wanted)

    def acknowledged(self, wanted: Subscription, position: int) -> None:
        """The record has an acknowledgement here."""
        want = self._wants.get(wanted)
        if want is not None:
            want.acknowledged(position)


class NoWatch:
    """Nobody watches whether a record is silent."""

    def watch(self, contract_id: str) -> None:
        """Do nothing."""

    def unwatch(self, contract_id: str) -> None:
        """Do nothing."""


@attrs.frozen(slots=True)
class RecordedWorld:
    """What pipelines ask of those around them (`Surroundings`): time passes as the record says, and only so."""

    times: Times
    tell_event: Callable[[DataEvent], None]

    @property
    def has_clock(self) -> bool:
        """False: the record says where bars were closed by the clock."""
        return False

    def proved_until(self, contract_id: str) -> float:
        """Return -inf."""
        return -math.inf

    def prove(self, until: float) -> None:
        """Do nothing."""

    def exchange_ns(self) -> int:
        """Return the recording's wall clock."""
        return self.times.ts_recv

    def silent_s(self, contract_id: str, since: float) -> float:
        """Return 0: the record says what was in doubt."""
        return 0.0

    def heard(self, contract_id: str, now: float) -> None:
        """Do nothing."""

    def stamped(self, contract_id: str, ts_event: int, ts_recv: int, now: float) -> None:
        """Do nothing."""

    def tell(self, event: DataEvent) -> None:
        """Tell everybody who listens."""
        self.tell_event(event)
