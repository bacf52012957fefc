"""Finds the task that keeps all others waiting: an instrument of trio that times each step of each task."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

import trio

from trio_projectx._errors import ConfigError
from trio_projectx._events import LoopStalled
from trio_projectx._logs import fields
from trio_projectx._redact import escape

_log: Final = logging.getLogger("trio_projectx")
#: A loop that stalls at every step would tell of nothing else.
_TELL_EVERY_S: Final = 1.0
_NAME_MOST: Final = 200


class LoopWatch(trio.abc.Instrument):
    """Times each step that a task takes between two awaits; it costs under a microsecond per step.

    ``clock`` is real time in seconds, whatever trio's clock is: a program that computes is not asleep.
    """

    def __init__(
        self,
        threshold_s: float,
        tell: Callable[[LoopStalled], None],
        wall_clock: Callable[[], int],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.stalls = 0
        """Steps that took longer than ``threshold_s``."""
        self.longest_s = 0.0
        """The longest step of all."""
        self._threshold_s = threshold_s
        self._tell = tell
        self._wall_clock = wall_clock
        self._clock = clock
        self._began = math.inf
        self._told_at = -math.inf
        self._due_at = math.inf  # when what is untold is to be told: at a step, for steps there always are
        self._untold: tuple[int, float, str] = (0, 0.0, "")

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A step begins."""
        self._began = self._clock()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It is over."""
        now = self._clock()
        took = now - self._began
        if took > self.longest_s:
            self.longest_s = took
        if took > self._threshold_s:
            self._note(task, took)
        if now >= self._due_at:
            self.flush()

    def _note(self, task: trio.lowlevel.Task, took: float) -> None:
        self.stalls += 1
        count, longest, name = self._untold
        if took > longest:
            longest, name = took, escape(task.name, _NAME_MOST)
        self._untold = (count + 1, longest, name)
        self._due_at = self._told_at + _TELL_EVERY_S

    def flush(self) -> None:
        """Tell what was not told yet, if there is anything."""
        count, longest, name = self._untold
        if not count:
            return
        self._untold = (0, 0.0, "")
        self._told_at, self._due_at = self._clock(), math.inf
        _log.warning(
            "the loop stood still for %.3f s, in task %s (%d times)",
            longest,
            name,
            count,
            extra=fields("loop_stalled", task=name, longest_s=longest, count=count),
        )
        self._tell(LoopStalled(name, longest, count, self._wall_clock()))


@contextmanager
def watched_loop(
    threshold_s: float, tell: Callable[[LoopStalled], None], wall_clock: Callable[[], int]
) -> Generator[LoopWatch]:
    """Watch the loop that this is entered in until the block is left."""
    if isinstance(threshold_s, bool) or not isinstance(threshold_s, (int, float)) or not threshold_s > 0:
        raise ConfigError(f"threshold_s must be a number of seconds above 0, not {threshold_s!r:.40}")
    watch = LoopWatch(threshold_s, tell, wall_clock)
    trio.lowlevel.add_instrument(watch)
    try:
        yield watch
    finally:
        with suppress(KeyError):  # one that raised was taken off by trio, which has logged it
            trio.lowlevel.remove_instrument(watch)
        watch.flush()
