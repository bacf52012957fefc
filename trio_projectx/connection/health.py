"""What ``gateway.health()`` gives: frozen facts of this moment, and what they come to, by pure functions.

The worst rules: nothing that works makes up for a hub that does not.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

import attrs

from trio_projectx._events import HubName, HubState
from trio_projectx.connection.stalls import Stalled
from trio_projectx.pressure.facts import MachineHealth, NetworkHealth, network_health

Status: TypeAlias = Literal["ok", "degraded", "down"]

_DOWN: Final = (HubState.CONNECTING, HubState.RECONNECTING, HubState.CLOSED)
_HELD: Final = (HubState.STALE, HubState.BLOCKED)
_BEST: Final = 100
#: A hub that lives has more than any that is stale has, and that one more than any that is down.
_LIVE_LEAST: Final = 31
_STALE_MOST: Final = 30
#: Token: when it is about to end, and when a refresh that fails is about to matter.
_LAST_MINUTE_S: Final = 60.0
_LAST_MINUTES_S: Final = 600.0
#: A lag is that of the last data; older than this it says nothing of now.
_LAG_IS_OLD_S: Final = 60.0


@attrs.frozen(slots=True, kw_only=True)
class HubHealth:
    """One hub at one moment; durations in seconds of a monotonic clock."""

    hub: HubName
    state: HubState
    reason: str
    """Why it is in this state, and what takes from its score, in sentences parted by ``;``."""
    since_s: float
    """How long it has been in this state."""
    score: int = 0
    """0 (down) to 100: live 31 to 100, stale 1 to 30; 100 also for a hub that nothing has needed."""
    connections: int = 0
    """Connections that are live now."""
    round_trip_s: float | None = None
    """The last WebSocket ping; None if its pong did not come, or there was none yet."""
    lag_ms: float | None = None
    """Our clock when data were read, less their stamp; what our clock is off is in it."""
    bytes_per_s: float = 0.0
    records_per_s: float = 0.0
    data_age_s: float | None = None
    """Since the last market data of any contract; None before any."""
    record_age_s: float | None = None
    """Since the last record of any kind, pings included."""
    byte_age_s: float | None = None
    """Since the last byte, pongs and parts of records included."""
    attempts: int = 0
    """Attempts to connect in the present outage."""
    outages: int = 0
    """Times that a live hub was lost."""
    subscriptions: int = 0
    """Subscriptions that streams need now."""
    next_attempt_s: float | None = None
    """Until the next attempt to connect; None if none is waited for."""

    @property
    def status(self) -> Status:
        """What the score comes to: "down" at 0, "ok" at 100, else "degraded"; ``reason`` says why."""
        return "down" if self.score == 0 else "ok" if self.score == _BEST else "degraded"


@attrs.frozen(slots=True, kw_only=True)
class TokenHealth:
    """The token at one moment; nothing here is secret."""

    expires_in_s: float | None = None
    """None if it does not say; below 0 it has expired."""
    refreshed_ago_s: float | None = None
    """Since it was got; None before any."""
    last_error: str | None = None
    """Why the last attempt to renew it failed; None if it did not."""


@attrs.frozen(slots=True, kw_only=True)
class ClockHealth:
    """Our clock at one moment."""

    is_synchronised: bool | None = None
    """Whether something keeps the system's clock right, as far as the kernel was told; None if it does not say."""
    max_error_ms: float | None = None
    """The kernel's bound for the error of a clock that is kept right."""
    skew_ms: float | None = None
    """How far ours is ahead of the exchange's, the shortest way of a record included; None before data."""
    is_skewed: bool = False
    """Whether that is beyond ``limits.skew_ms``."""


@attrs.frozen(slots=True, kw_only=True)
class Health:
    """A gateway at one moment.

    ``status`` is "down" if any hub that is in use is (no connection that serves all it should), "degraded" if one is
    stale or anything takes from a score, else "ok". A hub that nothing has needed yet does not count.
    """

    status: Status
    reason: str
    """Why, in sentences parted by ``;`` (also when it is "ok")."""
    market: HubHealth
    user: HubHealth
    token: TokenHealth
    clock: ClockHealth
    network: NetworkHealth = attrs.field(factory=NetworkHealth)
    machine: MachineHealth = attrs.field(factory=MachineHealth)
    """Memory, processor, loop and disks, as they were at the last look (`MemoryOptions.look_s`, ``disk_s``)."""


class Trouble(NamedTuple):
    """What takes ``points`` from a score, and its sentence."""

    points: int
    sentence: str


def assess(
    market: HubHealth,
    user: HubHealth,
    token: TokenHealth,
    clock: ClockHealth,
    silence: Stalled | None = None,
    machine: MachineHealth | None = None,
) -> Health:
    """Put the facts together: scores and reasons of both hubs, and the status.

    The hubs come as the facts say, without score, ``reason`` being why they are in their state. ``silence`` is the
    contract that has used up the most of its bound (`StallWatch.worst`), None in closed hours. What is wrong with the
    ``machine`` takes from no hub's score: it is not theirs.
    """
    machine = machine or MachineHealth()
    common = [*token_troubles(token), *clock_troubles(clock)]
    of_market = hub_troubles(market, clock, silence)
    of_user = hub_troubles(user, clock, None)
    states = (market.state, user.state)
    status: Status = "ok"
    if any(state in _DOWN for state in states):
        status = "down"
    elif machine.troubles or common or of_market or of_user or any(state in _HELD for state in states):
        status = "degraded"
    reasons = [_hub_sentence(market, of_market), _hub_sentence(user, of_user)]
    return Health(
        status=status,
        reason="; ".join([*reasons, *(each.sentence for each in common), *machine.troubles]),
        market=_scored(market, [*of_market, *common]),
        user=_scored(user, [*of_user, *common]),
        token=token,
        clock=clock,
        network=network_health(market.byte_age_s, user.byte_age_s),
        machine=machine,
    )


def hub_score(state: HubState, points: int) -> int:
    """Return the score of a hub in a state, of which troubles take ``points``."""
    if state in _DOWN:
        return 0
    if state is HubState.IDLE:
        return _BEST
    if state in _HELD:
        return max(1, _STALE_MOST - points // 4)
    return max(_LIVE_LEAST, _BEST - points)


def hub_troubles(hub: HubHealth, clock: ClockHealth, silence: Stalled | None) -> list[Trouble]:
    """Return what is wrong with a connection that stands; of a hub without one its state says it all."""
    if hub.state is not HubState.LIVE and hub.state not in _HELD:
        return []
    found: list[Trouble] = []
    if points := _ramp(hub.round_trip_s, 1.0, 5.0, 10, 25):
        found.append(Trouble(points, f"a round trip takes {hub.round_trip_s:.1f} s"))
    lag_ms = _lag_ms(hub, clock)
    if points := _ramp(lag_ms, 1000.0, 10_000.0, 10, 30):
        found.append(Trouble(points, f"data come {_ms(lag_ms)} after their stamps"))
    if silence is not None and hub.state is HubState.LIVE:  # of a stale one its state has said it
        found += _silence_troubles(silence)
    return found


def _silence_troubles(silence: Stalled) -> list[Trouble]:
    points = _ramp(silence.silent_s / silence.bound_s, 0.75, 1.0, 5, 20)
    if not points:
        return []
    within = f"of the {_span(silence.bound_s)} that are allowed"
    return [Trouble(points, f"no data of {silence.contract_id} for {_span(silence.silent_s)} {within}")]


def _lag_ms(hub: HubHealth, clock: ClockHealth) -> float | None:
    """Return by how much data are late now: where our clock is known to be off, without what it is off."""
    if hub.lag_ms is None or hub.data_age_s is None or hub.data_age_s > _LAG_IS_OLD_S:
        return None
    return hub.lag_ms - clock.skew_ms if clock.is_skewed and clock.skew_ms is not None else hub.lag_ms


def token_troubles(token: TokenHealth) -> list[Trouble]:
    """Return what is wrong with the token: it ends soon, or could not be renewed."""
    left, why = token.expires_in_s, token.last_error
    failed = "" if why is None else f": {why}"
    if left is not None and left <= 0:
        return [Trouble(40, f"the token expired {_span(abs(left))} ago and was not renewed{failed}")]
    if left is not None and left < (_LAST_MINUTE_S if why is None else _LAST_MINUTES_S):
        return [Trouble(20, f"the token expires in {_span(left)} and was not renewed{failed}")]
    if why is None:
        return []
    lasts = "" if left is None else f"; it lasts for {_span(left)} more"
    return [Trouble(10, f"the token could not be renewed{failed}{lasts}")]


def clock_troubles(clock: ClockHealth) -> list[Trouble]:
    """Return what is wrong with our clock, and what the system says to it."""
    if not clock.is_skewed or clock.skew_ms is None:
        return []
    side = "ahead of" if clock.skew_ms > 0 else "behind"
    says = {
        None: "",
        False: ", and nothing is known to keep it right",
        True: ", though the system keeps it right: the exchange's may be off, or all data late",
    }[clock.is_synchronised]
    return [Trouble(15, f"our clock is {_ms(abs(clock.skew_ms))} {side} the exchange's{says}")]


def _scored(hub: HubHealth, troubles: list[Trouble]) -> HubHealth:
    counted = [] if hub.state in _DOWN or hub.state is HubState.IDLE else troubles
    score = hub_score(hub.state, sum(each.points for each in counted))
    reason = "; ".join([hub.reason or hub.state.value, *(each.sentence for each in counted)])
    return attrs.evolve(hub, score=score, reason=reason)


def _hub_sentence(hub: HubHealth, troubles: list[Trouble]) -> str:
    said = f"the {hub.hub} hub is {hub.state.value}"
    if hub.state in _DOWN and hub.attempts:
        said += f", {hub.attempts} attempts so far"
    if hub.state in _DOWN and hub.next_attempt_s is not None:
        said += f", the next in {_span(hub.next_attempt_s)}"
    if hub.state is not HubState.IDLE and hub.reason:
        said += f" ({hub.reason})"
    return ", ".join([said, *(each.sentence for each in troubles)])


def _ramp(value: float | None, start: float, full: float, least: int, most: int) -> int:
    """Return 0 up to ``start``, and from ``least`` just above it to ``most`` at ``full`` and beyond."""
    if value is None or not value > start:  # not: what is no number takes nothing
        return 0
    return least + int((most - least) * (min(value, full) - start) / (full - start))


def _ms(value: float | None) -> str:
    return "0 ms" if value is None else f"{value:.0f} ms" if abs(value) < 1000 else _span(value / 1000)


def _span(seconds: float) -> str:
    """Say a duration in a unit that suits it."""
    for unit, length in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
