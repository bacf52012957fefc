"""What is to be read again, and when."""

from __future__ import annotations

import pytest
from history_tools import MINUTE, SECOND, T0
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import GapFillFailed, HistoryOptions, Timeframe
from trio_projectx.bars.edges import FixedEdges
from trio_projectx.history.coverage import Coverage
from trio_projectx.history.filling import Filling
from trio_projectx.history.jobs import Job

EDGES = FixedEdges(MINUTE)


def test_a_span_is_taken_when_its_bars_are_over_as_far_as_they_are() -> None:
    job = Job(EDGES)
    assert job.ready_ns(5 * SECOND) is None
    assert job.take(T0) is None
    job.wanted.add(T0, T0 + 3 * MINUTE)
    assert job.ready_ns(5 * SECOND) == T0 + MINUTE + 5 * SECOND
    assert job.take(T0 + MINUTE - 1) is None
    assert job.take(T0 + 2 * MINUTE + 30 * SECOND) == (T0, T0 + 2 * MINUTE)
    assert list(job.wanted) == [(T0 + 2 * MINUTE, T0 + 3 * MINUTE)]
    assert job.take(T0 + 3 * MINUTE) == (T0 + 2 * MINUTE, T0 + 3 * MINUTE)
    assert job.take(T0 + 9 * MINUTE) is None


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=6),
    st.lists(st.integers(0, 45 * 60), max_size=8),
)
def test_nothing_is_taken_twice_or_early_and_all_is_in_the_end(
    spans: list[tuple[int, int]], looks: list[int]
) -> None:
    job, minutes, taken = Job(EDGES), set(), list[int]()
    for start, length in spans:
        job.wanted.add(T0 + start * MINUTE, T0 + (start + length) * MINUTE)
        minutes |= set(range(start, start + length))
    for look in (*sorted(looks), 60 * 60):
        while (span := job.take(T0 + look * SECOND)) is not None:
            low, high = ((each - T0) // MINUTE for each in span)
            assert high * 60 <= look
            taken += range(low, high)
    assert sorted(taken) == sorted(minutes)


def test_attempts_wait_twice_as_long_each_time_up_to_the_cap() -> None:
    job = Job(EDGES)
    assert [job.failed(100.0, 1.0, 10.0) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert job.not_before == 110.0
    assert [job.failed(0.0, 1.0, 60.0) for _ in range(3000)][-1] == 60.0
    job.succeeded(200.0, 5.0)
    assert (job.attempts, job.not_before) == (0, 205.0)
    assert job.failed(200.0, 1.0, 10.0) == 1.0


class Stub:
    """A contract, an outlet, its bars and their mender, as far as a wish goes."""

    contract_id = "c"

    @property
    def bars(self) -> Stub:
        return self

    mender = bars

    def edges(self, frame: Timeframe) -> FixedEdges:
        return EDGES


def test_of_too_many_gaps_the_oldest_are_given_up_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_projectx.history.jobs.SPANS_MOST", 64)
    told: list[GapFillFailed] = []
    coverage, stub = Coverage("c"), Stub()
    filling = Filling(stub, None, coverage, None, HistoryOptions(), lambda: T0, lambda: 7, told.append)  # type: ignore[arg-type]
    for number in range(192):
        low = T0 + 2 * number * MINUTE
        coverage.lost(low, low + MINUTE, "the connection was lost")
        filling.want(stub, Timeframe("1m"), low, low + MINUTE)  # type: ignore[arg-type]
        (job,) = filling._jobs.values()
        assert len(job.wanted) <= 64
    assert list(job.wanted)[-1] == (low, low + MINUTE)
    kept_from = next(iter(job.wanted))[0]
    assert len(told) == 4
    assert {(each.retry_in_s, "given up" in each.reason) for each in told} == {(None, True)}
    assert told[0].start == T0
    assert told[-1].end == kept_from - MINUTE  # one behind the other, up to what is still wanted
    assert [each.end + MINUTE for each in told[:-1]] == [each.start for each in told[1:]]
    assert all(hole.last_failure is None for hole in coverage.holes if hole.start >= kept_from)
    assert all("given up" in str(hole.last_failure) for hole in coverage.holes if hole.start < kept_from)
