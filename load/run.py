"""The long proofs: `nox -s load`, `soak`, `endurance`. Each prints a line of JSON with its figures, and PASS or FAIL.

Virtual time but for `load`, `endurance`, `recovery` and `shutdowns`, which have real sockets, and `hung-rest` and
`full-disk`, which measure the live path. The same seed goes the same way but for what real time decides. docs/load.md
says what is proved.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs
import endurance
import heavy
import live_path
import reconnects
import recovery
import refreshes
import replays
import shutdowns
import soak
import steps
import storms
import trio
import wishes
from ground import first_of

import trio_projectx as px

Figures: TypeAlias = "Mapping[str, object]"
Proof: TypeAlias = "Callable[[argparse.Namespace], Iterable[tuple[str, Figures, list[str]]]]"


def prove_refreshes(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Renew tokens under load."""
    for how in refreshes.HOWS:
        found = refreshes.refresh(how, options.refreshes, options.seed, options.trades_per_s)
        yield f"refreshes {how}", _plain(found), found.faults()


def prove_reconnects(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Lose the connection again and again, in one life."""
    found = reconnects.reconnect(options.reconnects, options.seed)
    figures = {
        **_plain(found, "recoveries_s"),
        "first_median_s": found.first_median_s,
        "last_median_s": found.last_median_s,
        "slowest_s": max(found.recoveries_s),
    }
    yield "reconnects", figures, found.faults()


def prove_outage(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Be without a service for hours."""
    found = reconnects.outage(options.hours or _HOURS, options.seed)
    yield "outage", _plain(found), found.faults()


def prove_storms(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Meet a service that takes connections and ends them, or does not take them, for hours."""
    for name in storms.STORMS:
        found = storms.blow(name, options.hours or _HOURS, options.seed)
        yield f"storm {name}", _plain(found), found.faults()
    for name in ("refused", "reset after the acknowledgement"):
        found = storms.blow(name, options.hours or _HOURS, options.seed, redundant=True)
        yield f"storm {name}, redundant", _plain(found), found.faults()


def prove_wishes(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Open and leave streams by the thousand."""
    kinds: dict[str, dict[str, Any]] = {
        "all at once": {"seconds": 1.0, "way_s": 1.0},
        "fast answers": {"seconds": 20.0, "way_s": 0.02},
        "slow answers and losses": {"seconds": 20.0, "way_s": 0.1, "losses": 4},
        "two lines and losses": {"seconds": 20.0, "way_s": 0.1, "losses": 4, "redundant": True},
    }
    for name, kind in kinds.items():
        found = wishes.storm(options.wishes, seed=options.seed, **kind)
        yield f"wishes {name}", _plain(found), found.faults()


def prove_steps(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Strike at every step of the scheduler."""
    for is_whole, every in ((False, options.every), (True, options.every_whole)):
        for blow in steps.BLOWS:
            lives = list(steps.sweep(blow, every, options.seed, is_whole=is_whole))
            wrong = [f"step {life.at}: {fault}" for life in lives for fault in life.faults()]
            if blow not in steps.SURVIVED and all(life.reached == "end" for life in lives):
                wrong.append("no blow was felt")
            figures = {
                "lives": len(lives),
                "every": every,
                "reached": Counter(life.reached for life in lives),
                "latest_s": max(life.late_s for life in lives),
                "whole_bars": sum(life.whole_bars for life in lives),
            }
            kind = "a whole life" if is_whole else "a life"
            yield f"steps {blow} in {kind}", figures, wrong


def prove_recovery(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Reset connections on loopback, in real time."""
    quick = px.Reconnect(refill_s=1.0, young_s=0.5)
    found = recovery.recover(options.resets, 1.2, quick, options.seed)
    yield "recovery, refill_s=1", {"resets": options.resets, "figures": found.figures()}, found.faults()
    if options.slow_resets:
        found = recovery.recover(options.slow_resets, 31.0, px.Reconnect(), options.seed)
        yield "recovery, default", {"resets": options.slow_resets, "figures": found.figures()}, found.faults()


def prove_replays(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Play long records, in the memory of short ones."""
    for kind in ("table", "journal"):
        found = replays.prove(kind, options.replayed)
        yield f"replays {kind}", _plain(found), found.faults()


def prove_hung_rest(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Let every request for history hang while gaps are to be filled."""
    yield from _beside(options, "hung-rest")


def prove_full_disk(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Let a recorder's disk be full, and hang; then a real one that is full."""
    yield from _beside(options, "full-disk", "hung-disk")
    small = live_path.run_on_small_disk(options.seconds or _SECONDS, options.live_trades_per_s, options.seed)
    if small is None:
        print("no file system of 1 MB can be mounted here", flush=True)
    else:
        yield "full-disk, of 1 MB", *small


def _beside(options: argparse.Namespace, *cases: live_path.Case) -> Iterable[tuple[str, Figures, list[str]]]:
    how = options.seconds or _SECONDS, options.live_trades_per_s, options.seed
    plain = [live_path.run_quietly("plain", *how)]
    found = [live_path.run_quietly(case, *how) for case in cases]
    plain.append(live_path.run_quietly("plain", *how))
    for each in (*plain, *found):
        yield each.case, attrs.asdict(each), each.faults(*plain)


def prove_load(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Stream ten thousand trades a second over a real socket, and then twice what can be taken."""
    seconds = options.seconds or 60.0
    found = heavy.steady(seconds, options.live_trades_per_s)
    yield "load", attrs.asdict(found), found.faults()
    over = heavy.overload(min(seconds, 10.0), options.live_trades_per_s, _tell)
    yield "load, twice the capacity", _plain(over), list(over.wrong)


def prove_soak(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Let two days of the market go by, with a fault every quarter of an hour."""
    for name in ("24x7", "cme") if options.template == "both" else (options.template,):
        found = soak.soak(name, options.hours or 48.0, options.seed, _tell)
        yield f"soak {name}", _plain(found, "wrong"), list(found.wrong)


def prove_endurance(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Let real minutes go by, with a fault every twenty seconds."""
    found = endurance.endure(options.minutes, options.seed, _tell)
    yield "endurance", _plain(found, "wrong"), list(found.wrong)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def prove_shutdowns(options: argparse.Namespace) -> Iterable[tuple[str, Figures, list[str]]]:
    """Leave from every state, at random instants, on real sockets."""
    found = shutdowns.prove_beside(options.leaves, options.seed)
    yield "shutdowns", _plain(found), found.faults()


PROOFS: Mapping[str, Proof] = {
    "load": prove_load,
    "soak": prove_soak,
    "endurance": prove_endurance,
    "refreshes": prove_refreshes,
    "reconnects": prove_reconnects,
    "outage": prove_outage,
    "wishes": prove_wishes,
    "steps": prove_steps,
    "storms": prove_storms,
    "recovery": prove_recovery,
    "replays": prove_replays,
    "hung-rest": prove_hung_rest,
    "full-disk": prove_full_disk,
    "shutdowns": prove_shutdowns,
}
#: What `all` is: the two that have sessions of their own are asked for by name.
ALL = tuple(name for name in PROOFS if name not in ("soak", "endurance"))
_HOURS = 24.0
_SECONDS = 30.0


def _plain(found: attrs.AttrsInstance, *less: str) -> Figures:
    """Return the fields of a result as they are to be printed."""
    return attrs.asdict(found, filter=lambda field, _: field.name not in less)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help=f"of {', '.join(PROOFS)}, or all; load")
    parser.add_argument("--seed", type=int, help="of everything that is random; a new one each time")
    parser.add_argument("--refreshes", type=int, default=1000)
    parser.add_argument("--trades-per-s", type=float, default=1000.0, help="during refreshes; at most 2000")
    parser.add_argument("--reconnects", type=int, default=1000)
    parser.add_argument("--hours", type=float, help="of a soak (48), of the outage, and of each storm (24)")
    parser.add_argument("--template", choices=("24x7", "cme", "both"), default="both", help="of the soak")
    parser.add_argument("--minutes", type=float, default=3.0, help="of the endurance; 2 or more")
    parser.add_argument("--wishes", type=int, default=1000)
    parser.add_argument("--every", type=int, default=1, help="strike at each so-manieth step")
    parser.add_argument(
        "--every-whole", type=int, default=5, help="the same, of lives with streams of all kinds"
    )
    parser.add_argument("--replayed", type=int, default=10_000_000, help="trades of each long replay")
    parser.add_argument("--resets", type=int, default=100)
    parser.add_argument("--slow-resets", type=int, default=5, help="31 s apart, under default options")
    parser.add_argument("--seconds", type=float, help="of the load (60), of hung-rest and full-disk (30)")
    parser.add_argument("--leaves", type=int, default=30, help="from each state, of shutdowns")
    parser.add_argument("--live-trades-per-s", type=int, default=10_000, help="during these")
    options = parser.parse_args(arguments)
    if unknown := set(options.proofs) - {*PROOFS, "all"}:
        parser.error(f"no such proof: {', '.join(sorted(unknown))}")
    if options.seed is None:
        options.seed = random.randrange(1 << 31)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the proofs that were asked for; return how many did not hold."""
    options = parse(arguments)
    logging.getLogger("trio_projectx").setLevel(logging.CRITICAL)  # every loss is told in the log, too
    versions = {"python": platform.python_version(), "trio": trio.__version__}
    print(json.dumps({"seed": options.seed, **versions}), flush=True)
    failed = 0
    for name in ALL if "all" in options.proofs else options.proofs or ["load"]:
        failed += _run(name, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{failed or 'none'} failed; seed {options.seed}; at most {peak} MiB", flush=True)
    return failed


def _run(name: str, options: argparse.Namespace) -> int:
    failed, began = 0, time.monotonic()
    try:
        for what, figures, wrong in PROOFS[name](options):
            took, began = time.monotonic() - began, time.monotonic()
            line = {"proof": what, **figures, "took_s": round(took, 1)}
            print(json.dumps(line, default=str), flush=True)
            print(f"{'FAIL' if wrong else 'PASS'} {what}", *wrong[:10], sep="\n     ", flush=True)
            failed += bool(wrong)
    except Exception as exc:  # noqa: BLE001  whatever it is, this proof did not hold; the others go on
        reason = first_of(exc)
        print(f"FAIL {name}\n     {type(reason).__name__}: {reason}", flush=True)
        failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
