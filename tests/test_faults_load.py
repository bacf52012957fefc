"""FAULTS.md rows 92 to 100: readers that are slow, raise or are cancelled, and bursts. Nothing is lost uncounted."""

from __future__ import annotations

import json
from contextlib import aclosing

import pytest
import trio
from fault_tools import CONTRACT, ask, config_for, open_sim, oracle, truth_rows
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_projectx as px
from trio_projectx.simulator import Simulator

S = 10**9
T0 = 1_787_172_700 * S


async def burst(sim: Simulator, trades: int, records: int) -> list[dict[str, object]]:
    """Send so many trades at once, in so many records, over ten seconds of the exchange's time."""
    stamps = [T0 + number * 10 * S // trades for number in range(trades)]
    rows = [
        {
            "symbolId": "F.US.MNQ",
            "price": 20_000 + number % 9 / 4,
            "timestamp": f"2026-08-19T20:{51 + at // (60 * S) % 2}:{at // S % 60:02d}.{at // 10**6 % 1000:03d}+00:00",
            "type": number % 2,
            "volume": 1 + number % 3,
            "contractId": CONTRACT,
        }
        for number, at in enumerate(stamps)
    ]
    each = trades // records
    for at in range(0, trades, each):
        body = json.dumps([CONTRACT, rows[at : at + each]])
        assert (await ask(sim, "POST", "/control/send?target=GatewayTrade", body))[0] == 200
    return rows


@pytest.mark.parametrize(("trades", "records"), [(5_000, 500), (20_000, 100)], ids=["98", "99"])
async def test_a_burst_is_in_the_bars_to_the_last_trade(
    autojump_clock: MockClock, trades: int, records: int
) -> None:
    """Rows 98 and 99; a record of 20,000 is decoded in `test_load_sweep`."""
    async with open_sim() as sim:
        await ask(sim, "POST", "/control/hz?v=0")
        async with (
            px.open_gateway(config_for(sim)) as gateway,
            gateway.open_bars(CONTRACT, "1s", anchor=px.Anchor.utc()) as bars,
        ):
            rows = await burst(sim, trades, records)
            with trio.fail_after(60):
                while gateway.statistics().market.contracts[0].received < trades:
                    await trio.sleep(0.1)
            await trio.sleep(3)  # the last bar closes by the clock
            table = bars.table("1s")
            (row,) = gateway.statistics().market.ledger.rows
            assert (row.received, row.rejected, row.late) == (trades, 0, 0)
            assert row.in_bars + row.forming == trades
            assert sum(table["trades"].to_pylist()) == row.in_bars == trades
            assert sum(table["volume"].to_pylist()) == sum(int(str(each["volume"])) for each in rows)


@pytest.mark.parametrize("overflow", [*px.Overflow])
async def test_a_slow_reader_costs_nobody_else_anything(
    autojump_clock: MockClock, overflow: px.Overflow
) -> None:
    """Row 92: 50 ms for each trade, at 400 a second; row 100 in small: 400 a second for ten seconds."""
    async with open_sim() as sim:
        await ask(sim, "POST", "/control/hz?v=400")
        async with (
            px.open_gateway(config_for(sim)) as gateway,
            gateway.open_events() as events,
            gateway.open_trades(CONTRACT) as quick,
            gateway.open_bars(CONTRACT, "1s", anchor=px.Anchor.utc()) as bars,
            gateway.open_trades(CONTRACT, overflow=overflow, capacity=100) as slow,
            trio.open_nursery() as nursery,
        ):
            got: list[px.Trade] = []
            ended: list[px.SlowConsumer] = []

            async def read_quickly() -> None:
                async for trade in quick:
                    got.append(trade)

            async def read_slowly() -> None:
                try:
                    async for _ in slow:
                        await trio.sleep(0.05)
                except px.SlowConsumer as exc:
                    ended.append(exc)

            nursery.start_soon(read_quickly)
            nursery.start_soon(read_slowly)
            await trio.sleep(10)
            counts = slow.statistics()
            assert counts.balanced
            assert counts.high_water <= 100
            told = [events.receive_nowait() for _ in range(events.statistics().queued)]
            filled = [event for event in told if isinstance(event, px.StreamFilling)]
            assert bool(filled) is (overflow is not px.Overflow.CONFLATE)
            assert bool(ended) is (overflow is px.Overflow.ERROR)
            if overflow is not px.Overflow.BLOCK:  # whose user has asked that everybody waits
                assert len(got) > 3500
                assert [trade.ts_event for trade in got] == [row[0] for row in truth_rows(sim.truth())][
                    : len(got)
                ]
                made = bars.table("1s")["volume"].to_pylist()
                assert len(made) > 8
                # The first bar began before we came.
                assert made[1:] == [row[5] for row in oracle(truth_rows(sim.truth()))][1 : len(made)]
            else:
                assert px.HubState.BLOCKED in {
                    event.state for event in told if isinstance(event, px.HubStateChanged)
                }
            nursery.cancel_scope.cancel()


async def test_a_reader_that_raises_is_its_own_affair(autojump_clock: MockClock) -> None:
    """Row 93: its error comes out of its block as it is, and the other stream goes on."""
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim)) as gateway,
        gateway.open_trades(CONTRACT) as other,
    ):
        with pytest.raises(ZeroDivisionError):
            async with gateway.open_trades(CONTRACT) as trades:
                async for _ in trades:
                    raise ZeroDivisionError
        got = [await other.receive() for _ in range(100)]
        assert [trade.ts_event for trade in got] == [row[0] for row in truth_rows(sim.truth())][:100]
        assert [each.name for each in gateway.statistics().ledger.streams] == [other.statistics().name]


async def test_a_reader_that_is_cancelled_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    """Row 94: in `async for`, and in a generator over it that is not read to its end."""
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        for is_closed in (True, False):
            with trio.move_on_after(2):
                async with gateway.open_bars(CONTRACT, "1s") as bars:

                    async def closes(bars: px.BarStream[px.Bar] = bars):
                        async for bar in bars:
                            yield bar.close

                    if is_closed:
                        async with aclosing(closes()) as found:
                            async for _ in found:
                                pass
                    else:
                        async for _ in bars:
                            pass
            await trio.sleep(1)
            await wait_all_tasks_blocked()
            assert gateway.statistics().ledger.streams == ()
            assert gateway.health().market.subscriptions == 0
            assert sim.statistics().hub_connections == 1
