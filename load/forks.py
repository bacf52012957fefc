"""A process in the middle of a trio run is forked: the child goes on from there, the parent as if nothing had been.

That makes a blow at each step of a life cheap: what came before the step is lived once, not once for each blow. It is
possible where nothing but memory is shared: virtual time, streams in memory, no thread. What trio itself has of the
system (its epoll object, two pairs of sockets that wake it) the child replaces under the same numbers.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import warnings
from collections.abc import Callable

import trio

#: How long a child may live (seconds): a hang in real time is killed by SIGALRM, and counted as what it is.
WATCHDOG_S = 30


def fork_here(job: Callable[[int], None]) -> tuple[int, bytes]:
    """Fork: the child calls ``job(pipe)`` and returns (-1, b""), to end by `os._exit` when it has written to the pipe.

    The parent waits for its end, and returns its status (as `os.waitstatus_to_exitcode`) and what it wrote.
    """
    come, go = os.pipe()
    with warnings.catch_warnings():
        # From Python 3.12 on: the other thread is that of Arrow's allocator, which trio and we share nothing with.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(come)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(WATCHDOG_S)
        _be_alone()
        job(go)
        return -1, b""
    os.close(go)
    with os.fdopen(come, "rb") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def _be_alone() -> None:
    """Have an epoll object and wakeup sockets of our own: those from before the fork are the parent's too."""
    runner = trio._core._run.GLOBAL_RUN_CONTEXT.runner
    manager = runner.io_manager
    assert isinstance(manager._epoll, select.epoll)
    for pair in (manager._force_wakeup, runner.entry_queue.wakeup):
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
