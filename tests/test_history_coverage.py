"""The ledger of time: against a set of instants, the plainest model there is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import Bar, BarRevised, Timeframe
from trio_projectx.history.coverage import Coverage
from trio_projectx.history.intervals import Intervals

SPAN = st.tuples(st.integers(0, 30), st.integers(0, 30))
ACTS = st.lists(st.tuples(st.sampled_from(["saw", "lost", "filled", "failed"]), SPAN), max_size=25)


def pieces(numbers: set[int]) -> list[tuple[int, int]]:
    """The runs of a set of whole numbers."""
    starts = sorted(n for n in numbers if n - 1 not in numbers)
    ends = sorted(n + 1 for n in numbers if n + 1 not in numbers)
    return list(zip(starts, ends, strict=True))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.booleans(), SPAN), max_size=25), SPAN)
def test_intervals_are_a_set_of_instants(
    acts: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    found, model = Intervals(), set()
    for adds, (start, end) in acts:
        if adds:
            found.add(start, end)
            model |= set(range(start, end))
        else:
            found.cut(start, end)
            model -= set(range(start, end))
        assert list(found) == pieces(model)
    span = set(range(*asked))
    assert found.within(*asked) == pieces(model & span)
    assert found.missing(*asked) == pieces(span - model)
    assert found.covers(*asked) is (span <= model)
    assert (found.total(), len(found)) == (len(model), len(pieces(model)))
    assert Intervals(found) == found


@settings(max_examples=300)
@given(ACTS, SPAN)
def test_every_instant_is_in_one_state(
    acts: list[tuple[str, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    ledger, model, attempts = Coverage("c"), dict.fromkeys(range(30), "unknown"), dict.fromkeys(range(30), 0)
    for act, (start, end) in acts:
        for n in range(start, end):
            was = model[n]
            if act == "saw" and was != "missing":
                model[n] = "live"
            elif act == "lost":
                attempts[n] = attempts[n] if was == "missing" else 0
                model[n] = "missing"
            elif act == "filled" and was != "live":
                model[n] = "history"
        if act == "saw":
            ledger.saw(start, end)
        elif act == "lost":
            ledger.lost(start, end, "outage")
        elif act == "filled":
            ledger.filled(start, end)
        else:
            ledger.failed(start, end, "HTTP 500")
    report = ledger.report(*asked)
    span = range(*asked)

    def of(state: str) -> list[tuple[int, int]]:
        return pieces({n for n in span if model[n] == state})

    assert list(report.live) == of("live")
    assert list(report.history) == of("history")
    assert list(report.unknown) == of("unknown")
    missing = {n for hole in report.missing for n in range(hole.start, hole.end)}
    assert missing == {n for n in span if model[n] == "missing"}
    assert sum(hole.end - hole.start for hole in report.missing) == len(missing)  # none twice
    assert report.is_complete is all(model[n] in ("live", "history") for n in span)


def revised() -> BarRevised:
    numbers = (1.0, 1.0, 1.0, 1.0, 5, None, None, None, None, None, None, None)
    return BarRevised(Bar("c", Timeframe("1s"), 0, 10**9, *numbers, source="history"), 0)  # type: ignore[arg-type]


def test_a_hole_that_cannot_be_filled_stays_and_says_why() -> None:
    ledger = Coverage("c")
    ledger.saw(0, 100)
    ledger.lost(40, 60, "the connection was lost")
    ledger.failed(40, 60, "HTTP 500")
    ledger.failed(40, 60, "too many requests (HTTP 429)")
    ledger.saw(60, 200)
    (hole,) = ledger.holes
    assert (hole.attempts, hole.last_failure) == (2, "too many requests (HTTP 429)")
    ledger.filled(40, 55)
    (hole,) = ledger.holes
    assert (hole.start, hole.end, hole.attempts, hole.cause) == (55, 60, 2, "the connection was lost")
    ledger.filled(50, 70)
    assert ledger.holes == ()
    assert ledger.report(0, 200).is_complete
    ledger.revised([revised(), revised(), revised()], 7)
    assert ledger.report(0, 200).revised == len(ledger.report(0, 200).revisions) == 3
    assert not ledger.report(0, 201).is_complete


def of_pieces(ledger: Coverage) -> int:
    report = ledger.report(0, 10**9)
    return len(report.live) + len(report.history) + len(report.missing)


@pytest.mark.parametrize("how", ["streams that come and go", "gaps that are filled", "gaps that are not"])
def test_no_way_of_living_makes_it_grow_for_ever(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_projectx.history.coverage._PIECES_MOST", 64)
    ledger = Coverage("c")
    for at in range(0, 100_000, 100):
        if (
            how == "streams that come and go"
        ):  # without one gap: each is asked for, with history, and left again
            ledger.had(at, at + 2)
            ledger.begin(at + 3)
            ledger.end(at + 5)
        elif how == "gaps that are filled":
            ledger.saw(at, at + 100)
            ledger.lost(at + 4, at + 6, "the connection was lost")
            ledger.filled(at + 4, at + 6)
        else:
            ledger.saw(at, at + 100)
            ledger.lost(at + 4, at + 6, "the connection was lost")
        assert of_pieces(ledger) <= 64
    assert of_pieces(ledger) > 16
    youngest = ledger.report(99_900, 100_000)  # what is forgotten is the oldest, and is unknown then
    assert (youngest.live, youngest.history, youngest.missing) == {
        "streams that come and go": (((99_903, 99_905),), ((99_900, 99_902),), ()),
        "gaps that are filled": (((99_900, 99_904), (99_906, 100_000)), ((99_904, 99_906),), ()),
        "gaps that are not": (((99_900, 99_904), (99_906, 100_000)), (), youngest.missing),
    }[how]
    assert ledger.report(0, 10).unknown == ((0, 10),)
