"""FAULTS.md row 107: fifty kill -9 at random instants (`nox -s kill` does a thousand)."""

from __future__ import annotations

import journal_kill
import pytest


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_no_acknowledged_row_is_lost() -> None:
    rounds = journal_kill.run(30)
    assert [each.lost for each in rounds] == [0] * 30
    assert all(each.is_right and each.is_right_after_sealing for each in rounds)
    # The kills struck where they were meant to: early, while recording, and while sealing.
    assert sum(each.acknowledged for each in rounds) > 5_000
    assert len({each.in_segments for each in rounds}) > 1
