"""Runs of handlers in virtual time: isolation, breaker, deadline, rate, batches, and what is told of each."""

from __future__ import annotations

import gc
import time

import attrs
import pytest
import trio
from handler_tools import Desk, settle
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.handlers.registration import Registration

S = 10**9


async def test_one_that_raises_or_hangs_delays_nobody_and_is_told(autojump_clock: MockClock) -> None:
    desk, got = Desk(), list[int]()

    def bad(item: int) -> None:
        raise ValueError(f"no {item}\n")

    async def hangs(_: int) -> None:
        await trio.sleep_forever()

    desk.add(bad, stream="bad", failures=100)
    desk.add(hangs, stream="hangs", deadline_s=3)
    desk.add(got.append, stream="good")
    async with desk.running():
        for item in range(5):
            for feed in desk.feeds.values():
                feed.offer(item)
        await settle()
        assert got == [0, 1, 2, 3, 4]
        bad_now, hangs_now, good_now = desk.handlers.statistics()
        assert (bad_now.failed, bad_now.handled, bad_now.last_failure) == (5, 0, r"ValueError: no 4\n")
        assert bad_now.failures == (px.FailureCount("ValueError", 5, r"no 4\n"),)
        assert (hangs_now.running, hangs_now.queued) == (1, 4)
        assert (good_now.handled, good_now.calls) == (5, 5)
        await trio.sleep(9.5)
        hangs_now = desk.handlers.statistics()[1]
        assert (hangs_now.timed_out, hangs_now.running, hangs_now.longest_s) == (3, 1, 3.0)
        assert hangs_now.last_failure == "deadline: a call took longer than 3 s"
    assert all(each.balanced for each in desk.handlers.statistics())
    of_bad = [e for e in desk.of(px.HandlerFailed) if e.handler == bad_now.name]  # type: ignore[attr-defined]
    assert [(e.failures, e.total, e.state, e.at) for e in of_bad] == [
        (1, 1, "closed", 0),
        (4, 5, "closed", S),
    ]  # type: ignore[attr-defined]


async def test_the_breaker_opens_the_fallback_takes_over_and_a_trial_closes_it(
    autojump_clock: MockClock,
) -> None:
    desk, works, got, instead = Desk(), False, list[int](), list[int]()

    def handler(item: int) -> None:
        got.append(item)
        if not works:
            raise OSError(item)

    one = desk.add(handler, fallback=instead.append, failures=2, open_s=10)
    async with desk.running():
        for item in range(40):
            works = item == 22
            desk.feeds["x"].offer(item)
            await settle(1)
            if item == 5:
                assert one.statistics().breaker == "open"
    # 0 and 1 open it for 10 s; the trial at 11 fails, and doubles that; the one at 31 ... was never made
    assert got[:3] == [0, 1, 11]
    assert instead[:9] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    now = one.statistics()
    assert (now.failed, now.fell_back, now.handled) == (4, 36, 0)
    assert got == [0, 1, 11, 31]
    assert [e.state for e in desk.of(px.HandlerFailed)] == ["closed", "open", "open", "open"]  # type: ignore[attr-defined]
    assert now.balanced


async def test_recovery_is_told_with_what_was_skipped_and_the_handler_hears_of_it(
    autojump_clock: MockClock,
) -> None:
    desk, marks, got = Desk(), list[px.Dropped](), list[int]()

    async def handler(item: int) -> None:
        got.append(item)
        if item < 2:
            raise OSError

    one = desk.add(handler, on_skipped=marks.append, failures=2, open_s=4.5)
    async with desk.running():
        for item in range(10):
            desk.feeds["x"].offer(item)
            await settle(1)
    assert got == [0, 1, 6, 7, 8, 9]
    assert marks == [px.Dropped(4, 2, 5)]
    now = one.statistics()
    assert (now.handled, now.failed, now.skipped.breaker, now.breaker) == (4, 2, 4, "closed")
    (recovered,) = desk.of(px.HandlerRecovered)
    assert recovered == px.HandlerRecovered(one.name, "trade", 4, 6 * S)
    skipped = desk.of(px.HandlerSkipped)
    assert sum(e.items for e in skipped) == 4 == skipped[-1].total  # type: ignore[attr-defined]
    assert (skipped[0].first_ts, skipped[-1].last_ts) == (2, 5)  # type: ignore[attr-defined]


async def test_a_rate_skips_counts_tells_and_lets_the_handler_know(autojump_clock: MockClock) -> None:
    desk, got = Desk(), list[object]()
    one = desk.add(got.append, on_skipped=got.append, rate_per_s=1, rate_burst=2)
    async with desk.running():
        for item in range(40):
            desk.feeds["x"].offer(item)
            await settle(0.125)
        now = one.statistics()
        assert now.handled == 6 == len([each for each in got if isinstance(each, int)])
        assert (now.skipped.rate, now.balanced) == (34, True)
        await trio.sleep(2)
        told = desk.of(px.HandlerSkipped)
        assert sum(e.items for e in told) == 34 == told[-1].total  # type: ignore[attr-defined]
        assert len(told) <= 6
    marks = [each for each in got if isinstance(each, px.Dropped)]
    assert marks[0] == px.Dropped(6, 2, 7)
    assert sum(mark.count for mark in marks) == 34 - (39 - got[-1])  # type: ignore[operator]


async def test_what_a_slow_one_loses_is_told_in_its_place(autojump_clock: MockClock) -> None:
    desk, got = Desk(), list[object]()

    async def slow(item: int) -> None:
        got.append(item)
        await trio.sleep(1)

    one = desk.add(slow, capacity=3, on_skipped=got.append)
    async with desk.running():
        for item in range(10):
            desk.feeds["x"].offer(item)
            if not item:
                await settle()
        await trio.sleep(9)
    assert got == [0, px.Dropped(6, 1, 6), 7, 8, 9]
    now = one.statistics()
    assert (now.handled, now.skipped.overflow, now.offered, now.balanced) == (4, 6, 10, True)
    (told,) = desk.of(px.HandlerSkipped)
    assert attrs.astuple(told) == (one.name, "trade", "overflow", 6, 6, 1, 6, S)  # type: ignore[arg-type]


async def test_error_breaks_that_one_and_the_run_when_the_others_have_what_waits(
    autojump_clock: MockClock,
) -> None:
    desk, got = Desk(), list[int]()

    async def slow(_: int) -> None:
        await trio.sleep(5)

    async def steady(item: int) -> None:
        await trio.sleep(0.1)
        got.append(item)

    one = desk.add(slow, stream="slow", capacity=2, overflow=px.Overflow.ERROR)
    two = desk.add(steady, stream="steady")
    with pytest.raises(px.SlowConsumer, match="slow: the reader fell 3 items"):
        async with open_background_tasks() as tasks:
            tasks.start_soon(desk.handlers.run)
            await settle()
            for item in range(10):
                desk.feeds["steady"].offer(item)
            for item in range(4):
                desk.feeds["slow"].offer(item)
                await settle()
            await trio.sleep_forever()
    assert got == list(range(10))
    (stopped,) = desk.of(px.HandlerStopped)
    assert (stopped.handler, stopped.reason.startswith("SlowConsumer: ")) == (one.name, True)  # type: ignore[attr-defined]
    assert one.statistics().skipped.overflow == 3
    assert one.statistics().balanced
    assert two.statistics().balanced
    assert trio.current_time() == 5.0


async def test_who_takes_too_long_at_the_end_is_left_after_the_grace(autojump_clock: MockClock) -> None:
    desk = Desk(grace_s=2)

    async def slow(_: int) -> None:
        await trio.sleep(100)

    one = desk.add(slow, deadline_s=None)
    desk.add(lambda _: None, stream="y")
    with pytest.raises(px.ConnectionLost, match="gone"):
        async with open_background_tasks() as tasks:
            tasks.start_soon(desk.handlers.run)
            await settle()
            desk.feeds["x"].offer(1)
            desk.feeds["x"].offer(2)
            await settle()
            desk.feeds["y"].fail(px.ConnectionLost("gone"))
            await trio.sleep_forever()
    assert trio.current_time() == 2.0
    now = one.statistics()
    assert (now.skipped.left, now.balanced, now.state) == (2, True, "idle")


async def test_a_call_that_keeps_the_loop_is_told(autojump_clock: MockClock) -> None:
    desk = Desk()
    one = desk.add(lambda seconds: autojump_clock.jump(seconds), deadline_s=3, batch=False)
    async with desk.running():
        for seconds in (0, 2, 1, 4):
            desk.feeds["x"].offer(seconds)
        await settle(2)
    now = one.statistics()
    assert (now.handled, now.timed_out, now.slow, now.longest_s) == (3, 1, 3, 4.0)
    assert now.balanced
    told = desk.of(px.HandlerSlow)
    assert [(e.calls, e.longest_s) for e in told] == [(1, 2.0), (1, 1.0), (1, 4.0)]  # type: ignore[attr-defined]


async def test_a_thread_keeps_nobody_waiting() -> None:
    desk, got = Desk(), list[int]()

    def blocks(_: int) -> None:
        time.sleep(0.2)

    one = desk.add(blocks, stream="thread", thread=True)
    desk.add(got.append, stream="loop")
    async with desk.running():
        for item in range(3):
            desk.feeds["thread"].offer(item)
        await trio.lowlevel.checkpoint()
        for item in range(50):
            desk.feeds["loop"].offer(item)
            await trio.lowlevel.checkpoint()
        while len(got) < 50:
            await trio.lowlevel.checkpoint()
        assert one.statistics().handled == 0
        with trio.fail_after(10):
            while one.statistics().handled < 3:
                await trio.sleep(0.01)
    assert (one.statistics().slow, one.statistics().balanced) == (0, True)


async def test_batches_take_what_waits_and_no_more(autojump_clock: MockClock) -> None:
    desk, sizes, got = Desk(), list[int](), list[int]()

    async def handler(items: tuple[int, ...]) -> None:
        assert isinstance(items, tuple)
        sizes.append(len(items))
        got.extend(items)
        await trio.sleep(0.001 * len(items) if len(sizes) < 9 else 0.02 * len(items))

    one = desk.add(handler, batch=True, batch_most=32)
    async with desk.running():
        for item in range(200):
            desk.feeds["x"].offer(item)
        await settle(2)
    assert got == list(range(200))
    assert sizes == [1, 2, 4, 8, 16, 32, 32, 32, 32, 16, 8, 4, 2, 4, 2, 4, 1]
    now = one.statistics()
    assert (now.handled, now.calls, now.batch_size, now.balanced) == (200, len(sizes), 2, True)


async def test_batches_wait_for_their_rate_in_the_stream(autojump_clock: MockClock) -> None:
    desk, got = Desk(), list[tuple[float, tuple[int, ...]]]()
    one = desk.add(
        lambda items: got.append((trio.current_time(), items)), batch=True, rate_per_s=1 / 1.9, capacity=60
    )
    async with desk.running():
        for item in range(30):
            desk.feeds["x"].offer(item)
            await settle(0.25)
    assert [at for at, _ in got] == pytest.approx([0.0, 1.9, 3.8, 5.7])
    assert [items for _, items in got] == [
        (0,),
        tuple(range(1, 8)),
        tuple(range(8, 16)),
        tuple(range(16, 23)),
    ]
    now = one.statistics()
    assert (now.skipped.rate, now.balanced) == (0, True)


async def test_a_mark_between_two_batches_stands_between_them(autojump_clock: MockClock) -> None:
    desk, got = Desk(), list[object]()

    async def handler(items: tuple[int, ...]) -> None:
        got.append(items)
        await trio.sleep(1)

    one = desk.add(
        handler,
        batch=True,
        on_skipped=got.append,
        capacity=4,
        overflow=px.Overflow.DROP_NEWEST,
        batch_aim_s=2,
    )
    async with desk.running():
        for item in range(3):
            desk.feeds["x"].offer(item)
        await settle()
        for item in range(3, 8):
            desk.feeds["x"].offer(item)
        await settle(1.5)
        desk.feeds["x"].offer(8)
        await settle(5)
    assert got == [(0,), (1, 2), (3, 4), px.Dropped(3, 5, 7), (8,)]
    assert one.statistics().balanced


async def test_added_and_removed_while_it_runs_also_by_a_handler_itself(autojump_clock: MockClock) -> None:
    desk, got = Desk(), list[tuple[str, int]]()
    later: list[Registration] = []

    async def first(item: int) -> None:
        got.append(("first", item))
        if item == 1:
            later.append(desk.add(lambda item: got.append(("second", item)), stream="second"))
            one.remove()
            one.remove()
            await trio.sleep(1)  # its own call goes on
            got.append(("first is over", item))

    one = desk.add(first, stream="first")
    async with desk.running():
        for item in range(4):
            desk.feeds["first"].offer(item)
        await settle()
        assert not one.statistics().balanced or one.statistics().running == 1
        desk.feeds["second"].offer(7)
        await settle(2)
        assert (got, desk.opened) == (
            [("first", 0), ("first", 1), ("second", 7), ("first is over", 1)],
            ["first", "second"],
        )
        assert list(desk.feeds) == ["second"]
        assert (one.is_removed, one.statistics().skipped.left, one.statistics().handled) == (True, 2, 2)
        with desk.add(lambda item: got.append(("third", item)), stream="third") as third:
            await settle()
            desk.feeds["third"].offer(8)
            await settle()
        await settle()
        assert (got[-1], third.is_removed, list(desk.feeds)) == (("third", 8), True, ["second"])
        later[0].remove()
        await settle()
    assert desk.handlers.statistics() == ()
    assert one.statistics().balanced


async def test_one_that_is_removed_while_its_stream_opens_opens_none(autojump_clock: MockClock) -> None:
    desk = Desk()
    one = desk.add(lambda _: None, wait_s=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.handlers.run)
        await settle(1)
        assert one.statistics().state == "opening"
        one.remove()
        await settle()
        assert (desk.opened, one.statistics().state) == ([], "removed")
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 1.0


class Strategy:
    def __init__(self, got: list[int]) -> None:
        self.got = got

    def take(self, item: int) -> None:
        self.got.append(item)

    def instead(self, item: int) -> None: ...

    def missed(self, mark: px.Dropped) -> None: ...


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_weak_one_goes_with_its_object(in_thread: bool) -> None:
    desk, got = Desk(), list[int]()
    owner = [Strategy(got)]
    one = desk.add(owner[0].take, fallback=owner[0].instead, on_skipped=owner[0].missed, weak=True)
    async with desk.running():
        desk.feeds["x"].offer(1)
        await settle()
        assert got == [1]
        if in_thread:
            await trio.to_thread.run_sync(owner.clear)
        else:
            owner.clear()
        gc.collect()
        await settle(0.01)
        assert (one.is_removed, desk.feeds, desk.handlers.statistics()) == (True, {}, ())
    owner.append(Strategy(got))
    two = desk.add(owner[0].take, weak=True)
    owner.clear()
    gc.collect()
    async with desk.running():  # nobody ran when it went
        pass
    assert (two.is_removed, got) == (True, [1])


async def test_a_weak_one_whose_object_goes_while_an_item_waits_takes_nothing(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    owner = [Strategy([])]
    one = desk.add(owner[0].take, weak=True)
    async with desk.running():
        owner.clear()
        gc.collect()
        desk.feeds["x"].offer(1)
        await settle()
        now = one.statistics()
        assert (now.skipped.left, now.state, now.balanced) == (1, "removed", True)


async def test_there_are_so_many_of_a_kind_and_no_more(autojump_clock: MockClock) -> None:
    desk = Desk()
    registered = [desk.add(lambda _: None, kind="bar") for _ in range(32)]
    with pytest.raises(px.ConfigError, match="there are 32 handlers of bars already"):
        desk.add(lambda _: None, kind="bar")
    desk.add(lambda _: None, kind="quote", name="mine")
    with pytest.raises(px.ConfigError, match="named 'mine' already"):
        desk.add(lambda _: None, kind="trade", name="mine")
    registered[0].remove()
    desk.add(lambda _: None, kind="bar")
    names = [each.name for each in desk.handlers.statistics()]
    assert len(set(names)) == len(names) == 33


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_nothing_may_hide_comes_out_as_it_is(
    autojump_clock: MockClock, error: type[BaseException]
) -> None:
    desk = Desk()

    def handler(_: int) -> None:
        raise error

    one = desk.add(handler)
    two = desk.add(lambda _: None, stream="y")
    with pytest.raises(error):
        async with open_background_tasks() as tasks:
            tasks.start_soon(desk.handlers.run)
            await settle()
            desk.feeds["x"].offer(1)
            await trio.sleep_forever()
    assert one.statistics().skipped.left == 1
    assert one.statistics().failed == 0
    assert one.statistics().balanced
    assert two.statistics().balanced


async def test_cancellation_passes_and_what_was_in_the_call_is_counted(autojump_clock: MockClock) -> None:
    desk, seen = Desk(), list[str]()

    async def handler(_: int) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            seen.append("cancelled")
            raise

    one = desk.add(handler)
    async with desk.running():
        desk.feeds["x"].offer(1)
        desk.feeds["x"].offer(2)
        await settle()
    now = one.statistics()
    assert seen == ["cancelled"]
    assert (now.skipped.left, now.failed, now.timed_out, now.balanced) == (2, 0, 0, True)


async def test_it_ends_with_the_gateway_when_what_waits_was_handled_and_may_run_again(
    autojump_clock: MockClock,
) -> None:
    desk, got = Desk(), list[int]()

    async def handler(item: int) -> None:
        await trio.sleep(0.5)
        got.append(item)

    one = desk.add(handler)
    for run in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(desk.run)
            with pytest.raises(trio.BusyResourceError):
                await desk.handlers.run()
            for item in range(3):
                desk.feeds["x"].offer(item)
            if run == 0:
                await settle(10)
                nursery.cancel_scope.cancel()
            else:
                desk.feeds["x"].end()
                desk.board.end()
    assert got == [0, 1, 2] * 2
    now = one.statistics()
    assert (now.offered, now.handled, now.state, now.balanced) == (6, 6, "idle", True)


async def test_without_handlers_it_waits_for_some_or_for_the_end(autojump_clock: MockClock) -> None:
    desk, got = Desk(), list[int]()
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run)
        await settle(100)
        desk.add(got.append)
        await settle()
        desk.feeds["x"].offer(1)
        await settle()
        desk.board.end()
    assert got == [1]


async def test_together_means_that_no_stream_is_read_before_all_are_open(autojump_clock: MockClock) -> None:
    desk, got = Desk(is_replay=True), list[tuple[str, float]]()
    desk.add(lambda _: got.append(("fast", trio.current_time())), stream="fast")
    desk.add(lambda _: got.append(("slow", trio.current_time())), stream="slow", wait_s=3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.handlers.run)
        await settle()
        desk.feeds["fast"].offer(1)
        await settle(4)
        desk.feeds["slow"].offer(1)
        await settle()
        nursery.cancel_scope.cancel()
    assert got == [("fast", 3.0), ("slow", 4.0)]


async def test_a_stream_that_cannot_be_opened_is_told_and_raised(autojump_clock: MockClock) -> None:
    desk = Desk()
    one = desk.add(lambda _: None, capacity=1, wait_s=60)
    two = desk.add(lambda _: None, stream="y")

    def refuse() -> object:
        raise px.ContractError("nobody knows it")

    two._entry.source = refuse  # type: ignore[assignment]
    with pytest.raises(px.ContractError, match="nobody knows it"):
        await desk.handlers.run()
    (stopped,) = desk.of(px.HandlerStopped)
    assert stopped.reason == "ContractError: nobody knows it"  # type: ignore[attr-defined]
    assert (one.statistics().state, trio.current_time()) == ("idle", 0.0)


async def test_handlers_of_events_are_told_of_others_and_never_of_each_other(
    autojump_clock: MockClock,
) -> None:
    desk, heard = Desk(), list[px.GatewayEvent]()

    def broken(event: px.GatewayEvent) -> None:
        heard.append(event)
        raise ValueError

    first = desk.add(broken, kind="event", failures=1000)
    desk.add(broken, kind="event", failures=1000)
    bad = desk.add(lambda _: 1 / 0)
    async with desk.running():
        desk.feeds["x"].offer(1)
        await settle(30)
        now = first.statistics()
        assert (now.failed, now.balanced) == (1, True)
        assert now.skipped.own == now.offered - 1 == 2
    assert [e.handler for e in heard] == [bad.name] * 2  # type: ignore[union-attr]
    assert len(desk.of(px.HandlerFailed)) == 3


async def test_what_stands_beside_a_handler_may_fail_too(autojump_clock: MockClock) -> None:
    desk = Desk()

    def fails(_: object) -> None:
        raise KeyError("x")

    async def hangs(_: object) -> None:
        await trio.sleep_forever()

    one = desk.add(
        fails, fallback=hangs, on_skipped=fails, capacity=1, failures=1, deadline_s=2, open_s=60, stream="one"
    )
    async with desk.running():
        for item in range(4):
            desk.feeds["one"].offer(item)
        await settle()
        desk.feeds["one"].offer(4)
        await settle(10)
    now = one.statistics()
    assert (now.failed, now.timed_out, now.fell_back, now.skipped.overflow) == (1, 1, 0, 3)
    assert [(each.type, each.count) for each in now.failures] == [
        ("on_skipped", 1),
        ("KeyError", 1),
        ("fallback", 1),
    ]
    assert now.balanced


async def test_a_flood_lets_other_tasks_run(autojump_clock: MockClock) -> None:
    """A handler that waits for nothing still gives way every 10 ms of its clock."""
    desk, rounds = Desk(), 0

    def handler(_: int) -> None:
        autojump_clock.jump(0.001)

    desk.add(handler)
    async with desk.running():
        for item in range(1000):
            desk.feeds["x"].offer(item)
        while desk.handlers.statistics()[0].handled < 1000:
            await trio.lowlevel.checkpoint()
            rounds += 1
    assert rounds > 80
