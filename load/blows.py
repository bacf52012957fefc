"""Blows at the scheduler steps of whole lives.

A life is lived once for each seed, several of them beside each other; for each step and blow the process is forked
(`forks`). In the child one life after the other is struck, each before a step of its own: it is cancelled, gets a
Ctrl-C (between steps, or inside a function of ours), or loses the connections of both hubs. Then it lives on to its
end, and looks at what it was, and at what is left.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final, Literal, TypeAlias

import attrs
import trio
import whole_life
from forks import WATCHDOG_S, Run, in_a_child, open_fds, threads
from ground import first_of, open_ground
from memory import frozen
from steps import _listening, _tasks_but, is_entered

from trio_projectx.simulator import Simulator

Kind: TypeAlias = Literal["cancel", "reset", "interrupt", "interrupt_inside"]
#: Before which step, and how.
Blow: TypeAlias = tuple[int, Kind]
KINDS: Final[tuple[Kind, ...]] = ("cancel", "reset", "interrupt", "interrupt_inside")
#: How long leaving may take after the blow (trio's clock), and a whole life.
EXIT_S: Final = 1.0
LIFE_S: Final = 120.0
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


@attrs.define(eq=False)
class Course:
    """One life: in the parent nothing strikes it, and it stands between two rounds; in a child one blow does."""

    seed: int
    rounds: Sequence[int] = ()
    """How many steps there were after each round, as an earlier life of this seed has shown."""
    blows: list[Blow] = attrs.Factory(list)
    """Those that are still to come, in the order of their steps."""
    outcome: Outcome = attrs.field(init=False)
    story: whole_life.Story = attrs.Factory(whole_life.Story)
    run: Run = attrs.field(init=False)
    steps: int = 0
    seen: list[int] = attrs.Factory(list)
    """How many steps there were after each round of this life itself."""
    struck_at: float | None = None
    error: BaseException | None = None

    def __attrs_post_init__(self) -> None:
        self.outcome = Outcome(self.seed, 0, None)
        self.run = Run(lambda: _run(self), self.seed)

    def walk_to(self, step: int) -> None:
        """Live on until the round in which this step is comes next."""
        with self.run.in_place():
            while self.rounds[len(self.seen)] < step:
                self.run.round()
                self.seen.append(self.steps)

    def live_on(self) -> BaseException | None:
        """Live on to the end; return what came out of the loop."""
        try:
            with self.run.in_place():
                while not self.run.is_over:
                    self.run.round()
                    self.seen.append(self.steps)
        except BaseException as exc:  # noqa: BLE001  whatever it is, it is this life's end
            return exc
        return None


class Striker(trio.abc.Instrument):
    """Counts steps, and strikes before that which the course's outcome names."""

    def __init__(self, course: Course, blows: dict[Kind, Callable[[], None]]) -> None:
        self.course, self.blows = course, blows

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count; strike."""
        course, outcome = self.course, self.course.outcome
        course.steps += 1
        if course.steps != outcome.step or outcome.kind is None:
            return
        outcome.at = task.name
        outcome.was_leaving = course.story.is_leaving
        course.story.is_struck = True
        course.story.is_patient = outcome.step % _PATIENT == 0
        course.struck_at = trio.current_time()
        self.blows[outcome.kind]()


def strike(courses: Sequence[Course], fds: frozenset[int], told: Callable[[Outcome], None]) -> None:
    """Strike each of these lives where its first blow is to be: one after the other, in one child.

    ``fds`` are the descriptors that were open before they began.
    """
    wanted = [Outcome(course.seed, *course.blows.pop(0)) for course in courses]
    for course, outcome in zip(courses, wanted, strict=True):
        course.walk_to(outcome.step)
    while wanted:
        todo = list(zip(courses[-len(wanted) :], wanted, strict=True))
        code, said = in_a_child(lambda pipe, todo=todo: _suffer(todo, fds | {pipe}, pipe))  # type: ignore[misc]
        lines = said.splitlines()
        for line in lines:
            told(Outcome(**json.loads(line)))
        del wanted[: len(lines)]
        if wanted:  # it says nothing of the one that it died of; those behind that are for the next child
            told(_without_words(wanted.pop(0), code))


def _without_words(outcome: Outcome, code: int) -> Outcome:
    what = "hung in real time" if code == -signal.SIGALRM else f"died with {code}"
    outcome.wrong.append(f"the process {what}")
    return outcome


def _suffer(todo: Sequence[tuple[Course, Outcome]], fds: frozenset[int], pipe: int) -> None:
    """In a child: have each life struck and live on to its end, and write what became of it."""
    is_thorough = not todo[0][1].step % _THOROUGH
    if not is_thorough:
        gc.freeze()
        gc.disable()
    for course, outcome in todo:
        signal.alarm(WATCHDOG_S)
        course.run.be_alone()
        course.outcome = outcome
        fds -= course.run.fds
        end(course, oldest=2 if is_thorough and course is todo[-1][0] else 0)
        if left := open_fds() - fds:
            outcome.wrong.append(f"descriptors {sorted(left)} are open")
        if threads() > 1:  # a child begins with one
            outcome.wrong.append(f"{threads()} threads")
        os.write(pipe, json.dumps(attrs.asdict(outcome)).encode() + b"\n")


def end(course: Course, oldest: int = 2) -> None:
    """Have a life come to its end, and look at it, and at the garbage of generations up to the ``oldest``."""
    complaints: list[str] = []
    with _listening(complaints):
        outside = course.live_on()
        gc.collect(oldest)
    _conclude(course, complaints, outside)


async def _run(course: Course) -> None:
    async with trio.open_nursery() as nursery:
        sim, server = await nursery.start(_serve, course.seed)
        door = whole_life.TellingDoor(sim)
        others = _tasks_but(server)
        scope = trio.CancelScope()
        striker = Striker(course, _blows(course, door, scope))
        life = whole_life.Life(sim, door, course.story)
        trio.lowlevel.add_instrument(striker)
        try:
            await _observe(life, course, scope)
        finally:
            sys.setprofile(None)
            trio.lowlevel.remove_instrument(striker)
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


# Lives beside each other


class _SeededRandom(random.Random):
    """What the library draws its back-off from is seeded too, so that a step is the same step again."""

    def __init__(self, x: int | None = None) -> None:
        super().__init__(Run.seed if x is None else x)


def prepare() -> None:
    """Make this process one for sweeping: nothing random in it, and nothing old looked at by each collection."""
    logging.getLogger("trio_projectx").setLevel(logging.CRITICAL)
    random.Random = _SeededRandom  # type: ignore[misc]  # this process does nothing else
    # Trio then sorts tasks before it shuffles them; their order would be that of their addresses.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True


def rounds_of(seed: int) -> list[int]:
    """Return how many steps the life of a seed has had after each round, when nothing strikes it."""
    course = Course(seed)
    end(course)
    if course.outcome.wrong:
        raise RuntimeError(f"a life that nothing strikes is not whole: {course.outcome}")
    return course.seen


def blows_of(steps: int, points: int) -> list[Blow]:
    """Return every blow at every step, or, if that is more than ``points``, so many of them."""
    every = max(1.0, steps * len(KINDS) / points)
    # Blows take turns, so that a thin sample has as many of each, at different steps.
    count = int(steps * len(KINDS) / every)
    return [(int(n * every) // len(KINDS) + 1, KINDS[n % len(KINDS)]) for n in range(count)]


def strike_all_of(seeds: Sequence[int], points: int, each: int, told: Callable[[Outcome], None]) -> None:
    """Strike each life of these seeds at every step with every blow, or, if that is more than ``each``, at so many.

    ``points`` are for all: when they are spent, the lives that are left are not struck.
    """
    prepare()
    courses: list[Course] = []
    for seed in seeds:
        if points > 0:
            rounds = rounds_of(seed)
            courses.append(Course(seed, rounds, blows_of(rounds[-1], min(each, points))))
            points -= len(courses[-1].blows)
    _strike_all(courses, told)


def strike_once(seed: int, step: int, kind: Kind) -> Outcome:
    """Strike at one place, and let everything be told by the log."""
    prepare()
    rounds = rounds_of(seed)  # as `strike_all_of` does: some things are done once in a process
    logging.basicConfig(level=logging.DEBUG)
    logging.getLogger("trio_projectx").setLevel(logging.DEBUG)
    found: list[Outcome] = []
    _strike_all([Course(seed, rounds, [(step, kind)])], found.append)
    return found[0]


def _strike_all(courses: Sequence[Course], told: Callable[[Outcome], None]) -> None:
    complaints: list[str] = []
    fds = open_fds()
    with frozen(), _listening(complaints):
        while living := [course for course in courses if course.blows]:
            strike(living, fds, told)
        for course in courses:
            end(course)
    wrong = [*complaints, *(each for course in courses for each in course.outcome.wrong)]
    if wrong:
        raise RuntimeError(f"a life that nothing strikes is not whole: {wrong}")
