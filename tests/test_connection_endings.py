from __future__ import annotations

import copy

import pytest

from trio_projectx._errors import ConnectError, ConnectionLost, TrioProjectXError, again, cleaned
from trio_projectx.connection import endings
from trio_projectx.connection.endings import (
    HandshakeRefused,
    HubClosed,
    LoggedOut,
    NegotiateRefused,
    NoSuchHub,
    Silent,
)

SECRET = "token-that-nobody-may-see"
ALL = [
    HubClosed(f"market hub: closed: {SECRET}", True, f"of {SECRET}"),
    HubClosed("market hub: closed", False),
    LoggedOut(f"market hub: {SECRET} is logged out"),
    Silent(f"market hub: {SECRET}"),
    HandshakeRefused(f"market hub: {SECRET}", SECRET),
    HandshakeRefused("market hub: refused"),
    NoSuchHub(f"market hub: {SECRET}"),
    NegotiateRefused(f"negotiate: {SECRET}", 503, 30.0),
    NegotiateRefused("negotiate: HTTP 500", 500),
]


def test_none_is_left_out_here() -> None:
    found = {v for v in vars(endings).values() if isinstance(v, type) and v.__module__ == endings.__name__}
    assert found == {type(each) for each in ALL}


@pytest.mark.parametrize("exc", ALL, ids=lambda exc: type(exc).__name__)
def test_it_is_made_again_and_cleaned_with_its_facts(exc: TrioProjectXError) -> None:
    exc.__cause__ = OSError("below")
    for new in (again(exc), copy.copy(exc), cleaned(again(exc), ["nothing of this"])):
        assert type(new) is type(exc)
        assert (str(new), vars(new)) == (str(exc), vars(exc))
    clean = cleaned(exc, [SECRET])
    assert type(clean) is type(exc)
    assert clean.__cause__ is exc.__cause__
    assert SECRET not in f"{clean} {clean!r} {vars(clean)}"
    plain = {name: value for name, value in vars(exc).items() if not isinstance(value, str)}
    assert plain.items() <= vars(clean).items()


@pytest.mark.parametrize("exc", ALL, ids=lambda exc: type(exc).__name__)
def test_users_see_the_public_error_and_one_sentence(exc: TrioProjectXError) -> None:
    assert isinstance(exc, (ConnectError, ConnectionLost))
    assert str(exc) == exc.args[0]


def test_the_facts() -> None:
    closed = HubClosed("m", True, "bye")
    assert (closed.allow_reconnect, closed.text) == (True, "bye")
    assert HandshakeRefused("m", "no").text == "no"
    refused = NegotiateRefused("m", 429, 7.0)
    assert (refused.status, refused.retry_after_s) == (429, 7.0)
