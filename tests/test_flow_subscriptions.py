from __future__ import annotations

import pytest

from trio_projectx.flow.subscriptions import Kind, Subscription

MNQ = "CON.F.US.MNQ.Z26"


@pytest.mark.parametrize(
    ("wanted", "begins", "ends", "arguments", "contract_id", "text"),
    [
        (Subscription(Kind.TRADES, MNQ), "SubscribeContractTrades", "UnsubscribeContractTrades", (MNQ,), MNQ,
         f"ContractTrades of {MNQ}"),
        (Subscription(Kind.QUOTES, MNQ), "SubscribeContractQuotes", "UnsubscribeContractQuotes", (MNQ,), MNQ,
         f"ContractQuotes of {MNQ}"),
        (Subscription(Kind.ACCOUNTS), "SubscribeAccounts", "UnsubscribeAccounts", (), "", "Accounts"),
        (Subscription(Kind.ORDERS, 7), "SubscribeOrders", "UnsubscribeOrders", (7,), "", "Orders of 7"),
        (Subscription(Kind.POSITIONS, 7), "SubscribePositions", "UnsubscribePositions", (7,), "", "Positions of 7"),
        (Subscription(Kind.USER_TRADES, 7), "SubscribeTrades", "UnsubscribeTrades", (7,), "", "Trades of 7"),
    ],
)  # fmt: skip
def test_the_hubs_own_methods(
    wanted: Subscription, begins: str, ends: str, arguments: tuple[object, ...], contract_id: str, text: str
) -> None:
    """As GATEWAY.md section 2.2 has them."""
    assert (wanted.subscribe, wanted.unsubscribe, wanted.arguments) == (begins, ends, arguments)
    assert (wanted.contract_id, str(wanted)) == (contract_id, text)


def test_they_are_values() -> None:
    assert (
        len({Subscription(Kind.TRADES, MNQ), Subscription(Kind.TRADES, MNQ), Subscription(Kind.QUOTES, MNQ)})
        == 2
    )
