"""`Gateway.history` as it will be: with a real login, tokens, turns and the simulator's REST side."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
from simulator_tools import START_NS, virtual_wall

import trio_projectx as px
from trio_projectx import ConfigError, ContractError
from trio_projectx.composition import open_parts
from trio_projectx.connection.directory import Instrument
from trio_projectx.history.fetch import Progress
from trio_projectx.market import PriceGrid
from trio_projectx.simulator import open_simulator

DAY = 86_400 * 10**9
TICKS = PriceGrid.from_tick_size(0.25)


async def test_a_product_a_ticker_and_an_id_are_the_same_history(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url), connect=sim.connect, wall_clock=virtual_wall
        )
        async with open_parts(config) as parts:
            door = parts.history
            tables = [await door.history(name, "5m", count=50) for name in ("ES", "EP", "CON.F.US.EP.U26")]
            assert tables[0].num_rows == 50
            assert tables[0].equals(tables[1])
            assert tables[0].equals(tables[2])
            assert tables[0].schema.metadata[b"live"] == b"false"
            for bad in ("../../x", "CON.F.US.EP.U26\0", "NOSUCH"):
                with pytest.raises(ContractError):
                    await door.history(bad, "5m", count=1)


@pytest.mark.parametrize("kept", [20, 20_000])
async def test_memory_keeps_as_many_bars_as_it_may(autojump_clock: object, kept: int) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url),
            connect=sim.connect,
            wall_clock=virtual_wall,
            history=px.HistoryOptions(bars_kept=kept),
        )
        async with open_parts(config) as parts:
            span = {"start": START_NS - 8000 * 10**9, "end": START_NS - 2000 * 10**9}
            table = await parts.history.history("MNQ", "2m", **span)
            assert table.num_rows == 50
            said = parts.history.shed.at(px.MemoryLevel.SEVERE)[0]
            gone = int(said.partition("(")[2].partition(" went")[0])
            assert (
                gone == kept if kept < 40 else 40 <= gone <= 50
            )  # all of them, but for what may still change


async def test_a_token_that_has_expired_meanwhile_is_renewed(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url), connect=sim.connect, wall_clock=virtual_wall
        )
        async with open_parts(config) as parts:
            door = parts.history
            first = await door.history("MNQ", "1h", start=START_NS - DAY, end=START_NS)
            tokens = parts.sites[parts.sites.current].tokens
            tokens._token = attrs.evolve(tokens._token, text=sim.mint_token(ttl_s=-5))  # type: ignore[arg-type]
            assert first.equals(await door.history("MNQ", "1h", start=START_NS - DAY, end=START_NS))
            assert tokens.logins == 2


async def test_a_continuous_history_goes_over_a_roll(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Progress] = []
    start = START_NS - 75 * DAY
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url), connect=sim.connect, wall_clock=virtual_wall
        )
        async with open_parts(config) as parts:
            door = parts.history
            table = await door.history("MNQ", "1d", start=start, continuous=True, tell=told.append)
            with pytest.raises(ConfigError, match="continuous"):
                await door.history("MNQ", "1d", count=5, continuous=True)
            with pytest.raises(ConfigError, match="start lies after end"):
                await door.history("MNQ", "1d", start=start, end=start - DAY, continuous=True)
            assert "by the table's rule" not in caplog.text
            door._legs(Instrument("CON.F.US.MNQ.Z26", TICKS), start, None, None)
            assert "the service's active contract is CON.F.US.MNQ.Z26" in caplog.text
    names = table["contract_id"].to_pylist()
    assert sorted(set(names)) == ["CON.F.US.MNQ.M26", "CON.F.US.MNQ.U26"]
    assert names == sorted(names)
    starts = table["start"].cast("int64").to_pylist()
    assert starts == sorted(set(starts))
    assert told


@pytest.mark.slow
async def test_with_a_cache_the_second_gateway_asks_nothing(tmp_path: Path) -> None:
    """On the real clock: the cache reads and writes in a thread."""
    async with open_simulator(port=None, wall_clock=lambda: START_NS) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url),
            connect=sim.connect,
            wall_clock=lambda: START_NS,
            history=px.HistoryOptions(cache=tmp_path),
        )
        tables, asked = [], []
        for _ in range(2):
            async with open_parts(config) as parts:
                told: list[Progress] = []
                window = {"start": START_NS - 20 * DAY, "end": START_NS - 10 * DAY}
                tables.append(await parts.history.history("MNQ", "1h", tell=told.append, **window))  # type: ignore[arg-type]
                asked.append(told[-1].pages)
        assert tables[0].num_rows > 100
        assert tables[0].slice(0).to_pydict() == tables[1].to_pydict()
        assert asked[0] > 0
        assert asked[1] == 0
        assert tables[1].schema.metadata[b"live"] == b"false"  # the cache knows of which tier it is


@pytest.mark.slow
async def test_a_damaged_file_of_the_cache_is_told_and_asked_again(tmp_path: Path) -> None:
    async with open_simulator(port=None, wall_clock=lambda: START_NS) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url),
            connect=sim.connect,
            wall_clock=lambda: START_NS,
            history=px.HistoryOptions(cache=str(tmp_path)),  # type: ignore[arg-type]
        )
        tables = []
        for number in range(2):
            for path in tmp_path.rglob("*.parquet"):  # noqa: ASYNC240
                path.write_bytes(path.read_bytes()[:-100])
            async with px.open_gateway(config) as gateway, gateway.open_events() as events:
                tables.append(
                    await gateway.history("MNQ", "1h", start=START_NS - 3 * DAY, end=START_NS - 2 * DAY)
                )
                if number:
                    with trio.fail_after(5):
                        event = await events.receive()
        (path,) = [path for path in tmp_path.rglob("*.parquet") if "quarantine" not in path.parts]  # noqa: ASYNC240
        assert isinstance(event, px.CacheQuarantined)
        assert event.at == START_NS
        assert tmp_path / event.name == path  # where it was, there is a good one now
    assert tables[0].equals(tables[1])
