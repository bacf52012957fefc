"""`nox -s fuzz`: the suite's properties of what comes from outside, with as many examples as one has time for.

Record splitter, record to event, stamps, claims, handshakes, negotiation, bars, user events, HTTP answers, WebSocket
frames: only errors of ours come out. An example that fails is printed, made small, with what plays it again.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import test_connection_negotiate
import test_connection_upgrade
import test_fuzz_http
import test_fuzz_records
import test_fuzz_websocket
import test_market_decode
import test_market_stamps
import test_market_user
import test_signalr_codec
import test_signalr_connection
import test_signalr_records

Property = Callable[[], None]

_MODULES: Final = (
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
            if name.startswith("test_") and hasattr(value, "hypothesis") and not hasattr(value, "pytestmark"):
                found[f"{module.__name__.removeprefix('test_')}.{name.removeprefix('test_')}"] = value
    return found


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
    parser.add_argument("--examples", type=int, default=10_000, help="of each property")
    options = parser.parse_args(arguments)
    chosen = [
        name for name in properties() if not options.names or any(part in name for part in options.names)
    ]
    failed = [name for name in chosen if not prove(name, options.examples)]
    print(f"{len(failed) or 'none'} of {len(chosen)} failed", flush=True)
    return int(bool(failed) or not chosen)


if __name__ == "__main__":
    sys.exit(main())
