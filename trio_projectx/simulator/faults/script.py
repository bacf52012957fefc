"""Scripts: faults that come one after the other, by time or by what has happened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import attrs
import msgspec
import trio

from trio_projectx._errors import ConfigError
from trio_projectx.simulator.faults.catalogue import SPECS
from trio_projectx.simulator.faults.model import Fault, convert, decode

STEPS_MAX: Final = 1000
_FILE_BYTES_MAX: Final = 16 << 20


@attrs.frozen(slots=True)
class After:
    """What must have happened, since the simulator began, before a step is due; all of it."""

    connections: int = 0
    """So many WebSockets of hubs were let in."""
    trades: int = 0
    """So many trades were sent."""
    struck: str = ""
    """A fault of this name has struck."""

    def __attrs_post_init__(self) -> None:
        for name in ("connections", "trades"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigError(f"after.{name} must be a whole number, 0 or more, not {value!r:.40}")
        if self.struck and self.struck not in SPECS:
            raise ConfigError(f"after.struck names no fault: {self.struck!r:.40}")


@attrs.frozen(slots=True)
class Step:
    """One step: put ``fault`` in, or take all faults out (``clear``), when it is due.

    Due is ``at_s`` seconds of trio's clock after the script was started and, if it is given, what ``after``
    says, whichever is later.
    """

    fault: Fault | None = None
    at_s: float = 0.0
    after: After | None = None
    clear: bool = False

    def __attrs_post_init__(self) -> None:
        if (self.fault is None) is not self.clear:
            raise ConfigError("a step has a fault, or it is a clear; not both, not neither")
        if isinstance(self.at_s, bool) or not 0 <= self.at_s <= 1e9:
            raise ConfigError(f"at_s must be seconds, 0 or more, not {self.at_s!r:.40}")


def parse_script(text: str | bytes) -> tuple[Step, ...]:
    """Return the steps of a script: a JSON list of objects, or one object a line.

    An object holds the fields of a `Fault`, or ``"clear": true``, and ``at_s`` and ``after`` (`After`) beside
    them. Empty lines, and lines that begin with ``#``, are skipped.

    :raises ConfigError: naming the step (from 1) that cannot be done.
    """
    try:
        words = text if isinstance(text, str) else text.decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the script is not UTF-8: {exc}") from exc
    objects: list[object]
    if words.lstrip().startswith("["):
        objects = msgspec.convert(decode(words), list[object])
    else:
        lines = [line.strip() for line in words.splitlines()]
        objects = [
            _line(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")
        ]
    if len(objects) > STEPS_MAX:
        raise ConfigError(f"a script has up to {STEPS_MAX} steps, not {len(objects)}")
    return tuple(_step(number, values) for number, values in enumerate(objects, 1))


async def read_script(path: str | os.PathLike[str]) -> tuple[Step, ...]:
    """Read and parse a script from a file.

    :raises ConfigError: if it cannot be read or parsed; the text names the path.
    """
    text = await trio.to_thread.run_sync(_read, Path(path))
    try:
        return parse_script(text)
    except ConfigError as exc:
        raise ConfigError(f"{str(path)!r}: {exc}") from exc


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise ConfigError(f"{str(path)!r} cannot be read as a fault script: {exc.strerror}") from exc
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigError(f"{str(path)!r} is longer than {_FILE_BYTES_MAX} bytes: no fault script")
    return data


def _line(number: int, line: str) -> object:
    try:
        return decode(line)
    except ConfigError as exc:
        raise ConfigError(f"line {number} of the script: {exc}") from exc


class _Timing(msgspec.Struct):
    at_s: float = 0.0
    after: After | None = None
    clear: bool = False


def _step(number: int, values: object) -> Step:
    if not isinstance(values, dict):
        raise ConfigError(f"step {number} of the script is no JSON object, but {type(values).__name__}")
    try:
        rest: dict[str, object] = dict(values)  # pyright: ignore[reportUnknownArgumentType] -- the keys of JSON are str
        own = {name: rest.pop(name) for name in _Timing.__struct_fields__ if name in rest}
        if "after" in own:
            own["after"] = attrs.asdict(convert(own["after"], After))
        timing = msgspec.convert(own, _Timing)
        return Step(convert(rest, Fault) if rest else None, timing.at_s, timing.after, timing.clear)
    except (ConfigError, msgspec.ValidationError) as exc:
        raise ConfigError(f"step {number} of the script: {exc}") from exc
