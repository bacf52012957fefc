"""Something strikes at the n-th step of the scheduler, for each n of a whole life.

The life: connect, stream, refresh the token (a second connection takes over), lose every connection, reconnect,
stream, close. What may strike: a cancellation, one with a peer that has gone dumb, a reset of every connection, a stall
of every connection, a Ctrl-C that trio hands to the main task, and a Ctrl-C in the middle of our own code, in whichever
task is running.
"""

from __future__ import annotations

import gc
import inspect
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, Literal, TypeAlias, TypeVar

import attrs
import httpcore2
import trio
from ground import (
    CONTRACT,
    Door,
    config_for,
    first_of,
    open_ground,
    run_virtually,
    seed_scheduler,
    unraisables,
)
from judge import Received, judge, judge_bars
from memory import frozen

import trio_projectx as px
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.simulator import Fault, Simulator

T = TypeVar("T")
Blow: TypeAlias = Literal["cancel", "cancel_dumb", "reset", "stall", "interrupt", "interrupt_inside"]
BLOWS: Final[tuple[Blow, ...]] = ("cancel", "cancel_dumb", "reset", "stall", "interrupt", "interrupt_inside")
#: What a life is to outlive.
SURVIVED: Final = ("reset", "stall")

#: How long leaving may take after the blow (trio's clock); a dumb peer has ``close_s`` more.
EXIT_S: Final = 1.0
CLOSE_S: Final = 5.0
#: How long a life may take at most: longer is a hang.
LIFE_S: Final = 200.0
_OURS: Final = str(Path(px.__file__).parent)
#: The simulator, which uses modules of ours too; and httpcore2, between whose hands a connection that was just opened
#: has no owner: what it does with a Ctrl-C there is its own matter.
_THEIRS: Final = (str(Path(_OURS) / "simulator"), str(Path(httpcore2.__file__).parent))
_NOT_PLAIN: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class Striker(trio.abc.Instrument):
    """Counts the steps of all tasks, and strikes before the n-th."""

    def __init__(self, at: int | None, strike: Callable[[], None]) -> None:
        self.at = at
        self.strike = strike
        self.steps = 0
        self.struck_at: float | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count a step that is about to be made."""
        self.steps += 1
        if self.steps == self.at:
            self.struck_at = trio.current_time()
            self.strike()


@attrs.define
class Life:
    """What became of one life."""

    blow: Blow
    at: int | None
    is_whole: bool = False
    """Whether it has streams of bars, quotes and user events too, and the user hub with them."""
    bars: list[px.Bar | px.BarRevised | px.Gap] = attrs.Factory(list)
    whole_bars: int = 0
    """Bars that were not partial, each equal to that of the truth."""
    steps: int = 0
    struck: bool = False
    reached: str = "start"
    """How far it came: start, streaming, refreshed, reset, back, end."""
    received: Received = attrs.Factory(Received)
    error: BaseException | None = None
    outside: BaseException | None = None
    """What came out of the loop."""
    late_s: float = 0.0
    """How long it took from the blow to the end of the client (trio's clock)."""
    tasks_left: int = 0
    streams_left: int = 0
    connections_left: int = 0
    """Hub connections that the simulator has to believe in still, long after."""
    complaints: list[str] = attrs.Factory(list)
    """What the interpreter had to say: what was unraisable, and warnings."""
    was_live: bool = False
    untrue: str | None = None
    hung: bool = False

    def faults(self) -> list[str]:
        """Return what is wrong with it; nothing for a life as it should be."""
        wrong = list(self.complaints)
        if self.hung:
            wrong.append(f"it hung ({self.reached})")
        if self.tasks_left or self.streams_left or self.connections_left:
            wrong.append(
                f"left: tasks {self.tasks_left}, streams {self.streams_left}, connections {self.connections_left}"
            )
        if self.untrue is not None:
            wrong.append(self.untrue)
        if self.struck and self.blow not in SURVIVED and self.late_s > self._may_take:
            wrong.append(f"leaving took {self.late_s:g} s")
        if not self._ends_as_expected:
            wrong.append(f"it ended with {self.error!r}, outside {self.outside!r} ({self.reached})")
        return wrong

    @property
    def count(self) -> int:
        """How many trades are taken between its events."""
        return 40 if self.is_whole else 10

    @property
    def _may_take(self) -> float:
        return EXIT_S + (CLOSE_S if self.blow == "cancel_dumb" else 0.0)

    @property
    def _ends_as_expected(self) -> bool:
        error = self.error
        if error is None:
            # Behind the client's end an interrupt strikes what stands around it.
            may_be_short = self.blow in ("cancel", "cancel_dumb") and self.struck
            is_felt = isinstance(self.outside, BaseException) == (self.blow == "interrupt" and self.struck)
            is_quiet = self.outside is None or isinstance(first_of(self.outside), KeyboardInterrupt)
            return is_quiet and is_felt and (self.reached == "end" or may_be_short)
        if self.blow in SURVIVED:
            # The first connection of all, and REST, fail at once; what has been live goes on.
            return isinstance(error, px.TrioProjectXError) and not self.was_live
        return isinstance(error, KeyboardInterrupt) and self.blow.startswith("interrupt")


async def live(door: Door, life: Life) -> None:
    """Connect, stream, refresh, lose, reconnect, stream, close."""
    config = config_for(door, timeouts=px.Timeouts(close_s=CLOSE_S), negotiate=life.is_whole)
    async with px.open_gateway(config) as gateway, gateway.open_events() as events:
        async with gateway.open_trades(CONTRACT, events=True) as trades, AsyncExitStack() as stack:
            if life.is_whole:
                await _open_the_rest(gateway, life, stack)
            life.was_live = True
            life.reached = "streaming"
            await _take(trades, life.received, life.count)
            await _refresh(gateway, events)
            life.reached = "refreshed"
            await _take(trades, life.received, life.count)
            door.reset_all()
            life.reached = "reset"
            gaps = len(life.received.gaps)
            while len(life.received.gaps) == gaps:
                await _take(trades, life.received, 1)
            life.reached = "back"
            await _take(trades, life.received, 3 * life.count)  # so that there are whole bars
    life.reached = "end"


async def _open_the_rest(gateway: px.Gateway, life: Life, stack: AsyncExitStack) -> None:
    """Open a stream of each other kind; each is read by a task of its own."""
    bars = await stack.enter_async_context(gateway.open_bars(CONTRACT, "1s", events=True))
    quotes = await stack.enter_async_context(gateway.open_quotes(CONTRACT, events=True))
    user = await stack.enter_async_context(gateway.open_user_events())
    nursery = await stack.enter_async_context(open_background_tasks())
    nursery.start_soon(_collect, bars, life.bars)
    nursery.start_soon(_collect, quotes, [])
    nursery.start_soon(_collect, user, [])


async def _collect(stream: trio.abc.ReceiveChannel[T], into: list[T]) -> None:
    async for item in stream:
        into.append(item)


async def _refresh(gateway: px.Gateway, events: px.Stream[px.ConnectionEvent | px.Dropped]) -> None:
    try:
        await gateway.refresh_token()
    except px.ConnectError:  # a reset may strike REST, and this call is not repeated by itself
        await gateway.refresh_token()
    # One that was reset just then is not replaced: it comes back with the new token.
    with trio.move_on_after(1):
        while not isinstance(await events.receive(), px.ConnectionReplaced):
            pass


async def _take(trades: px.Stream[px.Trade | px.Gap], into: Received, count: int) -> None:
    for _ in range(count):
        into.take(await trades.receive())


def run_life(blow: Blow, at: int | None, seed: int = 0, *, is_whole: bool = False) -> Life:
    """Run one life, in a loop of its own, with a blow before scheduler step ``at`` (None: without)."""
    life = Life(blow, at, is_whole)
    seed_scheduler(seed)
    with _interruptible(), _listening(life.complaints):
        try:
            run_virtually(lambda: _run_life(life))
        except BaseException as exc:  # noqa: BLE001  whatever it is, it is this life's end
            life.outside = exc
        gc.collect()
    return life


async def _run_life(life: Life) -> None:
    async with trio.open_nursery() as nursery:
        served = await nursery.start(_serve)
        sim, door, server = served
        others = _tasks_but(server)
        scope = trio.CancelScope()
        striker = Striker(life.at, _strike(life.blow, sim, door, scope))
        trio.lowlevel.add_instrument(striker)
        try:
            await _observe(door, life, scope)
        finally:
            sys.setprofile(None)
            trio.lowlevel.remove_instrument(striker)
            life.steps, life.struck = striker.steps, striker.struck_at is not None
            life.streams_left = len(door.open_streams)
            if striker.struck_at is not None:
                life.late_s = trio.current_time() - striker.struck_at
            life.tasks_left = _tasks_but(server) - others
            with trio.CancelScope(shield=True):
                await _hear_the_simulator(sim, life)
            nursery.cancel_scope.cancel()


async def _observe(door: Door, life: Life, scope: trio.CancelScope) -> None:
    try:
        with trio.move_on_after(LIFE_S) as limit, scope:
            await live(door, life)
        life.hung = limit.cancelled_caught
    except trio.Cancelled:
        raise
    except BaseException as exc:  # noqa: BLE001, ASYNC103  it is looked at by `Life.faults`
        life.error = exc


async def _hear_the_simulator(sim: Simulator, life: Life) -> None:
    """Give it time to see that its peers have gone, and ask it for the truth."""
    sim.clear_faults()
    with trio.move_on_after(20):
        while sim.statistics().hub_connections_open:
            await trio.sleep(0.1)
    life.connections_left = sim.statistics().hub_connections_open
    try:
        judge(life.received, sim.truth())
        life.whole_bars = judge_bars(life.bars, sim.truth())
    except AssertionError as exc:
        life.untrue = str(exc)


def _tasks_but(server: trio.lowlevel.Task) -> int:
    """Count the tasks that are not the simulator's."""

    def under(task: trio.lowlevel.Task) -> int:
        children = (child for nursery in task.child_nurseries for child in nursery.child_tasks)
        return 1 + sum(map(under, children))

    return trio.lowlevel.current_statistics().tasks_living - under(server)


async def _serve(task_status: trio.TaskStatus[tuple[Simulator, Door, trio.lowlevel.Task]]) -> None:
    async with open_ground(seed=1) as (sim, door):
        task_status.started((sim, door, trio.lowlevel.current_task()))
        await trio.sleep_forever()


def _strike(blow: Blow, sim: Simulator, door: Door, scope: trio.CancelScope) -> Callable[[], None]:
    def dumb() -> None:
        sim.inject(Fault("half_open", count=0))
        scope.cancel()

    def reset() -> None:
        door.reset_all()

    def stall() -> None:
        if streams := len(door.open_streams):
            sim.inject(Fault("half_open", count=streams))

    def interrupt() -> None:
        # In the scheduler's own code trio's handler does not raise: it has the main task raise.
        signal.raise_signal(signal.SIGINT)

    def interrupt_inside() -> None:
        sys.setprofile(_interrupt_next_call)

    return {
        "cancel": scope.cancel,
        "cancel_dumb": dumb,
        "reset": reset,
        "stall": stall,
        "interrupt": interrupt,
        "interrupt_inside": interrupt_inside,
    }[blow]


def _interrupt_next_call(frame: FrameType, event: str, arg: object) -> None:
    """Strike where the next plain function of ours is entered: there, and not at an await, Python looks for signals."""
    if is_entered(frame, event):
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)


def is_entered(frame: FrameType, event: str) -> bool:
    """Tell whether a plain function of the client is being entered."""
    code = frame.f_code
    if event != "call" or code.co_flags & _NOT_PLAIN or not code.co_filename.startswith(_OURS):
        return False
    return not any(name.startswith(_THEIRS) for name in _files_above(frame))


def _files_above(frame: FrameType) -> Iterator[str]:
    """Give the files of ``frame`` and of its callers."""
    above: FrameType | None = frame
    while above is not None:
        yield above.f_code.co_filename
        above = above.f_back


@contextmanager
def _interruptible() -> Generator[None]:
    """Take SIGINT as a terminal's program does: what a shell starts in the background ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _listening(complaints: list[str]) -> Generator[None]:
    """Take down what would only be printed: exceptions that nobody could catch, and warnings."""
    with unraisables(complaints), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    complaints += [f"{each.category.__name__}: {each.message}" for each in caught]


def sweep(
    blow: Blow, every: int = 1, seed: int = 0, first: int = 1, *, is_whole: bool = False
) -> Iterator[Life]:
    """Run a life for each ``every``-th step, until a life ends before its blow."""
    at = first
    with frozen():  # what was there before is not looked at after each life
        while True:
            life = run_life(blow, at, seed, is_whole=is_whole)
            if not life.struck:
                return
            yield life
            at += every
