"""Which connection carries which contract, and which gives one away."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import Reconnect
from trio_projectx.connection.shards import Shard, place, unhealthy
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.market import Decoded


@attrs.define
class FakeLiveness:
    round_trip_s: float | None


@attrs.define
class FakeEpoch:
    liveness: FakeLiveness


@attrs.define(eq=False)
class FakeLine:
    """What a shard looks at in a line."""

    is_live: bool
    epoch: FakeEpoch | None


def line(round_trip_s: float | None = 0.01, *, live: bool = True) -> FakeLine:
    return FakeLine(live, FakeEpoch(FakeLiveness(round_trip_s)) if live else None)


def shard(contracts: int, *lines: FakeLine, name: str = "A") -> Shard[Decoded]:
    wishes = {Subscription(Kind.TRADES, f"{name}{number}") for number in range(contracts)}
    return Shard(wishes, list(lines) or [line()])  # type: ignore[arg-type]


def trades(contract_id: str) -> Subscription:
    return Subscription(Kind.TRADES, contract_id)


NEW = trades("NEW")


@pytest.mark.parametrize(
    ("sizes", "most", "connections", "expected"),
    [
        ([], 100, 1, None),  # the first connection
        ([5], 100, 1, 0),
        ([100], 100, 1, 0),  # no more connections than there may be
        ([100], 100, 2, None),
        ([100, 99], 100, 2, 1),
        ([3, 1, 2], 100, 3, 1),  # where there are the fewest
        ([100, 100, 100], 100, 3, 0),
        ([2, 2], 2, 3, None),
        ([0], 1, 9, 0),
    ],
)
def test_where_a_new_contract_goes(
    sizes: list[int], most: int, connections: int, expected: int | None
) -> None:
    shards = [shard(size, name=f"S{number}-") for number, size in enumerate(sizes)]
    options = Reconnect(contracts_per_connection=most, connections_max=connections)
    found = place(shards, NEW, options)
    assert found is (None if expected is None else shards[expected])


def test_a_live_connection_is_preferred_to_an_emptier_one() -> None:
    dead, live = shard(1, line(live=False)), shard(50)
    options = Reconnect(contracts_per_connection=100, connections_max=2)
    assert place([dead, live], NEW, options) is live
    assert place([dead], NEW, options) is dead


def test_all_kinds_of_a_contract_go_together() -> None:
    full, empty = shard(100), shard(0)
    options = Reconnect(contracts_per_connection=100, connections_max=2)
    assert place([full, empty], Subscription(Kind.QUOTES, "A7"), options) is full
    assert place([full, empty], Subscription(Kind.QUOTES, "B7"), options) is empty


@given(
    st.lists(st.integers(0, 30), max_size=200),
    st.integers(1, 10),
    st.integers(1, 5),
)
def test_contracts_are_spread_evenly_and_stay(contracts: list[int], most: int, connections: int) -> None:
    options = Reconnect(contracts_per_connection=most, connections_max=connections)
    shards: list[Shard[Decoded]] = []
    where: dict[int, Shard[Decoded]] = {}
    for number in contracts:
        found = place(shards, trades(str(number)), options)
        if found is None:
            found = shard(0)
            shards.append(found)
        found.wishes.add(trades(str(number)))
        assert where.setdefault(number, found) is found
    assert len(shards) <= connections
    sizes = [len(each.subjects) for each in shards]
    assert sum(sizes) == len(set(contracts))
    if len(shards) == connections > 1 and max(sizes) > most:
        assert max(sizes) - min(sizes) <= 1
    if len(shards) < connections:
        assert all(size <= most for size in sizes)


def test_what_a_shard_is() -> None:
    each = shard(2, line(0.5), line(0.2), line(None), line(live=False))
    assert (each.is_live, each.round_trip_s) == (True, 0.2)
    assert each.subjects == {"A0", "A1"}
    assert (shard(1, line(live=False)).is_live, shard(1, line(live=False)).round_trip_s) == (False, None)
    assert shard(1, line(None)).round_trip_s is None


# Which gives contracts away


def test_one_alone_and_all_that_are_well_give_nothing_away() -> None:
    assert unhealthy([], 0.0) is None
    assert unhealthy([shard(5, line(30.0))], 0.0) is None
    assert unhealthy([shard(5, line(0.02)), shard(5, line(0.05))], 0.0) is None
    assert unhealthy([shard(5, line(None)), shard(5, line(None))], 0.0) is None


@pytest.mark.parametrize(
    ("mine", "theirs", "is_worse"),
    [
        (0.61, 0.1, True),
        (0.59, 0.1, False),  # not by half a second
        (0.01, 0.001, False),  # ten times as slow, and nobody would notice
        (4.1, 1.0, True),
        (3.9, 1.0, False),  # not by four times
        (None, 0.1, False),  # nothing is known of it: its pongs may be muted
        (9.0, None, False),  # nothing is known of the other
    ],
)
def test_a_slow_one_gives_to_the_quickest(mine: float | None, theirs: float | None, is_worse: bool) -> None:
    slow, quick = shard(5, line(mine)), shard(9, line(theirs))
    for order in ([slow, quick], [quick, slow]):
        found = unhealthy(order, 0.0)
        assert found == ((slow, quick) if is_worse else None)
    slow.wishes.clear()
    assert unhealthy([slow, quick], 0.0) is None  # it has nothing to give


def test_one_that_is_not_measured_is_not_the_quickest() -> None:
    """Its pings are not answered in time: it may be the slowest of all."""
    slow, unknown, quick = shard(5, line(2.0)), shard(0, line(None)), shard(9, line(0.1))
    assert unhealthy([slow, unknown, quick], 0.0) == (slow, quick)


def test_one_that_is_down_gives_after_ten_seconds() -> None:
    dead, well = shard(5, line(live=False)), shard(5)
    for now, expected in ((100.0, None), (109.9, None), (110.0, (dead, well)), (111.0, (dead, well))):
        assert unhealthy([dead, well], now) == expected
    dead.lines = [line()]  # type: ignore[list-item]
    assert unhealthy([dead, well], 112.0) is None
    dead.lines = [line(live=False)]  # type: ignore[list-item]
    assert unhealthy([dead, well], 115.0) is None  # down anew
    assert unhealthy([dead, well], 125.0) == (dead, well)


def test_down_since_the_very_beginning_counts_too() -> None:
    dead, well = shard(5, line(live=False)), shard(5)
    assert unhealthy([dead, well], 0.0) is None
    assert unhealthy([dead, well], 10.0) == (dead, well)


def test_where_all_are_down_nobody_takes_anything() -> None:
    both = [shard(5, line(live=False)), shard(5, line(live=False))]
    assert unhealthy(both, 0.0) is None
    assert unhealthy(both, 100.0) is None


def test_of_two_as_quick_the_emptier_takes_it() -> None:
    dead, full, empty = shard(1, line(live=False)), shard(9), shard(2)
    unhealthy([dead, full, empty], 1.0)
    assert unhealthy([dead, full, empty], 20.0) == (dead, empty)
