"""What a record of frames holds beside them: everything else that decides what a pipeline makes of them.

A replay that is told the same, in the same order, makes the same bars: which lines brought a contract, and where quiet
bars were closed and gaps were ended by the clock. Times are those of the recording: ``now`` and its like are seconds
of trio's clock there, ``at_ns`` the exchange's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import attrs
import msgspec

from trio_projectx._config import Limits
from trio_projectx._errors import ConfigError, ProtocolError
from trio_projectx.bars.mending import Known

_Plain: TypeAlias = "int | float | str | bool | None"


class LineMark(msgspec.Struct, frozen=True, tag="line"):
    """What became of one line's subscription to one kind of data of a contract; see `flow.notices`."""

    what: Literal["join", "acknowledged", "settle", "leave"]
    line: int
    kind: str
    contract_id: str
    cause: str
    at_ns: int
    ahead: int = 0
    """Of an acknowledgement: how many reads with data came before it that had not been passed on yet (0 or 1)."""


class WakeMark(msgspec.Struct, frozen=True, tag="wake"):
    """The clock closed the bars that were due ``until`` (seconds): event time went as trio's since ``seen_at``."""

    contract_id: str
    ts_event: int
    seen_at: float
    until: float


class GapMark(msgspec.Struct, frozen=True, tag="gap"):
    """A gap ended at ``ts_event`` although nothing had come: the market was quiet."""

    contract_id: str
    ts_event: int


class MendMark(msgspec.Struct, frozen=True, tag="mend"):
    """Bars of one timeframe were read again from the service's history, and put in between two batches."""

    contract_id: str
    frame: str
    low: int
    high: int
    known: tuple[Known, ...]


class LossMark(msgspec.Struct, frozen=True, tag="loss"):
    """The hub was lost for good, and every stream with it."""

    reason: str


class StateMark(msgspec.Struct, frozen=True, tag="state"):
    """How everything stood where a record begins, or goes on behind rows that were lost.

    It also stands where a date begins, so that a record can be read from any date on.
    """

    run: str
    """Names the recording: another one has another."""
    lost: int
    """Frames and marks that are missing before it."""
    limits: Mapping[str, _Plain]
    """The `Limits` that were in force."""
    lines: tuple[LineMark, ...]
    """What each line had been asked for ("join"), and of this what was acknowledged."""


Mark: TypeAlias = LineMark | WakeMark | GapMark | MendMark | LossMark | StateMark

_DECODER: Final = msgspec.json.Decoder[Mark](Mark)


def write_mark(mark: Mark) -> str:
    """Return a mark as text; floats come back exactly as they were."""
    return msgspec.json.encode(mark).decode()


def read_mark(text: str) -> Mark:
    """Return the mark of a text.

    :raises ProtocolError: if it is none that is known here.
    """
    try:
        mark: Mark = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as exc:
        raise ProtocolError("a mark in the record cannot be read") from exc
    return mark


def limits_in_force(limits: Limits) -> Mapping[str, _Plain]:
    """Return limits for a `StateMark`."""
    return {field.name: getattr(limits, field.name) for field in attrs.fields(Limits)}


def recorded_limits(mark: StateMark) -> Limits:
    """Return the limits that were in force; what another version has named, and this one has not, is left out.

    :raises ProtocolError: if they are none.
    """
    known = {field.name for field in attrs.fields(Limits)}
    try:
        return Limits(**{name: value for name, value in mark.limits.items() if name in known})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except (ConfigError, TypeError) as exc:
        raise ProtocolError("the limits in the record are none") from exc
