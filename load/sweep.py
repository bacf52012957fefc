"""`nox -s sweep`: a blow at every scheduler step of a whole life, from many seeds, until there were 100,000.

A life is lived once for each seed; before each step the process is forked (`forks`), and the child is struck: it is
cancelled, gets a Ctrl-C (between steps, or inside a function of ours), or loses the connections of both hubs. Then it
lives on to its end, and looks at what it was, and at what is left. Each place that does not hold is printed with what
goes to it again: ``--seed S --step K --kind KIND``.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final, Literal, TypeAlias

import attrs
import trio
import whole_life
from forks import fork_here, open_fds, threads
from ground import first_of, open_ground, run_virtually, seed_scheduler
from memory import frozen
from steps import _interruptible, _listening, _tasks_but, is_entered

from trio_projectx.simulator import Simulator

Kind: TypeAlias = Literal["cancel", "reset", "interrupt", "interrupt_inside"]
KINDS: Final[tuple[Kind, ...]] = ("cancel", "reset", "interrupt", "interrupt_inside")
#: How long leaving may take after the blow (trio's clock), and a whole life.
EXIT_S: Final = 1.0
LIFE_S: Final = 120.0
#: After how many blows of a life it is told how far it is.
_TELL: Final = 2000
#: Each so-manieth child looks for garbage of before the blow too, or waits for its gap to be filled: they take longer.
_THOROUGH: Final = 4
_PATIENT: Final = 16


@attrs.define
class Outcome:
    """What became of one life, or of what was left of it after a blow."""

    seed: int
    step: int
    kind: Kind | None
    at: str = ""
    """The task whose step the blow came before."""
    reached: str = ""
    late_s: float = 0.0
    whole_bars: int = 0
    was_leaving: bool = False
    error: str = ""
    outside: str = ""
    wrong: list[str] = attrs.Factory(list)


@attrs.define
class Course:
    """One run of the loop: in the parent the life that nothing strikes, in a child what follows a blow."""

    seed: int
    plan: Callable[[int], tuple[Kind, ...]]
    """The blows of a step."""
    told: Callable[[Outcome], None]
    outcome: Outcome = attrs.field(init=False)
    story: whole_life.Story = attrs.Factory(whole_life.Story)
    pipe: int | None = None
    """In a child: where its outcome goes."""
    steps: int = 0
    struck_at: float | None = None
    fds: frozenset[int] = frozenset()
    error: BaseException | None = None

    def __attrs_post_init__(self) -> None:
        self.outcome = Outcome(self.seed, 0, None)


class Forker(trio.abc.Instrument):
    """Counts steps, and forks before those that the plan names."""

    def __init__(self, course: Course, blows: dict[Kind, Callable[[], None]]) -> None:
        self.course, self.blows = course, blows

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Fork for each blow of this step; children go on, struck."""
        course = self.course
        course.steps += 1
        if course.pipe is not None:
            return
        for kind in course.plan(course.steps):
            name = task.name

            def strike(pipe: int, kind: Kind = kind, name: str = name) -> None:
                course.pipe = pipe
                course.outcome = Outcome(course.seed, course.steps, kind, name)
                course.outcome.was_leaving = course.story.is_leaving
                course.story.is_struck = True
                course.story.is_patient = course.steps % _PATIENT == 0
                if course.steps % _THOROUGH:
                    gc.freeze()
                    gc.disable()
                course.struck_at = trio.current_time()
                self.blows[kind]()

            code, said = fork_here(strike)
            if code < 0 and course.pipe is not None:
                return
            course.told(_outcome_of(course, kind, name, code, said))


def _outcome_of(course: Course, kind: Kind, name: str, code: int, said: bytes) -> Outcome:
    """Return what a child said of itself; one that died, or hung until it was killed, says nothing."""
    if code == 0:
        return Outcome(**json.loads(said))
    what = "hung in real time" if code == -signal.SIGALRM else f"died with {code}"
    return Outcome(course.seed, course.steps, kind, name, wrong=[f"the process {what}"])


def run(course: Course) -> None:
    """Live one life; children that were forked in it end in here."""
    course.fds = open_fds()
    complaints: list[str] = []
    outside: BaseException | None = None
    seed_scheduler(course.seed)
    try:
        with _interruptible(), _listening(complaints):
            try:
                run_virtually(lambda: _run(course))
            except BaseException as exc:  # noqa: BLE001  whatever it is, it is this life's end
                outside = exc
            gc.collect()
        _conclude(course, complaints, outside)
        if course.pipe is not None:
            os.write(course.pipe, json.dumps(attrs.asdict(course.outcome)).encode())
            os._exit(0)
    finally:
        if course.pipe is not None:  # a child never gets out of here
            traceback.print_exc()
            os._exit(70)


async def _run(course: Course) -> None:
    async with trio.open_nursery() as nursery:
        sim, server = await nursery.start(_serve, course.seed)
        door = whole_life.TellingDoor(sim)
        others = _tasks_but(server)
        scope = trio.CancelScope()
        forker = Forker(course, _blows(course, door, scope))
        life = whole_life.Life(sim, door, course.story)
        trio.lowlevel.add_instrument(forker)
        try:
            await _observe(life, course, scope)
        finally:
            sys.setprofile(None)
            trio.lowlevel.remove_instrument(forker)
            if course.struck_at is not None:
                course.outcome.late_s = trio.current_time() - course.struck_at
            _count_left(course, door, _tasks_but(server) - others)
            with trio.CancelScope(shield=True):
                await _hear(sim, course)
            nursery.cancel_scope.cancel()


async def _serve(
    seed: int, task_status: trio.TaskStatus[tuple[Simulator, trio.lowlevel.Task]] = trio.TASK_STATUS_IGNORED
) -> None:
    async with open_ground(seed=seed, trades_per_s=8) as (sim, _):
        task_status.started((sim, trio.lowlevel.current_task()))
        await trio.sleep_forever()


async def _observe(life: whole_life.Life, course: Course, scope: trio.CancelScope) -> None:
    try:
        with trio.move_on_after(LIFE_S) as limit, scope:
            await life.live()
        if limit.cancelled_caught:
            course.outcome.wrong.append(f"it hung ({course.story.reached})")
    except trio.Cancelled:
        raise
    except BaseException as exc:  # noqa: BLE001, ASYNC103  it is looked at by `_conclude`
        course.error = exc


def _blows(
    course: Course, door: whole_life.TellingDoor, scope: trio.CancelScope
) -> dict[Kind, Callable[[], None]]:
    def interrupt_next_call(frame: FrameType, event: str, arg: object) -> None:
        if is_entered(frame, event):
            sys.setprofile(None)
            course.struck_at = trio.current_time()  # it may be a while until a function of ours is entered
            signal.raise_signal(signal.SIGINT)

    return {
        "cancel": scope.cancel,
        "reset": door.reset_hubs,
        # In the scheduler's own code trio's handler does not raise: it has the main task raise.
        "interrupt": lambda: signal.raise_signal(signal.SIGINT),
        "interrupt_inside": lambda: sys.setprofile(interrupt_next_call),
    }


def _count_left(course: Course, door: whole_life.TellingDoor, tasks: int) -> None:
    """Count what is left at the client's end, before anything else can tidy it up."""
    wrong = course.outcome.wrong
    if tasks or door.open_streams:
        wrong.append(f"left: {tasks} tasks, {len(door.open_streams)} streams")
    if door.went_on:
        wrong.append(f"{door.went_on} streams were sent more behind half a frame")


async def _hear(sim: Simulator, course: Course) -> None:
    """Give the simulator time to see that its peers have gone, and hold what came against its truth."""
    with trio.move_on_after(20):
        while sim.statistics().hub_connections_open:
            await trio.sleep(0.1)
    if sim.statistics().hub_connections_open:
        course.outcome.wrong.append("the simulator has connections still")
    wrong, course.outcome.whole_bars = whole_life.check(course.story, sim)
    course.outcome.wrong += wrong


def _conclude(course: Course, complaints: list[str], outside: BaseException | None) -> None:
    outcome, story = course.outcome, course.story
    outcome.reached = story.reached
    outcome.error, outcome.outside = _said(course.error), _said(outside)
    outcome.wrong += complaints
    left = open_fds() - course.fds - {course.pipe}
    if left:
        outcome.wrong.append(f"descriptors {sorted(left)} are open")
    if outcome.kind is not None and threads() > 1:  # a child begins with one
        outcome.wrong.append(f"{threads()} threads")
    if outcome.kind not in (None, "reset") and outcome.late_s > EXIT_S:
        outcome.wrong.append(f"leaving took {outcome.late_s:g} s")
    if not _ends_as_expected(outcome, story, course.error, outside):
        outcome.wrong.append(
            f"it ended with {outcome.error or 'nothing'}, outside {outcome.outside or 'nothing'}"
        )


def _ends_as_expected(
    outcome: Outcome, story: whole_life.Story, error: BaseException | None, outside: BaseException | None
) -> bool:
    if outcome.kind in ("interrupt", "interrupt_inside"):
        felt = [exc for exc in (error, outside) if exc is not None]
        if outcome.kind == "interrupt_inside" and not felt:
            return story.reached == "end"  # no function of ours was entered any more
        return len(felt) == 1 and isinstance(first_of(felt[0]), KeyboardInterrupt)
    is_at_end = story.reached == "end" or outcome.kind == "cancel"
    is_back = outcome.kind != "reset" or outcome.was_leaving or story.came_back
    return error is None and outside is None and is_at_end and is_back


def _said(exc: BaseException | None) -> str:
    return "" if exc is None else f"{type(exc).__name__}: {exc}"[:300]


# Lives in a row


class _SeededRandom(random.Random):
    """What the library draws its back-off from is seeded too, so that a step is the same step again."""

    seed_of_all = 0

    def __init__(self, x: int | None = None) -> None:
        super().__init__(self.seed_of_all if x is None else x)


def prepare(seed: int) -> None:
    """Make this process one for sweeping: nothing random in it, and nothing old looked at by each collection."""
    logging.getLogger("trio_projectx").setLevel(logging.CRITICAL)
    _SeededRandom.seed_of_all = seed
    random.Random = _SeededRandom  # type: ignore[misc]  # this process does nothing else
    # Trio then sorts tasks before it shuffles them; their order would be that of their addresses.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True


def steps_of(seed: int) -> int:
    """Return how many steps the life of a seed has, when nothing strikes it."""
    course = Course(seed, lambda _: (), _nothing)
    run(course)
    if course.outcome.wrong:
        raise RuntimeError(f"a life that nothing strikes is not whole: {course.outcome}")
    return course.steps


def _nothing(_: Outcome) -> None:
    """Nobody is told."""


def sweep(seed: int, points: int, told: Callable[[Outcome], None]) -> None:
    """Strike the life of a seed at every step with every blow, or, if that is more than ``points``, at so many."""
    prepare(seed)
    steps = steps_of(seed)
    every = max(1.0, steps * len(KINDS) / points)
    # Blows and steps are walked through together, so that a thin sample has all blows, at different steps.
    chosen = {int(n * every) for n in range(int(steps * len(KINDS) / every))}

    def plan(step: int) -> tuple[Kind, ...]:
        first = (step - 1) * len(KINDS)
        return tuple(kind for n, kind in enumerate(KINDS) if first + n in chosen)

    with frozen():
        run(Course(seed, plan, told))


def strike_once(seed: int, step: int, kind: Kind) -> Outcome:
    """Strike at one place, and let everything be told by the log."""
    prepare(seed)
    steps_of(seed)  # as `sweep` does: some things are done once in a process
    logging.basicConfig(level=logging.DEBUG)
    logging.getLogger("trio_projectx").setLevel(logging.DEBUG)
    found: list[Outcome] = []
    run(Course(seed, lambda at: (kind,) if at == step else (), found.append))
    return found[0]


# The session


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=100_000, help="blows in all")
    parser.add_argument("--seeds", type=int, help="lives; without it as many as the points need")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--seed", type=int, help="of the first life; a new one each time")
    parser.add_argument("--step", type=int, help="strike once, before this step")
    parser.add_argument("--kind", choices=KINDS, default="cancel", help="strike so (with --step)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.seed = random.randrange(1 << 31) if options.seed is None else options.seed
    return options


@attrs.define
class Total:
    """What all blows come to."""

    points: int = 0
    lives: int = 0
    kinds: Counter[str] = attrs.Factory(Counter)
    reached: Counter[str] = attrs.Factory(Counter)
    latest_s: float = 0.0
    """The longest way out, of those that were to leave."""
    whole_bars: int = 0
    violations: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.points += 1
        self.kinds[str(outcome.kind)] += 1
        self.reached[outcome.reached] += 1
        self.whole_bars += outcome.whole_bars
        self.violations += bool(outcome.wrong)
        if outcome.kind != "reset":
            self.latest_s = max(self.latest_s, outcome.late_s)


def work(seed: int, points: int) -> Total:
    """Sweep one life; print what does not hold."""
    total = Total(lives=1)

    def told(outcome: Outcome) -> None:
        total.add(outcome)
        if total.points % _TELL == 0:
            print(f"seed {seed}: {total.points}, {total.violations} violations", file=sys.stderr, flush=True)
        if outcome.wrong:
            again = f"--seed {seed} --step {outcome.step} --kind {outcome.kind}"
            where = f"{outcome.at}, {outcome.reached}"
            print(f"FAIL {again} ({where}): {outcome.wrong[:3]}", file=sys.stderr, flush=True)

    sweep(seed, points, told)
    return total


def main(arguments: list[str] | None = None) -> int:
    """Sweep, or strike once; return 1 if something did not hold."""
    options = parse(arguments)
    if options.worker:
        print(json.dumps(attrs.asdict(work(options.seed, options.points))), flush=True)
        return 0
    if options.step is not None:
        outcome = strike_once(options.seed, options.step, options.kind)
        print(json.dumps(attrs.asdict(outcome), indent=1))
        return bool(outcome.wrong)
    return _sweep_all(options)


def _sweep_all(options: argparse.Namespace) -> int:
    began, total = time.monotonic(), Total()
    print(json.dumps({"seed": options.seed, "trio": trio.__version__}), flush=True)
    running: list[subprocess.Popen[bytes]] = []
    begun = 0
    while True:
        wanted = options.points - total.points - sum(_expected(options, total) for _ in running)
        is_more = begun < options.seeds if options.seeds else wanted > 0
        if is_more and len(running) < options.jobs:
            points = options.points // options.seeds if options.seeds else max(wanted, 1)
            running.append(_worker(options.seed + begun, points))
            begun += 1
            continue
        if not running:
            break
        _merge(total, running.pop(0))
        print(
            f"{total.points} blows, {total.violations} violations, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    took = round(time.monotonic() - began, 1)
    print(json.dumps({"proof": "sweep", **attrs.asdict(total), "took_s": took}))
    is_bad = bool(total.violations) or total.points < min(options.points, 1)
    print(f"{'FAIL' if is_bad else 'PASS'} sweep; seed {options.seed}", flush=True)
    return int(is_bad)


def _expected(options: argparse.Namespace, total: Total) -> int:
    """Guess how many blows a life that is under way will have."""
    return min(options.points, total.points // total.lives if total.lives else 10_000)


def _worker(seed: int, points: int) -> subprocess.Popen[bytes]:
    """Sweep a life in a process of its own: its hashes, and so the order of its sets, do not vary."""
    command = [sys.executable, "-W", "error", str(Path(__file__)), "--worker", "--seed", str(seed)]
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.Popen([*command, "--points", str(points)], stdout=subprocess.PIPE, env=environ)  # noqa: S603


def _merge(total: Total, worker: subprocess.Popen[bytes]) -> None:
    said, _ = worker.communicate()
    if worker.returncode:
        raise RuntimeError(f"a worker ended with {worker.returncode}")
    part = json.loads(said)
    total.kinds.update(part.pop("kinds"))
    total.reached.update(part.pop("reached"))
    total.latest_s = max(total.latest_s, part.pop("latest_s"))
    for name, value in part.items():
        setattr(total, name, getattr(total, name) + value)


if __name__ == "__main__":
    sys.exit(main())
