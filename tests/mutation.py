"""Changes the code in many small ways, one at a time, and looks whether the tests notice.

    python tests/mutation.py [--seed N] [--minutes M] [--most N] [--only NAME] [--python PATH]

Of all changes that cosmic-ray knows for the codec, the validator and the bars a sample is taken by ``--seed``, by turns
from the three; it ends after ``--minutes``, or with ``--most`` changes. Each is made in a copy of the project, and the
tests of its module are run there. A line of JSON for each change, the score at the end; of a change that no test
notices the lines are shown. Only ``nox -s mutation`` has cosmic-ray installed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from cosmic_ray.commands.init import _all_work_items
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome

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
        "bars/rungs.py": "bars_barset bars_atomic",
        "bars/edges.py": "bars_anchor bars_time",
        "bars/session_edges.py": "bars_sessions",
        "bars/fill.py": "bars_barset bars_late",
    },
}
#: Changes that change nothing: annotations are not evaluated, and with None and enums `is` and `==` are the same.
SAME = re.compile(r"core/ReplaceBinaryOperator_BitOr_|_Is_Eq$|_IsNot_NotEq$|_Eq_Is$|_NotEq_IsNot$")


def changes(copy: Path, group: str, rng: random.Random) -> list[MutationSpec]:
    paths = [copy / "trio_projectx" / name for name in TARGETS[group]]
    found = [item.mutations[0] for item in _all_work_items(paths, {})]
    found = [each for each in found if not SAME.search(each.operator_name)]
    rng.shuffle(found)
    return found


def by_turns(lists: list[list[MutationSpec]]) -> Iterator[MutationSpec]:
    for row in zip_longest(*lists):
        yield from (each for each in row if each is not None)


def command(python: str, tests: str) -> str:
    files = " ".join(f"tests/test_{name}.py" for name in tests.split())
    return f"{python} -m pytest -x -q -p no:cacheprovider -p no:randomly --no-header --tb=no {files}"


def copied(folder: Path) -> Path:
    """Copy what the tests need; reference data beside the checkout are found by the environment."""
    copy = folder / "project"
    skip = shutil.ignore_patterns("__pycache__", ".hypothesis", "interop")
    for name in ("trio_projectx", "tests", "load"):
        shutil.copytree(ROOT / name, copy / name, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


class Judge:
    """Runs the tests of a module; how long they take without a change says when a changed one hangs."""

    def __init__(self, python: str, copy: Path) -> None:
        self.python = python
        self.copy = copy
        self.took: dict[str, float] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def judge(self, change: MutationSpec) -> str:
        name = change.module_path.relative_to(self.copy / "trio_projectx").as_posix()
        group = next(group for group, modules in TARGETS.items() if name in modules)
        line = command(self.python, TARGETS[group][name])
        if line not in self.took:
            began = time.monotonic()
            outcome, output = run_tests(line, 600)
            if outcome is not TestOutcome.SURVIVED:
                sys.exit(f"the tests fail without any change:\n{output}")
            self.took[line] = time.monotonic() - began
        result = mutate_and_test([change], line, 30 + 3 * self.took[line])
        if result.worker_outcome is not WorkerOutcome.NORMAL:
            outcome_name = "not made"
        else:
            outcome_name = "survived" if result.test_outcome is TestOutcome.SURVIVED else "killed"
        self.counts[group, outcome_name] += 1
        row = {
            "module": name,
            "line": change.start_pos[0],
            "change": change.operator_name,
            "is": outcome_name,
        }
        if outcome_name == "survived":
            row["diff"] = [text for text in (result.diff or "").splitlines() if text[:1] in "+-"][3:]
        print(json.dumps(row), flush=True)
        return outcome_name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    until = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(Path(folder))
        groups = [options.only] if options.only else list(TARGETS)
        lists = [changes(copy, group, rng) for group in groups]
        os.chdir(copy)
        judge = Judge(options.python, copy)
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
