"""Faults of answers: the right answer, with something done to it on its way. Name to function; see `catalogue`.

The question may be changed before it is answered, and the answer afterwards; several faults work one after the
other, in the order in which they were put in. Random choices are made from the fault's seed and the number of its
strike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import attrs
import msgspec

from trio_projectx.simulator.faults.armed import Armed
from trio_projectx.simulator.forms import RetrieveBars, instant
from trio_projectx.simulator.http import Request, Response, Rework
from trio_projectx.simulator.periods import Unit, period
from trio_projectx.simulator.shown import stamp

Now: TypeAlias = Callable[[str], int]
"""Returns up to when (int64 ns) a contract has traded."""
Reworker: TypeAlias = Callable[[Armed, Now, Request], Rework | None]

HISTORY_PATH: Final = "/api/history/retrievebars"
_HALF_S: Final = 500_000_000
#: Smaller than every tick, and still there in a price of five digits.
_OFF: Final = 3e-9
_LIMIT_MOST: Final = (1 << 31) - 1


class _Bar(msgspec.Struct):
    t: str
    o: int | float
    h: int | float
    l: int | float  # noqa: E741 -- the wire's name
    c: int | float
    v: int


class _Answer(msgspec.Struct, rename="camel"):
    bars: list[_Bar] | None
    success: bool
    error_code: int
    error_message: str | None


@attrs.frozen(slots=True)
class _Case:
    """One question for bars that a fault strikes."""

    armed: Armed
    form: RetrieveBars
    now_ns: int

    @property
    def n(self) -> int:
        return self.armed.fault.n

    @property
    def rng(self) -> random.Random:
        return random.Random(f"{self.armed.seed}/{self.armed.struck}")

    @property
    def cut_ns(self) -> int:
        """What happened later has not come as far as the history yet."""
        return self.now_ns - round(self.armed.fault.late_s * 1e9)

    def ends(self, bar: _Bar) -> int:
        return period(Unit(self.form.unit), self.form.unit_number, instant(bar.t))[1]

    def some(self, bars: list[_Bar]) -> list[_Bar]:
        """Return ``n`` of the bars, or all if there are fewer."""
        return self.rng.sample(bars, min(self.n, len(bars)))


Ask: TypeAlias = Callable[[_Case], None]
"""Changes the form."""
Edit: TypeAlias = Callable[[_Case, list[_Bar]], list[_Bar]]


def _empty(_: _Case, bars: list[_Bar]) -> list[_Bar]:
    del bars
    return []


def _doubled(_: _Case, bars: list[_Bar]) -> list[_Bar]:
    return [bar for bar in bars for _ in range(2)]


def _shuffled(case: _Case, bars: list[_Bar]) -> list[_Bar]:
    return case.rng.sample(bars, len(bars))


def _oldest_first(_: _Case, bars: list[_Bar]) -> list[_Bar]:
    return bars[::-1]


def _off_grid(case: _Case, bars: list[_Bar]) -> list[_Bar]:
    for bar in case.some(bars):
        bar.h += _OFF
    return bars


def _unaligned(case: _Case, bars: list[_Bar]) -> list[_Bar]:
    for bar in case.some(bars):
        bar.t = stamp(instant(bar.t) + _HALF_S)
    return bars


def _crooked(case: _Case, bars: list[_Bar]) -> list[_Bar]:
    for bar in case.some(bars):
        bar.l = bar.h + 1
    return bars


def _grown(case: _Case, bars: list[_Bar]) -> list[_Bar]:
    for bar in case.some(bars):
        bar.v += 1
    return bars


def _behind(case: _Case, bars: list[_Bar]) -> list[_Bar]:
    return [bar for bar in bars if case.ends(bar) <= case.cut_ns]


def _begun(case: _Case, bars: list[_Bar]) -> list[_Bar]:
    """Return those that had begun; of the one that was not over, its first contract."""
    found = [bar for bar in bars if instant(bar.t) < case.cut_ns]
    for bar in found:
        if case.ends(bar) > case.cut_ns:
            bar.h = bar.l = bar.c = bar.o
            bar.v = 1
    return found


def _as_it_is(_: _Case, bars: list[_Bar]) -> list[_Bar]:
    return bars


def _with_partial(case: _Case) -> None:
    case.form.include_partial_bar = True


def _wider(case: _Case) -> None:
    form, n = case.form, case.n
    start, end = instant(form.start_time), instant(form.end_time)
    low, high = period(Unit(form.unit), form.unit_number, start)
    length = high - low
    form.start_time, form.end_time = stamp(start - n * length), stamp(end + n * length)
    form.limit = min(_LIMIT_MOST, form.limit + 2 * n)


def _capped(case: _Case) -> None:
    case.form.limit = min(case.form.limit, case.n)


def _unlimited(case: _Case) -> None:
    case.form.limit = _LIMIT_MOST


def _the_same(_: _Case) -> None:
    pass


KINDS: Final[Mapping[str, tuple[Ask, Edit]]] = MappingProxyType(
    {
        "empty": (_the_same, _empty),
        "doubled": (_the_same, _doubled),
        "overlapping": (_wider, _as_it_is),
        "shuffled": (_the_same, _shuffled),
        "oldest_first": (_the_same, _oldest_first),
        "off_grid": (_the_same, _off_grid),
        "unaligned": (_the_same, _unaligned),
        "crooked": (_the_same, _crooked),
        "grown": (_the_same, _grown),
        "forming": (_with_partial, _as_it_is),
        "behind": (_the_same, _behind),
        "begun": (_with_partial, _begun),
        "capped": (_capped, _as_it_is),
        "unlimited": (_unlimited, _as_it_is),
    }
)


def _history_bars(armed: Armed, now: Now, request: Request) -> Rework | None:
    """Return what becomes of a question for bars; None for one that would be refused anyway."""
    try:
        form = msgspec.json.decode(request.body, type=RetrieveBars)
        case = _Case(armed, form, now(form.contract_id))
        ask, edit = KINDS[armed.fault.chosen_kind]
        ask(case)
    except (msgspec.MsgspecError, ValueError, ArithmeticError):
        return None
    asked = attrs.evolve(request, body=msgspec.json.encode(form))

    def change(reply: Response) -> Response:
        if reply.status != 200:
            return reply
        answer = msgspec.json.decode(reply.body, type=_Answer)
        if answer.bars is None:
            return reply
        answer.bars = edit(case, answer.bars)
        return attrs.evolve(reply, body=msgspec.json.encode(answer))

    return Rework(asked, change)


ANSWERS: Final[Mapping[str, Reworker]] = MappingProxyType({"history_bars": _history_bars})
PATHS: Final[Mapping[str, str]] = MappingProxyType({"history_bars": HISTORY_PATH})
"""The one path whose answers a fault can do something to."""


def composed(request: Request, reworks: list[Callable[[Request], Rework | None]]) -> Rework | None:
    """Return several as one: each is asked with the question as those before it have left it."""
    changes: list[Callable[[Response], Response]] = []
    for make in reworks:
        found = make(request)
        if found is not None:
            request = found.request
            changes.append(found.change)
    if not changes:
        return None

    def change(reply: Response) -> Response:
        for each in changes:
            reply = each(reply)
        return reply

    return Rework(request, change)
