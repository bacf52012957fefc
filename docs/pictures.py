"""Draws the pictures of bars.md with the library's own code: ``python docs/pictures.py`` writes them anew.

`tests/test_bars_pictures.py` compares what it writes with the files that are there.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

import attrs

import trio_projectx as px
from trio_projectx.market import PriceGrid, TradeBatch

FOLDER = Path(__file__).parent / "pictures"
CHICAGO = zoneinfo.ZoneInfo("America/Chicago")
S = 10**9
WIDTH, LEFT, ROW = 900, 150, 34


def ns(text: str) -> int:
    """Return a wall time of Chicago as int64 ns."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=CHICAGO).timestamp()) * S


def clock(ts: int) -> str:
    """Return the time of day in Chicago."""
    return datetime.datetime.fromtimestamp(ts // S, CHICAGO).strftime("%H:%M")


@attrs.define
class Picture:
    """Rows of labelled boxes over one axis of time."""

    first: int
    last: int
    title: str
    rows: int = 0
    parts: list[str] = attrs.Factory(list)

    def x(self, ts: int) -> float:
        """Return where an instant is."""
        share = (min(max(ts, self.first), self.last) - self.first) / (self.last - self.first)
        return round(LEFT + share * (WIDTH - LEFT - 10), 1)

    def text(self, x: float, y: float, text: str, anchor: str = "start", size: int = 11) -> None:
        """Write ``text``."""
        self.parts.append(f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}">{text}</text>')

    def row(
        self, name: str, boxes: Iterator[tuple[int, int, str, str]] | list[tuple[int, int, str, str]]
    ) -> None:
        """Add a row of boxes: start, end, label, colour."""
        y = 40 + self.rows * ROW
        self.rows += 1
        self.text(8, y + 16, name)
        for start, end, label, color in boxes:
            left, right = self.x(start), self.x(end)
            self.parts.append(
                f'<rect x="{left}" y="{y}" width="{round(right - left, 1)}" height="24" fill="{color}" '
                'stroke="#333" stroke-width="0.7"/>'
            )
            self.text(round((left + right) / 2, 1), y + 16, label, "middle", 10)

    def svg(self) -> str:
        """Return the picture as a file."""
        height = 50 + self.rows * ROW
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
        back = f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        title = f'<text x="8" y="20" font-size="13" font-weight="bold">{self.title}</text>'
        return "\n".join([head, back, title, *self.parts, "</svg>"]) + "\n"


def bars_of(anchor: px.Anchor, frame: str, first: int, last: int) -> Iterator[tuple[int, int, str, str]]:
    """Give a box for each bar between two instants."""
    edges = anchor.edges(frame)
    at = first
    while at < last:
        slot = edges.locate(at)
        label = f"{clock(slot.start)} {(slot.end - slot.start) / 3600 / S:g} h"
        yield slot.start, slot.end, label, "#cfe3ff" if slot.is_scheduled else "#eeeeee"
        at = slot.high


def dst_day() -> Picture:
    """Draw the day on which Chicago's clocks went back."""
    picture = Picture(
        ns("2025-11-02T00:00"),
        ns("2025-11-03T00:00"),
        "Sunday 2025-11-02 in Chicago: 25 hours (start, length)",
    )
    wall = px.Anchor.wall("America/Chicago")
    for name, anchor, frame in (
        ("wall clock, 4h", wall, "4h"),
        ("wall clock, 2h", wall, "2h"),
        ("UTC, 4h", px.Anchor.utc(), "4h"),
        ("ES session, 4h", px.Anchor.session(px.Sessions.for_product("ES")), "4h"),
    ):
        picture.row(name, bars_of(anchor, frame, picture.first, picture.last))
    return picture


def holiday() -> Picture:
    """Draw the segments and days around Thanksgiving."""
    picture = Picture(
        ns("2025-11-25T17:00"),
        ns("2025-11-28T18:00"),
        "Thanksgiving 2025, ES: Thursday belongs to Friday's trade date",
    )
    sessions = px.Sessions.for_product("ES")
    segments = [
        (opens, closes, f"{clock(opens)} to {clock(closes)}", "#d8f0d0")
        for _, opens, closes in sessions.segments("2025-11-26", "2025-12-01")
        if opens < picture.last
    ]
    picture.row("segments", segments)
    edges = px.Anchor.session(sessions).edges("1d")
    days = {edges.locate(opens)[:2]: edges.locate(opens).trade_date for opens, *_ in segments}
    picture.row("1d bars", [(*span, f"trade date {date}", "#cfe3ff") for span, date in days.items()])
    picture.row("UTC 1d bars", bars_of(px.Anchor.utc(), "1d", picture.first, picture.last))
    return picture


def late_trade() -> Picture:
    """One trade of the first second arrives after that second's bar has closed."""
    picture = Picture(
        0, 4 * S, 'A late trade: 1s bars, lateness 50 ms, late="revise" (boxes: bars as they were told)'
    )
    bars = px.bars.BarSet(
        "CON.F.US.MNQ.Z26",
        ["1s"],
        anchor=px.Anchor.utc(),
        grid=PriceGrid.from_tick_size("0.25"),
        lateness_ns=50_000_000,
        late="revise",
    )
    arrivals = [(0.3, 400), (0.8, 402), (1.2, 401), (2.4, 404), (0.9, 398), (3.3, 403)]
    for number, (at, ticks) in enumerate(arrivals, 1):
        ts = round(at * S)
        closed = bars.update(TradeBatch("CON.F.US.MNQ.Z26", [ts], [ticks], [1], [0], 0))
        told = [(b, "closed", "#cfe3ff") for b in closed] + [
            (event.bar, "revised", "#ffd9c2") for event in bars.take_revised()
        ]
        boxes = [
            (b.start, b.end, f"{word}: L {b.low:g} C {b.close:g} n {b.trades}", color)
            for b, word, color in told
        ]
        picture.row(f"{number}. trade at {at:g} s, {ticks / 4:g}", boxes)
        mark, y = picture.x(ts), 40 + (number - 1) * ROW
        picture.parts.append(f'<circle cx="{mark}" cy="{y + 27}" r="3" fill="#c00"/>')
    return picture


def pictures() -> dict[str, str]:
    """Return the text of each picture by the name of its file."""
    return {
        "dst_day.svg": dst_day().svg(),
        "holiday.svg": holiday().svg(),
        "late_trade.svg": late_trade().svg(),
    }


def main() -> None:
    """Write the pictures into their folder."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
