"""How many unreadable records are borne, in a minute that slides."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from trio_projectx import ConnectionLost
from trio_projectx.connection.malformed import MalformedLimit


@pytest.mark.parametrize(
    ("times", "fails_at"),
    [
        ([0.0] * 3, None),
        ([0.0] * 4, 4),
        ([0.0, 0.0, 0.0, 60.0], 4),  # the first is not older than a minute
        ([0.0, 0.0, 0.0, 60.1], None),
        ([0.0, 30.0, 59.0, 61.0, 89.0], 5),
        ([0.0, 30.0, 59.0, 61.0, 90.5, 119.5], None),
        ([0.0, 30.0, 59.0, 61.0, 90.5, 119.5, 120.4], 7),
        ([n * 20.1 for n in range(500)], None),
    ],
)
async def test_the_limit(autojump_clock: MockClock, times: list[float], fails_at: int | None) -> None:
    limit = MalformedLimit("market hub", 3)
    for number, at in enumerate(times, 1):
        await trio.sleep_until(at)
        if number == fails_at:
            with pytest.raises(
                ConnectionLost, match="market hub: more than 3 unreadable records in a minute, the last: why"
            ):
                limit.note("why", number)
            return
        limit.note("why", number)
    assert fails_at is None


async def test_it_is_told_once_a_minute(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "trio_projectx")
    limit = MalformedLimit("market hub", 10_000)
    for number in range(1, 1001):
        limit.note("why", number)
        await trio.sleep(0.2)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 4  # 200 s
    assert texts[0] == "market hub: a record (no. 1) could not be read: why"


async def test_memory_is_bounded_by_the_limit(autojump_clock: MockClock) -> None:
    limit = MalformedLimit("market hub", 5)
    for number in range(1000):
        limit.note("why", number)
        await trio.sleep(13)
    assert len(limit._recent) <= 6
