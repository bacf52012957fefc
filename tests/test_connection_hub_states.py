"""The states of a hub: every pair of them, and the bookkeeping after any way through them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx._events import HubState
from trio_projectx.connection.hub_states import TRANSITIONS, StateMachine

# Written by hand from docs/design.md, not from the code.
TABLE = """
idle         connecting closed
connecting   live idle closed
live         stale blocked reconnecting closed
stale        live blocked reconnecting closed
blocked      live stale reconnecting closed
reconnecting live closed
closed connecting
"""
ALLOWED = {words[0]: set(words[1:]) for words in map(str.split, TABLE.strip().splitlines())}


@pytest.mark.parametrize("after", HubState)
@pytest.mark.parametrize("before", HubState)
def test_every_pair(before: HubState, after: HubState) -> None:
    machine = StateMachine(before, 1.0)
    if after is before:
        assert machine.go(after, "again", 2.0) is False
        assert (machine.state, machine.since, machine.reason) == (before, 1.0, "again")
    elif after.value in ALLOWED[before.value]:
        assert machine.go(after, "because", 2.0) is True
        assert (machine.state, machine.since, machine.reason) == (after, 2.0, "because")
    else:
        with pytest.raises(AssertionError, match=rf"from {before.name} to {after.name} \(because\)"):
            machine.go(after, "because", 2.0)
        assert (machine.state, machine.since, machine.reason) == (before, 1.0, "")


def test_the_table_has_all_states_and_what_is_closed_only_begins_anew() -> None:
    assert set(TRANSITIONS) == set(HubState)
    assert all(TRANSITIONS.values())
    assert TRANSITIONS[HubState.CLOSED] == {HubState.CONNECTING}


def test_what_begins_anew_was_not_live_yet() -> None:
    machine = StateMachine(HubState.IDLE, 0.0)
    for at, state in enumerate((HubState.CONNECTING, HubState.LIVE, HubState.CLOSED), start=1):
        machine.go(state, "first", at)
    assert machine.was_live
    machine.go(HubState.CONNECTING, "again", 4.0)
    assert not machine.was_live


def test_a_life() -> None:
    machine = StateMachine(HubState.IDLE, 0.0)
    assert (machine.state, machine.since, machine.reason) == (HubState.IDLE, 0.0, "")
    assert (machine.outages, machine.was_live) == (0, False)
    way = (HubState.CONNECTING, HubState.IDLE, HubState.CONNECTING)
    assert all(machine.go(state, "first", at) for at, state in enumerate(way, start=1))
    assert not machine.was_live
    way = (
        HubState.LIVE,
        HubState.RECONNECTING,
        HubState.LIVE,
        HubState.STALE,
        HubState.RECONNECTING,
        HubState.CLOSED,
    )
    assert all(machine.go(state, "later", at) for at, state in enumerate(way, start=4))
    assert (machine.outages, machine.was_live, machine.since) == (2, True, 9)


@given(st.lists(st.sampled_from(HubState), max_size=30))
def test_any_sequence(wanted: list[HubState]) -> None:
    machine = StateMachine(HubState.IDLE, 0.0)
    seen = [HubState.IDLE]
    since, reason = 0.0, ""
    for at, state in enumerate(wanted, start=1):
        allowed = state.value in ALLOWED[seen[-1].value]
        try:
            changed = machine.go(state, f"no. {at}", float(at))
        except AssertionError:
            assert not allowed
            assert state is not seen[-1]
        else:
            assert changed is allowed
            reason = f"no. {at}"
            if changed:
                seen.append(state)
                since = float(at)
        assert (machine.state, machine.since, machine.reason) == (seen[-1], since, reason)
        assert machine.outages == seen.count(HubState.RECONNECTING)
        begun = len(seen) - 1 - seen[::-1].index(HubState.CONNECTING) if HubState.CONNECTING in seen else 0
        assert machine.was_live == (HubState.LIVE in seen[begun:])
    for before, after in itertools.pairwise(seen):
        assert after is not HubState.CONNECTING or before in (HubState.IDLE, HubState.CLOSED)
        assert after is not HubState.IDLE or before is HubState.CONNECTING
