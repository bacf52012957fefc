"""Faults against our own client, in virtual time: what it says of them, what it lives through, what keeps it out.

All faults in all phases are in test_faults_matrix.py, the rows of the catalogue in test_faults_rows.py.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import trio
from fault_tools import CONTRACT, SMALL, Seen, check, meet, open_sim, watch

import trio_projectx as px
from trio_projectx.simulator import Fault
from trio_projectx.simulator.faults import SPECS
from trio_projectx.simulator.faults.catalogue import BODY_KINDS, HANDSHAKE_KINDS

AT = 5.01
"""Between two looks at the market, with bars made."""


def fault_of(name: str, **options: Any) -> Fault:
    small = {key: value for key, value in SMALL.items() if key in SPECS[name].params}
    return Fault(name, **{**small, **options})


def lasted(seen: Seen) -> float:
    assert seen.ended_at is not None
    return seen.ended_at


# name, options, what our client says of the loss, the longest it may take to say it
ENDS: list[tuple[str, dict[str, Any], str, float]] = [
    ("tcp_reset", {}, "1006", 0.1),
    ("tcp_reset", {"after_records": 7}, "1006", 3),
    ("tcp_reset", {"delay_s": 2}, "1006", 2.1),
    ("tcp_fin", {}, "1006", 0.1),
    ("half_open", {}, "no record for 30 s", 30.1),
    ("stop_reading", {}, "Connection closed with an error", 31),  # by the server, which hears no pings
    ("hang", {"phase": "stream"}, "no record for 30 s", 30.1),
    ("garbage", {}, "100[27]", 0.1),
    ("bit_flip", {}, "1002", 0.1),
    ("throttle", {}, "1006", 60),  # a server gives up on a send that is stuck for 10 s
    ("ws_close", {"code": 1000}, "1000", 0.1),
    ("ws_close", {"code": 1001, "reason": "Bye\x1b[2J"}, r"1001 \(Bye\\x1b\[2J\)", 0.1),
    ("ws_close", {"code": 1008}, "1008", 0.1),
    ("ws_close", {"code": 1013}, "1013", 0.1),
    ("endless_fragments", {}, "1009", 0.5),
    ("deflate_bomb", {}, "1002", 0.1),
    ("rsv_bit", {}, "1002", 0.1),
    ("reserved_opcode", {}, "1002", 0.1),
    ("masked_frame", {}, "1002", 0.1),
    ("invalid_utf8", {}, "1007", 0.1),
    ("invalid_utf8", {"kind": "fragmented"}, "1007", 0.1),
    ("claimed_length", {}, "claims to have 4611686018427387904 bytes", 0.1),
    ("close_record", {}, "the hub closed the connection: no reason", 0.1),
    ("huge_record", {}, "1009", 0.5),
    ("unterminated_record", {}, "longer than the limit", 0.5),
    ("token_expiry", {}, "the hub closed the connection", 0.1),
]


@pytest.mark.parametrize(("name", "options", "says", "within_s"), ENDS)
async def test_what_ends_a_live_connection(
    autojump_clock: object, name: str, options: dict[str, Any], says: str, within_s: float
) -> None:
    """It is told with its reason, and the streams go on behind a gap."""
    async with open_sim() as sim:
        fault = fault_of(name, hub="market", **options)
        seen, handle = await meet(sim, fault, at=AT, until=AT + within_s + 3)
        assert handle.struck == 1
        assert seen.error is None
        (lost,) = [each for each in seen.told(px.HubStateChanged) if each.state is px.HubState.RECONNECTING]
        assert re.search(says, lost.reason), lost
        ((start, end),) = seen.outages()
        assert start - AT <= within_s
        assert end is not None
        assert end - start <= 0.5
        (gap,) = seen.gaps
        assert re.search(says, gap.cause)
        assert len(seen.bars) >= 6
        check(seen, sim, is_live=True, bound_s=31)


# name, options: the client lives on, and gets everything that is in the truth
HARMLESS: list[tuple[str, dict[str, Any]]] = [
    ("rechunk", {"duration_s": 3}),
    ("rechunk", {"chunk_bytes": 7}),
    ("delay", {}),
    ("throttle", {"bytes_per_s": 100_000}),
    ("binary_frames", {}),
    ("fragmented_frames", {"chunk_bytes": 11}),
    ("fragmented_frames", {"duration_s": 1}),
    ("split_records", {}),
    ("unknown_fields", {}),
    ("unknown_target", {}),
    ("unknown_type", {}),
    ("unknown_completion", {}),
    ("nested_record", {}),
    ("mute_pongs", {}),
    ("mute_pings", {}),  # while there is data nobody needs them
]


@pytest.mark.parametrize(("name", "options"), HARMLESS)
async def test_what_a_client_lives_through(
    autojump_clock: object, name: str, options: dict[str, Any]
) -> None:
    async with open_sim() as sim:
        seen, handle = await meet(sim, fault_of(name, hub="market", **options), at=AT, until=20)
        assert handle.struck == 1
        assert seen.error is None
        assert seen.outages() == []
        assert check(seen, sim, is_live=True, slack_s=4).missed == 0
        assert len(seen.bars) >= 14
        assert seen.rejected == 0


async def test_muted_data_comes_back_and_what_was_missed_shows(autojump_clock: object) -> None:
    async with open_sim() as sim:
        seen, _ = await meet(sim, Fault("mute_data", hub="market", duration_s=5), at=AT, until=20)
        assert seen.error is None
        assert len(seen.bars) < 17
        assert check(seen, sim, untold=200).untold  # nobody can tell: what is muted for a second is no stall
        assert seen.gaps == []


# fault at the way in, what our client says, its type, within
REFUSALS: list[tuple[str, dict[str, Any], type[px.TrioProjectXError], str, float]] = [
    ("refuse", {}, px.ConnectError, "refused", 0.1),
    ("hang", {"phase": "connect"}, px.ConnectTimeout, "30 s", 30.1),
    ("hang", {"phase": "rest"}, px.ConnectTimeout, "30 s", 30.1),
    ("hang", {"phase": "upgrade"}, px.ConnectTimeout, "10 s", 10.1),
    ("hang", {"phase": "handshake"}, px.ConnectTimeout, "15 s", 20.1),
    ("hang", {"phase": "subscribe"}, px.SubscriptionError, "15 s", 15.1),
    ("half_open", {"phase": "handshake"}, px.ConnectTimeout, "15 s", 20.1),
    ("half_open", {"phase": "subscribe"}, px.SubscriptionError, "15 s", 15.1),
    ("half_open", {"phase": "connect"}, px.ConnectTimeout, "30 s", 30.1),
    ("stop_reading", {"phase": "handshake"}, px.ConnectTimeout, "15 s", 15.1),
    ("tcp_reset", {"phase": "handshake"}, px.ConnectError, "1006", 0.1),
    ("tcp_fin", {"phase": "upgrade", "hub": "market"}, px.ConnectError, "hung up", 0.1),
    ("tcp_reset", {"hub": "rest", "after_bytes": 20}, px.ConnectError, ".", 0.5),
    ("garbage", {"phase": "upgrade"}, px.ConnectError, "does not speak HTTP", 0.1),
    ("garbage", {"hub": "rest"}, px.TrioProjectXError, ".", 0.1),
    ("ws_close", {"phase": "handshake"}, px.ConnectError, "1011", 0.1),
    ("http_status", {"hub": "rest", "status": 401}, px.AuthError, ".", 0.1),
    ("http_status", {"hub": "rest", "status": 429, "retry_after_s": 7}, px.GatewayError, "429", 30),
    (
        "http_status",
        {"hub": "rest", "status": 500, "body": "Oh\x1b[2J no"},
        px.GatewayError,
        r"Oh\\x1b\[2J no",
        0.1,
    ),
    ("http_status", {"hub": "market", "status": 403, "body": "never"}, px.AuthError, "403.*never", 0.1),
    ("http_status", {"hub": "market", "status": 404}, px.ConnectError, "404", 0.1),
    ("http_status", {"hub": "market", "status": 503}, px.ConnectError, "503", 0.1),
    ("http_status", {"hub": "market", "status": 401, "count": 0}, px.AuthError, ".", 0.1),
    ("subscribe_refused", {"error": "No."}, px.SubscriptionError, r"HubException: No\.", 0.1),
    ("subscribe_refused", {}, px.SubscriptionError, "Failed to invoke 'SubscribeContractTrades'", 0.1),
    ("subscribe_never", {}, px.SubscriptionError, "15 s", 15.1),
]


@pytest.mark.parametrize(("name", "options", "error", "says", "within_s"), REFUSALS)
async def test_what_keeps_a_client_out(
    autojump_clock: object,
    name: str,
    options: dict[str, Any],
    error: type[px.TrioProjectXError],
    says: str,
    within_s: float,
) -> None:
    async with open_sim() as sim:
        seen, handle = await meet(sim, fault_of(name, **options), at=0, until=80)
        assert handle.struck >= 1
        assert isinstance(seen.error, error), seen.error
        with pytest.raises(error, match=says):
            raise seen.error
        assert lasted(seen) <= within_s
        assert seen.bars == []
        assert sim.statistics().crashes == 0


@pytest.mark.parametrize("kind", HANDSHAKE_KINDS)
async def test_answers_to_the_handshake(autojump_clock: object, kind: str) -> None:
    async with open_sim() as sim:
        fault = Fault("handshake_answer", kind=kind, error="Not\x07 today" if kind == "error" else "")
        seen, handle = await meet(sim, fault, at=0, until=30)
        assert handle.struck == 1
        if kind == "two_records":
            assert seen.error is None
            check(seen, sim)
            return
        expected = {"error": r"Not\\x07 today", "unterminated": "15 s"}.get(kind, ".")
        with pytest.raises((px.ConnectError, px.ProtocolError), match=expected):
            raise seen.error or AssertionError
        assert lasted(seen) <= (20.1 if kind == "unterminated" else 0.1)


@pytest.mark.parametrize("kind", [kind for kind in BODY_KINDS if kind != "huge"])
@pytest.mark.parametrize("negotiate", [False, True])
async def test_bodies_that_are_none(autojump_clock: object, kind: str, negotiate: bool) -> None:
    async with open_sim() as sim:
        where = (
            {"hub": "market", "phase": "negotiate"} if negotiate else {"hub": "rest", "path": "/api/auth/*"}
        )
        fault = fault_of("http_body", kind=kind, **where)
        seen, handle = await meet(sim, fault, at=0, until=60, negotiate=negotiate)
        assert handle.struck == 1
        assert isinstance(seen.error, px.TrioProjectXError), seen.error
        assert lasted(seen) <= 30.1
        assert seen.trades == []
        assert "simulated" not in str(seen.error)  # the token of a redirect


@pytest.mark.parametrize("negotiate", [False, True])
async def test_a_huge_body_is_not_taken(autojump_clock: object, negotiate: bool) -> None:
    async with open_sim() as sim:
        where = {"hub": "market", "phase": "negotiate"} if negotiate else {"hub": "rest"}
        fault = Fault("http_body", kind="huge", size_bytes=40 << 20, **where)
        seen, _ = await meet(sim, fault, at=0, until=60, negotiate=negotiate)
        assert isinstance(seen.error, px.TrioProjectXError), seen.error
        # What is not read is not sent: the simulator has stopped at what the streams hold.
        assert sim.statistics().crashes == 0


async def test_subscriptions_that_are_acknowledged_and_bring_nothing_are_a_stall(
    autojump_clock: object,
) -> None:
    async with open_sim() as sim:
        seen, handle = await meet(sim, Fault("subscriptions_lost"), at=0, until=40)
        assert handle.struck == 1
        ((start, end),) = seen.outages()
        assert start == pytest.approx(31, abs=0.1)  # 30 s, and one for what may be on its way
        assert end is not None
        assert seen.trades
        check(seen, sim, is_live=True)


async def test_a_completion_that_comes_twice_settles_once(autojump_clock: object) -> None:
    async with open_sim() as sim:
        seen, handle = await meet(sim, Fault("completion_twice"), at=0, until=10)
        assert handle.struck == 1
        check(seen, sim)
        assert len(seen.trades) > 100


# -- trades that are not as they were


async def test_duplicated_trades_are_in_the_bars_as_often_as_they_came(autojump_clock: object) -> None:
    async with open_sim() as sim:
        seen, handle = await meet(sim, Fault("trades_duplicated", n=5), at=AT, until=20)
        assert handle.struck == 1
        assert len(seen.trades) > len(set(seen.rows))
        check(seen, sim, extra=100)
        assert len(seen.trades) > sim.truth().num_rows - 80


async def test_swapped_trades_are_all_there(autojump_clock: object) -> None:
    async with open_sim() as sim:
        seen, handle = await meet(sim, Fault("trades_swapped", n=10), at=AT, until=20)
        assert handle.struck == 1
        assert seen.rows != sorted(seen.rows, key=lambda each: each[0])
        check(seen, sim, in_order=False, is_live=True)


async def test_late_trades_are_counted_not_put_into_a_closed_bar(autojump_clock: object) -> None:
    async with open_sim() as sim:
        seen, handle = await meet(sim, Fault("trades_late", n=3, late_s=5), at=AT, until=20)
        assert handle.struck == 1
        check(seen, sim, in_order=False, is_live=True)
        assert seen.late > 0


async def test_trades_that_a_service_repeats_after_a_reconnect_are_known(autojump_clock: object) -> None:
    """FAULTS.md row 84: the last four reads of before the loss come again, before the first of after it."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, sim, 10, seen)
            await trio.sleep(2)
            handle = sim.inject(Fault("trades_replayed", hub="market", n=4))
            await trio.sleep(3.01)
            sim.inject(Fault("tcp_reset", hub="market"))
        assert handle.struck == 1
        assert len(seen.outages()) == 1
        assert seen.statistics is not None
        (contract,) = seen.statistics.market.contracts
        assert contract.rejected.replayed >= 4
        check(seen, sim, is_live=True)


async def test_what_two_connections_were_sent_is_repeated_to_a_third_once(autojump_clock: object) -> None:
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(watch, sim, 12, seen, reconnect=px.Reconnect(redundant=True)))
            await trio.sleep(2)
            handle = sim.inject(Fault("trades_replayed", hub="market", n=8))
            await trio.sleep(3.01)
            sim.inject(Fault("tcp_reset", hub="market"))
            await trio.sleep(5)
            sim.set_trades_per_s(0.0)
        assert handle.struck == 1
        assert len(set(seen.rows)) > 10
        assert len(seen.rows) <= sim.truth(CONTRACT).num_rows


async def test_what_a_fault_began_ends_when_it_is_taken_out(autojump_clock: object) -> None:
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, sim, 20, seen)
            await trio.sleep(AT)
            handle = sim.inject(Fault("mute_data", hub="market"))
            await trio.sleep(2)
            before = len(seen.trades)
            await trio.sleep(2)
            assert len(seen.trades) == before
            assert sim.clear_faults() == 1
            assert handle.state.over
            await trio.sleep(2)
            assert len(seen.trades) > before
        check(seen, sim, untold=200)
