"""Asking again: what passes, what does not, and one deadline for all of it."""

from __future__ import annotations

import pytest
import trio

from trio_projectx import AuthError, ConfigError, ConnectError, ConnectTimeout, GatewayError, ProtocolError
from trio_projectx.connection import routes
from trio_projectx.connection.answers import TryLater
from trio_projectx.connection.repeat import is_passing, repeated
from trio_projectx.connection.routes import BarsRefused, Route

BARS = "History/retrieveBars"


class Script:
    """Raises the failures one after the other, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked: list[float] = []

    async def __call__(self) -> str:
        self.asked.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)
        return "bars"


PASSING = [
    ConnectError("not reached"),
    ConnectTimeout("30 s"),
    TryLater("busy", 429, "", None),
    GatewayError("HTTP 500", 500),
    GatewayError("HTTP 502", 502),
]
LASTING = [
    AuthError("no"),
    ProtocolError("garbage"),
    GatewayError("HTTP 404", 404),
    GatewayError("errorCode 3", 3),
    BarsRefused("errorCode 4", 4),
    ValueError("a bug"),
]


@pytest.mark.parametrize("failure", PASSING, ids=str)
async def test_what_may_pass_is_asked_again(autojump_clock: object, failure: Exception) -> None:
    script = Script(failure, failure)
    assert is_passing(failure)
    assert await repeated(BARS, script, deadline_s=60) == "bars"
    assert len(script.asked) == 3
    # Who was told to come later waits at the pacer, not here.
    assert (script.asked[2] > script.asked[0]) is not isinstance(failure, TryLater)


@pytest.mark.parametrize("failure", LASTING, ids=str)
async def test_what_will_not_pass_is_raised_at_once(autojump_clock: object, failure: Exception) -> None:
    script = Script(failure)
    with pytest.raises(type(failure)) as raised:
        await repeated(BARS, script, deadline_s=60)
    assert raised.value is failure
    assert len(script.asked) == 1


async def test_the_attempts_end_with_the_last_error(autojump_clock: object) -> None:
    script = Script(*[GatewayError(f"HTTP 500 no {number}", 500) for number in range(9)])
    with pytest.raises(GatewayError, match="no 2"):
        await repeated(BARS, script, deadline_s=600, attempts=3)
    assert len(script.asked) == 3


async def test_one_deadline_covers_all_attempts(autojump_clock: object) -> None:
    script = Script(*[GatewayError(f"HTTP 500 no {number}", 500) for number in range(999)])
    start = trio.current_time()
    with pytest.raises(ConnectTimeout, match="bars: no answer within 40 s") as raised:
        await repeated(BARS, script, deadline_s=40, attempts=None)
    assert trio.current_time() - start == 40
    assert isinstance(raised.value.__cause__, GatewayError)
    assert 5 < len(script.asked) < 30


async def test_a_hang_ends_at_the_deadline(autojump_clock: object) -> None:
    with pytest.raises(ConnectTimeout, match="within 5 s"):
        await repeated(BARS, trio.sleep_forever, deadline_s=5)  # type: ignore[arg-type]


async def test_the_cancellation_of_others_stays_theirs(autojump_clock: object) -> None:
    with trio.move_on_after(1) as scope:
        await repeated(BARS, trio.sleep_forever, deadline_s=5)  # type: ignore[arg-type]
    assert scope.cancelled_caught


async def test_what_is_not_safe_to_repeat_is_refused(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Route("Order/place", "order", is_repeatable=False)
    monkeypatch.setattr("trio_projectx.connection.repeat.ROUTES", {**routes.ROUTES, place.path: place})
    for path in ("Order/place", "No/such"):
        script = Script()
        with pytest.raises(ConfigError, match="not asked again"):
            await repeated(path, script, deadline_s=5)
        assert script.asked == []
