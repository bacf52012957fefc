"""A task that blocks the loop is found and named; nothing else is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest
import trio

import trio_projectx as px
from trio_projectx.flow.loop_watch import LoopWatch
from trio_projectx.simulator import open_simulator


class Steps:
    """Plays steps of tasks with a clock of its own."""

    def __init__(self, threshold_s: float = 0.25) -> None:
        self.now = 1000.0
        self.told: list[px.LoopStalled] = []
        self.watch = LoopWatch(threshold_s, self.told.append, lambda: 77, lambda: self.now)

    def step(self, seconds: float, task: trio.lowlevel.Task, pause: float = 0.0) -> None:
        self.watch.before_task_step(task)
        self.now += seconds
        self.watch.after_task_step(task)
        self.now += pause


async def test_only_what_takes_longer_than_the_threshold_is_told() -> None:
    steps, task = Steps(), trio.lowlevel.current_task()
    steps.step(0.25, task, pause=100.0)  # a pause between steps is no stall
    assert steps.told == []
    steps.step(0.2500001, task)
    (told,) = steps.told
    assert (told.task, told.stalls, told.at) == (task.name, 1, 77)
    assert told.seconds == pytest.approx(0.2500001)
    assert (steps.watch.stalls, steps.watch.longest_s) == (1, told.seconds)


async def test_many_are_told_once_a_second_with_the_longest_and_none_is_lost() -> None:
    steps, task = Steps(0.01), trio.lowlevel.current_task()
    for number in range(100):
        steps.step(0.02 + number * 0.001, task)
    steps.watch.flush()
    steps.watch.flush()
    assert sum(told.stalls for told in steps.told) == steps.watch.stalls == 100
    assert 5 <= len(steps.told) <= 9
    assert max(told.seconds for told in steps.told) == pytest.approx(0.119)


async def test_a_name_is_escaped_and_cut() -> None:
    steps = Steps()
    async with trio.open_nursery() as nursery:

        async def named() -> None:
            steps.step(1.0, trio.lowlevel.current_task())

        nursery.start_soon(named, name="a\r\n\x1b[31m" + "x" * 1000)
    (told,) = steps.told
    assert told.task.startswith(r"a\r\n\x1b[31m")
    assert len(told.task) <= 200


def block(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_gateway_tells_and_logs_it_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        open_simulator(seed=3) as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
        gateway.open_events() as events,
        gateway.open_trades("MNQ") as trades,
    ):
        with gateway.watch_loop(0.4) as watch, trio.fail_after(20):
            await trades.receive()
            block(0.5)
            async for event in events:
                if isinstance(event, px.LoopStalled):
                    break
            await trades.receive()
        assert "test_a_gateway_tells" in event.task
        assert event.seconds >= 0.5
        assert watch.stalls >= 1
        seen = watch.stalls
        block(0.5)
        await trio.lowlevel.checkpoint()
        assert watch.stalls == seen  # outside the block nobody watches
        assert gateway.health().market.state is px.HubState.LIVE
    (record,) = [r for r in caplog.records if "stood still" in r.message]
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize("threshold", [0, -1.0, True, "1", float("nan")])
async def test_a_threshold_is_a_number_above_0(threshold: float) -> None:
    async with (
        open_simulator() as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
    ):
        with pytest.raises(px.ConfigError, match="threshold_s"):
            gateway.watch_loop(threshold).__enter__()


async def test_one_that_raises_takes_nobody_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        open_simulator() as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
    ):

        def fails(event: object) -> None:
            raise RuntimeError("a bug")

        told: Callable[[px.GatewayEvent], None] = fails
        monkeypatch.setattr(gateway._streams.board, "tell", told)
        with gateway.watch_loop(1e-9):
            await trio.lowlevel.checkpoint()
            monkeypatch.undo()
            await trio.lowlevel.checkpoint()


async def test_a_stall_soon_after_another_is_told_within_a_second_though_none_follows() -> None:
    steps, task = Steps(), trio.lowlevel.current_task()
    steps.step(0.3, task, pause=0.2)
    steps.step(0.4, task)
    for _ in range(10):
        steps.step(0.001, task, pause=0.1)
    assert [told.seconds for told in steps.told] == pytest.approx([0.3, 0.4])
