"""Whatever happens to a handler, each item that its streams were offered is in exactly one place."""

from __future__ import annotations

import attrs
import trio
from handler_tools import Desk, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx._items import Overflow
from trio_projectx.handlers.registration import Registration

#: What a call does with an item that is this modulo 7, the rest are handled.
RAISES, HANGS, SLOW, BLOCKS = 1, 2, 3, 4


@attrs.frozen
class Setting:
    overflow: Overflow
    capacity: int
    batch: bool
    has_fallback: bool
    rate_per_s: float | None
    failures: int
    batch_most: int


@attrs.frozen
class Act:
    kind: str
    amount: int


SETTINGS = st.builds(
    Setting,
    st.sampled_from([each for each in Overflow if each is not Overflow.BLOCK]),
    st.integers(1, 12),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 0.7, 3.0]),
    st.integers(1, 4),
    st.integers(1, 5),
)
ACTS = st.builds(
    Act,
    st.sampled_from(["offer"] * 6 + ["sleep"] * 3 + ["again", "remove", "fail", "end"]),
    st.integers(0, 15),
)


class Played:
    """One handler through a list of acts, looked at after each of them, and within each of its calls."""

    def __init__(self, clock: MockClock, setting: Setting) -> None:
        self.clock = clock
        self.desk = Desk(grace_s=1)
        self.offered = 0
        self.called: list[int] = []
        self.marks: list[px.Dropped] = []
        options = attrs.asdict(setting, recurse=False)
        self.batch = setting.batch
        fallback = self.instead if options.pop("has_fallback") else None
        self.one: Registration = self.desk.add(
            self.take, fallback=fallback, on_skipped=self.marks.append, deadline_s=2, open_s=3, **options
        )

    async def take(self, what: int | tuple[int, ...]) -> None:
        items = what if isinstance(what, tuple) else (what,)
        self.called += items
        self.check()
        match items[0] % 7:
            case n if n == RAISES:
                raise ValueError(what)
            case n if n == HANGS:
                await trio.sleep_forever()
            case n if n == SLOW:
                await trio.sleep(0.3)
            case n if n == BLOCKS:
                self.clock.jump(2.5)
            case _:
                pass

    async def instead(self, what: int | tuple[int, ...]) -> None:
        self.check()
        await self.take(what)

    def check(self) -> None:
        now = self.one.statistics()
        assert now.balanced, now
        assert now.offered == self.offered, now

    async def act(self, act: Act) -> None:
        feed = self.desk.feeds.get("x")
        match act.kind:
            case "offer":
                for _ in range(act.amount):
                    if feed is not None and feed.pipe.is_open:
                        self.offered += 1
                        feed.offer(self.offered)
                    self.check()
            case "sleep":
                await settle(act.amount / 4)
            case "remove" if act.amount < 4:
                self.one.remove()
            case "fail" if feed is not None and act.amount < 5:
                feed.fail(px.ConnectionLost("gone"))
            case "end" if feed is not None and act.amount < 5:
                feed.end()
            case _:
                pass
        self.check()

    async def run(self, acts: list[Act]) -> None:
        while acts:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.one_run)
                await settle()
                while acts:
                    act = acts.pop(0)
                    await self.act(act)
                    if act.kind == "again":
                        break
                nursery.cancel_scope.cancel()
            self.check()

    async def one_run(self) -> None:
        try:
            await self.desk.handlers.run()
        except (px.ConnectionLost, px.SlowConsumer):
            self.check()


@settings(max_examples=80)
@given(SETTINGS, st.lists(ACTS, min_size=1, max_size=25))
def test_every_item_is_in_one_place_at_every_instant(setting: Setting, acts: list[Act]) -> None:
    clock = MockClock(autojump_threshold=0)

    async def main() -> None:
        played = Played(clock, setting)
        await played.run(list(acts))
        now = played.one.statistics()
        done = now.handled + now.failed + now.timed_out + now.fell_back
        # Those that were called are those that came through, or were in the call when it was cancelled.
        assert done <= len(played.called) <= done + now.skipped.left
        assert len(set(played.called)) == len(played.called)
        if setting.overflow is not Overflow.CONFLATE:  # there a newer one has the place of the older
            assert played.called == sorted(played.called)
        assert (now.queued, now.running) == (0, 0)
        assert sum(mark.count for mark in played.marks) <= now.skipped.total
        skipped = [e for e in played.desk.told if isinstance(e, px.HandlerSkipped)]
        assert sum(e.items for e in skipped if e.reason == "rate") == now.skipped.rate
        assert sum(e.items for e in skipped if e.reason == "breaker") == now.skipped.breaker
        if setting.overflow is not Overflow.ERROR:  # one that breaks is told by HandlerStopped
            assert sum(e.items for e in skipped if e.reason == "overflow") == now.skipped.overflow
        failed = [e for e in played.desk.told if isinstance(e, px.HandlerFailed)]
        assert sum(e.failures for e in failed) == sum(each.count for each in now.failures)

    trio.run(main, clock=clock)
