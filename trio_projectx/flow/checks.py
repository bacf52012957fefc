"""What every ``open_...`` checks of its arguments before anything is asked of the service."""

from __future__ import annotations

from trio_projectx._config import Overflow
from trio_projectx._errors import ConfigError, TimeframeError
from trio_projectx._timeframe import Timeframe


def checked_capacity(capacity: int | None, overflow: Overflow, default: int) -> int:
    """Return how many items a stream holds; None is ``default``.

    :raises ConfigError: for what is no capacity, or no policy.
    """
    if not isinstance(overflow, Overflow):
        raise ConfigError(f"overflow must be one of the Overflow policies, not {overflow!r:.40}")
    chosen = default if capacity is None else capacity
    if isinstance(chosen, bool) or not isinstance(chosen, int) or chosen < 1:
        raise ConfigError(f"capacity must be a whole number, 1 or more, not {chosen!r:.40}")
    return chosen


def check_contract(contract: object) -> None:
    """Refuse what is no name of a contract, as far as can be seen without the service.

    :raises ConfigError: with a sentence.
    """
    if not isinstance(contract, str):
        raise ConfigError(f"a contract is named by its symbol or its id, not by {contract!r:.40}")


def check_events(events: object) -> None:
    """Refuse what is no flag.

    :raises ConfigError: with a sentence.
    """
    if not isinstance(events, bool):
        raise ConfigError(f"events must be True or False, not {events!r:.40}")


def check_levels(levels: object) -> None:
    """Refuse what is no count of levels of a book.

    :raises ConfigError: with a sentence.
    """
    if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
        raise ConfigError(f"levels must be a whole number, 1 or more, not {levels!r:.40}")


def checked_frames(labels: tuple[str, ...], what: str = "open_bars(") -> tuple[Timeframe, ...]:
    """Return the timeframes that ``labels`` name; ``what`` begins the example for who names none.

    :raises TimeframeError: if there is none, one that cannot be, or one twice.
    """
    if not labels:
        raise TimeframeError(f'name at least one timeframe, for example {what}"MNQ", "1m", "5m")')
    frames = tuple(Timeframe(label) for label in labels)
    if len(set(frames)) < len(frames):
        raise TimeframeError(f"a timeframe is named twice in {', '.join(frames)}")
    return frames
