from __future__ import annotations

import copy

import pytest
import trio

from trio_projectx import _errors
from trio_projectx._errors import (
    ConfigError,
    ConnectionLost,
    GatewayError,
    SlowConsumer,
    SubscriptionError,
    TrioProjectXError,
    again,
)

ALL = [v for v in vars(_errors).values() if isinstance(v, type) and issubclass(v, TrioProjectXError)]


@pytest.mark.parametrize("kind", ALL)
def test_each_error_is_in_the_drawn_tree(kind: type[TrioProjectXError]) -> None:
    assert kind.__name__ in (_errors.__doc__ or "")


@pytest.mark.parametrize(
    "exc",
    [
        ConfigError("a"),
        GatewayError("no", 429, "slow down"),
        SubscriptionError("x", None, None),
        SlowConsumer("s", 7),
    ],
)
def test_again_makes_an_equal_error_with_the_same_cause(exc: TrioProjectXError) -> None:
    exc.__cause__ = OSError("below")
    new = again(exc)
    assert new is not exc
    assert type(new) is type(exc)
    assert str(new) == str(exc)
    assert vars(new) == vars(exc)
    assert new.__cause__ is exc.__cause__


def test_faults_are_sorted_by_who_is_at_fault() -> None:
    assert issubclass(ConfigError, ValueError)
    assert issubclass(ConnectionLost, trio.BrokenResourceError)
    assert str(copy.copy(GatewayError("m", 1, "t"))) == "m"
