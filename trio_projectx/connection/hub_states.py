"""The states of a hub as a table, and the bookkeeping that goes with it.

A hub is CONNECTING until its first connection is LIVE; that one may fail back to IDLE, the failure raised to whoever
wanted it. Once LIVE, it is not CONNECTING or IDLE again until it was CLOSED: what its streams saw of the market has a
before and an after, and lies in a Gap while the hub is RECONNECTING. STALE is a hub that is connected and does not
deliver; it heals, or its connection is given up. BLOCKED is one that is connected and not read, because one of our own
streams is not. To CLOSED a way leads from everywhere: a gateway may be closed at any
time. Out of it leads only the wish of somebody who opens a stream after the hub was lost for good, and knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from trio_projectx._events import HubState

_S = HubState

TRANSITIONS: Final[Mapping[HubState, frozenset[HubState]]] = MappingProxyType(
    {
        _S.IDLE: frozenset((_S.CONNECTING, _S.CLOSED)),
        _S.CONNECTING: frozenset((_S.LIVE, _S.IDLE, _S.CLOSED)),
        _S.LIVE: frozenset((_S.STALE, _S.BLOCKED, _S.RECONNECTING, _S.CLOSED)),
        _S.STALE: frozenset((_S.LIVE, _S.BLOCKED, _S.RECONNECTING, _S.CLOSED)),
        _S.BLOCKED: frozenset((_S.LIVE, _S.STALE, _S.RECONNECTING, _S.CLOSED)),
        _S.RECONNECTING: frozenset((_S.LIVE, _S.CLOSED)),
        _S.CLOSED: frozenset((_S.CONNECTING,)),
    }
)


class StateMachine:
    """Where a hub is, since when (monotonic seconds, as handed in) and why."""

    def __init__(self, initial: HubState, now: float) -> None:
        self._state = initial
        self._since = now
        self._reason = ""
        self._outages = 0
        self._was_live = initial is HubState.LIVE

    @property
    def state(self) -> HubState:
        """The present state."""
        return self._state

    @property
    def since(self) -> float:
        """When it came into this state."""
        return self._since

    @property
    def reason(self) -> str:
        """Why it is in this state: the newest reason that was given for it; "" at the beginning."""
        return self._reason

    @property
    def outages(self) -> int:
        """How often it went to RECONNECTING."""
        return self._outages

    @property
    def was_live(self) -> bool:
        """Whether it has been LIVE since it was last CONNECTING."""
        return self._was_live

    def go(self, state: HubState, reason: str, now: float) -> bool:
        """Go to ``state``; return False, and only take over the newer ``reason``, where it is there already.

        :raises AssertionError: the table has no such way, which is a bug here; nothing is changed.
        """
        if state is self._state:
            self._reason = reason
            return False
        if state not in TRANSITIONS[self._state]:
            raise AssertionError(f"a hub cannot go from {self._state.name} to {state.name} ({reason})")
        self._state, self._since, self._reason = state, now, reason
        self._outages += state is HubState.RECONNECTING
        self._was_live = state is HubState.LIVE or (self._was_live and state is not HubState.CONNECTING)
        return True
