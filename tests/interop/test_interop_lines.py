"""Our client against the real ASP.NET Core hub, one connection after another: nothing lost, nothing twice, all told.

The hub's market is shared and numbered: whatever connection brings a trade, `/control/truth` has it once. Each test
compares everything that came with everything that was sent.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from conftest import Serve
from kit import Kit
from ours import CONTRACT, Seen, config, take, truth, watching
from servers import Server, open_server

import trio_projectx as px
from trio_projectx import HubState

#: Connections as fast as a test wants them; the default is five at once, and then one a second.
FAST = px.Reconnect(connect_burst=100, connects_per_s=100)
#: A clock that is an hour behind: tokens look younger than they are, so that nobody renews them in time.
HOUR = 3_600_000_000_000
#: The bursts have one stamp, and some of their trades are equal in every field.
BURST = f"trades?contract={CONTRACT}&n=150&per=7"
LIVE, RECONNECTING, CLOSED = HubState.LIVE, HubState.RECONNECTING, HubState.CLOSED


def behind() -> int:
    return time.time_ns() - HOUR


@asynccontextmanager
async def loaded(server: Server) -> AsyncGenerator[None]:
    """Send a burst after the other, beside what the market does by itself."""

    async def load() -> None:
        while True:
            await server.control(BURST)
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(load)
        yield
        nursery.cancel_scope.cancel()


async def only(server: Server, count: int = 1) -> list[dict[str, Any]]:
    """Wait until the hub has ``count`` connections, each with subscriptions, and return them."""
    with trio.fail_after(10):
        while True:
            found: list[dict[str, Any]] = (await server.state())["connections"]
            if len(found) == count and all(each["subs"] for each in found):
                return found
            await trio.sleep(0.02)


async def gone(port: int) -> None:
    """Wait until nobody listens at a port."""
    with trio.fail_after(10):
        while True:
            try:
                async with await trio.open_tcp_stream("127.0.0.1", port):
                    await trio.sleep(0.05)
            except OSError:
                return


@pytest.mark.parametrize("negotiate", [False, True], ids=["skip", "negotiate"])
async def test_50_token_refreshes_under_load_lose_and_double_nothing(aspnet: Serve, negotiate: bool) -> None:
    async with (
        aspnet() as server,
        px.open_gateway(config(server, reconnect=FAST, negotiate=negotiate)) as gateway,
        watching(gateway) as seen,
        gateway.open_quotes(CONTRACT, overflow=px.Overflow.BLOCK, events=True) as quotes,
        trio.open_nursery() as nursery,
    ):
        given: list[px.Quote | px.Gap] = []

        async def collect() -> None:
            async for item in quotes:
                given.append(item)

        nursery.start_soon(collect)
        await server.control("hz?v=100")
        ids = set()
        async with loaded(server):
            for number in range(1, 51):
                await gateway.refresh_token()
                await seen.until(lambda: len(seen.told(px.ConnectionReplaced)) == number)  # noqa: B023
                ids |= {each["Id"] for each in await only(server)}
        rows = await seen.all_of(server)
        nursery.cancel_scope.cancel()

        assert seen.rows == rows
        assert len(rows) > 5_000
        assert seen.gaps == []
        seen.check_bars(rows)
        assert len(seen.bars) >= 3
        assert not any(bar.partial for bar in seen.bars[1:])
        assert not any(isinstance(item, px.Gap) for item in given)
        assert all(each.overlapped for each in seen.told(px.ConnectionReplaced))
        assert len(seen.told(px.TokenRefreshed)) == 50
        assert seen.states == [] or seen.states == [HubState.CONNECTING, LIVE]
        assert len(ids) == 50  # each refresh had a connection of its own
        market = gateway.statistics().market
        (counts,) = market.contracts
        assert market.ledger.balanced
        assert counts.accepted == len(rows)
        # What the overlaps brought twice was counted, and given once.
        assert counts.duplicates > 0
        assert counts.received == counts.accepted + counts.duplicates
        assert gateway.health().market.outages == 0
        state = await server.gone(50)
        assert (state["connects"], state["lastDisconnect"]) == (51, "graceful")


async def test_connections_that_break_in_the_middle_of_a_refresh_cost_a_gap_at_most(aspnet: Serve) -> None:
    dice = random.Random(8)
    options = attrs.evolve(FAST, young_s=0.01, refill_s=0.01)
    async with (
        aspnet() as server,
        px.open_gateway(config(server, reconnect=options)) as gateway,
        watching(gateway) as seen,
    ):
        await server.control("hz?v=100")
        for number in range(1, 21):
            await gateway.refresh_token()
            await trio.sleep(dice.random() * 0.1)  # the old one, the new one, or both
            found = (await server.state())["connections"]
            await server.control(f"drop?conn={dice.choice(found)['Id']}")
            await trio.sleep(0.3)
            await seen.until(lambda: gateway.health().market.state is LIVE)
            assert len(seen.told(px.TokenRefreshed)) == number
        await trio.sleep(1.5)
        rows = await seen.all_of(server)
        seen.check_told(rows)
        seen.check_bars(rows)
        assert len(await only(server)) == 1
        assert gateway.statistics().market.ledger.balanced
        assert gateway.statistics().logins == 1


async def test_tokens_that_live_for_seconds_are_renewed_in_time(aspnet: Serve) -> None:
    refresh = px.Refresh(share=0.5)
    async with (
        aspnet(token_ttl_s=4, hz=50) as server,
        px.open_gateway(config(server, refresh=refresh)) as gateway,
        watching(gateway) as seen,
    ):
        begun = len(await truth(server))
        await trio.sleep(12)
        rows = await seen.all_of(server)
        assert seen.rows == rows[-len(seen.rows) :]
        assert len(seen.rows) >= len(rows) - begun
        assert seen.gaps == []
        assert seen.states in ([HubState.CONNECTING, LIVE], [])
        assert len(seen.told(px.TokenRefreshed)) >= 4
        assert seen.told(px.TokenRefreshFailed) == []
        assert (await server.state())["connects"] >= 5


async def test_tokens_that_end_unrenewed_cost_a_gap_each_and_one_login(aspnet: Serve) -> None:
    async with (
        aspnet(token_ttl_s=3) as server,
        px.open_gateway(config(server, wall_clock=behind)) as gateway,
        watching(gateway) as seen,
    ):
        await server.control("hz?v=100")
        await seen.live(3, within_s=20)
        rows = await seen.all_of(server)
        seen.check_told(rows)
        seen.check_bars(rows)
        assert len(seen.gaps) == 2
        assert all("the hub closed the connection: no reason given" in gap.cause for gap in seen.gaps)
        assert gateway.statistics().logins == 3
        assert seen.told(px.TokenRefreshFailed) == []
        assert gateway.health().market.outages == 2


async def test_a_token_that_nobody_can_renew_is_fatal_when_it_ends(aspnet: Serve) -> None:
    async with aspnet(token_ttl_s=3) as server:
        token = await server.token(2)
        mine = px.Credentials.from_token(token)
        async with (
            px.open_gateway(config(server, wall_clock=behind, credentials=mine)) as gateway,
            gateway.open_events() as events,
            gateway.open_trades(CONTRACT) as trades,
        ):
            with (
                trio.fail_after(10),
                pytest.raises(px.ConnectionLost, match="cannot be renewed here") as lost,
            ):
                await trades.receive()
            assert isinstance(lost.value.__cause__, px.AuthError)
            assert token not in repr(lost.value)
            assert gateway.health().status == "down"
            told = [events.receive_nowait() for _ in range(4)]
            assert [each.state for each in told if isinstance(each, px.HubStateChanged)] == [
                HubState.CONNECTING,
                LIVE,
                RECONNECTING,
                CLOSED,
            ]


async def test_a_hub_that_does_not_close_on_expiry_is_not_left(aspnet: Serve) -> None:
    async with (
        aspnet(token_ttl_s=2, close_on_expiry=False) as server,
        px.open_gateway(config(server, wall_clock=behind)) as gateway,
        watching(gateway) as seen,
    ):
        await server.control("hz?v=100")
        await trio.sleep(4)
        assert (await server.state())["connects"] == 1
        # A connection that breaks now is not let in again with the old token.
        await server.control("drop")
        await seen.live(2)
        rows = await seen.all_of(server)
        seen.check_told(rows)
        assert len(seen.gaps) == 1
        assert gateway.statistics().logins == 2


async def test_a_token_that_ends_in_silence_is_found(aspnet: Serve) -> None:
    # To both clocks it is a Wednesday noon in New York: only in trading hours is silence a fault.
    shift_s = 1_795_017_600 - int(time.time())
    options = {"close_on_expiry": False, "mute_on_expiry": True, "stamp_shift_s": shift_s}
    async with aspnet(token_ttl_s=4, keep_alive_s=1, **options) as server:
        clock = config(
            server,
            wall_clock=lambda: time.time_ns() + shift_s * 10**9,
            timeouts=px.Timeouts(stall_s=2),
            limits=px.Limits(stall_intervals=5),
        )
        async with px.open_gateway(clock) as gateway, watching(gateway) as seen:
            await server.control("hz?v=50")
            await seen.until(lambda: HubState.STALE in seen.states, within_s=12)
            assert seen.told(px.MarketStalled)
            assert gateway.health().market.score <= 30
            await seen.until(lambda: seen.told(px.ConnectionReplaced) or seen.gaps, within_s=5)
            await seen.live(2)
            before = len(seen.rows)
            await seen.until(lambda: len(seen.rows) > before + 50)
            rows = await seen.all_of(server)
            seen.check_told(rows)
            seen.check_bars(rows, stalled=True)
            assert gateway.statistics().logins >= 2


@pytest.mark.parametrize("negotiate", [False, True], ids=["skip", "negotiate"])
@pytest.mark.parametrize("how", ["requestclose", "drop"])
async def test_a_lost_connection_costs_its_streams_a_gap_and_nothing_else(
    aspnet: Serve, negotiate: bool, how: str
) -> None:
    reasons = {
        "requestclose": "market hub: the hub closed the connection: no reason given",
        "drop": "market hub: connection lost: the WebSocket has ended: 1006",
    }
    async with (
        aspnet() as server,
        px.open_gateway(config(server, negotiate=negotiate)) as gateway,
        watching(gateway) as seen,
    ):
        await server.control("hz?v=100")
        for number in (2, 3, 4):
            await trio.sleep(0.5)
            began = trio.current_time()
            await server.control(how)
            await seen.live(number)
            assert trio.current_time() - began < 3
        await trio.sleep(0.3)
        rows = await seen.all_of(server)
        seen.check_told(rows)
        seen.check_bars(rows)
        assert len(seen.gaps) == 3
        assert all(gap.cause.startswith(reasons[how]) for gap in seen.gaps)
        assert seen.states[-6:] == [RECONNECTING, LIVE] * 3
        lost = [e for e in seen.told(px.HubStateChanged) if e.state is RECONNECTING]
        assert all(e.reason.startswith(reasons[how]) for e in lost)
        assert gateway.statistics().market.ledger.balanced
        assert gateway.statistics().logins == 1
        assert (await server.state())["connects"] == 4


async def test_a_close_without_allow_reconnect_ends_the_streams_and_a_new_one_connects_again(
    aspnet: Serve,
) -> None:
    async with aspnet() as server, px.open_gateway(config(server)) as gateway:
        async with gateway.open_trades(CONTRACT) as trades:
            await server.control(f"trades?contract={CONTRACT}&n=500")
            await server.control("abort")
            # What came before the end is delivered before it.
            assert await take(trades, 500) == await truth(server)
            with trio.fail_after(5), pytest.raises(px.ConnectionLost, match="asked not to come back"):
                await trades.receive()
        assert (await server.state())["connects"] == 1
        assert gateway.health().market.state is CLOSED
        async with gateway.open_trades(CONTRACT) as trades:
            await server.control(f"trades?contract={CONTRACT}&n=3")
            assert await take(trades, 3) == (await truth(server))[500:]


async def test_a_server_that_is_stopped_and_comes_back_is_found(aspnet: Serve, kit: Kit) -> None:
    async with aspnet() as first:
        port = int(first.url.rpartition(":")[2])
        settings = config(first)
        async with px.open_gateway(settings) as gateway, watching(gateway) as seen:
            await first.control("hz?v=100")
            await trio.sleep(0.5)
            before = await seen.all_of(first)
            assert seen.rows == before
            await first.control("stop")
            await seen.until(lambda: RECONNECTING in seen.states)
            # A host that stops breaks its connections off first, and may still take new ones for a moment.
            await gone(port)
            await trio.sleep(3)
            down = gateway.health()
            assert (down.status, down.market.score) == ("down", 0)
            assert down.market.attempts > 0
            assert "the market hub is reconnecting" in down.reason
            async with open_server("aspnet", kit, port=port) as second:
                await seen.until(lambda: gateway.health().status == "ok", within_s=15)
                await second.control("hz?v=100")
                await trio.sleep(0.5)
                after = await seen.all_of(second)
                seen.check_told(before + after)
                assert [each["Path"] for each in await only(second)] == ["/hubs/market"]


async def test_a_hub_that_falls_silent_is_replaced_for_ever(aspnet: Serve) -> None:
    timeouts = px.Timeouts(server_s=1.5, keep_alive_s=0.5)
    async with (
        aspnet(keep_alive_s=1) as server,
        px.open_gateway(config(server, hub="silent", timeouts=timeouts)) as gateway,
        watching(gateway) as seen,
    ):
        for number in (1, 2, 3):
            await server.control(f"trades?contract={CONTRACT}&n=5")
            await seen.until(lambda: len(seen.rows) == 5 * number)  # noqa: B023
            await seen.until(lambda: seen.states.count(RECONNECTING) == number)  # noqa: B023
            await seen.live(number + 1)
        lost = [e for e in seen.told(px.HubStateChanged) if e.state is RECONNECTING]
        assert all("no record for 1.5 s (not even a ping)" in e.reason for e in lost)
        seen.check_told(await truth(server))


async def test_when_we_fall_silent_the_hub_closes_and_we_come_back(aspnet: Serve) -> None:
    # One ping with the start arms the server's timer; the next would come after an hour.
    timeouts = px.Timeouts(keep_alive_s=3600)
    async with (
        aspnet(keep_alive_s=1, client_timeout_s=2) as server,
        px.open_gateway(config(server, timeouts=timeouts)) as gateway,
        watching(gateway) as seen,
    ):
        await seen.live(2)
        (lost,) = [e for e in seen.told(px.HubStateChanged) if e.state is RECONNECTING]
        assert lost.reason.endswith("Connection closed with an error.")
        await server.control(f"trades?contract={CONTRACT}&n=5")
        await seen.until(lambda: len(seen.rows) == 5)
        seen.check_told(await truth(server))


async def test_a_hub_that_closes_every_connection_at_once_is_not_stormed(aspnet: Serve) -> None:
    patient = px.Reconnect(breaker_s=4)
    async with (
        aspnet() as server,
        px.open_gateway(config(server, reconnect=patient)) as gateway,
        watching(gateway) as seen,
    ):
        with trio.move_on_after(10):
            while True:
                await server.control("requestclose")
                await trio.sleep(0.02)
        # Five that died young open the breaker; from then on there is one trial in four seconds, and in eight.
        assert (await server.state())["connects"] <= 8
        await seen.until(lambda: gateway.health().status == "ok", within_s=12)
        await server.control("hz?v=50")
        await trio.sleep(0.3)
        seen.check_told(await seen.all_of(server))


async def test_a_logout_is_followed_by_a_fresh_login(aspnet: Serve) -> None:
    async with (
        aspnet(hz=50) as server,
        px.open_gateway(config(server)) as gateway,
        watching(gateway) as seen,
    ):
        await seen.until(lambda: len(seen.rows) > 5)
        await server.control("send?target=GatewayLogout", [{}])
        await seen.live(2)
        assert gateway.statistics().logins == 2
        (lost,) = [e for e in seen.told(px.HubStateChanged) if e.state is RECONNECTING]
        assert "logged out" in lost.reason
        count = len(seen.rows)
        await seen.until(lambda: len(seen.rows) > count)


async def test_of_two_connections_either_may_go_at_any_time(aspnet: Serve) -> None:
    options = attrs.evolve(FAST, redundant=True, young_s=0.01, refill_s=0.01)
    async with (
        aspnet() as server,
        px.open_gateway(config(server, reconnect=options)) as gateway,
        watching(gateway) as seen,
    ):
        await server.control("hz?v=100")
        async with loaded(server):
            for number in range(10):
                two = await only(server, 2)
                assert all(each["subs"] == [f"GatewayTrade {CONTRACT}"] for each in two)
                await seen.until(lambda: gateway.health().market.connections == 2)
                await trio.sleep(0.4)  # the second one is level with the first by then
                how = "drop" if number % 2 else "requestclose"
                await server.control(f"{how}?conn={two[number % 3 % 2]['Id']}")
                await server.gone(number + 1)
        rows = await seen.all_of(server)
        assert seen.rows == rows
        assert seen.gaps == []
        seen.check_bars(rows)
        assert RECONNECTING not in seen.states
        market = gateway.statistics().market
        assert market.ledger.balanced
        assert market.contracts[0].duplicates > 1_000
        assert market.contracts[0].accepted == len(rows)


async def test_old_connections_are_replaced_without_a_gap(aspnet: Serve) -> None:
    options = px.Reconnect(connect_burst=100, max_connection_age_s=1)
    async with (
        aspnet() as server,
        px.open_gateway(config(server, reconnect=options)) as gateway,
        watching(gateway) as seen,
    ):
        await server.control("hz?v=100")
        await seen.until(lambda: len(seen.told(px.ConnectionReplaced)) >= 4)
        rows = await seen.all_of(server)
        assert seen.rows == rows
        assert seen.gaps == []
        told = seen.told(px.ConnectionReplaced)
        assert all(each.overlapped and each.cause == "the age of the connection" for each in told)
        assert gateway.statistics().logins == 1


ORDER = {
    "id": 7,
    "accountId": 1,
    "contractId": CONTRACT,
    "creationTimestamp": "2026-11-18T15:00:00.123456+00:00",
    "status": 1,
    "type": 1,
    "side": 0,
    "size": 2,
    "limitPrice": 6500.25,
}


async def test_user_events_come_once_whatever_becomes_of_the_connection(aspnet: Serve) -> None:
    async with (
        aspnet() as server,
        px.open_gateway(config(server)) as gateway,
        gateway.open_user_events(account_id=1) as stream,
        trio.open_nursery() as nursery,
    ):
        came: list[px.UserItem] = []

        async def collect() -> None:
            async for item in stream:
                came.append(item)

        async def send(number: int) -> None:
            order = {**ORDER, "id": number}
            await server.control("send?target=GatewayUserOrder", [{"action": 1, "data": order}])

        nursery.start_soon(collect)
        wanted = ["GatewayUserAccount", *(f"GatewayUser{kind} 1" for kind in ("Order", "Position", "Trade"))]
        ((user,),) = [await only(server)]
        assert (user["Path"], sorted(user["subs"])) == ("/hubs/user", wanted)
        for number in range(20):
            if number == 10:
                await gateway.refresh_token()  # events go to both connections while there are two
            await send(number)
            await trio.sleep(0.05)
        seen = Seen(gateway)
        await seen.until(lambda: len(came) == 20)
        ((user,),) = [await only(server)]
        await server.control("drop")
        await server.entered(3)
        await only(server)
        await seen.until(lambda: gateway.health().user.state is LIVE)
        await send(20)
        await seen.until(lambda: isinstance(came[-1], px.OrderUpdate) and came[-1].order_id == 20)
        nursery.cancel_scope.cancel()
        orders = [item.order_id for item in came if isinstance(item, px.OrderUpdate)]
        assert orders == list(range(21))
        assert [isinstance(item, px.Gap) for item in came] == [False] * 20 + [True, False]
        assert gateway.health().market.state is HubState.IDLE
