"""What a hub's clients may call: subscriptions, and the protocol probes; found by name in any case."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import trio

from trio_projectx._errors import ContractError
from trio_projectx.simulator.calls import Desk
from trio_projectx.simulator.minute import Kind
from trio_projectx.simulator.probes import PROBES
from trio_projectx.simulator.turns import (
    Arguments,
    BindingError,
    HubError,
    Method,
    Run,
    Turn,
    integer,
    only,
    take,
    text,
)
from trio_projectx.simulator.user_events import UserKind, subscription

if TYPE_CHECKING:
    from trio_projectx.simulator.link import Link

_SUBSCRIPTIONS_MAX: Final = 1024
#: The event that each kind of subscription brings; also its name in ``/control/state``.
EVENTS: Final = {
    Kind.QUOTES: "GatewayQuote",
    Kind.TRADES: "GatewayTrade",
    Kind.DEPTH: "GatewayDepth",
}


#: What becomes of a method when a connection (its id) calls it by a name: faults of calls.
Around: TypeAlias = Callable[[str, str, Method], Method]


class Subscriptions(Protocol):
    """Where market subscriptions go."""

    def subscribe(self, link: Link, kind: Kind, contract_id: str) -> None:
        """Begin; raises `ContractError` for a contract that nobody knows."""
        ...

    def unsubscribe(self, link: Link, kind: Kind, contract_id: str) -> None:
        """End; what was never begun is no error."""
        ...


class HubMethods:
    """The methods of the three hubs, and a desk for each connection that calls them."""

    def __init__(self, subscriptions: Subscriptions, around: Around | None = None) -> None:
        self._subscriptions = subscriptions
        self._around = around
        market = {**PROBES}
        for name, kind in (("quotes", Kind.QUOTES), ("trades", Kind.TRADES), ("marketdepth", Kind.DEPTH)):
            market[f"subscribecontract{name}"] = self._market(kind, begin=True)
            market[f"unsubscribecontract{name}"] = self._market(kind, begin=False)
        user = {**PROBES}
        for user_kind in UserKind:
            user[f"subscribe{user_kind.name.lower()}"] = _user(user_kind, begin=True)
            user[f"unsubscribe{user_kind.name.lower()}"] = _user(user_kind, begin=False)
        self._hubs = {"market": market, "silent": market, "user": user}
        # The real server numbers its questions per hub, not per connection.
        self._questions = {hub: itertools.count(1) for hub in self._hubs}

    def desk(self, link: Link, nursery: trio.Nursery, parallel: int) -> Desk:
        """Return the desk of ``link``, whose calls run in ``nursery``."""
        methods, numbers = self._hubs[link.identity.hub], self._questions[link.identity.hub]

        def find(name: str) -> Method | None:
            method = methods.get(name.lower())
            if method is None or self._around is None:
                return method
            return self._around(link.identity.connection_id, name, method)

        return Desk(link, find, lambda: f"s{next(numbers)}", nursery, parallel)

    def _market(self, kind: Kind, *, begin: bool) -> Method:
        def bind(arguments: Arguments) -> Run:
            contract_id = text(only(arguments))
            if contract_id is None:
                raise BindingError

            async def run(turn: Turn) -> str:
                name = f"{EVENTS[kind]} {contract_id}"
                if begin:
                    self._begin(turn.link, kind, contract_id, name)
                else:
                    self._subscriptions.unsubscribe(turn.link, kind, contract_id)
                    turn.link.subscriptions.pop(name, None)
                return "null"

            return run

        return Method(bind)

    def _begin(self, link: Link, kind: Kind, contract_id: str, name: str) -> None:
        _note(link, name)
        try:
            self._subscriptions.subscribe(link, kind, contract_id)
        except ContractError as exc:
            del link.subscriptions[name]
            raise BindingError from exc


def _note(link: Link, name: str) -> None:
    if len(link.subscriptions) >= _SUBSCRIPTIONS_MAX and name not in link.subscriptions:
        raise HubError("too many subscriptions on one connection")
    link.subscriptions[name] = None


def _user(kind: UserKind, *, begin: bool) -> Method:
    """Return the (un)subscription of a kind of user events; `user_events.publish` looks at what is noted."""

    def bind(arguments: Arguments) -> Run:
        if kind is UserKind.ACCOUNTS:
            take(arguments, 0)
            account_id = 0
        else:
            account_id = integer(only(arguments), bits=64)
        name = subscription(kind, account_id)

        async def run(turn: Turn) -> str:
            if begin:
                _note(turn.link, name)
            else:
                turn.link.subscriptions.pop(name, None)
            return "null"

        return run

    return Method(bind)
