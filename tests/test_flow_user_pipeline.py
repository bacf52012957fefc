"""User events from readers to streams: filtering, overlaps, outages, losses; and the simulator's own wire."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_rest import MNQ, Rest, running
from simulator_tools import open_hub
from trio.testing import MockClock, wait_all_tasks_blocked
from user_tools import one_of_each
from user_tools import order_of as order

from trio_projectx import ConnectionLost, Gap, Limits, Overflow, SlowConsumer, SubscriptionError
from trio_projectx._user_events import (
    AccountUpdate,
    Action,
    OrderUpdate,
    PositionUpdate,
    UserEvent,
    UserItem,
    UserTrade,
)
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.flow.stream import Feed, Pipe, Stream, make_pipe
from trio_projectx.flow.subscriptions import Kind, Sink, Subscription
from trio_projectx.flow.user_outlet import (
    UserOutlet,
    item_key,
    item_stamp,
    subscription_of,
    user_subscriptions,
)
from trio_projectx.flow.user_pipeline import UserPipeline
from trio_projectx.market.reasons import Reason
from trio_projectx.market.user import UserDecoded
from trio_projectx.signalr import Invocation, parse_messages

SUBSCRIPTIONS = user_subscriptions((7, 8))
ORDERS = Subscription(Kind.ORDERS, 7)


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.ns = 1000

    def __call__(self) -> int:
        return self.ns


@asynccontextmanager
async def piped(
    clock: Callable[[], int] | None = None, limits: Limits | None = None
) -> AsyncGenerator[UserPipeline]:
    async with open_background_tasks() as tasks:
        yield UserPipeline(limits or Limits(), tasks, clock or Clock())


def opened(
    user: UserPipeline,
    account_id: int | None = None,
    *,
    capacity: int = 1000,
    overflow: Overflow = Overflow.ERROR,
    accounts: tuple[int, ...] = (7, 8),
) -> Stream[UserItem]:
    pipe: Pipe[UserItem] = make_pipe("user events", capacity, overflow, stamp=item_stamp, key=item_key)
    user.attach(UserOutlet(Feed(pipe), account_id, accounts))
    return Stream(pipe)


def begin(
    user: UserPipeline, line: int, wanted: tuple[Subscription, ...] = SUBSCRIPTIONS, *, ack: bool = True
) -> None:
    for each in wanted:
        user.join(line, each)
    for each in wanted if ack else ():
        user.acknowledged(line, each)


def end_line(user: UserPipeline, line: int, cause: str = "the connection was lost") -> None:
    for each in SUBSCRIPTIONS:
        user.leave(line, each, cause)


async def taken(stream: Stream[UserItem]) -> list[UserItem]:
    """All that has come."""
    await wait_all_tasks_blocked()
    found: list[UserItem] = []
    while True:
        try:
            found.append(stream.receive_nowait())
        except trio.WouldBlock:
            return found


def at(event: UserEvent, ts_recv: int) -> UserEvent:
    return attrs.evolve(event, ts_recv=ts_recv)


def said(*events: UserEvent) -> UserDecoded:
    return UserDecoded(events=list(events), records=len(events))


async def test_streams_get_what_is_of_their_account_with_the_time_of_the_read() -> None:
    async with piped() as user:
        mine, other, every = opened(user, 7), opened(user, 8), opened(user)
        begin(user, 1)
        sevens, nines = one_of_each(7, ts_recv=0), one_of_each(9, ts_recv=0)
        await user.deliver(said(*sevens, *nines), 50, 1)
        assert user.serial == 1
        assert await taken(mine) == [at(event, 50) for event in sevens]
        assert await taken(other) == []
        assert await taken(every) == [at(event, 50) for event in (*sevens, *nines)]
        counts = user.statistics()
        assert (counts.received, counts.passed, counts.duplicates, counts.waiting) == (8, 8, 0, 0)
        assert counts.unclaimed == 0


async def test_a_stream_gets_what_is_read_while_it_is_attached() -> None:
    async with piped() as user:
        begin(user, 1)
        await user.deliver(said(order(1)), 1, 1)
        stream = opened(user, 7)
        await user.deliver(said(order(2)), 2, 1)
        (outlet,) = user.outlets
        user.detach(outlet)
        await user.deliver(said(order(3)), 3, 1)
        assert await taken(stream) == [at(order(2), 2)]
        assert user.statistics().unclaimed == 2


async def test_an_overlap_gives_every_event_once_and_in_order() -> None:
    async with piped() as user:
        stream = opened(user)
        begin(user, 1)
        await user.deliver(said(order(1)), 1, 1)
        begin(user, 2)
        for n in (2, 3):
            await user.deliver(said(order(n)), n, 1)
        await user.deliver(said(order(2), order(3), order(4)), 5, 2)
        assert not user.is_level(2, ORDERS)
        assert user.statistics().waiting == 3
        for wanted in SUBSCRIPTIONS:
            user.settle(2, wanted)
        assert all(user.is_level(2, wanted) for wanted in SUBSCRIPTIONS)
        end_line(user, 1)
        await user.deliver(said(order(4)), 6, 1)  # read before it was left
        await user.deliver(said(order(5)), 7, 2)
        assert await taken(stream) == [at(order(n), ts) for n, ts in ((1, 1), (2, 2), (3, 3), (4, 5), (5, 7))]
        counts = user.statistics()
        assert (counts.received, counts.passed, counts.duplicates, counts.waiting) == (8, 5, 3, 0)


async def test_an_outage_is_told_once_when_all_is_back_before_any_event() -> None:
    clock = Clock()
    async with piped(clock) as user:
        mine, every = opened(user, 7), opened(user)
        begin(user, 1)
        assert await taken(every) == []
        await user.deliver(said(order(1)), 1500, 1)
        clock.ns = 3000
        end_line(user, 1, "the service closed the connection")
        late = opened(user, 7)
        begin(user, 2, ack=False)
        clock.ns = 4000
        for wanted in SUBSCRIPTIONS[:-1]:
            user.acknowledged(2, wanted)
        gap = Gap("", 1500, 4000, "the service closed the connection")
        assert await taken(mine) == [at(order(1), 1500), gap]
        assert await taken(every) == [at(order(1), 1500)]
        user.acknowledged(2, SUBSCRIPTIONS[-1])
        assert await taken(every) == [gap]
        await user.deliver(said(order(2)), 4500, 2)
        for stream in (mine, every, late):
            assert await taken(stream) == [at(order(2), 4500)]


async def test_an_event_that_comes_before_the_acknowledgement_stands_behind_its_gap() -> None:
    clock = Clock()
    async with piped(clock) as user:
        stream = opened(user, 7)
        begin(user, 1)
        await user.deliver(said(order(1)), 1500, 1)
        end_line(user, 1)
        clock.ns = 2000
        begin(user, 2, ack=False)
        await user.deliver(said(order(2), order(3)), 2500, 2)
        clock.ns = 2600
        for wanted in SUBSCRIPTIONS:
            user.acknowledged(2, wanted)
        cause = "the connection was lost"
        assert await taken(stream) == [
            at(order(1), 1500),
            Gap("", 1500, 2500, cause),
            at(order(2), 2500),
            at(order(3), 2500),
            Gap("", 1500, 2600, cause),  # of the other subscriptions
        ]


async def test_without_an_event_the_gap_begins_where_the_subscription_did() -> None:
    clock = Clock()
    async with piped(clock) as user:
        stream = opened(user, 7)
        begin(user, 1)
        clock.ns = 9000
        end_line(user, 1, "lost")
        begin(user, 2)
        assert await taken(stream) == [Gap("", 1000, 9000, "lost")]


async def test_attempts_that_fail_meanwhile_belong_to_the_same_outage() -> None:
    clock = Clock()
    async with piped(clock) as user:
        stream = opened(user, 7)
        begin(user, 1)
        end_line(user, 1, "first")
        for line in range(2, 6):
            clock.ns += 1000
            begin(user, line, SUBSCRIPTIONS[: line - 1], ack=False)
            for wanted in SUBSCRIPTIONS[: line - 2]:
                user.acknowledged(line, wanted)
            end_line(user, line, "again")
        clock.ns = 9000
        begin(user, 6)
        assert await taken(stream) == [Gap("", 1000, 9000, "first")]


async def test_a_line_that_dies_before_its_acknowledgement_is_an_outage_of_its_own() -> None:
    clock = Clock()
    async with piped(clock) as user:
        stream = opened(user, 7)
        begin(user, 1)
        end_line(user, 1, "first")
        begin(user, 2, (ORDERS,), ack=False)
        await user.deliver(said(order(1)), 1500, 2)
        user.leave(2, ORDERS, "second")
        clock.ns = 2000
        begin(user, 3)
        assert await taken(stream) == [
            Gap("", 1000, 1500, "first"),
            at(order(1), 1500),
            Gap("", 1000, 2000, "first"),
        ]


async def test_it_is_one_too_where_everything_else_was_told() -> None:
    clock = Clock()
    async with piped(clock) as user:
        stream = opened(user, 7)
        user.join(1, ORDERS)
        user.acknowledged(1, ORDERS)
        user.leave(1, ORDERS, "first")
        user.join(2, ORDERS)
        await user.deliver(said(order(1)), 1500, 2)
        user.leave(2, ORDERS, "second")
        user.join(3, ORDERS)
        await user.deliver(said(order(2)), 1700, 3)
        assert await taken(stream) == [
            Gap("", 1000, 1500, "first"),
            at(order(1), 1500),
            Gap("", 1500, 1700, "second"),
            at(order(2), 1700),
        ]


async def test_a_death_during_the_overlap_is_told_unless_the_other_line_was_level() -> None:
    clock = Clock()
    async with piped(clock) as user:
        stream = opened(user, 7)
        begin(user, 1)
        await user.deliver(said(order(1)), 1100, 1)
        begin(user, 2)
        await user.deliver(said(order(3)), 1200, 2)
        clock.ns = 1300
        end_line(user, 1, "lost")
        assert await taken(stream) == [
            at(order(1), 1100),
            Gap("", 1100, 1300, "lost"),
            at(order(3), 1200),
            Gap("", 1100, 1300, "lost"),  # of the subscriptions that were left after that of orders
        ]
        begin(user, 3)
        for wanted in SUBSCRIPTIONS:
            user.settle(3, wanted)
        end_line(user, 2, "lost again")
        await user.deliver(said(order(4)), 1400, 3)
        assert await taken(stream) == [at(order(4), 1400)]


async def test_what_ends_because_nobody_needs_it_is_no_outage() -> None:
    async with piped() as user:
        stream = opened(user, 7)
        begin(user, 1)
        user.leave(1, Subscription(Kind.ORDERS, 8), "nobody needs it")
        user.join(2, Subscription(Kind.ORDERS, 8))
        user.acknowledged(2, Subscription(Kind.ORDERS, 8))
        assert await taken(stream) == []


async def test_a_refused_subscription_breaks_those_that_need_it_behind_what_came() -> None:
    async with piped() as user:
        seven, eight, every = opened(user, 7), opened(user, 8), opened(user)
        begin(user, 1)
        await user.deliver(said(order(1), order(2, 8)), 5, 1)
        user.refuse(ORDERS, SubscriptionError("the hub refused it"))
        await user.deliver(said(order(3), order(4, 8)), 6, 1)
        await wait_all_tasks_blocked()
        for stream, count in ((seven, 1), (every, 2)):
            for _ in range(count):
                stream.receive_nowait()
            with pytest.raises(SubscriptionError, match="refused"):
                stream.receive_nowait()
        assert await taken(eight) == [at(order(2, 8), 5), at(order(4, 8), 6)]
        assert len(user.outlets) == 1


async def test_a_loss_breaks_the_streams_of_that_moment_behind_what_came(autojump_clock: MockClock) -> None:
    async with piped() as user:
        stream = opened(user)
        begin(user, 1)
        await user.deliver(said(order(1)), 5, 1)
        telling = user.lose(ConnectionLost("gone for good"))
        later = opened(user)
        await telling
        assert trio.current_time() == 0
        end_line(user, 1)
        assert await stream.receive() == at(order(1), 5)
        with pytest.raises(ConnectionLost, match="gone for good"):
            await stream.receive()
        begin(user, 2)
        await user.deliver(said(order(2)), 6, 2)
        assert (await taken(later))[-1] == at(order(2), 6)


async def test_a_loss_does_not_wait_for_a_stream_that_is_not_read(autojump_clock: MockClock) -> None:
    async with piped(limits=Limits(batches_in_flight=1)) as user:
        blocked, other = opened(user, capacity=1, overflow=Overflow.BLOCK), opened(user)
        begin(user, 1)
        async with trio.open_nursery() as nursery:
            for n in range(4):
                nursery.start_soon(user.deliver, said(order(n)), n, 1)
            await wait_all_tasks_blocked()
            start = trio.current_time()
            await user.lose(ConnectionLost("gone"))
            assert trio.current_time() - start <= 1
        for stream in (blocked, other):
            with pytest.raises(ConnectionLost):
                while True:
                    await stream.receive()
        assert user.outlets == ()


async def test_the_end_ends_all() -> None:
    async with piped() as user:
        stream = opened(user)
        user.end()
        with pytest.raises(trio.EndOfChannel):
            await stream.receive()


async def test_a_slow_reader_breaks_its_own_stream_only() -> None:
    async with piped() as user:
        slow, other = opened(user, capacity=2), opened(user)
        begin(user, 1)
        await user.deliver(said(*map(order, range(5))), 1, 1)
        assert len(await taken(other)) == 5
        with pytest.raises(SlowConsumer):
            await slow.receive()


async def test_readers_wait_for_a_stream_that_blocks_and_lose_nothing_when_cancelled(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with piped(limits=Limits(batches_in_flight=2)) as user:
        stream = opened(user, capacity=1, overflow=Overflow.BLOCK)
        begin(user, 1)
        begin(user, 2)
        for wanted in SUBSCRIPTIONS:
            user.settle(2, wanted)
        delivered: list[int] = []

        async def read(line: int, first: int) -> None:
            for n in range(first, 12):
                await user.deliver(said(order(n)), n, line)
                delivered.append(n)

        with trio.move_on_after(60), caplog.at_level(logging.WARNING, "trio_projectx"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, 1, 0)
                await trio.sleep(30)
                nursery.start_soon(read, 2, 0)
        assert delivered == [
            0,
            1,
            2,
        ]  # in the stream, on its way there, behind it; the next one waits
        assert user.statistics().held_back == 2
        assert "overflow=BLOCK" in caplog.text
        gone = (
            max(delivered) + 1
        )  # its reader was cancelled while it waited, and what it had read is on its way
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, 2, gone + 1)
            got = [await stream.receive() for _ in range(12)]
        assert [item.order_id for item in got if isinstance(item, OrderUpdate)] == list(range(12))


async def test_unreadable_events_are_counted_and_told_but_not_repeated(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with piped() as user:
        stream = opened(user)
        begin(user, 1)
        with caplog.at_level(logging.WARNING, "trio_projectx"):
            for payload in ({"id": "secret"}, None, {"id": 1.5}):
                await user.deliver(user.invocation("GatewayUserAccount", [payload]), 5, 1)
            found = [user.invocation("GatewayLogout", []), user.invocation("Other", [])]
            await user.deliver(user.combined(found), 6, 1)
            assert len(caplog.records) == 1
            await trio.sleep(61)
            await user.deliver(user.invocation("GatewayUserOrder", []), 7, 1)
        assert [record.getMessage() for record in caplog.records] == [
            "user hub: an event (no. 1) could not be read and was left out: GatewayUserAccount: id: a string instead "
            "of a whole number",
            "user hub: an event (no. 3) could not be read and was left out: GatewayUserOrder: arguments: none",
        ]
        assert await taken(stream) == []
        counts = user.statistics()
        assert (counts.rejected.schema, counts.rejected.size, counts.rejected.total) == (2, 1, 3)
        assert (counts.null_entries, counts.logouts, counts.unknown_targets, user.serial) == (1, 1, 1, 0)
        assert [each.reason for each in user.rejections] == [Reason.SCHEMA, Reason.SIZE, Reason.SCHEMA]
        assert user.bulk('{"type":6}\x1e') is None


def test_it_is_a_sink() -> None:
    def check(sink: type[Sink[UserDecoded]]) -> None:
        names = [name for name in vars(Sink) if not name.startswith("_") and name != "serial"]
        assert len(names) > 8
        assert all(callable(getattr(sink, name)) for name in names)

    check(UserPipeline)


@given(st.integers(0, 2**32))
@settings(max_examples=25)
def test_the_counts_add_up_and_every_event_comes_once_over_outages_and_overlaps(seed: int) -> None:
    trio.run(_over_outages_and_overlaps, random.Random(seed))


async def _over_outages_and_overlaps(rng: random.Random) -> None:
    """A service tells numbered orders; every number that is missing lies in a gap, and none comes twice."""
    clock = Clock()
    async with piped(clock) as user:
        stream = opened(user, 7)
        told = 0
        began: dict[int, int] = {}
        sent: dict[int, int] = {}
        made = 0
        items: list[UserItem] = []
        for _ in range(120):
            clock.ns += 10
            act = rng.randrange(10)
            if act < 4 or not sent:
                told += 1
            if (act == 4 and len(sent) < 2) or not sent:
                made += 1
                began[made] = sent[made] = told
                begin(user, made)
            line = rng.choice(sorted(sent))
            if act in (5, 6, 7) and sent[line] < told:
                count = rng.randint(1, told - sent[line])
                await user.deliver(said(*(order(sent[line] + n) for n in range(count))), clock.ns, line)
                sent[line] += count
            elif act == 8 and not user.is_level(line, ORDERS) and min(sent.values()) >= began[line]:
                for wanted in SUBSCRIPTIONS:
                    user.settle(line, wanted)
            elif act == 9:
                end_line(user, line)
                del sent[line]
            items += await taken(stream)
            counts = user.statistics()
            assert counts.received == counts.passed + counts.duplicates + counts.waiting
        got = [item.order_id for item in items if isinstance(item, OrderUpdate)]
        assert len(set(got)) == len(got)
        assert got == sorted(got)
        _check_gaps(items)


def _check_gaps(items: list[UserItem]) -> None:
    before: int | None = None
    is_gap = True
    for item in items:
        if isinstance(item, Gap):
            is_gap = True
            assert item.start <= item.end
        elif isinstance(item, OrderUpdate):
            assert is_gap or item.order_id == (before or 0) + 1
            before, is_gap = item.order_id, False


# -- the simulator's own wire, on two lines


class Line:
    """A connection to the simulator's user hub, read into a pipeline as an epoch does it."""

    def __init__(self, user: UserPipeline, number: int, hub: Any) -> None:
        self.user, self.number, self.hub = user, number, hub

    async def subscribe(self, account_id: int) -> None:
        for wanted in user_subscriptions((account_id,)):
            self.user.join(self.number, wanted)
            await self.hub.send(
                {
                    "type": 1,
                    "invocationId": "1",
                    "target": wanted.subscribe,
                    "arguments": list(wanted.arguments),
                }
            )
            while '"type":3' not in await self.read():
                pass
            self.user.acknowledged(self.number, wanted)

    async def read(self) -> str:
        text = await self.hub.frame()
        found = [
            self.user.invocation(message.target, message.arguments)
            for message in parse_messages(text)
            if isinstance(message, Invocation)
        ]
        if found:
            await self.user.deliver(self.user.combined(found), int(trio.current_time() * 1e9), self.number)
        return text

    async def run(self, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                await self.read()


async def place(rest: Rest, account_id: int, count: int) -> None:
    for n in range(count):
        answer = await rest.post(
            "Order/place", accountId=account_id, contractId=MNQ, type=2, side=n % 2, size=1, customTag=None
        )
        assert answer.json["success"], answer
        await trio.sleep(0.4)


async def test_a_traded_account_over_a_change_of_lines(autojump_clock: MockClock) -> None:
    async with running() as (sim, rest), piped(lambda: int(trio.current_time() * 1e9)) as user:
        accounts = (await rest.ok("Account/search", onlyActiveAccounts=True))["accounts"]
        account_id = accounts[0]["id"]
        stream, foreign = opened(user, account_id), opened(user, accounts[1]["id"])
        async with open_hub(sim, "user", queue=1000) as one, open_hub(sim, "user", queue=1000) as two:
            first, second = Line(user, 1, one), Line(user, 2, two)
            reading_one, reading_two = trio.CancelScope(), trio.CancelScope()
            await first.subscribe(account_id)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.run, reading_one)
                nursery.start_soon(place, rest, account_id, 30)
                await trio.sleep(4)
                await second.subscribe(account_id)
                nursery.start_soon(second.run, reading_two)
                await trio.sleep(3)
                for wanted in user_subscriptions((account_id,)):
                    assert not user.is_level(2, wanted)
                    user.settle(2, wanted)
                await trio.sleep(1)
                for wanted in user_subscriptions((account_id,)):
                    user.leave(1, wanted, "replaced")
                await trio.sleep(1)
                reading_one.cancel()
                await trio.sleep(15)
                reading_two.cancel()
        items = await taken(stream)
        assert await taken(foreign) == []
        await check_against_rest(rest, account_id, items)
        counts = user.statistics()
        assert counts.rejected.total == counts.unknown_targets == counts.waiting == 0
        assert counts.duplicates > 20
        assert counts.received == counts.passed + counts.duplicates


async def check_against_rest(rest: Rest, account_id: int, items: list[UserItem]) -> None:
    """Hold what the stream gave against what REST says happened."""
    window = {"accountId": account_id, "startTimestamp": "2026-01-01T00:00:00Z"}
    trades = (await rest.ok("Trade/search", **window))["trades"]
    orders = (await rest.ok("Order/search", **window))["orders"]
    assert not [item for item in items if isinstance(item, Gap)]
    got = [item for item in items if isinstance(item, UserTrade)]
    assert sorted((each.trade_id, each.price, each.order_id) for each in got) == sorted(
        (each["id"], each["price"], each["orderId"]) for each in trades
    )
    assert len(trades) == len(orders) == 30
    last = {item.order_id: item for item in items if isinstance(item, OrderUpdate)}
    assert {number: int(each.status) for number, each in last.items()} == {
        each["id"]: each["status"] for each in orders
    }
    positions = [item for item in items if isinstance(item, PositionUpdate)]
    assert [each.size for each in positions] == [1, 0] * 15
    assert {each.action for each in positions} == {Action.UPDATE, Action.DELETE}
    assert sum(isinstance(item, AccountUpdate) for item in items) == 30
    subscriptions = {subscription_of(item) for item in items if not isinstance(item, Gap)}
    assert subscriptions == set(user_subscriptions((account_id,)))
