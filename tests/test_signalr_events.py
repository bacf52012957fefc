from __future__ import annotations

import pytest

from trio_projectx.signalr import NEED_DATA, Invocation, InvocationReceived, NeedData


@pytest.mark.parametrize(
    ("target", "asked", "same"),
    [
        ("GatewayTrade", "gatewaytrade", True),
        ("GATEWAYTRADE", "GatewayTrade", True),
        ("GatewayTrade", "GatewayQuote", False),
        ("Stra\u00dfe", "STRASSE", True),
        ("GatewayTrade", "", False),
    ],
)
def test_targets_match_ignoring_case(target: str, asked: str, same: bool) -> None:
    event = InvocationReceived(Invocation(target=target, arguments=[]))
    assert event.matches(asked) is same
    assert (event.key == asked.casefold()) is same


def test_only_a_call_with_an_id_wants_a_result() -> None:
    assert not InvocationReceived(Invocation(target="T", arguments=[])).wants_result
    assert InvocationReceived(Invocation(target="T", arguments=[], invocation_id="s1")).wants_result


def test_need_data_is_itself() -> None:
    assert NEED_DATA is NeedData.NEED_DATA
