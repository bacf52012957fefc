from __future__ import annotations

import trio_projectx as px
from trio_projectx.flow.quotes import QuoteFlow, QuoteOutlet
from trio_projectx.flow.stream import Feed, Pipe, make_pipe
from trio_projectx.flow.surroundings import Alone
from trio_projectx.market import PriceGrid, WireQuote

MNQ = "CON.F.US.MNQ.Z26"
GRID = PriceGrid.from_tick_size("0.25")
Item = px.Quote | px.Gap


def wire(second: int, **fields: float) -> WireQuote:
    return WireQuote(timestamp=f"2026-08-19T20:51:{second:02}Z", **fields)


async def test_a_line_that_alone_brings_quotes_is_behind_a_gap_and_no_old_field_is_shown() -> None:
    flow = QuoteFlow(MNQ, GRID, px.Limits(), Alone())
    pipe: Pipe[Item] = make_pipe("q", 9, px.Overflow.ERROR, stamp=lambda q: 0, key=lambda q: 0)
    flow.attach(QuoteOutlet(Feed(pipe), tell_gaps=True, is_open=True))
    flow.join(1)
    flow.acknowledged(1)
    first = flow.merge(wire(30, best_bid=1.0, best_ask=1.25), 1, 1, 0.0)
    assert first is not None
    await flow.deliver(first)
    flow.join(2)
    flow.acknowledged(2)
    assert flow.merge(wire(40, best_bid=2.0), 2, 2, 1.0) is None  # it waits: is it level?
    await flow.settle(2, 3)
    got = [pipe.take() for _ in range(3)]
    assert isinstance(got[1], px.Gap)
    assert isinstance(got[2], px.Quote)
    assert (got[2].bid, got[2].ask) == (2.0, None)


async def test_lines_that_are_both_quiet_are_settled_without_a_gap() -> None:
    flow = QuoteFlow(MNQ, GRID, px.Limits(), Alone())
    pipe: Pipe[Item] = make_pipe("q", 9, px.Overflow.ERROR, stamp=lambda q: 0, key=lambda q: 0)
    flow.attach(QuoteOutlet(Feed(pipe), tell_gaps=True, is_open=True))
    flow.join(1)
    flow.acknowledged(1)
    flow.join(2)
    flow.acknowledged(2)
    await flow.settle(2, 3)
    quote = flow.merge(wire(40, best_bid=2.0), 4, 2, 1.0)
    assert quote is not None
    await flow.deliver(quote)
    assert isinstance(pipe.take(), px.Quote)
