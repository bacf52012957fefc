"""The watch of memory, processor and disks in virtual time, with a reader that says what it is told to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx._memory import MemoryEvent, MemoryLevel
from trio_projectx.pressure.disks import DiskWatch
from trio_projectx.pressure.facts import DISK_LEAST, MachineHealth, disk_health, loop_health, network_health
from trio_projectx.pressure.watch import PressureWatch
from trio_projectx.simulator import open_simulator
from trio_projectx.testing import virtual_wall_clock

N, T, H, S, L = MemoryLevel
MIB = 1 << 20


@attrs.define
class Reader:
    """Says that so much of 1,000 MiB is used."""

    used: int | None = 100

    def __call__(self) -> px.MemoryReading | None:
        if self.used is None:
            return None
        return px.MemoryReading(self.used * MIB, (1000 - self.used) * MIB, "a test")


@attrs.define
class Shed:
    """Notes what it is asked, and does something at each change."""

    levels: list[MemoryLevel] = attrs.Factory(list)

    def at(self, level: MemoryLevel) -> Sequence[str]:
        changed = not self.levels or self.levels[-1] is not level
        self.levels.append(level)
        return (f"did {level.value}",) if changed and len(self.levels) > 1 else ()


@attrs.define
class Bench:
    reader: Reader
    shed: Shed
    told: list[MemoryEvent]
    drained: list[px.MemoryExhausted]
    watch: PressureWatch


def bench(options: px.MemoryOptions | None = None, drain_s: float = 0.0) -> Bench:
    reader, shed, told, drained = Reader(), Shed(), list[MemoryEvent](), list[px.MemoryExhausted]()

    async def drain(error: px.MemoryExhausted) -> None:
        drained.append(error)
        await trio.sleep(drain_s)

    watch = PressureWatch(
        options or px.MemoryOptions(),
        reader,
        (shed,),
        drain,
        wall_clock=lambda: 7,
        tell=told.append,
        cpu_s=lambda: trio.current_time() / 4,
    )
    return Bench(reader, shed, told, drained, watch)


async def test_each_step_is_an_event_and_so_is_each_step_back(autojump_clock: MockClock) -> None:
    made = bench()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.watch.run)
        await trio.sleep(11)
        assert made.shed.levels == [N, N]
        assert made.told == []
        made.reader.used = 850
        await trio.sleep(10)
        assert made.watch.level is H
        made.reader.used = 100
        await trio.sleep(100)
        assert made.watch.level is N
        nursery.cancel_scope.cancel()
    assert [(e.before, e.level, e.did) for e in made.told if isinstance(e, px.MemoryPressureChanged)] == [
        (N, T, ("did tight",)),
        (T, H, ("did high",)),
        (H, T, ("did tight",)),
        (T, N, ("did normal",)),
    ]
    assert made.told[0] == px.MemoryPressureChanged(T, N, 850 * MIB, 150 * MIB, "a test", ("did tight",), 7)
    assert made.watch.memory.sentence == "memory is normal: 100 MiB of 1,000 MiB are used, by a test"
    assert made.watch.cpu.share == pytest.approx(0.25)


async def test_from_near_a_level_on_it_looks_each_second(autojump_clock: MockClock) -> None:
    made = bench()
    made.reader.used = 400
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.watch.run)
        await trio.sleep(5.5)
        looks = len(made.shed.levels)
        await trio.sleep(10)
        assert len(made.shed.levels) == looks + 10
        nursery.cancel_scope.cancel()


async def test_the_last_level_drains_and_then_leaves(autojump_clock: MockClock) -> None:
    made = bench(drain_s=2)
    made.reader.used = 990
    with pytest.raises(
        px.MemoryExhausted, match="to be started again: memory is last: 990 MiB of 1,000"
    ) as info:
        await made.watch.run()
    assert info.value.exit_code == 75
    assert [event.level for event in made.told if isinstance(event, px.MemoryPressureChanged)] == [T, H, S, L]
    assert trio.current_time() == pytest.approx(5 + 1 + 1 + 1 + 2)
    assert made.drained == [info.value]


async def test_draining_is_bounded_and_no_cancellation_hides_why(autojump_clock: MockClock) -> None:
    made = bench(px.MemoryOptions(drain_s=3), drain_s=1e9)
    made.reader.used = 990
    with pytest.raises(px.MemoryExhausted):
        await made.watch.run()
    assert trio.current_time() == pytest.approx(8 + 3)
    other = bench(drain_s=1e9)
    other.reader.used = 990
    with pytest.raises(px.MemoryExhausted), trio.move_on_after(8.5):
        await other.watch.run()


async def test_a_bug_of_the_drain_does_not_hide_why_either(autojump_clock: MockClock) -> None:
    made = bench()

    async def fails(error: px.MemoryExhausted) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("a bug")

    made.watch._drain = fails
    made.reader.used = 990
    with pytest.raises(px.MemoryExhausted) as info:
        await made.watch.run()
    assert isinstance(info.value.__context__, RuntimeError)


async def test_a_memory_error_goes_out(autojump_clock: MockClock) -> None:
    made = bench()

    def fails() -> px.MemoryReading | None:
        raise MemoryError

    made.watch._read = fails
    with pytest.raises(MemoryError):
        await made.watch.run()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
async def test_an_interrupt_and_a_memory_error_are_not_taken_for_it(
    autojump_clock: MockClock, error: type[BaseException]
) -> None:
    made = bench()

    async def drain(_: px.MemoryExhausted) -> None:
        raise error

    made.watch._drain = drain
    made.reader.used = 999
    with pytest.raises(error):
        await made.watch.run()


async def test_what_cannot_be_read_any_more_comes_back_step_by_step_and_is_told(
    autojump_clock: MockClock,
) -> None:
    made = bench(px.MemoryOptions(exits=False, calm_s=10))
    made.reader.used = 950
    with trio.move_on_after(20):
        await made.watch.run()
    assert made.watch.level is S
    made.told.clear()
    made.reader.used = None
    with trio.move_on_after(6):
        await made.watch.run()
    assert made.watch.memory.level is S
    assert not made.watch.memory.is_well
    with trio.move_on_after(60):
        await made.watch.run()
    assert [event.level for event in made.told if isinstance(event, px.MemoryPressureChanged)] == [H, T, N]
    assert made.watch.memory.level is None


async def test_what_cannot_be_read_is_told_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = bench()
    made.reader.used = None
    with caplog.at_level(logging.WARNING), trio.move_on_after(60):
        await made.watch.run()
    assert [record.getMessage()[:38] for record in caplog.records] == [
        "memory cannot be read on this system ("
    ]
    assert made.watch.memory.level is None
    assert made.watch.memory.is_well
    assert made.watch.memory.sentence.startswith("memory cannot be read here: install psutil")
    assert set(made.shed.levels) == {N}  # those that look at other things go on


def _fails() -> px.MemoryReading:
    raise OSError("too many\nopen files " + "x" * 500)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError


def _fails_without_a_word() -> px.MemoryReading:
    raise Unspeakable


def _reading(used: object, available: object = 1 << 33, bound: object = "mine") -> Callable[[], object]:
    return lambda: px.MemoryReading(used, available, bound)  # type: ignore[arg-type]


WRONG = [
    (_fails, "OSError came out of it: too many\\nopen files xxx"),
    (_fails_without_a_word, "Unspeakable came out of it: a Unspeakable"),
    (lambda: "lots", "it returned a str, not a MemoryReading"),
    (_reading(float("nan")), "its used is nan, which is no number of bytes"),
    (_reading(1, float("inf")), "its available is inf"),
    (_reading(-5), "its used is -5"),
    (_reading(True), "its used is True"),
    (_reading("5"), "its used is 5"),
    (_reading(10**9999), "its used is a int"),
    (_reading(0, 0), "it says that there is no memory at all"),
    (_reading(1, 1, 5), "its bound is not a text"),
]


@pytest.mark.parametrize(("read", "says"), WRONG)
async def test_a_function_that_gives_no_reading_counts_as_one_that_cannot_and_is_told_once(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    read: Callable[[], px.MemoryReading | None],
    says: str,
) -> None:
    made = bench()
    made.reader.used = 850
    with trio.move_on_after(12):
        await made.watch.run()
    assert made.watch.level is H
    made.watch._read = read
    with caplog.at_level(logging.WARNING), trio.move_on_after(100):
        await made.watch.run()
    assert made.watch.level is N
    (said,) = [record.getMessage() for record in caplog.records if "cannot" in record.getMessage()]
    assert said.startswith(f"memory cannot be read by MemoryOptions.read: {says}")
    assert len(said) < 400
    assert made.watch.memory.level is None
    assert says in made.watch.memory.sentence


@pytest.mark.parametrize(("read", "says"), WRONG)
async def test_at_the_start_too(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    read: Callable[[], px.MemoryReading | None],
    says: str,
) -> None:
    with caplog.at_level(logging.WARNING):
        async with open_simulator(port=None, wall_clock=virtual_wall_clock()) as sim:
            config = attrs.evolve(
                px.GatewayConfig.simulated(sim.url),
                connect=sim.connect,
                memory=px.MemoryOptions(read=read),
            )
            async with px.open_gateway(config) as gateway:
                assert says in gateway.health().machine.memory.sentence
                await trio.sleep(30)
    assert len([record for record in caplog.records if says in record.getMessage()]) == 1


async def test_disks_are_asked_in_a_thread_and_folders_that_are_not_there_yet_too(tmp_path: Path) -> None:
    folders = [tmp_path, tmp_path / "not" / "yet", tmp_path]
    watch = DiskWatch(lambda: folders, 30)
    await watch.look()
    assert [disk.folder for disk in watch.disks] == [str(tmp_path), str(tmp_path / "not" / "yet")]
    assert all(disk.free is not None and disk.total is not None for disk in watch.disks)
    assert watch.disks[0].total == watch.disks[1].total
    folders.clear()
    await watch.look()
    assert watch.disks == ()


async def test_a_disk_that_does_not_answer_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def hangs(folder: Path) -> object:
        trio.from_thread.run(answered.wait, trio_token=token)
        return disk_health(str(folder), 1, 1)

    monkeypatch.setattr("trio_projectx.pressure.disks._asked", hangs)
    watch = DiskWatch(lambda: [tmp_path], 0.05)
    await watch.look()
    assert [disk.sentence for disk in watch.disks] == [f"{tmp_path}: its free space is not known"]
    assert MachineHealth(disks=watch.disks).troubles == (f"{tmp_path}: its free space is not known",)
    await watch.look()  # its thread is still at it: nothing else is asked
    assert watch._threads.borrowed_tokens == 1
    answered.set()


def test_what_is_not_well_is_said() -> None:
    assert MachineHealth().troubles == ()
    bad = MachineHealth(
        loop=loop_health(0.3, 0.5),
        disks=(disk_health("/a", DISK_LEAST - 1, 10 * DISK_LEAST), disk_health("/b", DISK_LEAST, DISK_LEAST)),
    )
    assert bad.troubles == (
        "/a: 256 MiB of 2,560 MiB are free",
        "trio's loop was 300 ms late at the last look, 500 ms at worst",
    )
    said = network_health(1.25, None).sentence
    assert said == "the last byte of the market hub is 1.2 s old"
