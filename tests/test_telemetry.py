"""The instruments as an SDK collects them: in trio's thread and in others, while a gateway lives and after it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import attrs
import pytest
import trio
from test_gateway import running
from trio.testing import MockClock

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` and its SDK are not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import trio_projectx as px
from trio_projectx import telemetry
from trio_projectx.flow.contract_items import ContractStatistics
from trio_projectx.instruments import INSTRUMENTS, Kind, View
from trio_projectx.simulator import open_simulator

DOCS = Path(__file__).resolve().parent.parent / "docs" / "telemetry.md"


class Collector:
    """An SDK of its own, and what it collects: by name, the points of each by their labels."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self._reader])
        self.meter = self.provider.get_meter("tests")

    def collect(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        data = self._reader.get_metrics_data()
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for resource in data.resource_metrics if data else []:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = found.setdefault(metric.name, {})
                    for point in metric.data.data_points:
                        points[tuple(sorted((point.attributes or {}).items()))] = point.value  # type: ignore[union-attr]
        return found


async def real_pause() -> None:
    """Let real time pass: a snapshot is fresh for a tenth of a second of it."""
    time.sleep(0.11)  # noqa: ASYNC251  trio's clock is a virtual one here
    await trio.lowlevel.checkpoint()


MNQ = (("contract", "CON.F.US.MNQ.U26"),)
MARKET = (("hub", "market"),)


async def test_what_is_shown_is_what_was_counted(autojump_clock: MockClock) -> None:
    collector = Collector()
    async with running() as (_sim, gateway):
        async with gateway.open_bars("MNQ", "1s") as bars, gateway.open_quotes("MNQ"):
            with telemetry.export(gateway, collector.meter):
                for _ in range(20):
                    await bars.receive()
                await real_pause()
                counted, shown = gateway.statistics(), collector.collect()
                (contract,) = counted.market.contracts
                assert shown["trio_projectx.trades.received"] == {MNQ: contract.received}
                assert shown["trio_projectx.quotes.merged"] == {MNQ: contract.quotes}
                assert shown["trio_projectx.bars.closed"] == {(): 20}
                assert shown["trio_projectx.ledger.broken"] == {(): 0}
                assert shown["trio_projectx.stream.delivered"][(("stream", "bars"),)] == 20
                assert shown["trio_projectx.hub.live"] == {MARKET: 1, (("hub", "user"),): 0}
                assert shown["trio_projectx.hub.io"][MARKET] == counted.hubs.market.received_bytes > 1000
                assert shown["trio_projectx.tasks.alive"] == {(): counted.tasks.alive}
                assert {labels[0][1] for labels in shown["trio_projectx.latency"]} == {"0.5", "0.99", "1"}
                assert shown["trio_projectx.token.lifetime"][()] > 3600
            before = shown["trio_projectx.stream.delivered"][(("stream", "bars"),)]
        with telemetry.export(gateway, Collector().meter) as nothing:
            assert nothing is None
        again = Collector()
        with telemetry.export(gateway, again.meter):
            # Closed streams are in it still: a counter does not fall.
            assert again.collect()["trio_projectx.stream.delivered"][(("stream", "bars"),)] == before
        await real_pause()
        assert not any(again.collect().values())  # after the block nothing is shown


async def test_other_threads_get_a_snapshot_that_trio_has_taken() -> None:
    collector = Collector()
    async with (
        open_simulator(seed=3, speed=50) as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
        gateway.open_trades("MNQ") as trades,
    ):
        with telemetry.export(gateway, collector.meter):
            for _ in range(3):
                for _ in range(5):
                    await trades.receive()
                await trio.sleep(0.11)
                shown = await trio.to_thread.run_sync(collector.collect)
                (value,) = shown["trio_projectx.trades.received"].values()
                assert 5 <= value <= gateway.statistics().market.contracts[0].received
                assert shown["trio_projectx.snapshot.age"][()] < 5
                assert shown["trio_projectx.ledger.broken"] == {(): 0}


async def test_a_loop_that_stands_delays_a_collection_by_one_wait_only() -> None:
    collector = Collector()
    async with (
        open_simulator(seed=3) as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
    ):
        with telemetry.export(gateway, collector.meter):
            done: list[float] = []

            def collect() -> None:
                time.sleep(0.15)
                began = time.monotonic()
                done.append(collector.collect()["trio_projectx.snapshot.age"][()])
                done.append(time.monotonic() - began)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, collect)
                await trio.sleep(0.05)
                time.sleep(1.5)  # noqa: ASYNC251  it blocks the loop: that is the test
            age, took = done
            assert age >= 0.15
            assert took < len(INSTRUMENTS)  # one second of waiting, and not one for each instrument


async def test_a_snapshot_that_fails_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collector = Collector()
    async with (
        open_simulator() as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
    ):
        with telemetry.export(gateway, collector.meter):
            before = collector.collect()["trio_projectx.logins"]

            def fails() -> px.GatewayStatistics:
                raise ArithmeticError("a bug")

            monkeypatch.setattr(gateway, "statistics", fails)
            await trio.sleep(0.11)
            assert (await trio.to_thread.run_sync(collector.collect))["trio_projectx.logins"] == before
    assert "no snapshot could be taken" in caplog.text


async def test_a_meter_shows_one_gateway_after_the_other_and_never_two(autojump_clock: MockClock) -> None:
    collector = Collector()
    for _ in range(3):
        async with running() as (_sim, gateway):
            with telemetry.export(gateway, collector.meter):
                assert collector.collect()["trio_projectx.logins"] == {(): 1}
                with (
                    pytest.raises(px.ConfigError, match="shows another gateway"),
                    telemetry.export(gateway, collector.meter),
                ):
                    pass
        assert collector.collect() == {}


async def test_contracts_beyond_the_limit_are_one() -> None:
    async with (
        open_simulator(seed=3) as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
        gateway.open_trades("MNQ") as trades,
    ):
        await trades.receive()
        counted, health = gateway.statistics(), gateway.health()
        for wrong in (0, -1, True, "3"):
            with pytest.raises(px.ConfigError, match="contracts"):
                telemetry.export(gateway, contracts=wrong).__enter__()  # type: ignore[arg-type]
    (one,) = counted.market.contracts
    many = tuple(
        attrs.evolve(
            one, contract_id=f"CON.F.US.X{n}.U26", received=n, rejected=attrs.evolve(one.rejected, size=n)
        )
        for n in range(100)
    )
    counted = attrs.evolve(counted, market=attrs.evolve(counted.market, contracts=many))
    view = View(counted, health, 3)

    def received(each: ContractStatistics) -> int:
        return each.received

    points = [(dict(labels), value) for value, labels in view.by_contract(received)]
    assert points == [
        ({"contract": "CON.F.US.X0.U26"}, 0),
        ({"contract": "CON.F.US.X1.U26"}, 1),
        ({"contract": "CON.F.US.X2.U26"}, 2),
        ({"contract": "other"}, sum(range(3, 100))),
    ]
    most = {each.name: len(list(each.read(view))) for each in INSTRUMENTS}
    assert max(most.values()) <= 3 * len(attrs.fields(type(one.rejected))) + 1
    assert sum(value for value, _ in view.rejected()) == sum(range(100))


async def test_no_label_is_of_an_account_or_of_a_name_that_a_user_gave(autojump_clock: MockClock) -> None:
    async with running() as (_sim, gateway):
        async with gateway.open_user_events(account_id=26112934) as user, gateway.open_events():
            assert "26112934" in user.statistics().name
            view = View(gateway.statistics(), gateway.health(), 32)
            labels = {
                value for each in INSTRUMENTS for _, found in each.read(view) for value in found.values()
            }
    assert "user events" in labels
    assert not any("26112934" in label for label in labels)


def test_names_units_and_the_page_agree() -> None:
    for each in INSTRUMENTS:
        assert re.fullmatch(r"trio_projectx\.[a-z_]+(\.[a-z_]+)?", each.name)
        assert re.fullmatch(r"s|By|1|\{[a-z]+\}", each.unit)
        assert each.description
    if not DOCS.is_file():
        pytest.skip("the docs are not beside the tests")
    listed = re.findall(r"^\| `(\S+)` \| ([a-z -]+) \| `(\S+)` \|", DOCS.read_text(), re.MULTILINE)
    assert listed == [(each.name, each.kind.value, each.unit) for each in INSTRUMENTS]
    assert len({name for name, _, _ in listed}) == len(listed)
    assert {kind for _, kind, _ in listed} == {kind.value for kind in Kind}
