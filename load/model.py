"""`nox -s model`: random lives of a gateway, each drawn from a seed and lived in virtual time.

Contracts, streams of every kind with any policy and reader, handlers, faults, refreshes and losses come and go as they
were drawn (`lots`). Each virtual second, and at the end, what everybody got is held against what was offered, against
the counts, and against the simulator's truth (`beheld`). A life that does not hold is lived again by ``--seed S
--lives 1``.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import logging
import os
import random
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import trio
import trio.testing
from beheld import judge_end, judge_left, judge_over, judge_told, look
from ground import first_of, seed_scheduler, unraisables
from handled import Handlers
from lived import Reading, Run
from lots import FaultPlan, Plan, draw
from memory import held
from readers import live_stream
from rows import fault_of
from tapped import Tap, tapped

import trio_projectx as px
from trio_projectx.simulator import Fault, open_simulator
from trio_projectx.simulator.products import front
from trio_projectx.simulator.user_events import UserAction, UserKind
from trio_projectx.testing import virtual_wall_clock

#: How long it is quiet behind the last fault, and behind the last trade.
_SETTLE_S: Final = (90.0, 20.0)
#: A life takes some seconds of real time; one that takes as long as this hangs.
_HANGS_S: Final = 120.0
#: They strike who connects: somebody has to.
_OF_CONNECTING: Final = ("connect", "negotiate", "upgrade", "handshake", "subscribe")
_ORDER: Final = {
    "contractId": "CON.F.US.MNQ.U26",
    "creationTimestamp": "2026-08-19T18:29:25.3938333+00:00",
    "status": 1,
    "type": 1,
    "side": 0,
    "size": 1,
}


@attrs.define
class Outcome:
    """What a life came to."""

    seed: int
    wrong: list[str] = attrs.Factory(list)
    counts: Counter[str] = attrs.Factory(Counter)
    notes: Counter[str] = attrs.Factory(Counter)
    faults: list[str] = attrs.Factory(list)


@attrs.define
class Total:
    """What all lives come to."""

    lives: int = 0
    violations: int = 0
    counts: Counter[str] = attrs.Factory(Counter)
    """What was looked at."""
    notes: Counter[str] = attrs.Factory(Counter)
    """Errors that may be: opening and running while nothing works."""

    def add(self, outcome: Outcome) -> None:
        """Count one, and print what did not hold."""
        self.lives += 1
        self.violations += bool(outcome.wrong)
        self.counts.update(outcome.counts)
        self.notes.update(outcome.notes)
        if outcome.wrong:
            print(f"FAIL --seed {outcome.seed} --lives 1; faults: {outcome.faults}", flush=True)
            for sentence in outcome.wrong:
                print(f"    {sentence[:3000]}", flush=True)


def live(plan: Plan) -> Outcome:
    """Live a life."""
    outcome = Outcome(plan.seed, faults=[f"{f.row.name} ({f.row.hub}, {f.row.phase})" for f in plan.faults])

    async def body() -> None:
        with trio.fail_after(plan.seconds * 3 + sum(_SETTLE_S) * 3):
            await _live(plan, tap, outcome)

    with unraisables(outcome.wrong):
        try:
            with tapped() as tap:
                trio.run(body, clock=trio.testing.MockClock(autojump_threshold=0))
        except Exception as exc:  # noqa: BLE001  whatever it is, it did not hold; the others go on
            lines = "".join(traceback.format_exception(exc))[-2500:]
            outcome.wrong.append(f"raised {first_of(exc)!r}\n{lines}")
        gc.collect()
    return outcome


async def _live(plan: Plan, tap: Tap, outcome: Outcome) -> None:
    root = trio.lowlevel.current_task()
    seed_scheduler(plan.seed)
    before = held(root, collect=False)
    wall = virtual_wall_clock(plan.start)
    wall()  # time begins
    async with open_simulator(port=None, seed=plan.seed, wall_clock=wall, **plan.sim) as sim:
        sim.set_trades_per_s(plan.rate)
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url),
            connect=sim.connect,
            wall_clock=wall,
            memory=px.MemoryOptions(read=lambda: _reading(plan), exits=False, look_s=1.0, calm_s=5.0),
            **plan.config,
        )
        async with px.open_gateway(config) as gateway:
            gateway._parts.market_hub.tools.rng.seed(plan.seed)  # of the back-off
            run = Run(
                plan, tap, sim, gateway, wrong=outcome.wrong, counts=outcome.counts, notes=outcome.notes
            )
            await _course(run)
            left_at = trio.current_time()
        await judge_left(run, left_at)
    after = held(root, collect=False)
    if (after.tasks, after.descriptors) != (before.tasks, before.descriptors):
        run.blame(f"left: {after}, before: {before}")


def _reading(plan: Plan) -> px.MemoryReading:
    used = round(plan.used_at(trio.current_time()) * 1e9)
    return px.MemoryReading(used, 10**9 - used, "as drawn")


async def _course(run: Run) -> None:
    """Live from the first stream to the last."""
    handlers = Handlers(run)
    async with trio.open_nursery() as nursery:
        await nursery.start(_listen, run)
        async with trio.open_nursery() as beside:
            beside.start_soon(_publish, run)
            beside.start_soon(handlers.go)
            for fault in run.plan.faults:
                beside.start_soon(_strike, run, fault)
            for at in run.plan.refreshes:
                beside.start_soon(_refresh, run, at)
            await _streams(run, handlers)
            handlers.end()
            beside.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        look(run, handlers)
        judge_over(run)
        await trio.sleep(2)  # events are told once a second
        handlers.judge_told()
        judge_told(run)
        nursery.cancel_scope.cancel()


async def _streams(run: Run, handlers: Handlers) -> None:
    """Live the streams' part, and look each second; then let it be quiet, and look at the whole."""
    plan, now_ns = run.plan, run.sim.market_now_ns()
    async with trio.open_nursery() as nursery:
        for each in plan.streams:
            run.readings.append(Reading(each, front(each.contract, now_ns).contract_id))
            nursery.start_soon(live_stream, run, run.readings[-1])
        while trio.current_time() < plan.seconds:
            await trio.sleep(1.0)
            look(run, handlers)
        await trio.sleep_until(max((each.at + each.lasts_s + 0.1 for each in plan.faults), default=0.0))
        run.sim.clear_faults()
        for rate, seconds in zip((min(plan.rate, 2.0), 0.0), _SETTLE_S, strict=True):
            run.sim.set_trades_per_s(rate)
            await trio.sleep(seconds)
            look(run, handlers)
        run.is_stopping.set()
        judge_end(run)


async def _listen(run: Run, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async with run.gateway.open_events(capacity=1_000_000) as events:
        task_status.started()
        async for event in events:
            run.events.append(event)


async def _publish(run: Run) -> None:
    """Have something happen on an account that somebody listens to."""
    number = 0
    while True:
        number += 1
        for account in [
            account for outlet in run.gateway._streams.user.outlets for account in outlet.accounts
        ][:1]:
            entity = {"id": number, "accountId": account, **_ORDER}
            run.sim.publish(UserKind.ORDERS, account, UserAction.UPDATE, entity)
        await trio.sleep(0.37)


async def _strike(run: Run, plan: FaultPlan) -> None:
    await trio.sleep_until(plan.at)
    handle = run.sim.inject(fault_of(plan.row, random.Random(plan.seed)))
    run.struck.append(plan)
    run.counts["faults"] += 1
    if plan.row.phase in _OF_CONNECTING:
        hub = plan.row.hub if plan.row.hub in ("market", "user") else "market"
        run.sim.inject(Fault("tcp_reset", hub=hub, phase="stream", delay_s=0.5))
    await trio.sleep(plan.lasts_s)
    run.sim._faults.remove(handle.id)


async def _refresh(run: Run, at: float) -> None:
    await trio.sleep_until(at)
    try:
        await run.gateway.refresh_token()
    except px.TrioProjectXError as exc:
        run.notes[f"refresh: {type(exc).__name__}"] += 1


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lives", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, help="of the first life; a new one each time")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.seed = random.randrange(1 << 31) if options.seed is None else options.seed
    return options


def work(seed: int, lives: int) -> None:
    """Live them, and print a line of JSON for each; one that hangs ends this process, with its tracebacks."""
    logging.disable(logging.CRITICAL)  # of faults there is much to say
    for each in range(seed, seed + lives):
        faulthandler.dump_traceback_later(_HANGS_S, exit=True)
        outcome = live(draw(each))
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(attrs.asdict(outcome)), flush=True)


def live_all(seed: int, lives: int) -> Iterator[Outcome]:
    """Live them in processes of their own; behind one that hangs or kills its process another goes on."""
    at, end = seed, seed + lives
    while at < end:
        with _worker(at, end - at) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield Outcome(**json.loads(line))
                at += 1
        if process.returncode or at < end:
            yield Outcome(at, [f"it hung, or its process died: {process.returncode}"])
            at += 1


def _worker(seed: int, lives: int) -> subprocess.Popen[bytes]:
    """Live in a process whose hashes, and so the order of its sets, do not vary."""
    command = [sys.executable, "-W", "error", str(Path(__file__)), "--worker"]
    command += ["--seed", str(seed), "--lives", str(lives)]
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environ)  # noqa: S603


def main(arguments: list[str] | None = None) -> int:
    """Live random lives; return 1 if one did not hold."""
    options = parse(arguments)
    if options.worker:
        work(options.seed, options.lives)
        return 0
    began, total = time.monotonic(), Total()
    print(json.dumps({"seed": options.seed, "trio": trio.__version__}), flush=True)
    for outcome in live_all(options.seed, options.lives):
        total.add(outcome)
        if total.lives % 25 == 0:
            so_far = f"{total.lives} lives, {total.violations} violations"
            print(f"{so_far}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    took = round(time.monotonic() - began, 1)
    print(json.dumps({"proof": "model", **attrs.asdict(total), "took_s": took}))
    is_bad = bool(total.violations) or not total.lives
    print(f"{'FAIL' if is_bad else 'PASS'} model; seed {options.seed}", flush=True)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
