"""Every pair of state and step: the legal ones lead where the table below says, the others raise."""

from __future__ import annotations

from enum import Enum

import pytest

from trio_projectx.signalr import LocalProtocolError, SessionState
from trio_projectx.signalr.session_states import TURNS, Turn, turned
from trio_projectx.signalr.states import TRANSITIONS, ConnectionState, Step, after

# Written by hand from the protocol, not from the code.
CONNECTION = """
idle       START      handshake
idle       LOST       closed
handshake  AGREED     connected
handshake  REFUSED    closed
handshake  LOST       closed
connected  SEND       connected
connected  RECORD     connected
connected  SEND_CLOSE closing
connected  CLOSE      closed
connected  BROKEN     closed
connected  LOST       closed
closing    RECORD     closing
closing    CLOSE      closed
closing    BROKEN     closed
closing    LOST       closed
closed     LOST       closed
"""
SESSION = """
Disconnected START Connecting
Connecting   UP    Connected
Connecting   END   Disconnected
Connected    DOWN  Reconnecting
Connected    END   Disconnected
Reconnecting UP    Connected
Reconnecting DOWN  Reconnecting
Reconnecting END   Disconnected
"""


def rows(table: str) -> dict[tuple[str, str], str]:
    return {(state, step): new for state, step, new in map(str.split, table.strip().splitlines())}


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("state", ConnectionState)
def test_connection(state: ConnectionState, step: Step) -> None:
    expected = rows(CONNECTION).get((state.value, step.name))
    if expected is None:
        with pytest.raises(LocalProtocolError, match=state.value):
            after(state, step)
    else:
        assert after(state, step) is ConnectionState(expected)


@pytest.mark.parametrize("turn", Turn)
@pytest.mark.parametrize("state", SessionState)
def test_session(state: SessionState, turn: Turn) -> None:
    expected = rows(SESSION).get((state.value, turn.name))
    if expected is None:
        with pytest.raises(LocalProtocolError, match=state.value):
            turned(state, turn)
    else:
        assert turned(state, turn) is SessionState(expected)


@pytest.mark.parametrize(
    ("table", "states", "steps"), [(TRANSITIONS, ConnectionState, Step), (TURNS, SessionState, Turn)]
)
def test_every_state_can_be_left_and_every_step_is_used(
    table: dict[Enum, dict[Enum, Enum]], states: type[Enum], steps: type[Enum]
) -> None:
    assert set(table) == set(states)
    assert all(table.values())
    assert {step for row in table.values() for step in row} == set(steps)
