"""What the simulator is known not to do yet, by the names of tests; each is a strict xfail.

Whoever mends one is told by a failing (XPASS) test, and takes its line out.
"""

from __future__ import annotations

from typing import Final

KNOWN: Final[dict[str, str]] = {
    "test_pings_come_among_other_events_too[simulator]": "it pings only when it has nothing else to send",
}
