"""What checks options as they come: each refuses with a `ConfigError` that names the option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from trio_projectx._errors import ConfigError

Validator: TypeAlias = Callable[[object, "attrs.Attribute[Any]", Any], None]

#: Every wait has an end. Nothing of ours lasts longer than this, and clocks, deadlines and stamps in int64 ns hold it.
YEARS: Final = 10
_MOST_S: Final = YEARS * 366 * 86_400
#: Far above anything that makes sense, and far below where floats, int64 and containers end.
_MOST: Final = 10**15
_MOST_WHOLE: Final = 1 << 62
_SHOWN: Final = 60


def refuse(instance: object, attribute: attrs.Attribute[Any], wanted: str, value: object) -> ConfigError:
    """Return the error that says what ``attribute`` must be, and what it is, capped."""
    try:
        shown = f"{value!r:.{_SHOWN}}"
    except ValueError:  # a whole number of more digits than Python writes
        shown = f"a {type(value).__name__} of very many digits"
    return ConfigError(f"{type(instance).__name__}.{attribute.name} must be {wanted}, not {shown}")


def is_bool(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take True and False, and nothing that only behaves like them."""
    if not isinstance(value, bool):
        raise refuse(instance, attribute, "True or False", value)


def is_callable(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take what can be called."""
    if not callable(value):
        raise refuse(instance, attribute, "callable", value)


def one_of(*choices: str) -> Validator:
    """Take one of some texts."""
    wanted = " or ".join(f'"{choice}"' for choice in choices)

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise refuse(instance, attribute, wanted, value)

    return check


def positive(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take a number above 0 that has an end."""
    if not (_is_number(value, _MOST) and value != 0):
        raise refuse(instance, attribute, f"a number above 0{_end(value, _MOST)}", value)


def not_negative(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take 0, or what `positive` takes."""
    if not _is_number(value, _MOST):
        raise refuse(instance, attribute, f"a number, 0 or more{_end(value, _MOST)}", value)


def seconds(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take a time above 0, of ten years at most."""
    if not (_is_number(value, _MOST_S) and value != 0):
        raise refuse(instance, attribute, f"a number above 0{_end(value, _MOST_S)}", value)


def seconds_or_0(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take 0, or what `seconds` takes."""
    if not _is_number(value, _MOST_S):
        raise refuse(instance, attribute, f"a number, 0 or more{_end(value, _MOST_S)}", value)


def at_least_1(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take a whole number above 0."""
    if not (isinstance(value, int) and _is_number(value, _MOST_WHOLE) and value != 0):
        raise refuse(instance, attribute, f"a whole number, 1 or more{_end(value, _MOST_WHOLE)}", value)


def is_share(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take 0, or a part of 1."""
    if not (_is_number(value, 1) and value != 1):
        raise refuse(instance, attribute, "a share, 0 or more and below 1", value)


def is_stamp(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take nanoseconds as int64 has them."""
    if not (isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63):
        raise refuse(instance, attribute, "int64 nanoseconds", value)


def _end(value: object, most: float) -> str:
    """Return the other half of the sentence, where it is that half that ``value`` is against."""
    is_more = isinstance(value, (int, float)) and value > most
    years = f", which is {YEARS} years" if most == _MOST_S else ""
    return f" and at most {most:g}{years}" if is_more else ""


def _is_number(value: object, most: float) -> bool:
    # NaN is in no range, and an int is compared without being made a float.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most
