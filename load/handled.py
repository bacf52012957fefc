"""Handlers of a random life (see `model`): registered, run, removed as drawn, and held against their counts."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import attrs
import trio
from lived import Run
from lots import HandlerPlan

import trio_projectx as px

#: Why items are not given to a handler, of what is told.
_REASONS = ("rate", "breaker", "overflow")


@attrs.define(eq=False)
class Handled:
    """One handler, and what it was given."""

    plan: HandlerPlan
    rng: random.Random
    is_ordered: bool
    """Whether trades come in their order."""
    main: int = 0
    fell: int = 0
    skipped: int = 0
    last_ts: int = 0
    wrong: list[str] = attrs.Factory(list)
    registration: px.Registration | None = None

    async def on_item(self, item: Any) -> None:
        """Take what a handler is given."""
        self.main += self._count(item)
        if pause := self._act():
            await trio.sleep(pause)

    def on_item_sync(self, item: Any) -> None:
        """Take it without waiting."""
        self.main += self._count(item)
        self._act()

    def fall(self, item: Any) -> None:
        """Take what falls back."""
        self.fell += self._count(item)
        if self.plan.fallback == "fails":
            raise KeyError("fallback")

    def on_skipped(self, mark: px.Dropped) -> None:
        """Take what is told of items that were left out."""
        self.skipped += mark.count
        if mark.first_ts > mark.last_ts or mark.count < 1:
            self.wrong.append(f"{mark}")

    def _count(self, item: Any) -> int:
        if not self.plan.batch:
            items = (item,)
        elif isinstance(item, tuple) and 1 <= len(item) <= self.plan.options.batch_most:
            items = item
        else:
            self.wrong.append(f"a batch: {item!r:.200}")
            return 0
        for each in items:
            if self.is_ordered and isinstance(each, px.Trade):
                if each.ts_event < self.last_ts:
                    self.wrong.append(f"{each} behind {self.last_ts}")
                self.last_ts = each.ts_event
        return len(items)

    def _act(self) -> float:
        """Do as drawn; return how long to sleep."""
        match self.plan.how:
            case "fails":
                raise ValueError("as drawn")
            case "sometimes" if self.rng.random() < 0.3:
                raise ValueError("as drawn")
            case "slow":
                return 0.2
            case "hangs" if self.rng.random() < 0.1:
                return 1e6 if self.plan.options.deadline_s else 5.0
            case "removes" if self.rng.random() < 0.02 and self.registration:
                self.registration.remove()
        return 0.0

    def register(self, gateway: px.Gateway) -> px.Registration:
        """Register it."""
        plan, function = self.plan, self.on_item_sync if self.plan.is_sync else self.on_item
        how: dict[str, Any] = {
            "options": plan.options,
            "capacity": plan.capacity,
            "weak": plan.weak,
            "batch": plan.batch,
            "on_skipped": self.on_skipped,
        }
        if plan.policy is not None:
            how["overflow"] = plan.policy
        if plan.fallback:
            how["fallback"] = self.fall
        match plan.kind:
            case "bar":
                return gateway.on_bar(function, plan.contract, "1s", "5s", events=True, **how)
            case "trade":
                return gateway.on_trade(function, plan.contract, **how)
            case "quote":
                return gateway.on_quote(function, plan.contract, events=True, **how)
            case "depth":
                return gateway.on_depth(function, plan.contract, **how)
            case "book":
                return gateway.on_book(function, plan.contract, **how)
            case "user_event":
                return gateway.on_user_event(function, **how)
            case _:
                return gateway.on_event(function, **how)

    def faults(self) -> list[str]:
        """Return what is wrong by now."""
        assert self.registration is not None
        counts, found, self.wrong = self.registration.statistics(), self.wrong[:3], []
        given = self.main + self.fell
        done = counts.handled + counts.failed + counts.timed_out + counts.fell_back
        if not done <= given <= done + counts.running + counts.skipped.left:
            found.append(f"given {self.main} and {self.fell}")
        if self.skipped > sum(getattr(counts.skipped, reason) for reason in _REASONS):
            found.append(f"on_skipped had {self.skipped}")
        if not counts.balanced:
            found.append("it does not balance")
        if counts.queued > (self.plan.capacity or 10_000) + (
            self.plan.options.batch_most if self.plan.batch else 1
        ):
            found.append("above its bound")
        if counts.failures and not counts.calls:
            found.append("it failed, and was not called")
        return [f"{each}: {counts}" for each in found]


class Handlers:
    """All handlers of a life."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.all: list[Handled] = []

    async def go(self) -> None:
        """Register, run, remove as drawn."""
        async with trio.open_nursery() as nursery:
            for plan in self.run.plan.handlers:
                nursery.start_soon(self._one, plan)
            for begin, end in self.run.plan.runs:
                nursery.start_soon(self._runs, begin, end)

    async def _one(self, plan: HandlerPlan) -> None:
        await trio.sleep_until(plan.at)
        is_ordered = self.run.plan.is_ordered and self.run.plan.is_honest
        each = Handled(plan, random.Random(plan.seed), is_ordered)
        each.registration = each.register(self.run.gateway)
        self.all.append(each)
        self.run.counts["handlers"] += 1
        await trio.sleep_until(plan.until)
        each.registration.remove()

    async def _runs(self, begin: float, end: float) -> None:
        await trio.sleep_until(begin)
        with trio.move_on_at(end):
            while True:
                try:
                    await self.run.gateway.run_handlers()
                except px.TrioProjectXError as exc:
                    self.run.notes[f"run_handlers: {type(exc).__name__}"] += 1
                    if isinstance(exc, px.SlowConsumer):
                        self.run.blame(f"run_handlers: {exc!r}")
                except trio.BusyResourceError:
                    pass  # somebody else runs them still
                else:
                    return
                await trio.sleep(1.0)

    def look(self) -> None:
        """Look at the counts."""
        for row in self.run.gateway.handlers():
            if not row.balanced:
                self.run.blame(f"{row} does not balance")
        for each in self.all:
            for fault in each.faults():
                self.run.blame(f"{each.plan}: {fault}")

    def end(self) -> None:
        """Remove all."""
        for each in self.all:
            assert each.registration is not None
            each.registration.remove()
            self.run.counts["items of handlers"] += each.main + each.fell
        self.look()

    def judge_told(self) -> None:
        """Hold what was told of skipped items and failures against the counts."""
        skipped: Counter[tuple[str, str]] = Counter()
        failures: Counter[str] = Counter()
        for event in self.run.events:
            if isinstance(event, px.HandlerSkipped):
                skipped[event.handler, event.reason] += event.items
                self._judge_total(event, skipped[event.handler, event.reason])
            elif isinstance(event, px.HandlerFailed):
                failures[event.handler] += event.failures
                self._judge_total(event, failures[event.handler])
        for each in self.all:
            assert each.registration is not None
            counts = each.registration.statistics()
            for reason in _REASONS:
                told = skipped[counts.name, reason]
                if told != getattr(counts.skipped, reason):
                    self.run.blame(f"{each.plan}: told {told} for {reason}: {counts}")

    def _judge_total(self, event: px.HandlerSkipped | px.HandlerFailed, told: int) -> None:
        if told != event.total:
            self.run.blame(f"{event}: {told} were told in all")
