"""What cannot be honoured is refused when a handler is registered, not when handlers run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.testing import play


class Slotted:
    __slots__ = ()

    def take(self, _: object) -> None: ...


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
        (lambda g, c: g.on_bar(print, 5, "1s"), "a contract is named by its symbol or its id, not by 5"),
        (lambda g, c: g.on_trade(print, None), "a contract is named by .* not by None"),
        (lambda g, c: g.on_quote(print, 5), "a contract is named by"),
        (lambda g, c: g.on_depth(print, 5), "a contract is named by"),
        (lambda g, c: g.on_book(print, 5), "a contract is named by"),
        (lambda g, c: g.on_bar(print, c, "1s", events="no"), "events must be True or False"),
        (lambda g, c: g.on_trade(print, c, events="no"), "events must be True or False"),
        (lambda g, c: g.on_quote(print, c, events=1), "events must be True or False"),
        (lambda g, c: g.on_depth(print, c, events=None), "events must be True or False"),
        (lambda g, c: g.on_book(print, c, events="no"), "events must be True or False"),
        (
            lambda g, c: g.on_user_event(print, account_id="x"),
            "an account is named by its number, not by 'x'",
        ),
        (lambda g, c: g.on_user_event(print, account_id=True), "an account is named by its number"),
        (lambda g, c: g.on_trade(Slotted().take, c, weak=True), "give Slotted a __weakref__ slot"),
    ],
)
async def test_refused(
    autojump_clock: MockClock, register: Callable[[px.Gateway, str], object], why: str
) -> None:
    async with play(ROWS, speed=0) as stage:
        with pytest.raises(px.ConfigError, match=why):
            register(stage.gateway, stage.contract_id)
        assert stage.gateway.handlers() == ()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"failures": 10**9}, "failures must not be above 1,000,000"),
        ({"failures": 2.0}, "failures must be a whole number"),
        ({"thread": 1}, "thread must be True or False, not 1"),
        ({"rate_per_s": 1e-320}, "rate_per_s must not be below 1e-09"),
        ({"rate_per_s": 0}, "rate_per_s must be a number above 0"),
        ({"deadline_s": float("nan")}, "deadline_s must be a number above 0"),
    ],
)
def test_options_that_cannot_be_honoured(options: dict[str, object], why: str) -> None:
    with pytest.raises(px.ConfigError, match=why):
        px.HandlerOptions(**options)  # type: ignore[arg-type]


def test_options_at_their_ends() -> None:
    px.HandlerOptions(failures=1_000_000, thread=True, rate_per_s=1e-9)
