"""Runs of trio that are led by hand, several in one thread; and the process they stand in is forked between rounds.

That makes a blow at each step of a life cheap: what came before the step is lived once, not once for each blow, and
what a fork costs is paid once for several lives. It is possible where nothing but memory is shared: virtual time,
streams in memory, no thread. What trio itself has of the system (its epoll object, two pairs of sockets that wake it)
the child replaces under the same numbers.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import sys
import warnings
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import trio
import trio.testing

#: What is used here is not trio's public API: with another version a sweep is not begun.
TRIO: Final = "0.35"
#: How long what follows a blow may take (seconds): a hang in real time is killed by SIGALRM, and counted as one.
WATCHDOG_S = 30


class Run:
    """A run of trio in virtual time that goes on by one round of the scheduler when it is asked to.

    What a thread or process has one of (trio's context and its randomness, hooks, the handler of SIGINT) is that of a
    run while it is `in_place`.
    """

    seed: ClassVar[int] = 0
    """That of the run in place."""

    def __init__(self, body: Callable[[], Awaitable[object]], seed: int) -> None:
        self._seed, self._shuffle = seed, random.Random(seed)
        self._context: dict[str, Any] = {}
        self._hooks: tuple[Any, Any] = (None, None)
        self._handler: Any = signal.default_int_handler
        self._wakeup_fd = -1
        self.is_over = False
        with self.in_place():
            self.runner = trio._core._run.setup_runner(
                trio.testing.MockClock(autojump_threshold=0),
                (),
                restrict_keyboard_interrupt_to_checkpoints=False,
                strict_exception_groups=True,
            )
            self._rounds = trio._core._run.unrolled_run(self.runner, body, ())
            self._timeout = self._rounds.send(None)  # type: ignore[arg-type]
        self.fds = self._own_fds()
        """The descriptors that trio has for this run."""

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Be the run of this thread."""
        core, context = trio._core._run, trio._core._run.GLOBAL_RUN_CONTEXT.__dict__
        shuffle, core._r = core._r, self._shuffle
        core.sniffio_library.name, library = "trio", core.sniffio_library.name
        hooks, seed, Run.seed = sys.get_asyncgen_hooks(), Run.seed, self._seed
        sys.set_asyncgen_hooks(*self._hooks)
        handler = signal.signal(signal.SIGINT, self._handler)
        wakeup_fd = signal.set_wakeup_fd(self._wakeup_fd)
        context.update(self._context)
        try:
            yield
        finally:
            self._context = dict(context)
            context.clear()
            self._wakeup_fd = signal.set_wakeup_fd(wakeup_fd)
            self._handler = signal.signal(signal.SIGINT, handler)
            self._hooks = tuple(sys.get_asyncgen_hooks())
            sys.set_asyncgen_hooks(*hooks)
            core._r, core.sniffio_library.name, Run.seed = shuffle, library, seed

    def round(self) -> None:
        """Make a round: every task that can run makes a step. The run has to be in place.

        :raises BaseException: what came out of the run, if it is over.
        """
        events = self.runner.io_manager.get_events(self._timeout)
        self.is_over = True
        try:
            self._timeout = self._rounds.send(events)
            self.is_over = False
        except StopIteration:
            self.runner.main_task_outcome.unwrap()  # type: ignore[union-attr]
        finally:
            if self.is_over:  # nothing of it is kept, so that it can be seen what nobody has closed
                del self.runner, self._rounds

    def _own_fds(self) -> frozenset[int]:
        manager = self.runner.io_manager
        assert isinstance(manager._epoll, select.epoll)
        pairs = (manager._force_wakeup, self.runner.entry_queue.wakeup)
        socks = {sock.fileno() for pair in pairs for sock in (pair.wakeup_sock, pair.write_sock)}
        return frozenset(socks | {manager._epoll.fileno()})

    def be_alone(self) -> None:
        """Have an epoll object and wakeup sockets of our own: those from before the fork are the parent's too."""
        manager = self.runner.io_manager
        assert isinstance(manager._epoll, select.epoll)
        for pair in (manager._force_wakeup, self.runner.entry_queue.wakeup):
            _replace(pair)
        epoll, number = select.epoll(), manager._epoll.fileno()
        os.dup2(epoll.fileno(), number, inheritable=False)
        epoll.close()
        manager._epoll.register(manager._force_wakeup.wakeup_sock, select.EPOLLIN)
        for fd, waiters in manager._registered.items():
            manager._epoll.register(fd, waiters.current_flags | select.EPOLLONESHOT)


def _replace(pair: trio._core._wakeup_socketpair.WakeupSocketpair) -> None:
    new = socket.socketpair()
    for ours, old in zip(new, (pair.wakeup_sock, pair.write_sock), strict=True):
        ours.setblocking(False)
        os.dup2(ours.fileno(), old.fileno(), inheritable=False)
        ours.close()


def is_known_trio() -> bool:
    """Whether runs can be led by hand with the trio that is here."""
    return trio.__version__.startswith(f"{TRIO}.")


def in_a_child(job: Callable[[int], None]) -> tuple[int, bytes]:
    """Fork, and have the child do ``job(pipe)``.

    Return its status (as `os.waitstatus_to_exitcode`) and what it wrote.
    """
    come, go = os.pipe()
    with warnings.catch_warnings():
        # From Python 3.12 on: the other thread is that of Arrow's allocator, which trio and we share nothing with.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os.close(come)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            job(go)
            os._exit(0)
        finally:  # a child never gets out of here
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            os._exit(70)
    os.close(go)
    with os.fdopen(come, "rb") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def open_fds() -> frozenset[int]:
    """Return the numbers of the descriptors that are open."""
    return frozenset(fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False  # the one by which the folder was read
    return True


def threads() -> int:
    """Return how many threads this process has, those of C libraries too."""
    return len(os.listdir("/proc/self/task"))
