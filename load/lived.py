"""What there is of a random life while it is lived (see `model`): its streams, and what was told and read."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import attrs
import trio
from lots import FaultPlan, Plan, StreamPlan
from tapped import Tap

import trio_projectx as px
from trio_projectx.simulator import Simulator

#: One defect is seen each second from then on.
_TOLD_MOST: Final = 12


@attrs.define(eq=False)
class Reading:
    """One stream, and what its reader got."""

    plan: StreamPlan
    contract_id: str
    stream: px.Stream[Any] | None = None
    got: list[Any] = attrs.Factory(list)
    error: BaseException | None = None
    """What the stream ended with."""
    is_open: bool = False
    is_drained: bool = False
    """Whether nothing waited any more when it was left."""
    opened_at: float = 0.0
    final: px.StreamStatistics | None = None
    mark: px.Dropped | None = None
    """What was left out behind the last item."""

    @property
    def is_whole(self) -> bool:
        """Whether its reader had everything there was."""
        return self.is_drained and self.error is None

    @property
    def told(self) -> int:
        """How many items its reader was told to be missing."""
        return sum(item.count for item in self.got if isinstance(item, px.Dropped))

    @property
    def lasting(self) -> px.Stream[Any]:
        """The stream, which was opened."""
        assert self.stream is not None
        return self.stream


@attrs.define(eq=False)
class Run:
    """Everything of one life."""

    plan: Plan
    tap: Tap
    sim: Simulator
    gateway: px.Gateway
    readings: list[Reading] = attrs.Factory(list)
    events: list[Any] = attrs.Factory(list)
    struck: list[FaultPlan] = attrs.Factory(list)
    wrong: list[str] = attrs.Factory(list)
    """What did not hold."""
    is_stopping: trio.Event = attrs.Factory(trio.Event)
    counts: Counter[str] = attrs.Factory(Counter)
    """What was looked at."""
    notes: Counter[str] = attrs.Factory(Counter)
    """Errors that may be."""

    def blame(self, sentence: str) -> None:
        """Say that something did not hold."""
        if len(self.wrong) < _TOLD_MOST:
            self.wrong.append(f"at {trio.current_time():.2f} s: {sentence}")

    @property
    def of_trades(self) -> set[str]:
        """The contracts of which trades were asked for."""
        wanted = [each for each in self.readings if each.plan.kind in ("bars", "trades")]
        return {each.contract_id for each in wanted if each.stream is not None}
