"""`nox -s fuzz`: the properties of what comes from outside, and of bars, with as many examples as there is time for.

Record splitter, record to event, stamps, claims, handshakes, negotiation, bars of the service, user events, HTTP
answers, WebSocket frames: only errors of ours come out. Lines, validator, bars and what mends them: no bar that says
it is whole is another than the truth's. An example that fails is printed, made small, with what plays it again.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import test_bars_accumulator
import test_bars_aggregate
import test_bars_atomic
import test_bars_barset
import test_bars_breaker
import test_bars_builder
import test_bars_columns
import test_bars_decimals
import test_bars_kinds
import test_bars_late
import test_bars_mending
import test_bars_time
import test_bars_together
import test_bars_trades
import test_connection_negotiate
import test_connection_upgrade
import test_flow_buffers
import test_flow_contract
import test_flow_gaps
import test_flow_recent
import test_flow_user_channel
import test_flow_user_pipeline
import test_fuzz_http
import test_fuzz_records
import test_fuzz_websocket
import test_handlers_equation
import test_history_coverage
import test_history_jobs
import test_history_outages_live
import test_market_band
import test_market_book
import test_market_decode
import test_market_depth
import test_market_exact
import test_market_grid
import test_market_lines
import test_market_quarantine
import test_market_quotes
import test_market_stamps
import test_market_user
import test_market_validate
import test_signalr_codec
import test_signalr_connection
import test_signalr_records

Property = Callable[[], None]

_MODULES: Final = (
    test_bars_accumulator,
    test_bars_aggregate,
    test_bars_atomic,
    test_bars_barset,
    test_bars_breaker,
    test_bars_builder,
    test_bars_columns,
    test_bars_decimals,
    test_bars_kinds,
    test_bars_late,
    test_bars_mending,
    test_bars_time,
    test_bars_together,
    test_bars_trades,
    test_flow_buffers,
    test_flow_contract,
    test_flow_gaps,
    test_flow_recent,
    test_flow_user_channel,
    test_flow_user_pipeline,
    test_handlers_equation,
    test_history_coverage,
    test_history_jobs,
    test_history_outages_live,
    test_market_band,
    test_market_book,
    test_market_depth,
    test_market_exact,
    test_market_grid,
    test_market_lines,
    test_market_quarantine,
    test_market_quotes,
    test_market_validate,
    test_fuzz_records,
    test_fuzz_http,
    test_fuzz_websocket,
    test_signalr_records,
    test_signalr_codec,
    test_signalr_connection,
    test_market_decode,
    test_market_stamps,
    test_market_user,
    test_connection_negotiate,
    test_connection_upgrade,
)


def properties() -> dict[str, Property]:
    """Return the properties of these modules that need no fixture, by name."""
    found: dict[str, Property] = {}
    for module in _MODULES:
        for name, value in vars(module).items():
            if name.startswith("test_") and hasattr(value, "hypothesis") and not _needs_pytest(value):
                found[f"{module.__name__.removeprefix('test_')}.{name.removeprefix('test_')}"] = value
    return found


def _needs_pytest(test: Callable[..., object]) -> bool:
    """Whether it takes fixtures or parameters, or is async; a mark alone only keeps its log quiet."""
    is_async = inspect.iscoroutinefunction(test) or inspect.iscoroutinefunction(test.hypothesis.inner_test)  # type: ignore[attr-defined]
    return is_async or bool(inspect.signature(test).parameters)


def prove(name: str, examples: int) -> bool:
    """Try one property with so many examples; tell whether it held."""
    test = properties()[name]
    # Hypothesis has no public way to change what a test was decorated with.
    test._hypothesis_internal_use_settings = settings(  # type: ignore[attr-defined]
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    began = time.monotonic()
    try:
        test()
    except Exception:  # noqa: BLE001  whatever it is, the property did not hold; the others go on
        traceback.print_exc()
        print(f"FAIL {name}", flush=True)
        return False
    print(f"PASS {name}, {examples} examples, {time.monotonic() - began:.0f} s", flush=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Try the properties that were named, or all; return 1 if one did not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="PROPERTY", help="parts of names; all of them")
    parser.add_argument("--examples", type=int, default=2000, help="of each property")
    options = parser.parse_args(arguments)
    chosen = [
        name for name in properties() if not options.names or any(part in name for part in options.names)
    ]
    logger = logging.getLogger("trio_projectx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        failed = [name for name in chosen if not prove(name, options.examples)]
    finally:
        logger.setLevel(level)
    print(f"{len(failed) or 'none'} of {len(chosen)} failed", flush=True)
    return int(bool(failed) or not chosen)


if __name__ == "__main__":
    sys.exit(main())
