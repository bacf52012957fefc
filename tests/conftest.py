"""Shared by all tests.

pytest-timeout (60 s of real time, a thread) is the watchdog of the tests in virtual time: under `autojump_clock` a
hang is either an endless loop or a wait for a thread, and neither moves the virtual clock.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from ledger_watch import LedgerWatch, watched_ledgers

settings.register_profile(
    "house",
    deadline=None,  # no test asserts a wall time
    print_blob=True,
    # Without `explain`, which runs a failing example again and again under a tracer: a test that has found something
    # was ended for its minute, and what it had found was not told.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")


def pytest_collection_finish() -> None:
    """Have no garbage collection look at eight thousand tests again: that was a sixth of their time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout; tests that want it skip where it is not."""
    named = os.environ.get("TRIO_PROJECTX_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parent.parent.parent / "shared"
    if not folder.is_dir():
        pytest.skip(
            "no reference data: neither TRIO_PROJECTX_SHARED nor ../shared beside the checkout is there"
        )
    return folder


@pytest.fixture(autouse=True)
def ledger_watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerWatch]:
    """Every trade and every item of a test that streams is accounted for, while it runs and at its end."""
    with watched_ledgers(monkeypatch) as watch:
        yield watch
