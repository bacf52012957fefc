"""What a hub's clients may call: subscriptions, and protocol probes; errors in the real server's words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

import trio

from trio_projectx._errors import ContractError
from trio_projectx.signalr import Completion, Invocation, JsonValue, LocalProtocolError, write_message
from trio_projectx.simulator.link import Link
from trio_projectx.simulator.minute import Kind

Arguments: TypeAlias = Sequence[JsonValue]

#: Bounds of the probes, so that no client can make the simulator hold or do anything unbounded.
_SLOW_MS_MAX: Final = 60_000
_BURST_MAX: Final = 1_000_000
_BIG_MAX: Final = 8 << 20
_SUBSCRIPTIONS_MAX: Final = 1024
#: The event that each kind of subscription brings; also its name in ``/control/state``.
EVENTS: Final = {
    Kind.QUOTES: "GatewayQuote",
    Kind.TRADES: "GatewayTrade",
    Kind.DEPTH: "GatewayDepth",
}


class Subscriptions(Protocol):
    """Where market subscriptions go."""

    def subscribe(self, link: Link, kind: Kind, contract_id: str) -> None:
        """Begin; raises `ContractError` for a contract that nobody knows."""
        ...

    def unsubscribe(self, link: Link, kind: Kind, contract_id: str) -> None:
        """End; what was never begun is no error."""
        ...


class BindingError(Exception):
    """The arguments do not fit the method's parameters, or the method failed in a way that tells nothing."""


class HubError(Exception):
    """An error whose text the client gets to read (.NET's HubException)."""


class ServerError(Exception):
    """An error whose text stays on the server."""


Method: TypeAlias = Callable[[Link, Arguments], Awaitable[JsonValue]]


def _take(arguments: Arguments, count: int) -> Arguments:
    if len(arguments) != count:
        raise BindingError
    return arguments


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise BindingError
    return value


def _int(value: JsonValue, bits: int = 32) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise BindingError
    return value


async def _echo(_: Link, arguments: Arguments) -> JsonValue:
    return _take(arguments, 1)[0]


async def _add(_: Link, arguments: Arguments) -> JsonValue:
    left, right = (_int(value) for value in _take(arguments, 2))
    return left + right


async def _nothing(_: Link, arguments: Arguments) -> JsonValue:
    _take(arguments, 0)
    return None


async def _throw(_: Link, arguments: Arguments) -> JsonValue:
    raise ServerError(_text(_take(arguments, 1)[0]))


async def _throw_hub(_: Link, arguments: Arguments) -> JsonValue:
    raise HubError(_text(_take(arguments, 1)[0]))


async def _who_am_i(link: Link, arguments: Arguments) -> JsonValue:
    _take(arguments, 0)
    return f"{link.identity.user}|{link.identity.token_from}"


async def _slow(_: Link, arguments: Arguments) -> JsonValue:
    await trio.sleep(min(_SLOW_MS_MAX, max(0, _int(_take(arguments, 1)[0]))) / 1000)
    return None


async def _emit(link: Link, arguments: Arguments) -> JsonValue:
    target, values = _take(arguments, 2)
    if not isinstance(values, list):
        raise BindingError
    await link.outbox.put(_event(_text(target), values))
    return None


async def _burst(link: Link, arguments: Arguments) -> JsonValue:
    """Send numbered events, back-pressed by the client, then return."""
    target, contract_id, count = _take(arguments, 3)
    name, contract = _text(target), _text(contract_id)
    for seq in range(min(_BURST_MAX, _int(count))):
        payload: dict[str, JsonValue] = {"seq": seq, "price": 5000.25 + seq * 0.25, "volume": seq + 1}
        if not await link.outbox.put(_event(name, [contract, payload])):
            break  # the connection is closing
    return None


async def _big(link: Link, arguments: Arguments) -> JsonValue:
    target, size = _take(arguments, 2)
    await link.outbox.put(_event(_text(target), ["x" * max(0, min(_BIG_MAX, _int(size)))]))
    return None


def _event(target: str, arguments: Sequence[JsonValue]) -> str:
    try:
        return write_message(Invocation(target=target, arguments=arguments))
    except LocalProtocolError as exc:
        raise ServerError(str(exc)) from exc


PROBES: Final[dict[str, Method]] = {
    "echo": _echo,
    "add": _add,
    "nothing": _nothing,
    "throw": _throw,
    "throwhub": _throw_hub,
    "whoami": _who_am_i,
    "slow": _slow,
    "emit": _emit,
    "burst": _burst,
    "big": _big,
}


class HubMethods:
    """The methods of the three hubs, by name in any case, as the real server matches them."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        market = {**PROBES}
        for name, kind in (("quotes", Kind.QUOTES), ("trades", Kind.TRADES), ("marketdepth", Kind.DEPTH)):
            market[f"subscribecontract{name}"] = self._subscribe(kind)
            market[f"unsubscribecontract{name}"] = self._unsubscribe(kind)
        user = {**PROBES}
        for name in ("accounts", "orders", "positions", "trades"):
            user[f"subscribe{name}"] = _subscribe_user(name, begin=True)
            user[f"unsubscribe{name}"] = _subscribe_user(name, begin=False)
        self._hubs = {"market": market, "silent": market, "user": user}

    async def invoke(self, link: Link, invocation: Invocation) -> Completion | None:
        """Run one invocation; return what answers it, or None if the client wants no answer.

        Cancelled with its connection.
        """
        error, result = None, None
        name = invocation.target
        failed = f"Failed to invoke '{name}' due to an error on the server."
        unexpected = f"An unexpected error occurred invoking '{name}' on the server."
        method = self._hubs[link.identity.hub].get(name.lower())
        try:
            if method is None:
                error = f"{failed} HubException: Method does not exist."
            else:
                result = await method(link, invocation.arguments)
        except BindingError:
            error = failed
        except HubError as exc:
            error = f"{unexpected} HubException: {exc}"
        except ServerError:
            error = unexpected
        if invocation.invocation_id is None:
            return None
        if error is not None:
            return Completion(invocation_id=invocation.invocation_id, error=error)
        return Completion(invocation_id=invocation.invocation_id, result=result)

    def _subscribe(self, kind: Kind) -> Method:
        async def subscribe(link: Link, arguments: Arguments) -> JsonValue:
            contract_id = _text(_take(arguments, 1)[0])
            try:
                self._subscriptions.subscribe(link, kind, contract_id)
            except ContractError as exc:
                raise BindingError from exc
            _note(link, f"{EVENTS[kind]} {contract_id}")
            return None

        return subscribe

    def _unsubscribe(self, kind: Kind) -> Method:
        async def unsubscribe(link: Link, arguments: Arguments) -> JsonValue:
            contract_id = _text(_take(arguments, 1)[0])
            self._subscriptions.unsubscribe(link, kind, contract_id)
            link.subscriptions.pop(f"{EVENTS[kind]} {contract_id}", None)
            return None

        return unsubscribe


def _note(link: Link, name: str) -> None:
    if len(link.subscriptions) >= _SUBSCRIPTIONS_MAX:
        raise HubError("too many subscriptions on one connection")
    link.subscriptions[name] = None


def _subscribe_user(name: str, *, begin: bool) -> Method:
    """Return the (un)subscription of a user hub: recorded and acknowledged; no events come of it yet."""
    shown = {"accounts": "Account", "orders": "Order", "positions": "Position", "trades": "Trade"}[name]

    async def subscribe(link: Link, arguments: Arguments) -> JsonValue:
        if name == "accounts":
            _take(arguments, 0)
            key = "GatewayUserAccount"
        else:
            key = f"GatewayUser{shown} {_int(_take(arguments, 1)[0], 64)}"
        if begin:
            _note(link, key)
        else:
            link.subscriptions.pop(key, None)
        return None

    return subscribe
