"""What is read of memory: /proc, cgroups v2 and v1 (nested, in containers), RLIMIT_AS, psutil, nothing at all."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import attrs
import pytest

import trio_projectx as px
from trio_projectx.pressure.cgroups import V1, V2, find_groups
from trio_projectx.pressure.reading import MemoryReader, address_space_limit, find_psutil

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


def no_psutil() -> None:
    return None


@attrs.frozen
class Machine:
    """A /proc and a /sys/fs/cgroup below a folder, as the kernel would show them."""

    root: Path

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def process(self, *, size: int, rss: int, available: int | None) -> None:
        self.write("proc/self/statm", f"{size // PAGE} {rss // PAGE} 100 1 0 200 0\n")
        rest = "" if available is None else f"MemAvailable:   {available // 1024} kB\n"
        self.write("proc/meminfo", f"MemTotal:       99999999 kB\nMemFree:        5 kB\n{rest}")

    def cgroup(self, lines: str, *mounts: str) -> None:
        self.write("proc/self/cgroup", lines)
        self.write("proc/self/mountinfo", "\n".join(mounts) + "\n")

    def v2(self, group: str, *, limit: object, current: int, inactive: int = 0, high: object = "max") -> None:
        at = f"sys/fs/cgroup/{group}".rstrip("/")
        self.write(f"{at}/memory.max", f"{limit}\n")
        self.write(f"{at}/memory.high", f"{high}\n")
        self.write(f"{at}/memory.current", f"{current}\n")
        self.write(f"{at}/memory.stat", f"anon 1\ninactive_file {inactive}\nactive_file 3\n")

    def v1(self, group: str, *, limit: int, usage: int, inactive: int = 0) -> None:
        at = f"sys/fs/cgroup/memory/{group}".rstrip("/")
        self.write(f"{at}/memory.limit_in_bytes", f"{limit}\n")
        self.write(f"{at}/memory.usage_in_bytes", f"{usage}\n")
        self.write(f"{at}/memory.stat", f"inactive_file 5\ntotal_inactive_file {inactive}\n")

    @property
    def mount_v2(self) -> str:
        return f"35 24 0:30 / {self.root}/sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"

    def mount_v1(self, root: str = "/") -> str:
        return f"35 32 0:32 {root} {self.root}/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"

    def reader(self, budget: int | None = None, address_space: int | None = None) -> MemoryReader:
        return MemoryReader(
            budget, proc=self.root / "proc", psutil=no_psutil, address_space=lambda: address_space
        )

    def read(self, budget: int | None = None, address_space: int | None = None) -> px.MemoryReading:
        found = self.reader(budget, address_space).read()
        assert found is not None
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.process(size=900 * MIB, rss=100 * MIB, available=1000 * MIB)
    return made


def test_of_the_machine_it_is_what_can_still_be_had(machine: Machine) -> None:
    assert machine.read() == px.MemoryReading(100 * MIB, 1000 * MIB, "the machine's memory")
    assert machine.read().share == pytest.approx(1 / 11)
    assert machine.reader().used() == 100 * MIB


def test_the_bound_with_the_greatest_share_counts(machine: Machine) -> None:
    assert machine.read(budget=150 * MIB).bound == "MemoryOptions.budget_bytes"
    assert machine.read(budget=150 * MIB).available == 50 * MIB
    assert machine.read(budget=50 * MIB).share == 1.0
    both = machine.read(budget=400 * MIB, address_space=1000 * MIB)
    assert both == px.MemoryReading(900 * MIB, 100 * MIB, "RLIMIT_AS")
    assert machine.read(address_space=100 * MIB).available == 0


def test_cgroup_2_counts_what_the_group_uses_less_idle_cache(machine: Machine) -> None:
    machine.cgroup("0::/user/app\n", machine.mount_v2)
    machine.v2("user/app", limit=400 * MIB, current=350 * MIB, inactive=150 * MIB)
    assert machine.read() == px.MemoryReading(100 * MIB, 200 * MIB, "the limit of the cgroup /user/app")


@pytest.mark.parametrize(
    ("app", "user", "bound", "available"),
    [(400, "max", "/user/app", 300), (400, 250, "/user", 50), ("max", 250, "/user", 50)],
)
def test_of_nested_groups_the_nearest_limit_counts(
    machine: Machine, app: object, user: object, bound: str, available: int
) -> None:
    def size(value: object) -> object:
        return value * MIB if isinstance(value, int) else value

    machine.cgroup("0::/user/app\n", machine.mount_v2)
    machine.v2("user/app", limit=size(app), current=100 * MIB)
    machine.v2("user", limit=size(user), current=200 * MIB)
    assert machine.read() == px.MemoryReading(100 * MIB, available * MIB, f"the limit of the cgroup {bound}")


def test_what_slows_a_group_down_is_a_limit_too(machine: Machine) -> None:
    machine.cgroup("0::/\n", machine.mount_v2)
    machine.v2("", limit="max", current=100 * MIB, high=160 * MIB)
    assert machine.read().available == 60 * MIB


def test_a_limit_may_change_while_it_runs(machine: Machine) -> None:
    machine.cgroup("0::/app\n", machine.mount_v2)
    machine.v2("app", limit="max", current=100 * MIB)
    reader = machine.reader()
    first = reader.read()
    machine.v2("app", limit=120 * MIB, current=100 * MIB)
    for _ in range(11):
        assert reader.read() == first  # a group without a limit is asked again once a minute
    second = reader.read()
    assert first is not None
    assert second is not None
    assert (first.bound, second.available) == ("the machine's memory", 20 * MIB)


def test_cgroup_1_nested_and_without_a_limit(machine: Machine) -> None:
    machine.cgroup("4:memory:/docker/a\n1:cpu:/docker/a\n0::/docker/a\n", machine.mount_v1())
    machine.v1("docker/a", limit=9223372036854771712, usage=100 * MIB)
    machine.v1("docker", limit=300 * MIB, usage=280 * MIB, inactive=80 * MIB)
    assert machine.read() == px.MemoryReading(100 * MIB, 100 * MIB, "the limit of the cgroup /docker")


def test_a_container_sees_its_group_as_the_root_of_the_mount(machine: Machine) -> None:
    machine.cgroup("4:memory,hugetlb:/docker/a\n", machine.mount_v1("/docker/a"))
    machine.v1("", limit=130 * MIB, usage=100 * MIB)
    assert machine.read() == px.MemoryReading(100 * MIB, 30 * MIB, "the limit of the cgroup /")


@pytest.mark.parametrize(
    ("lines", "mount", "expected"),
    [
        ("", "", []),
        ("nonsense\n::\n0:\n", "nonsense - cgroup2\n", []),
        ("0::/../elsewhere\n", "1 2 0:1 / /m rw - cgroup2 c rw", ["/m"]),
        ("0::/a b\n", r"1 2 0:1 / /m\040n rw - cgroup2 c rw", ["/m n/a b", "/m n"]),
        ("3:cpu:/x\n", "1 2 0:1 / /m rw - cgroup c rw,cpu", []),
        ("3:cpu,memory:/x\n", "1 2 0:1 / /c rw - cgroup c rw,cpu\n1 2 0:1 / /m rw - cgroup c memory", ["/m/x", "/m"]),
    ],
)  # fmt: skip
def test_folders_of_groups(lines: str, mount: str, expected: list[str]) -> None:
    found = find_groups(lines, mount)
    assert [str(each.folder) for each in found] == expected
    assert {each.flavour for each in found} <= {V1, V2}


def test_files_that_say_nonsense_say_nothing(machine: Machine) -> None:
    machine.cgroup("0::/app\n", machine.mount_v2)
    machine.v2("app", limit="plenty", current=5)
    machine.write("proc/meminfo", "MemTotal: 5 kB\n")
    assert machine.reader().read() is None
    machine.write("proc/self/statm", "x y\n")
    assert machine.reader(budget=5).read() is None


def test_without_proc_and_psutil_nothing_is_known(tmp_path: Path) -> None:
    reader = MemoryReader(5, proc=tmp_path, psutil=no_psutil)
    assert (reader.read(), reader.used()) == (None, None)


@attrs.frozen
class Sizes:
    rss: int = 0
    available: int = 0


class FakePsutil:
    """The two calls of psutil's that are used, for a machine without /proc."""

    def Process(self) -> FakePsutil:  # noqa: N802
        return self

    def memory_info(self) -> Sizes:
        return Sizes(rss=30 * MIB)

    def virtual_memory(self) -> Sizes:
        return Sizes(available=70 * MIB)


def test_without_proc_psutil_is_asked(tmp_path: Path) -> None:
    reader = MemoryReader(40 * MIB, proc=tmp_path, psutil=FakePsutil)
    assert reader.read() == px.MemoryReading(30 * MIB, 10 * MIB, "MemoryOptions.budget_bytes")
    assert MemoryReader(proc=tmp_path, psutil=FakePsutil).read() == px.MemoryReading(
        30 * MIB, 70 * MIB, "the machine's memory"
    )


def test_psutil_that_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)  # what an import of it meets where it is blocked
    assert find_psutil() is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
def test_the_real_process_is_read_without_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    reader = MemoryReader()
    found, used = reader.read(), reader.used()
    assert found is not None
    assert used is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 10 * MIB < used <= peak + MIB
    held = bytearray(64 * MIB)
    held[::PAGE] = b"x" * len(held[::PAGE])
    after = reader.used()
    assert after is not None
    assert 60 * MIB < after - used < 80 * MIB


def test_the_real_limit_of_the_address_space_is_read() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    if before[1] != resource.RLIM_INFINITY:
        pytest.skip("the address space is limited already, and a limit of our own could not be taken back")
    resource.setrlimit(resource.RLIMIT_AS, (1 << 45, before[1]))
    try:
        found = MemoryReader(proc=Path("/proc"), psutil=no_psutil).read()
        assert address_space_limit() == 1 << 45
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert found is not None
    assert address_space_limit() is None or before[0] != resource.RLIM_INFINITY
