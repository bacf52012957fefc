"""A fault as a value: what is to go wrong, where, when, and how often. One form, in Python and in JSON."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import attrs
import msgspec

from trio_projectx._errors import ConfigError
from trio_projectx.simulator.faults.catalogue import HUBS, POLICIES, REQUESTS, SPECS, Level, Spec, level_of

_BYTES_MAX: Final = 1 << 30
_SECONDS_MAX: Final = 1e6
_TEXT_MAX: Final = 100_000
_SELECTOR: Final = re.compile(r"all|next|#[1-9][0-9]{0,8}|[A-Za-z0-9_-]{16,64}")

T = TypeVar("T")


def _checked(says: str, fits: Callable[[Any], bool]) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not ((value is None and attribute.default is None) or fits(value)):
            raise ConfigError(f"{attribute.name} must be {says}, not {value!r:.60}")

    return check


def _whole(low: int, high: int) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def fits(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return _checked(f"a whole number from {low} to {high}", fits)


def _is_seconds(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value) and 0 <= value <= _SECONDS_MAX


_SECONDS: Final = _checked(f"seconds from 0 to {_SECONDS_MAX:.0f}", _is_seconds)
_TEXT: Final = _checked(
    f"a text of up to {_TEXT_MAX} characters",
    lambda value: isinstance(value, str) and len(value) <= _TEXT_MAX,
)
_FLAG: Final = _checked("true or false", lambda value: isinstance(value, bool))
_CONNECTION: Final = _checked(
    'a connection id, "next", "all" or "#N" (the N-th of its hub)',
    lambda value: isinstance(value, str) and _SELECTOR.fullmatch(value) is not None,
)


@attrs.frozen(slots=True)
class Fault:
    """One thing that is to go wrong. `name` is one of those of ``docs/faults.md``.

    Where: ``hub`` ("market", "user", "silent", "rest", or "*" for all; control routes are never touched but
    by a ``phase="connect"``), ``phase`` ("" = any that the fault knows), ``path`` (a shell pattern; requests
    only) and ``connection``: an id, "next" (the first that opens from now on), "all", or "#N" (the N-th of
    its hub since the simulator began).

    When: once ``after_bytes`` bytes have been sent (``direction="in"``: read) on the connection since it was
    accepted, and ``after_records`` records have been sent since the fault was put in (or the connection
    opened); then ``delay_s`` later. A connection (or request, or call) is struck at most once.

    How often: ``count`` connections, requests or calls in all; 0 is without end. ``duration_s`` is how long
    a state (muted, throttled, half open ...) lasts on its connection; for ``refuse``, ``http_*`` and
    ``history_*`` and ``subscri*`` how long they go on after they were put in; None is for ever.

    The other fields are parameters; a fault takes those of its row in the table.

    :raises ConfigError: if it cannot be done, in a sentence.
    """

    name: str = attrs.field(validator=_TEXT)
    hub: str = attrs.field(default="*", kw_only=True)
    phase: str = attrs.field(default="", kw_only=True, validator=_TEXT)
    path: str = attrs.field(default="*", kw_only=True, validator=_TEXT)
    connection: str = attrs.field(default="all", kw_only=True, validator=_CONNECTION)
    count: int = attrs.field(default=1, kw_only=True, validator=_whole(0, 1_000_000))
    delay_s: float = attrs.field(default=0.0, kw_only=True, validator=_SECONDS)
    duration_s: float | None = attrs.field(default=None, kw_only=True, validator=_SECONDS)
    after_bytes: int | None = attrs.field(default=None, kw_only=True, validator=_whole(0, 1 << 50))
    after_records: int | None = attrs.field(default=None, kw_only=True, validator=_whole(0, 1 << 50))
    direction: str = attrs.field(default="out", kw_only=True)
    # -- parameters
    code: int = attrs.field(default=1011, kw_only=True, validator=_whole(1000, 4999))
    reason: str = attrs.field(default="", kw_only=True, validator=_TEXT)
    error: str = attrs.field(default="", kw_only=True, validator=_TEXT)
    allow_reconnect: bool = attrs.field(default=True, kw_only=True, validator=_FLAG)
    status: int = attrs.field(default=503, kw_only=True, validator=_whole(200, 599))
    retry_after_s: int | None = attrs.field(default=None, kw_only=True, validator=_whole(0, 1_000_000))
    body: str = attrs.field(default="", kw_only=True, validator=_TEXT)
    kind: str = attrs.field(default="", kw_only=True, validator=_TEXT)
    url: str = attrs.field(default="http://127.0.0.2:1/", kw_only=True, validator=_TEXT)
    policy: str = attrs.field(default="close", kw_only=True)
    bytes_per_s: int = attrs.field(default=100, kw_only=True, validator=_whole(1, _BYTES_MAX))
    latency_s: float = attrs.field(default=0.5, kw_only=True, validator=_SECONDS)
    jitter_s: float = attrs.field(default=0.25, kw_only=True, validator=_SECONDS)
    late_s: float = attrs.field(default=1.0, kw_only=True, validator=_SECONDS)
    chunk_bytes: int = attrs.field(default=1, kw_only=True, validator=_whole(1, _BYTES_MAX))
    size_bytes: int = attrs.field(default=64, kw_only=True, validator=_whole(1, _BYTES_MAX))
    record_bytes: int = attrs.field(default=256 << 20, kw_only=True, validator=_whole(16, _BYTES_MAX))
    depth: int = attrs.field(default=100_000, kw_only=True, validator=_whole(1, 10_000_000))
    bit: int = attrs.field(default=0, kw_only=True, validator=_whole(0, 7))
    n: int = attrs.field(default=1, kw_only=True, validator=_whole(1, 1_000_000))
    error_code: int = attrs.field(default=1, kw_only=True, validator=_whole(1, 1_000_000))

    def __attrs_post_init__(self) -> None:
        if self.name not in SPECS:
            raise ConfigError(f"there is no fault {self.name!r:.40}{_close_to(self.name, SPECS)}")
        spec = SPECS[self.name]
        _one_of("hub", self.hub, HUBS)
        _one_of("direction", self.direction, ("out", "in"))
        _one_of("policy", self.policy, POLICIES)
        if self.kind or spec.kinds:
            _one_of("kind", self.kind or spec.kinds[0], spec.kinds or ("",))
        if self.phase:
            _one_of(f"the phase of {self.name}", self.phase, spec.phases)
        self._check_parameters(spec)
        self._check_sense(spec)

    def _check_parameters(self, spec: Spec) -> None:
        for field in attrs.fields(Fault):
            is_given = getattr(self, field.name) != field.default
            if is_given and field.name in PARAMETERS and field.name not in spec.params:
                takes = ", ".join(spec.params) or "none"
                raise ConfigError(f"{self.name} takes no {field.name}; its own parameters: {takes}")

    def _check_sense(self, spec: Spec) -> None:
        if self.name == "hang" and not self.phase:
            raise ConfigError(f"hang needs a phase: {', '.join(spec.phases)}")
        if self.hub == "rest" and not set(spec.phases) & {"connect", "rest"}:
            raise ConfigError(f"{self.name} is of hubs: there are no such things in REST")
        if (self.hub == "rest") != (self.phase == "rest") and self.phase in REQUESTS and self.hub != "*":
            raise ConfigError(f"hub {self.hub} has no phase {self.phase}")
        if self.phases == ("rest",) and self.hub not in ("*", "rest"):
            raise ConfigError(f"{self.name} is of REST: there are no such things in hubs")
        if self.phases == ("connect",):
            self._check_connect()
        counted = self.after_bytes is not None or self.after_records is not None
        if counted and self.level in (Level.ACCEPT, Level.REQUEST, Level.ANSWER, Level.CALL):
            raise ConfigError(f"{self.name} is of {self.level.value}: nothing is counted before it")

    def _check_connect(self) -> None:
        if self.hub != "*":
            raise ConfigError("when a connection is accepted nobody knows its hub yet: leave hub out")
        if self.count == 0 and self.duration_s is None:
            raise ConfigError("this would lock out the control routes for ever: give a count, or duration_s")

    @property
    def level(self) -> Level:
        """What it works on."""
        return level_of(self.name, self.phase)

    @property
    def sends(self) -> bool:
        """Whether it puts something on the wire, for which it has to wait its turn."""
        return self.level is Level.INSERT or self.name in ("garbage", "tcp_fin")

    @property
    def chosen_kind(self) -> str:
        """``kind``, or the first that the fault knows."""
        return self.kind or next(iter(SPECS[self.name].kinds), "")

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases in which it may strike."""
        return (self.phase,) if self.phase else SPECS[self.name].phases


PARAMETERS: Final = tuple(field.name for field in attrs.fields(Fault))[11:]
"""The fields that are parameters of some fault, not of all."""


def _one_of(what: str, value: object, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(
            f"{what} must be {', '.join(known[:12])}, not {value!r:.40}{_close_to(value, known)}"
        )


def _close_to(value: object, known: Mapping[str, object] | tuple[str, ...]) -> str:
    found = difflib.get_close_matches(str(value)[:40], list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""


def convert(values: object, form: type[T]) -> T:
    """Return decoded JSON ``values`` as the attrs class ``form``.

    :raises ConfigError: naming the field that is unknown or wrong.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"it is no JSON object, but {type(values).__name__}")
    names = [field.name for field in attrs.fields(form)]  # type: ignore[arg-type]
    for name in values:  # pyright: ignore[reportUnknownVariableType] -- keys of JSON are str
        if name not in names:
            raise ConfigError(f"there is no field {name!r:.40}{_close_to(name, tuple(names))}")  # pyright: ignore[reportUnknownArgumentType]
    try:
        return msgspec.convert(values, form)
    except msgspec.ValidationError as exc:
        raise ConfigError(str(exc)) from exc


def parse_fault(text: str | bytes) -> Fault:
    """Return the fault that a JSON object describes, its keys the fields of `Fault`.

    :raises ConfigError: if it is none.
    """
    return convert(decode(text), Fault)


def decode(text: str | bytes) -> object:
    """Return what JSON ``text`` says.

    :raises ConfigError: if it is not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigError(f"this is not JSON: {exc}") from exc
