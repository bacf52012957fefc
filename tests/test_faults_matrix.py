"""Every fault that the simulator knows, in every phase, on every hub: what our client does, and that it never lies.

A case lets our client stream trades, bars and user events, puts one fault in, and (unless the fault is one of a live
connection) has the connection reset, so that the next one meets it. All waits are a tenth of the usual ones; the real
bounds have tests of their own in test_faults_rows.py. No token and no key is seen anywhere over the whole matrix.
"""

from __future__ import annotations

import attrs
import pytest
import trio
from fault_tools import (
    API_KEY,
    CONTRACT,
    SMALL,
    TENTH,
    TENTH_SIM,
    Seen,
    assert_steady,
    check,
    check_user,
    open_sim,
    unseen_secrets,
    watch,
)
from sweeps import IS_WHOLE

import trio_projectx as px
from trio_projectx.simulator import Fault, FaultHandle, Simulator
from trio_projectx.simulator.faults.catalogue import SPECS

AT = 1.51
"""When the fault is put in: between two looks at the market, with bars made."""
CREDENTIALS = px.Credentials("simulator", API_KEY)


@attrs.frozen
class Expected:
    """What becomes of a hub that meets a fault; of the other hub nothing ever does (I11)."""

    outages: int = 1
    told_s: float = 0.1
    """Within so many seconds of the strike the last of them is told."""
    back_s: float = 1.0
    """Within so many seconds of that it is live again: a wait of up to half a second, and some way."""
    ends: tuple[type[px.TrioProjectXError], str] | None = None
    """It, or its streams, end with this."""
    lasts_s: float = 3.5
    """How long it is looked at."""
    check: dict[str, object] = attrs.Factory(dict)
    """How `check` differs from the usual."""


LIVES = Expected(outages=0)
GONE = Expected()
FAILS = Expected(outages=0)
SILENT = Expected(told_s=3.1, lasts_s=6)
#: Data that do not come are a stall, after 3 s or 20 intervals; a second is given to what may be on its way.
STALLED = Expected(told_s=5.5, lasts_s=8, check={"clocked": True})
REFUSED = Expected(outages=0, ends=(px.SubscriptionError, "Failed to invoke"))
UNANSWERED = Expected(outages=0, ends=(px.SubscriptionError, "did not acknowledge"))
FATAL = Expected(outages=0, ends=(px.ConnectionLost, "refused on command"))
#: A line that is slow but alive. Of what is on its way at the end there is more.
SLOW = Expected(outages=0, lasts_s=6, check={"slack_s": 3.0})
SHUFFLED = Expected(outages=0, check={"in_order": False, "slack_s": 1.5})

#: What a live connection comes to; those that are not named here are gone at once.
ON_A_LIVE_ONE: dict[str, Expected] = {
    **dict.fromkeys(("half_open", "hang"), SILENT),
    "bit_flip": Expected(told_s=0.4),  # the next byte that is sent
    "stop_reading": SILENT,  # the server hears no pings of ours, and closes
    **dict.fromkeys(("throttle", "delay"), SLOW),
    **dict.fromkeys(("rechunk", "binary_frames", "fragmented_frames", "split_records"), LIVES),
    **dict.fromkeys(("nested_record", "unknown_target", "unknown_type", "unknown_completion"), LIVES),
    **dict.fromkeys(("unknown_fields", "completion_twice", "mute_pings", "mute_pongs", "hostile"), LIVES),
    "trades_duplicated": attrs.evolve(LIVES, check={"extra": 9}),
    "trades_replayed": LIVES,
    **dict.fromkeys(("trades_swapped", "trades_late"), SHUFFLED),
    "mute_data": STALLED,
    "subscriptions_lost": LIVES,  # that of another stream
    "subscribe_refused": REFUSED,
    "subscribe_never": UNANSWERED,
}
#: What a connection on its way in comes to, after the reset that made it; else it fails, and the next one is the last.
ON_THE_WAY_IN: dict[str, Expected] = {
    **{name: each for name, each in ON_A_LIVE_ONE.items() if each.outages == 0},
    **dict.fromkeys(("mute_data", "subscriptions_lost"), STALLED),
    "handshake_answer": FATAL,
    "subscribe_refused": REFUSED,
    # Nothing that the market hub was asked for is answered: that is no hub. Of the user hub one of seven is not.
    "subscribe_never": FAILS,
}
#: After how long a step on the way in is given up.
GIVEN_UP_S = {
    **dict.fromkeys(("connect", "negotiate", "upgrade"), TENTH.connect_s),
    "handshake": TENTH.handshake_s,
    "subscribe": TENTH.subscribe_s,
    "stream": 0.0,
}
#: A user hub may be silent: nobody can tell that events are kept back.
OF_THE_USER_HUB = {
    ("mute_data", "stream"): LIVES,
    ("mute_data", "subscribe"): LIVES,
    ("subscriptions_lost", "subscribe"): LIVES,
    ("subscribe_never", "subscribe"): UNANSWERED,
}
KEPT_BACK = ("mute_data", "subscriptions_lost")
#: They change records with trades, or need another stream to be opened: of that there is only one kind.
OF_THE_MARKET_HUB_ALONE = {name for name in SPECS if name.startswith("trades_")} | {"hostile"}
OF_CALLS = {"completion_twice", "subscribe_refused", "subscribe_never", "subscriptions_lost"}


def expected(name: str, phase: str, hub: str) -> Expected:
    found = ON_A_LIVE_ONE.get(name, GONE) if phase == "stream" else ON_THE_WAY_IN.get(name, FAILS)
    if hub == "user":
        found = OF_THE_USER_HUB.get((name, phase), found)
    if found is FAILS or (found is SLOW and phase != "stream"):
        longest = GIVEN_UP_S[phase]
        return attrs.evolve(found, back_s=1 + longest, lasts_s=3 + longest)
    return found


CASES = [
    (name, phase, hub)
    for name, spec in SPECS.items()
    for phase in spec.phases
    for hub in (("market", "user") if phase != "rest" else ("rest",))
    if not (hub == "user" and name in OF_THE_MARKET_HUB_ALONE)
    if not (hub == "user" and phase == "stream" and name in OF_CALLS)
]
HUB_CASES = [each for each in CASES if each[2] != "rest"]
if not IS_WHOLE:  # on the way in each meets one hub or the other; `nox -s whole` has both
    ways_in = sorted({(name, phase) for name, phase, _ in HUB_CASES})
    other = {each: ("market", "user")[n % 2] for n, each in enumerate(ways_in)}
    HUB_CASES = [
        (name, phase, hub)
        for name, phase, hub in HUB_CASES
        if phase == "stream" or other[name, phase] != hub or name in OF_THE_MARKET_HUB_ALONE
    ]
#: But for what concerns another request than a refresh makes (`test_faults_history`).
REST_CASES = [name for name, phase, _ in CASES if phase == "rest" and name != "history_bars"]


def fault_of(name: str, **where: str) -> Fault:
    """A tenth of a tenth is no line any more: it has to carry what the market says."""
    given = {**SMALL, "bytes_per_s": 20_000, "latency_s": 0.1, "jitter_s": 0.05, "chunk_bytes": 9}
    return Fault(name, **where, **{key: given[key] for key in given if key in SPECS[name].params})


async def strike(sim: Simulator, name: str, phase: str, hub: str) -> FaultHandle:
    """Put the fault in, and see to it that somebody meets it."""
    if phase == "connect":
        handle = sim.inject(fault_of(name, phase=phase, connection="next"))
    else:
        handle = sim.inject(fault_of(name, phase=phase, hub=hub))
    for _ in range(resets(name, phase)):
        if name == "trades_replayed":
            await trio.sleep(0.5)  # it wants something to repeat
        sim.inject(Fault("tcp_reset", hub=hub, phase="stream"))
    return handle


def resets(name: str, phase: str) -> int:
    """Return how often the connection has to be made anew for the fault to strike."""
    return (phase != "stream") + (name == "trades_replayed")


@pytest.mark.parametrize(("name", "phase", "hub"), HUB_CASES)
async def test_a_hub_meets_it(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, name: str, phase: str, hub: str
) -> None:
    with unseen_secrets(monkeypatch) as shown:
        shown.append(Seen())
        await meet_it(shown[0], name, phase, hub)


async def meet_it(seen: Seen, name: str, phase: str, hub: str) -> None:
    wanted = expected(name, phase, hub)
    async with open_sim(api_key=API_KEY, **TENTH_SIM) as sim, trio.open_nursery() as nursery:

        async def run() -> None:
            await watch(
                sim, AT + wanted.lasts_s, seen, user=True, timeouts=TENTH,
                negotiate=phase == "negotiate", credentials=CREDENTIALS,
            )  # fmt: skip

        nursery.start_soon(run)
        await trio.sleep(AT)
        handle = await strike(sim, name, phase, hub)
        other: px.TrioProjectXError | None = None
        if phase == "stream" and name in OF_CALLS:
            other = await open_another(seen)
        await trio.sleep(AT + wanted.lasts_s - trio.current_time() + 1)
        assert handle.struck == 1
        assert_outcome(wanted, seen, hub, other, resets(name, phase))
        still = wanted.ends is None or other is not None
        check(seen, sim, bound_s=4.5, is_live=True if still else None, **wanted.check)
        if still:
            assert_steady(seen, AT)
            if not (hub == "user" and name in KEPT_BACK):
                check_user(seen)


async def open_another(seen: Seen) -> px.TrioProjectXError | None:
    """Open a stream that needs one more subscription; return what it says."""
    assert seen.gateway is not None
    try:
        async with seen.gateway.open_quotes(CONTRACT):
            await trio.sleep(1)
    except px.TrioProjectXError as exc:
        return exc
    return None


def assert_outcome(
    wanted: Expected, seen: Seen, hub: str, other: px.TrioProjectXError | None, resets: int
) -> None:
    outages, exc = seen.outages(hub), seen.error or other
    assert seen.outages("user" if hub == "market" else "market") == []
    assert len(outages) == wanted.outages + resets
    if wanted.ends is None:
        assert exc is None
        assert all(start - AT <= wanted.told_s + 0.5 * resets for start, _ in outages)
        assert all(end is not None and end - start <= wanted.back_s for start, end in outages)
        return
    with pytest.raises(wanted.ends[0], match=wanted.ends[1]):
        raise exc or AssertionError
    if issubclass(wanted.ends[0], px.SubscriptionError):
        assert len(seen.told(px.SubscriptionRefused)) == 1


@pytest.mark.parametrize("name", REST_CASES)
async def test_a_refresh_meets_it(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The live session is not touched, whatever comes of it; and the next refresh works."""
    with unseen_secrets(monkeypatch) as shown:
        shown.append(Seen())
        await refresh(shown[0], name)


async def refresh(seen: Seen, name: str) -> None:
    async with open_sim(api_key=API_KEY, **TENTH_SIM) as sim, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: watch(sim, 7, seen, user=True, timeouts=TENTH, credentials=CREDENTIALS))
        await trio.sleep(AT)
        handle = sim.inject(fault_of(name, phase="rest", hub="rest"))
        assert seen.gateway is not None
        error: px.TrioProjectXError | None = None
        try:
            await seen.gateway.refresh_token()
        except px.TrioProjectXError as exc:
            error = exc
        assert trio.current_time() - AT <= TENTH.refresh_s + 0.01
        assert handle.struck == 1
        if error is not None:
            await seen.gateway.refresh_token()
        await trio.sleep(7.5 - trio.current_time())
        assert len(seen.told(px.TokenRefreshFailed)) == (error is not None)
        assert len(seen.told(px.TokenRefreshed)) == 1
        assert [each.overlapped for each in seen.told(px.ConnectionReplaced)] == [True, True]
        assert (seen.outages("market"), seen.outages("user"), seen.gaps, seen.error) == ([], [], [], None)
        check(seen, sim, bound_s=3.0, is_live=True)
        check_user(seen)
        assert_steady(seen, AT)


def test_no_fault_is_left_out() -> None:
    assert {name for name, _, _ in CASES} == set(SPECS)
    assert {(name, phase) for name, phase, _ in CASES} == {
        (name, phase) for name, spec in SPECS.items() for phase in spec.phases
    }
