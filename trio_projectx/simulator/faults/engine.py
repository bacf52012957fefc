"""All faults of one simulator: what is in place, which connection each meets, and the scripts that put them in."""

from __future__ import annotations

import fnmatch
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

import attrs
import trio

from trio_projectx._errors import ConfigError
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.simulator.faults.answers import ANSWERS, PATHS, Now, composed
from trio_projectx.simulator.faults.armed import Armed, FaultHandle, FaultState
from trio_projectx.simulator.faults.calls import CALLS
from trio_projectx.simulator.faults.catalogue import Level
from trio_projectx.simulator.faults.filters import FILTERS
from trio_projectx.simulator.faults.inserts import INSERTS
from trio_projectx.simulator.faults.line import Line
from trio_projectx.simulator.faults.model import Fault
from trio_projectx.simulator.faults.progress import Where
from trio_projectx.simulator.faults.requests import REQUESTS
from trio_projectx.simulator.faults.script import Step
from trio_projectx.simulator.faults.wire import WIRE, WIRE_SENDS
from trio_projectx.simulator.http import Meddle, Raw, Request, Response, Rework
from trio_projectx.simulator.identity import Identity
from trio_projectx.simulator.settings import Counters
from trio_projectx.simulator.streams import reset_stream
from trio_projectx.simulator.turns import Arguments, Method, Run, Turn

#: Faults that are remembered, those that are over included; and streams that a fault keeps open.
FAULTS_MAX: Final = 10_000
_KEPT_MAX: Final = 1024
#: How often a script looks whether what it waits for has happened.
_LOOK_S: Final = 0.02


class Faults:
    """The faults of one simulator.

    ``expire_tokens`` makes every token given out so far invalid; ``now`` tells up to when a contract has traded.
    """

    def __init__(
        self,
        tasks: BackgroundTasks,
        counters: Counters,
        expire_tokens: Callable[[], object],
        keep_alive_s: float = 15.0,
        seed: int = 0,
        now: Now = lambda _: 0,
    ) -> None:
        self._tasks = tasks
        self._counters = counters
        self._expire_tokens = expire_tokens
        self._keep_alive_s = keep_alive_s
        self._seed = seed
        self._now = now
        self._armed: dict[str, Armed] = {}
        """In place, by id, oldest first."""
        self._past: dict[str, Armed | FaultState] = {}
        """Over, by id; of one that was taken out only what there is to tell."""
        self._lines: dict[int, Line] = {}
        self._by_id: dict[str, Line] = {}
        self._kept: list[trio.abc.Stream] = []
        self._numbers: dict[str, int] = {}
        self._accepted = 0
        self._made = 0

    # -- for whoever wants something to go wrong

    def inject(self, fault: Fault) -> FaultHandle:
        """Put ``fault`` in; it strikes when it is due, at once where it is.

        :raises ConfigError: if there are ten thousand already.
        """
        if len(self._armed) + len(self._past) >= FAULTS_MAX:
            if not self._past:
                raise ConfigError(f"there are {FAULTS_MAX} faults in place; take some out")
            del self._past[next(iter(self._past))]
        self._made += 1
        name = f"f{self._made}"
        armed = Armed(
            name,
            fault,
            trio.current_time(),
            self._accepted,
            self._retire,
            seed=f"{self._seed}/fault/{name}",
        )
        self._armed[armed.id] = armed
        if fault.level in _OF_LINES:
            for line in list(self._lines.values()):
                line.add(armed)
        return FaultHandle(armed)

    def states(self) -> tuple[FaultState, ...]:
        """Return all faults that were put in, also those that are over, oldest first."""
        past = (each.state if isinstance(each, Armed) else each for each in self._past.values())
        return (*past, *(armed.state for armed in self._armed.values()))

    @property
    def struck(self) -> int:
        """How often faults have struck, in all."""
        return sum(armed.struck for armed in (*self._past.values(), *self._armed.values()))

    def remove(self, name: str) -> bool:
        """Take the fault with this id out, and end what it has begun; False if there is none."""
        armed = self._armed.get(name) or self._past.get(name)
        if not isinstance(armed, Armed):
            return armed is not None
        armed.remove()
        for line in list(self._lines.values()):
            line.remove(armed)
        self._retire(armed)
        self._past[name] = armed.state
        return True

    def clear(self) -> int:
        """Take all faults out, end what they have begun, close what they kept open; return how many."""
        names = [*self._armed, *(name for name, each in self._past.items() if isinstance(each, Armed))]
        for name in names:
            self.remove(name)
        self.end()
        return len(names)

    def run_script(self, steps: Iterable[Step]) -> None:
        """Do each step when it is due; `at_s` counts from now.

        Steps of one instant are done in their order, and those without a time before this returns.
        """
        start = trio.current_time()
        timed: list[Step] = []
        for step in steps:
            if step.after is not None:
                self.start_soon(self._run_after, step, start)
            elif step.at_s:
                timed.append(step)
            else:
                self._do(step)
        if timed:
            self.start_soon(self._run_timed, sorted(timed, key=lambda step: step.at_s), start)

    async def _run_timed(self, steps: list[Step], start: float) -> None:
        for step in steps:
            await trio.sleep_until(start + step.at_s)
            self._do(step)

    async def _run_after(self, step: Step, start: float) -> None:
        await trio.sleep_until(start + step.at_s)
        while not self._has_happened(step):  # noqa: ASYNC110 -- it may be anything, in any order
            await trio.sleep(_LOOK_S)
        self._do(step)

    def _do(self, step: Step) -> None:
        if step.fault is None:
            self.clear()
        else:
            self.inject(step.fault)

    def _has_happened(self, step: Step) -> bool:
        after, counters = step.after, self._counters
        if after is None:
            return True
        has_struck = not after.struck or any(
            state.struck for state in self.states() if state.fault.name == after.struck
        )
        enough = counters.hub_connections >= after.connections and counters.trades_sent >= after.trades
        return enough and has_struck

    # -- for the server

    def refuses(self) -> bool:
        """Whether the connection that is about to be made is to be refused (it is counted then)."""
        if not self._armed:
            return False
        where = Where(self._accepted + 1)
        for armed in list(self._armed.values()):
            if armed.fault.level is Level.ACCEPT and armed.reaches(where) and armed.claim(where):
                self._accepted += 1
                return True
        return False

    def attach(self, stream: trio.abc.Stream) -> Line:
        """Return the line of an accepted ``stream``; the caller strikes what is due at once."""
        self._accepted += 1
        line = Line(stream, Where(self._accepted), self, self._keep_alive_s)
        self._lines[self._accepted] = line
        for armed in list(self._armed.values()):
            if armed.fault.level in _OF_LINES:
                line.wait_for(armed)
        return line

    def meddler(self, line: Line) -> Meddle:
        """Return what `Conversation` asks before it answers a request on ``line``."""
        return lambda request: self._meddle(line, request)

    async def _meddle(self, line: Line, request: Request) -> Response | Raw | Rework | None:
        """Answer ``request`` in the place of the server, or let it do so (None), or say what to do to its answer."""
        await line.at_request(request.path)
        for armed in list(self._armed.values()):
            if not (armed.fault.level is Level.REQUEST and self._meets(armed, line)):
                continue
            if not armed.claim(line.where):
                continue
            await trio.sleep(armed.fault.delay_s)
            if armed.fault.name == "hang":
                return Raw(lambda: iter(()), hangs=True)
            return REQUESTS[armed.fault.name](armed, request)
        return await self._rework(line, request)

    async def _rework(self, line: Line, request: Request) -> Rework | None:
        struck: list[Callable[[Request], Rework | None]] = []
        for armed in list(self._armed.values()):
            fault = armed.fault
            if fault.level is not Level.ANSWER or PATHS[fault.name] != request.path:
                continue
            if self._meets(armed, line) and armed.claim(line.where):
                await trio.sleep(fault.delay_s)
                struck.append(partial(ANSWERS[fault.name], armed, self._now))
        return composed(request, struck)

    def _meets(self, armed: Armed, line: Line) -> bool:
        fault = armed.fault
        if line.phase not in fault.phases or not fnmatch.fnmatchcase(line.where.path, fault.path.lower()):
            return False
        return armed.reaches(line.where)

    def upgraded(self, line: Line, identity: Identity) -> None:
        """Note whose connection ``line`` is now."""
        line.where.connection_id = identity.connection_id
        self._by_id[identity.connection_id] = line

    def around(self, connection_id: str, target: str, method: Method) -> Method:
        """Return ``method`` as a connection's call of it goes: with what faults make of a Subscribe."""
        if not (self._armed and target.lower().startswith("subscribe")):
            return method

        def bind(arguments: Arguments) -> Run:
            run = method.bind(arguments)
            return lambda turn: self._call(connection_id, turn, run)

        return attrs.evolve(method, bind=bind)

    async def _call(self, connection_id: str, turn: Turn, run: Run) -> str:
        line = self._by_id.get(connection_id)
        for armed in list(self._armed.values()):
            if armed.fault.level is not Level.CALL or line is None:
                continue
            if armed.reaches(line.where) and armed.claim(line.where):
                await trio.sleep(armed.fault.delay_s)
                return await CALLS[armed.fault.name](line, armed, turn, run)
        return await run(turn)

    def end(self) -> None:
        """Break the connections that were kept open: nobody serves them any more."""
        while self._kept:
            reset_stream(self._kept.pop())

    # -- for the lines (`line.Owner`)

    def start_soon(self, fn: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task; what becomes of its connection is no error of it."""
        self._tasks.start_soon(self._run, fn, args)

    async def _run(self, fn: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await fn(*args)

    def nth(self, line: Line) -> int:
        """Number a line among those of its hub; a hub's are counted by their upgrades."""
        where = line.where
        if line.phase == "negotiate":
            return self._numbers.get(where.hub, 0) + 1
        if line.phase == "rest" and where.nth:
            return where.nth  # another request on the same connection
        self._numbers[where.hub] = self._numbers.get(where.hub, 0) + 1
        return self._numbers[where.hub]

    async def perform(self, line: Line, armed: Armed) -> None:
        """Do the fault to the line; the caller has the turn if the fault sends."""
        name = armed.fault.name
        if name == "token_expiry":
            self._expire_tokens()
        now = WIRE.get(name) or FILTERS.get(name)
        if now is not None:
            now(line, armed)
        else:
            await (WIRE_SENDS.get(name) or INSERTS[name])(line, armed)

    def keep(self, stream: trio.abc.Stream) -> None:
        """Keep a stream open until the faults are cleared; the oldest goes when there are too many."""
        self._kept.append(stream)
        if len(self._kept) > _KEPT_MAX:
            reset_stream(self._kept.pop(0))

    def leave(self, line: Line) -> None:
        """Forget a line that is closed."""
        self._lines.pop(line.where.number, None)
        if self._by_id.get(line.where.connection_id) is line:
            del self._by_id[line.where.connection_id]

    def _retire(self, armed: Armed) -> None:
        if self._armed.pop(armed.id, None) is None:
            return
        self._past[armed.id] = armed
        for line in list(self._lines.values()):
            line.forget(armed)


_OF_LINES: Final = (Level.WIRE, Level.INSERT, Level.FILTER, Level.RECORD)
