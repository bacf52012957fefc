"""Events of the user hub: what happened to an account, to everybody who subscribed to it (GATEWAY.md 2.4)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from trio_projectx.simulator.http import JsonBody
from trio_projectx.simulator.outgoing import event

if TYPE_CHECKING:
    from trio_projectx.simulator.link import Link


class UserKind(enum.Enum):
    """What of an account can be subscribed to; the value is the event that it brings."""

    ACCOUNTS = "GatewayUserAccount"
    ORDERS = "GatewayUserOrder"
    POSITIONS = "GatewayUserPosition"
    TRADES = "GatewayUserTrade"


class UserAction(enum.IntEnum):
    """What happened to the entity."""

    CREATE = 0
    UPDATE = 1
    DELETE = 2


_HUB: Final = "user"


def subscription(kind: UserKind, account_id: int) -> str:
    """Return the name that a subscription has on its link; that to accounts is to all of them."""
    return kind.value if kind is UserKind.ACCOUNTS else f"{kind.value} {account_id}"


def user_event(kind: UserKind, action: UserAction, entity: Mapping[str, JsonBody]) -> str:
    """Return the record: wrapped, and without the fields that are null, as on the live wire."""
    data = {name: value for name, value in entity.items() if value is not None}
    payload = msgspec.json.encode({"action": int(action), "data": data}).decode()
    return event(kind.value, (payload,))


def publish(
    links: Iterable[Link], kind: UserKind, account_id: int, action: UserAction, entity: Mapping[str, JsonBody]
) -> int:
    """Send the event to every subscriber among ``links``; return how many there were.

    It is offered, never awaited: one who does not read loses its connection.
    """
    name = subscription(kind, account_id)
    interested = [link for link in links if link.identity.hub == _HUB and name in link.subscriptions]
    if not interested:
        return 0
    text = user_event(kind, action, entity)
    for link in interested:
        if not link.outbox.offer(text):
            link.drop_slow()
    return len(interested)
