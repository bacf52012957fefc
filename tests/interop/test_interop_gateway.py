"""Our client against the real ASP.NET Core hub: every trade once, in order (see also `..._lines`)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from conftest import Serve
from ours import CONTRACT, Row, brute_force, config, flat, take, truth

import trio_projectx as px


def place(rows: list[Row], of: list[Row]) -> int:
    """Return where ``rows`` stand in ``of``, whole and in order."""
    at = [i for i in range(len(of) - len(rows) + 1) if of[i : i + len(rows)] == rows]
    assert at, "what came is not one unbroken piece of the truth"
    return at[0]


@pytest.mark.parametrize("negotiate", [False, True], ids=["skip", "negotiate"])
@pytest.mark.parametrize("token_transport", ["header", "query"])
async def test_bars_and_trades_equal_the_hubs_truth(
    aspnet: Serve, negotiate: bool, token_transport: str
) -> None:
    bars: dict[str, list[px.Bar]] = {"1s": [], "2s": []}
    async with aspnet() as server:
        changes = {"negotiate": negotiate, "token_transport": token_transport}
        async with (
            px.open_gateway(config(server, **changes)) as gateway,
            gateway.open_trades(CONTRACT) as trades,
            gateway.open_bars(CONTRACT, "1s", "2s") as stream,
        ):
            assert (await server.state())["connections"][0]["TokenFrom"] == token_transport
            # The market has stood still so far: the streams see it from its first trade on.
            await server.control("hz?v=100")
            with trio.fail_after(20):
                while len(bars["2s"]) < 2:
                    bar = await stream.receive()
                    bars[bar.timeframe].append(bar)
            await server.control("hz?v=0")
            await trio.sleep(0.2)
            rows = await truth(server)
            assert await take(trades, len(rows)) == rows
            for timeframe, step_s in (("1s", 1), ("2s", 2)):
                made = [flat(bar) for bar in bars[timeframe]]
                assert len(made) >= 2
                assert made == brute_force(rows, step_s)[: len(made)]
            market = gateway.statistics().market
            assert market.ledger.balanced
            assert market.contracts[0].received == market.contracts[0].accepted == len(rows)
        state = await server.gone(1)
        assert state["lastDisconnect"] == "graceful"


async def test_two_gateways_see_the_same_numbered_trades(aspnet: Serve) -> None:
    async with aspnet(hz=100) as server:
        async with (
            px.open_gateway(config(server)) as one,
            px.open_gateway(config(server, negotiate=True)) as two,
            one.open_trades(CONTRACT) as first,
        ):
            await take(first, 30)
            async with two.open_trades(CONTRACT) as second:
                a, b = await take(first, 400), await take(second, 200)
            rows = await truth(server)
            start_a, start_b = place(a, rows), place(b, rows)
            assert start_b > start_a
            assert (await server.state())["connects"] == 2


async def test_a_trade_comes_whatever_its_products_tick(aspnet: Serve) -> None:
    codes = ["EP", "YM", "RTY", "EU6", "JY6", "TYA", "CLE", "NGE", "GCE", "SIE", "CPE", "MBT"]
    async with aspnet() as server, px.open_gateway(config(server)) as gateway:
        for code in codes:
            contract = f"CON.F.US.{code}.Z26"
            async with gateway.open_trades(contract) as trades:
                await server.control(f"trades?contract={contract}&n=200&per=7")
                assert await take(trades, 200) == await truth(server, contract)
        assert all(c.received == c.accepted == 200 for c in gateway.statistics().market.contracts)


@pytest.mark.parametrize("per", [1, 40], ids=["one an event", "forty an event"])
async def test_a_burst_of_20_000_trades_arrives_whole(aspnet: Serve, per: int) -> None:
    async with (
        aspnet() as server,
        px.open_gateway(config(server)) as gateway,
        gateway.open_trades(CONTRACT, capacity=20_000) as trades,
        gateway.open_bars(CONTRACT, "1s") as bars,
    ):
        await server.control(f"trades?contract={CONTRACT}&n=20000&per={per}")
        assert await take(trades, 20_000) == await truth(server)
        await trio.sleep(1.2)
        await server.control(f"trades?contract={CONTRACT}&n=1")
        with trio.fail_after(10):
            bar = await bars.receive()
        assert flat(bar) == brute_force(await truth(server), 1)[0]
        assert bar.trades == 20_000
        assert gateway.statistics().market.ledger.balanced


async def test_20_000_trades_pushed_from_outside_arrive_whole(aspnet: Serve) -> None:
    rows = [
        (1_795_270_089_000_000_000 + i * 1_000_000, 6500 + i % 17 * 0.25, 1 + i % 5, i % 2)
        for i in range(20_000)
    ]
    async with (
        aspnet() as server,
        px.open_gateway(config(server)) as gateway,
        gateway.open_trades(CONTRACT, capacity=20_000) as trades,
    ):
        for i in range(0, len(rows), 250):
            await server.control(
                "send?target=GatewayTrade", [CONTRACT, [on_wire(row) for row in rows[i : i + 250]]]
            )
        assert await take(trades, len(rows)) == rows


def on_wire(row: Row) -> dict[str, Any]:
    ts, price, volume, side = row
    stamp = f"{px.to_datetime(ts):%Y-%m-%dT%H:%M:%S}.{ts // 10**6 % 1000:03d}+00:00"
    trade = {"symbolId": "F.US.EP", "price": price, "timestamp": stamp, "type": side, "volume": volume}
    return {**trade, "contractId": CONTRACT}


async def test_quotes_come_and_are_merged(aspnet: Serve) -> None:
    async with aspnet(hz=100) as server, px.open_gateway(config(server)) as gateway:
        async with gateway.open_quotes(CONTRACT, overflow=px.Overflow.BLOCK) as quotes:
            with trio.fail_after(10):
                seen = [await quotes.receive() for _ in range(40)]
        assert all(q.bid is not None and q.ask is not None and q.ask - q.bid == 0.5 for q in seen)
        assert seen[-1].last is not None
        assert seen[-1].volume is not None
        assert [q.ts_event for q in seen] == sorted(q.ts_event for q in seen)


async def test_keep_alives_hold_a_quiet_connection(aspnet: Serve) -> None:
    timeouts = px.Timeouts(keep_alive_s=0.5, server_s=3, probe_s=1)
    async with (
        aspnet(keep_alive_s=1, client_timeout_s=2) as server,
        px.open_gateway(config(server, timeouts=timeouts)) as gateway,
        gateway.open_trades(CONTRACT) as trades,
    ):
        await trio.sleep(7)
        assert gateway.statistics().is_live
        assert (gateway.statistics().round_trip_s or 9) < 1
        assert (await server.state())["disconnects"] == 0
        await server.control(f"trades?contract={CONTRACT}&n=5")
        assert await take(trades, 5) == await truth(server)


@pytest.mark.parametrize("negotiate", [False, True], ids=["skip", "negotiate"])
@pytest.mark.parametrize("which", ["garbage", "expired"])
async def test_a_token_that_is_refused_is_an_auth_error(aspnet: Serve, negotiate: bool, which: str) -> None:
    async with aspnet() as server:
        token = "not.a.token" if which == "garbage" else await server.token(-60)
        credentials = px.Credentials.from_token(token)
        async with px.open_gateway(config(server, credentials=credentials, negotiate=negotiate)) as gateway:
            with trio.fail_after(5), pytest.raises(px.AuthError) as refused:
                await gateway.wait_connected()
            assert token not in str(refused.value)
        assert (await server.state())["connects"] == 0


@pytest.mark.parametrize("negotiate", [False, True], ids=["skip", "negotiate"])
async def test_a_hub_that_is_not_there_is_a_connect_error(aspnet: Serve, negotiate: bool) -> None:
    async with (
        aspnet() as server,
        px.open_gateway(config(server, hub="nowhere", negotiate=negotiate)) as gateway,
    ):
        with trio.fail_after(5), pytest.raises(px.ConnectError, match="404"):
            await gateway.wait_connected()


async def test_a_contract_that_the_hub_does_not_take_is_a_subscription_error(aspnet: Serve) -> None:
    async with aspnet() as server, px.open_gateway(config(server)) as gateway:
        with pytest.raises(px.SubscriptionError, match="SubscribeContractTrades"):
            async with gateway.open_trades("CON.F.US.GLE.Z26"):
                pass
        async with gateway.open_trades(CONTRACT) as trades:  # on the same connection
            await server.control(f"trades?contract={CONTRACT}&n=3")
            assert await take(trades, 3) == await truth(server)
        assert gateway.statistics().connects == 1


async def test_leaving_the_gateway_is_prompt_and_graceful_in_the_middle_of_a_burst(aspnet: Serve) -> None:
    async with aspnet() as server:
        began = 0.0
        async with px.open_gateway(config(server)) as gateway:
            async with gateway.open_trades(
                CONTRACT, overflow=px.Overflow.DROP_OLDEST, capacity=100
            ) as trades:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(server.control, f"trades?contract={CONTRACT}&n=100000")
                    with trio.fail_after(10):
                        await trades.receive()
                    began = trio.current_time()
                    nursery.cancel_scope.cancel()
        assert trio.current_time() - began < 3
        assert (await server.gone(1))["connections"] == []
