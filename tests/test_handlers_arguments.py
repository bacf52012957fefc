"""What cannot be honoured is refused when a handler is registered, not when handlers run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.testing import play

ROWS = [("2026-08-19T18:30:00.100Z", 23750.25, 2, px.Side.BUY)]


@pytest.mark.parametrize(
    ("register", "why"),
    [
        (lambda g, c: g.on_trade(print, c, capacity=0), "capacity must be"),
        (lambda g, c: g.on_quote(print, c, capacity="9"), "capacity must be"),
        (lambda g, c: g.on_event(print, capacity=-1), "capacity must be"),
        (lambda g, c: g.on_book(print, c, levels=0), "levels must be"),
        (lambda g, c: g.on_bar(print, c, "1s", history=-1), "history= must be"),
        (lambda g, c: g.on_bar(print, c, "1s", history=10**9), "history= must be"),
        (lambda g, c: g.on_bar(print, c, "1s", "1s"), "named twice"),
        (lambda g, c: g.on_bar(print, c), "on_bar"),
        (lambda g, c: g.on_bar(print, c, "1s", anchor="utc"), "anchor must be"),
    ],
)
async def test_refused(
    autojump_clock: MockClock, register: Callable[[px.Gateway, str], object], why: str
) -> None:
    async with play(ROWS, speed=0) as stage:
        with pytest.raises(px.ConfigError, match=why):
            register(stage.gateway, stage.contract_id)
        assert stage.gateway.handlers() == ()
