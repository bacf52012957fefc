"""Changes the code in many small ways, one at a time, and looks whether the tests notice.

    python tests/mutation.py [--seed N] [--minutes M] [--most N] [--only NAME]

Of all changes that cosmic-ray knows for the codec, the validator and the bars a sample is taken by ``--seed``, by turns
from the three; it ends after ``--minutes``, or with ``--most`` changes. Each is made in a copy of the project, and the
tests of its module are run there. A line of JSON for each change, the score at the end; of a change that no test
notices the lines are shown. Only ``nox -s mutation`` has cosmic-ray installed.

cosmic-ray's own runner starts a process for each change, and much of its time goes into imports. Here one that has
imported what the tests stand on (and nothing of ours) forks for each of them. A property that fails is not shrunk.
"""

from __future__ import annotations

import argparse
import compileall
import difflib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

# What the tests import of others; each child has it already.
import cosmic_ray.plugins
import hypothesis  # noqa: F401
import msgspec  # noqa: F401
import pendulum  # noqa: F401
import pyarrow.compute
import pyarrow.parquet  # noqa: F401
import pytest
import trio_websocket  # noqa: F401
from cosmic_ray.commands.init import _all_work_items
from cosmic_ray.mutating import use_mutation
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).resolve().parent.parent

#: The modules, and the tests that are to notice a change in them, the quick ones first.
TARGETS = {
    "codec": {
        "signalr/codec.py": "signalr_messages signalr_codec signalr_cases",
        "signalr/_wire.py": "signalr_messages signalr_codec signalr_cases",
        "signalr/records.py": "signalr_records signalr_connection",
        "signalr/handshake.py": "signalr_handshake signalr_connection",
        "signalr/keepalive.py": "signalr_keepalive",
    },
    "validator": {
        "market/validate.py": "market_validate market_quarantine market_reasons",
        "market/quarantine.py": "market_quarantine market_validate",
        "market/band.py": "market_band market_validate",
        "market/ahead.py": "market_quarantine market_validate",
        "market/grid.py": "market_grid",
        "market/stamps.py": "market_stamps",
        "market/reasons.py": "market_reasons market_validate",
    },
    "bars": {
        "bars/accumulator.py": "bars_accumulator bars_builder",
        "bars/builder.py": "bars_builder bars_barset bars_late",
        "bars/barset.py": "bars_barset bars_atomic bars_late",
        "bars/rungs.py": "bars_late bars_barset bars_atomic",
        "bars/edges.py": "bars_anchor bars_time",
        "bars/session_edges.py": "bars_sessions bars_late",
        "bars/fill.py": "bars_barset bars_late",
    },
}
#: Changes that change nothing: annotations are not evaluated, and with None and enums `is` and `==` are the same.
SAME = re.compile(r"core/ReplaceBinaryOperator_BitOr_|_Is_Eq$|_IsNot_NotEq$|_Eq_Is$|_NotEq_IsNot$")

#: Not more examples of a property than this: what few examples notice, more would too, so the score is a lower bound.
EXAMPLES = 25
PROFILE = f"""
from hypothesis import Phase

_as_written = settings.__init__


def _with_fewer(self, *args, **options):
    if "max_examples" in options:
        options["max_examples"] = min(options["max_examples"], {EXAMPLES})
    _as_written(self, *args, **options)


settings.register_profile(
    "mutation",
    settings.get_profile("house"),
    max_examples={EXAMPLES},
    phases=(Phase.explicit, Phase.generate),
    derandomize=True,
)
settings.load_profile("mutation")
settings.__init__ = _with_fewer
"""


def changes(copy: Path, group: str, rng: random.Random) -> list[MutationSpec]:
    paths = [copy / "trio_projectx" / name for name in TARGETS[group]]
    found = [item.mutations[0] for item in _all_work_items(paths, {})]
    found = [each for each in found if not SAME.search(each.operator_name)]
    rng.shuffle(found)
    return found


def by_turns(lists: list[list[MutationSpec]]) -> Iterator[MutationSpec]:
    for row in zip_longest(*lists):
        yield from (each for each in row if each is not None)


def arguments(tests: str) -> list[str]:
    files = [f"tests/test_{name}.py" for name in tests.split()]
    imported = (
        "ignore::pytest.PytestAssertRewriteWarning"  # of plugins that are imported before pytest begins
    )
    return ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=short", "-W", imported, *files]


def copied(folder: Path) -> Path:
    """Copy what the tests need; reference data beside the checkout are found by the environment."""
    copy = folder / "project"
    skip = shutil.ignore_patterns("__pycache__", ".hypothesis", "interop")
    for name in ("trio_projectx", "tests", "load"):
        shutil.copytree(ROOT / name, copy / name, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", copy)
    with (copy / "tests" / "conftest.py").open("a") as conftest:
        conftest.write(PROFILE)
    return copy


def _child(copy: Path, tests: str) -> NoReturn:
    code = 99
    try:
        os.setsid()
        os.chdir(copy)
        sys.path[0] = str(copy)
        with (copy / "output").open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        code = int(pytest.main(arguments(tests)))
    except BaseException:  # noqa: BLE001  it is shown, and nothing of the parent's is to run here
        traceback.print_exc()
    finally:
        os._exit(code)  # whatever happens: what stands above is the parent's


def run_tests(copy: Path, tests: str, limit_s: float) -> bool | None:
    """Run tests in a process of their own; returns whether they passed, None if they took too long."""
    child = os.fork()
    if child == 0:
        _child(copy, tests)
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def forget(path: Path) -> None:
    """Let nobody take one version of a module for another: compiled ones are told apart by whole seconds."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


class Judge:
    """Runs the tests of a module; how long they take without a change says when a changed one hangs."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self.took: dict[str, float] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def limit_s(self, tests: str) -> float:
        if tests not in self.took:
            began = time.monotonic()
            if not run_tests(self.copy, tests, 600):
                sys.exit(f"tests fail without any change: {tests}\n{(self.copy / 'output').read_text()}")
            self.took[tests] = time.monotonic() - began
        return 30 + 3 * self.took[tests]

    def judge(self, change: MutationSpec) -> None:
        path = change.module_path
        name = path.relative_to(self.copy / "trio_projectx").as_posix()
        group = next(group for group, modules in TARGETS.items() if name in modules)
        tests = TARGETS[group][name]
        limit_s = self.limit_s(tests)
        operator = cosmic_ray.plugins.get_operator(change.operator_name)()
        with use_mutation(path, operator, change.occurrence) as (before, after):
            forget(path)
            passed = run_tests(self.copy, tests, limit_s)
            forget(path)
        outcome = "survived" if passed else "killed"
        self.counts[group, outcome] += 1
        row = {"module": name, "line": change.start_pos[0], "change": change.operator_name, "is": outcome}
        if passed:
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
            row["diff"] = list(lines)[3:]
        print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--only", choices=TARGETS)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(Path(folder))
        groups = [options.only] if options.only else list(TARGETS)
        lists = [changes(copy, group, rng) for group in groups]
        judge = Judge(copy)
        compileall.compile_dir(copy, quiet=2)
        until = time.monotonic() + 60 * options.minutes
        for number, change in enumerate(by_turns(lists)):
            if number >= options.most or time.monotonic() > until:
                break
            judge.judge(change)
    for group, there in zip(groups, lists, strict=True):
        killed, survived = judge.counts[group, "killed"], judge.counts[group, "survived"]
        tried = killed + survived
        share = killed / tried if tried else 0.0
        print(f"{group}: {killed} of {tried} changes noticed ({share:.0%}); there are {len(there)}")


if __name__ == "__main__":
    main()
