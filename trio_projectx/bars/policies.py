"""What a bar set may be told to do with late trades, closed hours and gaps, and which of it cannot be honoured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from trio_projectx._errors import ConfigError
from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars.anchor import Anchor
from trio_projectx.bars.session_edges import Outside

Late = Literal["count", "revise"]
Fill = Literal["previous"] | None


def check_outside(outside: Outside) -> Outside:
    """Return ``outside`` if it is one.

    :raises ConfigError: if it is none.
    """
    if outside not in ("own", "attach", "drop"):
        raise ConfigError(f'outside must be "own", "attach" or "drop", not {outside!r:.40}')
    return outside


def check_late_and_fill(late: Late, fill: Fill, anchor: Anchor, frames: Sequence[Timeframe]) -> None:
    """Refuse what is no policy, or cannot be honoured under ``anchor`` or by any of ``frames``.

    :raises ConfigError: with a sentence.
    """
    if late not in ("count", "revise"):
        raise ConfigError(f'late must be "count" or "revise", not {late!r:.40}')
    if fill not in (None, "previous"):
        raise ConfigError(f'fill must be None or "previous", not {fill!r:.40}')
    if fill is not None and anchor.sessions is None:
        raise ConfigError(
            'fill="previous" fills scheduled hours, and this anchor has none: use Anchor.session(...)'
        )
    if (late == "revise" or fill is not None) and all(isinstance(frame, BarKind) for frame in frames):
        option = 'late="revise"' if late == "revise" else 'fill="previous"'
        raise ConfigError(
            f"{option} is for bars that end by time, and none of {', '.join(frames)} does: leave it out"
        )


def whole(name: str, value: object, least: int) -> int:
    """Return ``value`` if it is a whole number, ``least`` or more.

    :raises ConfigError: if it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} must be a whole number, {least} or more, not {value!r:.40}")
    return value


def distinct(timeframes: Sequence[Timeframe | str]) -> tuple[Timeframe, ...]:
    """Return the timeframes, checked.

    :raises ConfigError: if there are none, or one is there twice.
    """
    frames = tuple(Timeframe(each) for each in timeframes)
    if not frames:
        raise ConfigError("a bar set needs at least one timeframe")
    if len(set(frames)) < len(frames):
        raise ConfigError(f"a timeframe is there twice: {', '.join(frames)}")
    return frames
