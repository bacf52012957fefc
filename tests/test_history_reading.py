"""How much of what the service says is believed: FAULTS.md row 104, bar by bar, without a gateway."""

from __future__ import annotations

import attrs
import msgspec
import pytest
from history_tools import GRID, INSTRUMENT, MINUTE, SECOND, T0, FakeService, candle, wire

from trio_projectx import GatewayError, Timeframe
from trio_projectx.bars import Anchor
from trio_projectx.history.fetch import Fetcher
from trio_projectx.history.reading import NOT_YET, BarReader, Reading, known_of
from trio_projectx.history.table import PastBar

M1 = Timeframe("1m")
UTC = Anchor.utc()
EDGES = UTC.edges(M1)


@attrs.define
class Around:
    """A service, and the exchange's clock."""

    service: FakeService
    now: int
    newest: int | None = None
    looks: int = 0

    async def look(self, contract_id: str, since_ns: int) -> int | None:
        self.looks += 1
        return self.newest if self.newest is not None and self.newest >= since_ns else None

    def reader(self) -> BarReader:
        return BarReader(Fetcher(self.service), self.look)


def minutes(*numbers: int) -> list:
    return [candle(T0 + n * MINUTE) for n in numbers]


async def read(around: Around, low: int, high: int, frame: str = "1m") -> Reading:
    label = Timeframe(frame)
    return await around.reader().read(
        INSTRUMENT,
        label,
        UTC,
        UTC.edges(label),
        T0 + low * MINUTE,
        T0 + high * MINUTE,
        clock=lambda: around.now,
    )


def spans(reading: Reading) -> list[tuple[int, int, int]]:
    return [((p.low - T0) // MINUTE, (p.high - T0) // MINUTE, len(p.known)) for p in reading.pieces]


def doubts(reading: Reading) -> list[tuple[int, int]]:
    return [((d.low - T0) // MINUTE, (d.high - T0) // MINUTE) for d in reading.doubts]


CASES = [
    # bars there are; newest beyond the span; minutes since the span ended: pieces, doubts
    ((0, 1, 2), 3, 0, [(0, 3, 3)], []),
    ((0, 2), 3, 0, [(0, 3, 2)], []),
    ((), 3, 0, [(0, 3, 0)], []),  # it shows something newer: nobody has traded
    ((), None, 0, [], [(0, 3)]),  # nothing at all shows nothing
    ((), None, 500, [], [(0, 3)]),
    ((0, 1, 2), None, 0, [(0, 2, 2)], [(2, 3)]),  # the last one may still grow
    ((0, 1, 2), None, 1, [(0, 3, 3)], []),  # a quiet market
    ((0,), None, 0, [], [(0, 3)]),
    ((0,), None, 1, [(0, 3, 1)], []),
]


@pytest.mark.parametrize(("there", "newest", "since", "pieces", "doubted"), CASES)
async def test_what_is_believed(
    autojump_clock: object,
    there: tuple[int, ...],
    newest: int | None,
    since: int,
    pieces: list[tuple[int, int, int]],
    doubted: list[tuple[int, int]],
) -> None:
    newest_ns = None if newest is None else T0 + newest * MINUTE
    around = Around(FakeService(minutes(*there)), T0 + (3 + since) * MINUTE, newest_ns)
    reading = await read(around, 0, 3)
    assert spans(reading) == pieces
    assert doubts(reading) == doubted
    assert all(doubt.why == NOT_YET for doubt in reading.doubts)


async def test_what_the_service_has_shown_once_is_not_asked_again(autojump_clock: object) -> None:
    around = Around(FakeService(minutes(0, 1, 2)), T0 + 3 * MINUTE, T0 + 9 * MINUTE)
    reader = around.reader()
    for high in (1, 2, 3):
        reading = await reader.read(
            INSTRUMENT, M1, UTC, EDGES, T0, T0 + high * MINUTE, clock=lambda: around.now
        )
        assert spans(reading) == [(0, high, high)]
    assert around.looks == 1


async def test_a_bar_that_is_none_spoils_ours_and_no_other(autojump_clock: object) -> None:
    """Off the grid, a high below the low: the bar of five minutes that it is a part of is in doubt, and no other."""
    bars = minutes(0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11)
    crooked = msgspec.structs.replace(wire(candle(T0 + 7 * MINUTE)), h=1.0)
    around = Around(FakeService(bars, extra=[crooked]), T0 + 20 * MINUTE, T0 + 20 * MINUTE)
    reading = await read(around, 0, 12, "1m")
    assert spans(reading) == [(0, 7, 7), (8, 12, 4)]
    assert doubts(reading) == [(7, 8)]
    assert "no bars" in reading.doubts[0].why


async def test_a_bar_that_came_in_a_good_version_too_is_good(autojump_clock: object) -> None:
    crooked = msgspec.structs.replace(wire(candle(T0 + MINUTE)), h=1.0)
    around = Around(
        FakeService(minutes(0, 1, 2), extra=[crooked], shuffled=True), T0 + 3 * MINUTE, T0 + 3 * MINUTE
    )
    reading = await read(around, 0, 3)
    assert (spans(reading), doubts(reading)) == ([(0, 3, 3)], [])


async def test_a_long_time_comes_in_pieces(autojump_clock: object) -> None:
    around = Around(FakeService(minutes(*range(170))), T0 + 700 * MINUTE, T0 + 650 * MINUTE)
    reading = await read(around, 0, 170)
    assert spans(reading) == [(0, 50, 50), (50, 100, 50), (100, 150, 50), (150, 170, 20)]


async def test_a_refusal_is_raised_at_once(autojump_clock: object) -> None:
    """The schedule is the filling's: here it is asked once."""
    service = FakeService(minutes(0), failures=[GatewayError("bars: HTTP 500", 500)] * 5)
    around = Around(service, T0 + MINUTE)
    with pytest.raises(GatewayError, match="500"):
        await read(around, 0, 1)
    assert len(service.failures) == 4


def test_bars_in_ticks_and_only_whole_ones() -> None:
    bars = [
        PastBar("c", T0, T0 + SECOND, 1.25, 2.0, 1.0, 1.5, 7, None),
        PastBar("c", T0 + SECOND, T0 + 2 * SECOND, 1.0, 1.0, 1.0, 1.0, 1, None, partial=True),
    ]
    (known,) = known_of(bars, GRID)
    assert (known.open, known.high, known.low, known.close, known.volume) == (5, 8, 4, 6, 7)
