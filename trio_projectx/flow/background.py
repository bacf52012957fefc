"""Background tasks whose lifetime is one ``async with`` block, and whose failures arrive as one plain exception.

A nursery puts what its tasks and its body raise into exception groups. A user of `open_gateway` has opened no
nursery, and expects the ``ValueError`` or the Ctrl-C of their own block to be just that. So exceptions are carried
around the nursery, never through it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn, TypeVarTuple, cast

import attrs
import trio

Args = TypeVarTuple("Args")


@attrs.frozen(slots=True)
class TaskStatistics:
    """Tasks of one block, or of several that are counted together, by what became of them."""

    alive: int
    completed: int
    failed: int
    cancelled: int


@attrs.define(slots=True, eq=False)
class TaskCounts:
    """Plain counters; several blocks may share one."""

    started: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    def statistics(self) -> TaskStatistics:
        """Return a snapshot."""
        ended = self.completed + self.failed + self.cancelled
        return TaskStatistics(self.started - ended, self.completed, self.failed, self.cancelled)


@attrs.define(eq=False, slots=True)
class BackgroundTasks:
    """The tasks of one `open_background_tasks` block."""

    nursery: trio.Nursery
    """For libraries that want one (``wrap_client_stream``); what fails in it directly arrives in a group."""
    owner: str = "block"
    """What is said to be closed when a task is to be started after the end."""
    counts: TaskCounts = attrs.field(factory=TaskCounts)
    failure: BaseException | None = None

    def start_soon(
        self, fn: Callable[[*Args], Awaitable[object]], *args: *Args, name: str | None = None
    ) -> None:
        """Run ``fn(*args)`` as a task of the block; if it raises, the block is cancelled and raises that.

        :raises trio.ClosedResourceError: if the block has ended.
        """
        try:
            self.nursery.start_soon(self._run, fn, args, name=name or fn)
        except RuntimeError:  # what trio says of a nursery that has ended
            raise trio.ClosedResourceError(f"the {self.owner} was closed") from None
        self.counts.started += 1

    async def _run(self, fn: Callable[[*Args], Awaitable[object]], args: tuple[*Args]) -> None:
        try:
            await fn(*args)
        except (trio.Cancelled, GeneratorExit):
            self.counts.cancelled += 1
            raise
        except BaseException as exc:  # noqa: BLE001  also KeyboardInterrupt: it may strike in any task
            self._fail(exc)
        else:
            self.counts.completed += 1

    def _fail(self, exc: BaseException) -> None:
        real = without_cancelled(exc)
        if real is None:
            self.counts.cancelled += 1
            return
        self.counts.failed += 1
        real = plain(real)
        if self.failure is None or _is_interrupt(real):
            self.failure = real
        self.nursery.cancel_scope.cancel(reason="a background task failed")

    def cancel(self, reason: str) -> None:
        """Cancel every task of the block, and the block's body where it waits."""
        self.nursery.cancel_scope.cancel(reason=reason)

    def statistics(self) -> TaskStatistics:
        """Return a snapshot of the counts."""
        return self.counts.statistics()


def without_cancelled(exc: BaseException) -> BaseException | None:
    """Return ``exc`` less the `trio.Cancelled` in it; None if nothing else is there."""
    if isinstance(exc, trio.Cancelled):
        return None
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    group = cast("BaseExceptionGroup[BaseException]", exc)
    cancelled, rest = group.split(trio.Cancelled)
    return rest if cancelled else group  # split() makes a new group also where there is nothing to split


def plain(exc: BaseException) -> BaseException:
    """Return what a group that nobody but us made is about: an interrupt in it, else its only member, else itself."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    group = cast("BaseExceptionGroup[BaseException]", exc)
    members = [plain(each) for each in group.exceptions]
    interrupts = [each for each in members if _is_interrupt(each)]
    if interrupts or len(members) == 1:
        return (interrupts or members)[0]
    return group


def _is_interrupt(exc: BaseException) -> bool:
    """Whether this is a Ctrl-C, a SystemExit or their like, which nothing may hide."""
    return not isinstance(exc, (Exception, BaseExceptionGroup))


def reraise(exc: BaseException) -> NoReturn:
    """Raise ``exc`` without letting the place it is raised from into its context.

    That context may be a group which already contains ``exc``: a cycle that breaks traceback printers.
    """
    cause, context, suppress = exc.__cause__, exc.__context__, exc.__suppress_context__
    try:
        raise exc
    finally:
        exc.__cause__, exc.__context__, exc.__suppress_context__ = cause, context, suppress
        del exc, cause, context


@asynccontextmanager
async def open_background_tasks(
    owner: str = "block", counts: TaskCounts | None = None
) -> AsyncGenerator[BackgroundTasks]:
    """Own a nursery without showing it.

    Leaving the block cancels the tasks and waits for them. An exception of the block's own body comes out as it
    is (a group only if the body made it one); if a task failed, its failure comes out instead; if both did, the
    body's comes out with a note; but a Ctrl-C goes before everything, wherever it struck. Cancellation from outside
    passes through. ``counts`` are those of other blocks too, where they are to be counted together.
    """
    body: BaseException | None = None
    passing: BaseException | None = None
    tasks: BackgroundTasks | None = None
    try:
        async with trio.open_nursery() as nursery:
            tasks = BackgroundTasks(nursery, owner, counts or TaskCounts())
            try:
                yield tasks
            except (trio.Cancelled, GeneratorExit):
                raise
            except BaseException as exc:  # carried around the nursery, not through it, whatever it is
                body = without_cancelled(exc)
                if body is None:
                    raise
            nursery.cancel_scope.cancel(reason="the block was left")
    except BaseException as exc:  # noqa: BLE001, ASYNC103  raised again below, once it is clear what goes first
        passing = exc
    assert tasks is not None
    _conclude(body, tasks.failure, passing)


def _conclude(
    body: BaseException | None, failure: BaseException | None, passing: BaseException | None
) -> None:
    interrupt = passing and without_cancelled(passing)
    if interrupt is not None and _is_interrupt(plain(interrupt)):
        failure = plain(interrupt)  # it struck in the few lines of ours around the body
    if failure is not None and body is not None and failure is not body:
        first, second = (failure, body) if _is_interrupt(failure) else (body, failure)
        if (type(first), first.args) != (type(second), second.args):  # not what both were told of one cause
            first.add_note(
                f"{'the block' if second is body else 'a background task'} also failed: {second!r}"
            )
        reraise(first)
    for exc in (body, failure, passing):
        if exc is not None:
            reraise(exc)
