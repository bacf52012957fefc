"""What a random life of `load/model.py` is to be, drawn from its seed: contracts, streams, handlers, faults, losses.

Everything is drawn before anything is lived: the same seed is the same plan.
"""

from __future__ import annotations

import random
from typing import Any, Final

import attrs
from rows import Row, rows

import trio_projectx as px

_PRODUCTS: Final = (
    "MNQ", "EP", "RTY", "TYA", "TUA", "JY6", "MX6", "RBE", "NGE", "NQM", "SIE", "ZCE", "GLE", "GMET", "NKD", "ULA",
    "M6A",
)  # fmt: skip
#: The first is in the middle of a session; at the others one ends, begins, or the clocks of a zone change.
_STARTS: Final = (
    "2026-08-19T18:30:00Z", "2026-08-19T20:58:20Z", "2025-11-02T05:58:00Z", "2025-11-02T22:58:00Z",
    "2025-11-28T17:58:30Z", "2025-11-27T17:58:30Z", "2026-08-20T21:58:30Z", "2026-03-08T07:58:40Z",
    "2026-08-21T20:58:40Z", "2026-08-19T23:58:50Z",
)  # fmt: skip
#: They do not trade where the first start is.
_CLOSED_THEN: Final = ("ZCE", "GLE")
_FRAMES: Final = ("1s", "2s", "5s", "7s", "30s", "1m", "2m", "5m", "1h", "4h", "1d", "1w", "1M")
_KINDS: Final = ("tick:50", "volume:100", "range:4", "renko:3", "dollar:1000000")
#: They let the wire say what never was, or not in its order.
_LIES: Final = ("trades_duplicated", "bit_flip")
#: They keep what was, but not its order; what they hold back is lost with its connection, and nobody knows it.
_DISORDER: Final = ("trades_swapped", "trades_late")
#: What may be there beside these: nothing that ends connections on purpose.
_BESIDE_DISORDER: Final = (
    *_DISORDER, "hostile", "http_status", "unknown_target", "mute_pongs", "unknown_fields"
)  # fmt: skip
#: Each fragment is a send of its own.
_DEAR: Final = ("rechunk", "split_records", "fragmented_frames", "throttle")
_SILENT: Final = (
    "half_open", "hang", "mute_data", "subscriptions_lost", "token_expiry", "stop_reading", "subscribe_never"
)  # fmt: skip
#: Nobody can tell that they keep data back where the calendar says that the market is closed.
_KEEP_BACK: Final = ("mute_data", "subscriptions_lost", "token_expiry")
_NEVER: Final = 1e9


@attrs.frozen
class StreamPlan:
    """A stream, and who reads it."""

    kind: str
    contract: str
    at: float
    until: float
    policy: px.Overflow
    capacity: int | None
    pause_s: float = 0.0
    burst: int = 1
    """It sleeps after so many items."""
    frames: tuple[str, ...] = ()
    options: dict[str, Any] = attrs.Factory(dict)
    how: str = "leave"
    """How it is left: left, drained first, by an exception, or cancelled."""
    readers: int = 1

    @property
    def is_prompt(self) -> bool:
        """Whether it is read at once."""
        return self.pause_s == 0

    @property
    def drops(self) -> bool:
        """Whether it leaves items out, and says so."""
        return self.policy not in (px.Overflow.ERROR, px.Overflow.BLOCK)

    @property
    def timeframes(self) -> list[str]:
        """Its frames that are of time."""
        return [frame for frame in self.frames if ":" not in frame]


@attrs.frozen
class HandlerPlan:
    """A handler, and what it does with what it is given."""

    kind: str
    contract: str
    at: float
    until: float
    how: str
    is_sync: bool
    batch: bool
    weak: bool
    fallback: str
    capacity: int | None
    policy: px.Overflow | None
    options: px.HandlerOptions
    seed: int


@attrs.frozen
class FaultPlan:
    """A row of the catalogue, when it strikes and for how long."""

    row: Row
    at: float
    lasts_s: float
    seed: int


@attrs.frozen
class Plan:
    """A whole life."""

    seed: int
    seconds: float
    start: str
    rate: float
    """Trades a second."""
    sim: dict[str, Any]
    config: dict[str, Any]
    contracts: tuple[str, ...]
    streams: tuple[StreamPlan, ...]
    handlers: tuple[HandlerPlan, ...]
    faults: tuple[FaultPlan, ...]
    refreshes: tuple[float, ...]
    runs: tuple[tuple[float, float], ...]
    """When handlers run."""
    pressure: tuple[tuple[float, float], ...]
    """From when on which share of memory is used."""

    @property
    def is_ordered(self) -> bool:
        """Whether the wire keeps the order of trades."""
        return all(each.row.name not in _DISORDER for each in self.faults)

    @property
    def is_honest(self) -> bool:
        """Whether the wire says only what was."""
        return all(each.row.name not in _LIES for each in self.faults)

    @property
    def is_loud(self) -> bool:
        """Whether no fault leaves a connection silent."""
        return all(each.row.name not in _SILENT for each in self.faults)

    def used_at(self, at: float) -> float:
        """Return the share of memory that is in use then."""
        return max((each for each in self.pressure if each[0] <= at), default=(0.0, 0.1))[1]


def draw(seed: int) -> Plan:
    """Draw a life."""
    rng = random.Random(seed)
    seconds = rng.choice((25.0, 60.0, 100.0))
    contracts = tuple(rng.sample(_PRODUCTS, rng.choice((1, 1, 2, 3))))
    start, faults = _draw_faults(rng, contracts, seconds)
    streams = [_draw_reference(rng, contract) for contract in contracts if rng.random() < 0.7]
    streams += [_draw_stream(rng, contracts, seconds) for _ in range(rng.randint(2, 12))]
    handlers = tuple(_draw_handler(rng, contracts, seconds) for _ in range(rng.choice((0, 0, 2, 4, 6))))
    runs = _draw_runs(rng, seconds)
    return Plan(
        seed=seed,
        seconds=seconds,
        start=start,
        rate=rng.choice((0.5, 3.0, 3.0, 12.0)),
        sim=_draw_simulator(rng),
        config=_draw_config(rng),
        contracts=contracts,
        streams=tuple(streams),
        handlers=handlers,
        faults=faults,
        refreshes=tuple(rng.uniform(1, seconds) for _ in range(rng.choice((0, 0, 1, 3)))),
        runs=runs,
        pressure=_draw_pressure(rng, seconds),
    )


def _draw_faults(
    rng: random.Random, contracts: tuple[str, ...], seconds: float
) -> tuple[str, tuple[FaultPlan, ...]]:
    """Draw when the life begins, and faults that can be told then."""
    is_loud, kind = rng.random() < 0.4, rng.choice(("honest",) * 6 + ("lies", "disorder"))
    found = [row for row in rows() if not (is_loud and row.name in _SILENT)]
    if kind == "honest":
        found = [row for row in found if row.name not in (*_LIES, *_DISORDER)]
    elif kind == "disorder":
        found = [row for row in found if row.name in _BESIDE_DISORDER]
    start = rng.choice(_STARTS) if rng.random() < 0.7 else _STARTS[0]
    if start != _STARTS[0] or set(_CLOSED_THEN) & set(contracts):
        found = [row for row in found if row.name not in _KEEP_BACK]
    return start, tuple(_draw_fault(rng, found, seconds) for _ in range(rng.choice((0, 1, 2, 4, 7))))


def _draw_fault(rng: random.Random, found: list[Row], seconds: float) -> FaultPlan:
    row, lasts_s = rng.choice(found), rng.choice((3.0, 10.0, 40.0))
    if row.name in _DEAR:
        lasts_s = 2.0
    elif row.name in _SILENT:
        lasts_s = 90.0  # what is kept back for a moment alone is lost, and nobody can know it
    return FaultPlan(row, rng.uniform(2, seconds), lasts_s, rng.randrange(1 << 30))


def _draw_runs(rng: random.Random, seconds: float) -> tuple[tuple[float, float], ...]:
    at = rng.uniform(0, 5)
    runs = [(at, rng.uniform(seconds / 2, seconds))] if rng.random() < 0.5 else [(at, seconds * 10)]
    if rng.random() < 0.4:
        runs.append((runs[-1][1] + rng.uniform(0, 5), seconds * 20))
    return tuple(runs)


def _draw_pressure(rng: random.Random, seconds: float) -> tuple[tuple[float, float], ...]:
    if rng.random() < 0.7:
        return ()
    ats = sorted(rng.uniform(0, seconds) for _ in range(rng.randint(1, 6)))
    return tuple((at, rng.choice((0.1, 0.5, 0.75, 0.85, 0.95))) for at in ats)


def _draw_simulator(rng: random.Random) -> dict[str, Any]:
    return {
        "step_s": rng.choice((0.05, 0.25, 1.0)),
        "token_ttl_s": rng.choice((86_400.0, 86_400.0, 60.0, 200.0)),
        "payloads": rng.choice(("live", "live", "varied")),
        "parallel": rng.choice((1, 1, 4)),
    }


def _draw_config(rng: random.Random) -> dict[str, Any]:
    return {
        "negotiate": rng.random() < 0.5,
        "limits": px.Limits(
            batches_in_flight=rng.choice((1, 2, 64)),
            buffer_warn_share=rng.choice((0.95, 0.5, 1.0)),
            revisable_bars=rng.choice((1000, 1000, 50)),
            recent_trades=rng.choice((10_000, 100, 1)),
            recent_trades_s=rng.choice((900.0, 20.0)),
            lateness_ms=rng.choice((50.0, 50.0, 0.0, 2000.0)),
            quiet_ms=rng.choice((1000.0, 1000.0, 5000.0)),
            stream_items=rng.choice((10_000, 100)),
        ),
        "reconnect": px.Reconnect(
            redundant=rng.random() < 0.25,
            max_connection_age_s=rng.choice((None, None, 20.0, 45.0)),
            connections_max=rng.choice((1, 1, 2)),
            contracts_per_connection=rng.choice((100, 1)),
            at_start=rng.random() < 0.5,
        ),
        "history": px.HistoryOptions(settle_s=rng.choice((5.0, 1.0)), fill_gaps=rng.random() < 0.9),
        "timeouts": px.Timeouts(pong_s=rng.choice((None, 15.0)), overlap_s=rng.choice((1.0, 0.2))),
    }


def _draw_reference(rng: random.Random, contract: str) -> StreamPlan:
    """Draw a stream that is there all the time and leaves nothing out: the truth can be held against it."""
    options: dict[str, Any] = {"events": True}
    whole = StreamPlan("trades", contract, 0.0, _NEVER, px.Overflow.ERROR, 1_000_000, options=options)
    if rng.random() < 0.6:
        return whole
    frames = tuple(rng.sample(_FRAMES, rng.randint(1, 6)))
    options |= {"late": "revise", "outside": rng.choice(("own", "attach", "drop"))}
    if rng.random() < 0.6:
        options["anchor"] = rng.choice((px.Anchor.utc(), px.Anchor.wall("America/Chicago")))
        options["outside"] = "own"
    if rng.random() < 0.5:
        options["history"] = rng.choice((1, 5, 50))
    return attrs.evolve(whole, kind="bars", frames=frames)


def _draw_stream(rng: random.Random, contracts: tuple[str, ...], seconds: float) -> StreamPlan:
    kind = rng.choice(
        ("bars", "bars", "bars", "trades", "trades", "quotes", "depth", "book", "user", "events")
    )
    refused = {"depth": px.Overflow.CONFLATE, "events": px.Overflow.BLOCK}.get(kind)
    policy = rng.choice([each for each in px.Overflow if each is not refused])
    options: dict[str, Any] = {}
    frames: tuple[str, ...] = ()
    if kind in ("bars", "trades", "quotes", "depth", "book"):
        options["events"] = rng.random() < 0.6
    if kind == "bars":
        frames = _draw_bars(rng, options)
    if kind == "book":
        options["levels"] = rng.choice((1, 3, 10))
    at, is_slow = rng.uniform(0, seconds * 0.8), rng.random() < 0.5
    pauses = (0.02, 0.3) if policy is px.Overflow.BLOCK else (0.05, 0.5, 3.0, _NEVER)
    return StreamPlan(
        kind,
        rng.choice(contracts),
        at,
        until=at + rng.uniform(0, seconds) if rng.random() < 0.5 else _NEVER,
        policy=policy,
        capacity=rng.choice((1, 2, 5, 50, 10_000, None)),
        pause_s=rng.choice(pauses) if is_slow else 0.0,
        burst=rng.choice((1, 1, 3, 20)),
        frames=frames,
        options=options,
        how=rng.choice(("leave", "leave", "raise", "cancel", "drain", "drain")),
        readers=rng.choice((1, 1, 1, 1, 2)),
    )


def _draw_bars(rng: random.Random, options: dict[str, Any]) -> tuple[str, ...]:
    """Draw frames, and put what else there is to say of bars into ``options``."""
    frames = tuple(rng.sample(_FRAMES, rng.randint(1, 5)))
    options["outside"] = rng.choice(("own", "own", "attach", "drop"))
    if rng.random() < 0.5:
        zones = (px.Anchor.utc(), px.Anchor.wall("Europe/Berlin"), px.Anchor.wall("Australia/Lord_Howe"))
        options |= {"anchor": rng.choice(zones), "outside": "own"}
    if options["events"] and rng.random() < 0.5:
        options["late"] = "revise"
    if rng.random() < 0.3:
        options["skip_first"] = True
    if rng.random() < 0.3:
        options["updates"] = rng.choice(("every", 0.7, 5.0))
    if rng.random() < 0.4:
        options["history"] = rng.choice((1, 3, 20, 200))
    elif rng.random() < 0.3:
        return (*frames, rng.choice(_KINDS))
    if "anchor" not in options and rng.random() < 0.2:
        options["fill"] = "previous"
    return frames


def _draw_handler(rng: random.Random, contracts: tuple[str, ...], seconds: float) -> HandlerPlan:
    kind = rng.choice(("bar", "trade", "trade", "quote", "depth", "book", "user_event", "event"))
    at = rng.choice((0.0, rng.uniform(0, seconds)))
    return HandlerPlan(
        kind,
        rng.choice(contracts),
        at,
        until=at + rng.uniform(0, seconds) if rng.random() < 0.5 else _NEVER,
        how=rng.choice(("good", "good", "fails", "sometimes", "slow", "hangs", "removes")),
        is_sync=rng.random() < 0.3,
        batch=rng.random() < 0.4,
        weak=rng.random() < 0.2,
        fallback=rng.choice(("", "", "good", "fails")),
        capacity=rng.choice((None, 1, 3, 100)),
        policy=rng.choice((None, px.Overflow.DROP_NEWEST, px.Overflow.DROP_OLDEST)),
        options=px.HandlerOptions(
            deadline_s=rng.choice((10.0, 0.5, None)),
            rate_per_s=rng.choice((None, None, 2.0, 0.1)),
            rate_burst=rng.choice((1, 5)),
            failures=rng.choice((1, 5)),
            window_s=rng.choice((1.0, 60.0)),
            open_s=rng.choice((1.0, 10.0)),
            batch_most=rng.choice((1, 7, 100)),
        ),
        seed=rng.randrange(1 << 30),
    )
