"""What is done to log records, beside redaction (`_redact`): fields for machines, JSON lines, and an end to repetition.

Every record of this library's carries ``event`` (a constant by which it can be found) and, where they apply, ``hub``,
``contract`` and other fields. Hot code formats nothing: a record is made where something is wrong, by a template.
"""

from __future__ import annotations

import datetime
import itertools
import json
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import msgspec

from trio_projectx._redact import FOREIGN_LOGGERS, message_of

_OURS: Final = "trio_projectx"
#: How many records of one template a logger shows in a minute; the rest is counted, and told by one line.
REPEATS: Final = 10
WINDOW_S: Final = 60.0
#: Templates that are remembered; ours are constants, those of others may be anything.
_TEMPLATES: Final = 500
_SUMMARY: Final = "repeated %d times more in the last %.0f s: %s"
#: The attributes that every record has; what else is there came by ``extra``.
_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "is_summary"}

Field = str | int | float | bool | None


def fields(
    event: str, *, hub: str | None = None, contract: str | None = None, **more: Field
) -> dict[str, object]:
    """Return the ``extra`` of a record; fields that are None are left out."""
    found = {"event": event, "hub": hub, "contract": contract, **more}
    return {name: value for name, value in found.items() if value is not None}


def extra_of(record: logging.LogRecord) -> dict[str, object]:
    """Return what a record got by ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _USUAL}


class JsonFormatter(logging.Formatter):
    """Writes one JSON object per line: ``ts level logger message``, the fields, ``exception`` and ``stack``.

    ``ts`` is UTC to the microsecond. What JSON does not know is written as its ``str``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "ts": at.isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in extra_of(record).items() if name not in line}
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except (
            UnicodeEncodeError
        ):  # half a surrogate pair, as of a file name that is no UTF-8: escaped, not lost
            return json.dumps(line, default=str)


@attrs.define(slots=True)
class _Window:
    """The records of one template in one window. Threads may share it: a number is given out once."""

    logger: str
    level: int
    template: str
    began: float
    last: str = ""
    _numbers: Iterator[int] = attrs.Factory(lambda: itertools.count(1))

    def number(self) -> int:
        """Return which record of the window this one is."""
        return next(self._numbers)


class RepeatFilter(logging.Filter):
    """Lets ``most`` records of a template pass in a window, counts the rest, and tells how many there were.

    That is told by one line when the window is over and another one comes, or at the next `flush`. Records below INFO
    pass: whoever asks for them wants them all. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        most: int = REPEATS,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._most = most
        self._window_s = window_s
        self._clock = clock
        self._windows: dict[tuple[str, int, str], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        if record.levelno < logging.INFO or hasattr(record, "is_summary"):
            return True
        now, template = self._clock(), str(record.msg)
        key = record.name, record.levelno, template
        window = self._windows.get(key)
        if window is None or now - window.began >= self._window_s:
            if window is None and len(self._windows) >= _TEMPLATES:
                self._tell(next(iter(self._windows)), now)
            if window is not None:
                self._tell(key, now)
            window = self._windows.setdefault(key, _Window(*key, began=now))
        is_shown = window.number() <= self._most
        if not is_shown:
            window.last = message_of(record)
        return is_shown

    def flush(self, *, is_end: bool = False) -> None:
        """Tell of windows that are over; at the end, of all."""
        now = self._clock()
        for key, window in list(self._windows.items()):
            if is_end or now - window.began >= self._window_s:
                self._tell(key, now)

    def _tell(self, key: tuple[str, int, str], now: float) -> None:
        window = self._windows.pop(key, None)
        if window is None:  # another thread has
            return
        left = window.number() - 1 - self._most
        if left > 0:
            extra = fields("repeated", count=left) | {"is_summary": True}
            said = (left, now - window.began, window.last)
            logging.getLogger(window.logger).log(window.level, _SUMMARY, *said, extra=extra)


@contextmanager
def limited_repeats(
    clock: Callable[[], float] = time.monotonic,
) -> Generator[RepeatFilter]:
    """Limit repetition on our and our dependencies' loggers for the length of a block; its end tells what is left.

    It stands before what redacts, which may replace templates. Several blocks at once are no harm.
    """
    found = RepeatFilter(clock=clock)
    loggers = [logging.getLogger(name) for name in (_OURS, *FOREIGN_LOGGERS)]
    for logger in loggers:
        logger.filters.insert(0, found)
    try:
        yield found
    finally:
        for logger in loggers:
            logger.removeFilter(found)
        found.flush(is_end=True)
