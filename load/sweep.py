"""`nox -s sweep`: a blow at every scheduler step of a whole life, from many seeds, until there were 100,000.

How a life is struck is in `blows`. Each place that does not hold is printed with what goes to it again:
``--seed S --step K --kind KIND``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio
from blows import KINDS, Outcome, strike_all_of, strike_once
from forks import TRIO, is_known_trio

#: After how many blows of a life it is told how far it is.
_TELL: Final = 2000
#: How many lives are struck in one child: what a fork costs is paid once for them.
_BESIDE: Final = 6
#: About so many blows a life has; so that there are enough lives, rather fewer.
_A_LIFE: Final = 10_000


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=100_000, help="blows in all")
    parser.add_argument("--seeds", type=int, help="lives; without it as many as the points need")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--seed", type=int, help="of the first life; a new one each time")
    parser.add_argument("--step", type=int, help="strike once, before this step")
    parser.add_argument("--kind", choices=KINDS, default="cancel", help="strike so (with --step)")
    parser.add_argument("--worker", type=int, nargs="?", const=1, help=argparse.SUPPRESS)
    parser.add_argument("--each", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.seed = random.randrange(1 << 31) if options.seed is None else options.seed
    return options


@attrs.define
class Total:
    """What all blows come to."""

    points: int = 0
    lives: int = 0
    kinds: Counter[str] = attrs.Factory(Counter)
    reached: Counter[str] = attrs.Factory(Counter)
    latest_s: float = 0.0
    """The longest way out, of those that were to leave."""
    whole_bars: int = 0
    violations: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.points += 1
        self.kinds[str(outcome.kind)] += 1
        self.reached[outcome.reached] += 1
        self.whole_bars += outcome.whole_bars
        self.violations += bool(outcome.wrong)
        if outcome.kind != "reset":
            self.latest_s = max(self.latest_s, outcome.late_s)


def work(seeds: Sequence[int], points: int, each: int) -> Total:
    """Sweep these lives; print what does not hold."""
    total = Total(lives=len(seeds))

    def told(outcome: Outcome) -> None:
        total.add(outcome)
        if total.points % _TELL == 0:
            so_far = f"{total.points}, {total.violations} violations"
            print(f"from seed {seeds[0]}: {so_far}", file=sys.stderr, flush=True)
        if outcome.wrong:
            again = f"--seed {outcome.seed} --step {outcome.step} --kind {outcome.kind}"
            where = f"{outcome.at}, {outcome.reached}"
            print(f"FAIL {again} ({where}): {outcome.wrong[:3]}", file=sys.stderr, flush=True)

    strike_all_of(seeds, points, each, told)
    return total


def main(arguments: list[str] | None = None) -> int:
    """Sweep, or strike once; return 1 if something did not hold."""
    options = parse(arguments)
    if not is_known_trio():
        print(f"FAIL sweep: it is made for trio {TRIO}, and this is {trio.__version__}", flush=True)
        return 1
    if options.worker:
        seeds = range(options.seed, options.seed + options.worker)
        print(
            json.dumps(attrs.asdict(work(seeds, options.points, options.each or options.points))), flush=True
        )
        return 0
    if options.step is not None:
        outcome = strike_once(options.seed, options.step, options.kind)
        print(json.dumps(attrs.asdict(outcome), indent=1))
        return bool(outcome.wrong)
    return _sweep_all(options)


def _sweep_all(options: argparse.Namespace) -> int:
    began, total = time.monotonic(), Total()
    print(json.dumps({"seed": options.seed, "trio": trio.__version__}), flush=True)
    shares = _shares(options)
    running: list[subprocess.Popen[bytes]] = []
    while shares or running:
        if shares and len(running) < options.jobs:
            running.append(_worker(*shares.pop(0)))
            continue
        _merge(total, running.pop(0))
        print(
            f"{total.points} blows, {total.violations} violations, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    took = round(time.monotonic() - began, 1)
    print(json.dumps({"proof": "sweep", **attrs.asdict(total), "took_s": took}))
    is_bad = bool(total.violations) or total.points < min(options.points, 1)
    print(f"{'FAIL' if is_bad else 'PASS'} sweep; seed {options.seed}", flush=True)
    return int(is_bad)


def _shares(options: argparse.Namespace) -> list[tuple[int, int, int, int]]:
    """Divide the lives among processes: the first seed, how many lives, the blows for all, and for one at most."""
    lives = options.seeds or math.ceil(options.points / _A_LIFE)
    processes = min(lives, options.jobs * math.ceil(lives / _BESIDE / options.jobs))
    firsts = [lives * n // processes for n in range(processes + 1)]
    each = options.points // options.seeds if options.seeds else options.points
    return [
        (options.seed + first, end - first, options.points * (end - first) // lives, each)
        for first, end in itertools.pairwise(firsts)
    ]


def _worker(seed: int, lives: int, points: int, each: int) -> subprocess.Popen[bytes]:
    """Sweep some lives in a process of their own: its hashes, and so the order of its sets, do not vary."""
    numbers = {"--seed": seed, "--worker": lives, "--points": points, "--each": each}
    words = [str(word) for pair in numbers.items() for word in pair]
    command = [sys.executable, "-W", "error", str(Path(__file__)), *words]
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environ)  # noqa: S603


def _merge(total: Total, worker: subprocess.Popen[bytes]) -> None:
    said, _ = worker.communicate()
    if worker.returncode:
        raise RuntimeError(f"a worker ended with {worker.returncode}")
    part = json.loads(said)
    total.kinds.update(part.pop("kinds"))
    total.reached.update(part.pop("reached"))
    total.latest_s = max(total.latest_s, part.pop("latest_s"))
    for name, value in part.items():
        setattr(total, name, getattr(total, name) + value)


if __name__ == "__main__":
    sys.exit(main())
