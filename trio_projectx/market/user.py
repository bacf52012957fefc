"""From records of the user hub to user events. Pure: no I/O, no clock, no task.

An event is decoded whole or refused: a stop order whose stop price cannot be read must not look like an order without
one. What is not needed to understand an event may be absent or null (the stream omits nulls, GATEWAY.md 2.4), unknown
fields are read over, and an unknown code of an enumeration is its ``UNKNOWN``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import attrs

from trio_projectx._events import Side
from trio_projectx._user_events import (
    AccountUpdate,
    Action,
    OrderStatus,
    OrderType,
    OrderUpdate,
    PositionType,
    PositionUpdate,
    UserEvent,
    UserTrade,
)
from trio_projectx.market.decode import Refusal
from trio_projectx.market.exact import Fault, json_type
from trio_projectx.market.reasons import Reason
from trio_projectx.market.stamps import StampError, StampRangeError, parse_stamp
from trio_projectx.market.wire import LOGOUT, USER

if TYPE_CHECKING:
    from trio_projectx.signalr import JsonValue

T = TypeVar("T")
Code = TypeVar("Code", bound=enum.IntEnum)

_INT64: Final = range(-(1 << 63), 1 << 63)


@attrs.frozen(slots=True)
class UserDecoded:
    """What some records held. Each entity of them is in ``events``, ``refusals`` or ``null_entries``."""

    events: Sequence[UserEvent] = attrs.Factory(list[UserEvent])
    """In order of arrival; their ``ts_recv`` is 0, for whoever read the record to fill in."""
    refusals: Sequence[Refusal] = attrs.Factory(list[Refusal])
    """What was refused, summed up by target and reason; they name no contract."""
    records: int = 0
    null_entries: int = 0
    """``null`` where an entity could have been."""
    logouts: int = 0
    """Records of ``GatewayLogout``, whose payload nobody has documented."""
    unknown_targets: int = 0
    """Invocations of anything else."""


class UserDecoder:
    """Decodes records of the user hub; holds nothing, and never raises, whatever the other side sent."""

    __slots__ = ()

    def bulk(self, text: str) -> UserDecoded | None:
        """Return None: user events are few, and all of them take the exact way."""
        return None

    def invocation(self, target: str, arguments: Sequence[JsonValue]) -> UserDecoded:
        """Decode one invocation, already parsed; the target's case is free.

        The payload is ``{"action", "data"}`` or the bare entity, or a list of these (as the market hub sends where
        the documents show one); arguments behind it are read over, as unknown fields are.
        """
        kind = _KINDS.get(target.lower())
        if kind is None:
            is_logout = target.lower() == LOGOUT.lower()
            return UserDecoded(records=1, logouts=int(is_logout), unknown_targets=int(not is_logout))
        name, read = kind
        if not arguments:
            return UserDecoded(refusals=[_refusal(name, Fault(Reason.SCHEMA, "arguments: none"))], records=1)
        payload = arguments[0]
        found = [_entity(entry, read) for entry in (payload if isinstance(payload, list) else [payload])]
        return UserDecoded(
            events=[each for each in found if each is not None and not isinstance(each, Fault)],
            refusals=_summed(_refusal(name, each) for each in found if isinstance(each, Fault)),
            records=1,
            null_entries=sum(each is None for each in found),
        )


def join_user_decoded(parts: Iterable[UserDecoded]) -> UserDecoded:
    """Return one `UserDecoded` of several, in their order: what was read at once goes on at once."""
    parts = list(parts)
    return UserDecoded(
        events=[event for part in parts for event in part.events],
        refusals=_summed(refusal for part in parts for refusal in part.refusals),
        records=sum(part.records for part in parts),
        null_entries=sum(part.null_entries for part in parts),
        logouts=sum(part.logouts for part in parts),
        unknown_targets=sum(part.unknown_targets for part in parts),
    )


def _refusal(target: str, fault: Fault) -> Refusal:
    return Refusal(target, None, fault.reason, fault.detail)


def _summed(refusals: Iterable[Refusal]) -> list[Refusal]:
    """Sum up: a list of a million wrong entries is one refusal with a count, and the detail of the first."""
    found: dict[tuple[str, Reason], Refusal] = {}
    for each in refusals:
        known = found.get((each.target, each.reason))
        found[each.target, each.reason] = (
            each if known is None else attrs.evolve(known, count=known.count + each.count)
        )
    return list(found.values())


class _Wrong(Exception):
    """Something is wrong with an entity; it ends the reading of that one."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.fault = Fault(reason, detail)


@attrs.frozen(slots=True)
class _Fields:
    """The fields of one JSON object: None for what is absent or null, `_Wrong` for what is wrong."""

    data: Mapping[str, JsonValue]

    def whole(self, name: str) -> int | None:
        """Return a whole number of int64: ids exceed 2**31 (GATEWAY.md 1.2)."""
        value = self.data.get(name)
        if value is None:
            return None
        if isinstance(value, float):
            raise _Wrong(Reason.SIZE, f"{name}: no whole number")
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._mistyped(name, value, "a whole number")
        if value not in _INT64:
            raise _Wrong(Reason.SIZE, f"{name}: beyond 64 bits")
        return value

    def size(self, name: str) -> int | None:
        """Return a number of contracts; directions have fields of their own, so none is negative."""
        value = self.whole(name)
        if value is not None and value < 0:
            raise _Wrong(Reason.SIZE, f"{name}: negative")
        return value

    def number(self, name: str) -> float | None:
        value = self.data.get(name)
        if value is None:
            return None
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self._mistyped(name, value, "a number")
        try:
            shown = float(value)
        except OverflowError:
            raise _Wrong(Reason.PRICE_RANGE, f"{name}: a whole number of hundreds of digits") from None
        if not math.isfinite(shown):
            raise _Wrong(Reason.PRICE_NOT_FINITE, f"{name}: not finite")
        return shown

    def text(self, name: str) -> str | None:
        value = self.data.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._mistyped(name, value, "a string")

    def flag(self, name: str) -> bool | None:
        value = self.data.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise self._mistyped(name, value, "a boolean")

    def stamp(self, name: str) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse_stamp(text)
        except StampRangeError:
            raise _Wrong(Reason.STAMP_RANGE, f"{name}: outside the years of int64 nanoseconds") from None
        except StampError:
            raise _Wrong(Reason.STAMP_FORM, f"{name}: no date and time with a zone") from None

    def code(self, name: str, unknown: Code) -> Code | None:
        """Return a member of the enumeration of ``unknown``, which stands for codes that are new."""
        value = self.whole(name)
        try:
            return None if value is None else type(unknown)(value)
        except ValueError:
            return unknown

    def need(self, name: str, read: Callable[[str], T | None]) -> T:
        """Return what must be there."""
        value = read(name)
        if value is None:
            raise _Wrong(Reason.SCHEMA, f"{name}: missing")
        return value

    def need_code(self, name: str, unknown: Code) -> Code:
        """Return a code that must be there."""
        value = self.code(name, unknown)
        if value is None:
            raise _Wrong(Reason.SCHEMA, f"{name}: missing")
        return value

    def _mistyped(self, name: str, value: JsonValue, meant: str) -> _Wrong:
        return _Wrong(Reason.SCHEMA, f"{name}: {json_type(value)} instead of {meant}")


_Read: TypeAlias = Callable[[_Fields, Action | None], UserEvent]


def _entity(entry: JsonValue, read: _Read) -> UserEvent | Fault | None:
    """Return the event of one entry, wrapped or bare, or what is wrong with it; None for null."""
    if entry is None:
        return None
    if not isinstance(entry, dict):
        return Fault(Reason.SCHEMA, f"{json_type(entry)} instead of an entity")
    data = entry.get("data")
    if data is not None and not isinstance(data, dict):
        return Fault(Reason.SCHEMA, f"data: {json_type(data)} instead of an entity")
    try:
        action = _Fields(entry).code("action", Action.UNKNOWN)
        return read(_Fields(entry if data is None else data), action)
    except _Wrong as wrong:
        return wrong.fault


def _account(it: _Fields, action: Action | None) -> AccountUpdate:
    return AccountUpdate(
        account_id=it.need("id", it.whole),
        action=action,
        ts_recv=0,
        name=it.text("name"),
        balance=it.number("balance"),
        can_trade=it.flag("canTrade"),
        is_visible=it.flag("isVisible"),
        simulated=it.flag("simulated"),
    )


def _order(it: _Fields, action: Action | None) -> OrderUpdate:
    return OrderUpdate(
        order_id=it.need("id", it.whole),
        account_id=it.need("accountId", it.whole),
        contract_id=it.need("contractId", it.text),
        action=action,
        status=it.need_code("status", OrderStatus.UNKNOWN),
        type=it.need_code("type", OrderType.UNKNOWN),
        side=it.need_code("side", Side.UNKNOWN),
        size=it.need("size", it.size),
        created_ts=it.need("creationTimestamp", it.stamp),
        ts_recv=0,
        updated_ts=it.stamp("updateTimestamp"),
        symbol_id=it.text("symbolId"),
        limit_price=it.number("limitPrice"),
        stop_price=it.number("stopPrice"),
        fill_volume=it.size("fillVolume"),
        filled_price=it.number("filledPrice"),
        custom_tag=it.text("customTag"),
        trail_distance=it.number("trailDistance"),
        trail_price=it.number("trailPrice"),
        parent_order_id=it.whole("parentOrderId"),
        linked_order_id=it.whole("linkedOrderId"),
    )


def _position(it: _Fields, action: Action | None) -> PositionUpdate:
    return PositionUpdate(
        position_id=it.need("id", it.whole),
        account_id=it.need("accountId", it.whole),
        contract_id=it.need("contractId", it.text),
        action=action,
        type=it.need_code("type", PositionType.UNKNOWN),
        size=it.need("size", it.size),
        created_ts=it.need("creationTimestamp", it.stamp),
        ts_recv=0,
        average_price=it.number("averagePrice"),
        display_name=it.text("contractDisplayName"),
    )


def _trade(it: _Fields, action: Action | None) -> UserTrade:
    return UserTrade(
        trade_id=it.need("id", it.whole),
        account_id=it.need("accountId", it.whole),
        contract_id=it.need("contractId", it.text),
        action=action,
        side=it.need_code("side", Side.UNKNOWN),
        price=it.need("price", it.number),
        size=it.need("size", it.size),
        created_ts=it.need("creationTimestamp", it.stamp),
        ts_recv=0,
        order_id=it.whole("orderId"),
        profit_and_loss=it.number("profitAndLoss"),
        fees=it.number("fees"),
        commissions=it.number("commissions"),
        voided=it.flag("voided"),
    )


_READERS: Final[tuple[_Read, ...]] = (_account, _order, _position, _trade)
_KINDS: Final = {name.lower(): (name, read) for name, read in zip(USER, _READERS, strict=True)}
