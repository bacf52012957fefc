"""User events from JSON: the forms of the live wire and of the documents, the simulator's, and everything else."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_book import CONTRACT, TERMS, new_book, ticket

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
from trio_projectx.market.reasons import Reason
from trio_projectx.market.stamps import parse_stamp
from trio_projectx.market.user import UserDecoded, UserDecoder, join_user_decoded
from trio_projectx.signalr import Invocation, JsonValue, parse_messages
from trio_projectx.simulator import orders as book_orders
from trio_projectx.simulator.shown import entity
from trio_projectx.simulator.user_events import UserAction, UserKind, user_event
from trio_projectx.simulator.varied import padded, scientific, stamp

DECODER = UserDecoder()
MNQ = "CON.F.US.MNQ.U26"
CREATED = "2026-08-19T20:49:25.3938333+00:00"
CREATED_NS = 1_787_172_565_393_833_300

#: GATEWAY.md section 2.4, as seen on the live wire.
LIVE_ACCOUNT = (
    '{"action":1,"data":{"id":26282486,"name":"PRAC-V2-1","balance":149848.64,"canTrade":true,"isVisible":true,'
    '"simulated":true}}'
)
LIVE_ORDER = (
    '{"action":1,"data":{"id":3425270858,"accountId":26282486,"contractId":"CON.F.US.MNQ.U26","symbolId":"F.US.MNQ",'
    '"creationTimestamp":"2026-08-19T20:49:25.3938333+00:00","updateTimestamp":"2026-08-19T20:49:25.3962105+00:00",'
    '"status":5,"type":2,"side":1,"size":1,"fillVolume":0,"customTag":"tag-1"}}'
)
LIVE_POSITION = (
    '{"action":2,"data":{"id":825245547,"accountId":26282486,"contractId":"CON.F.US.MNQ.U26",'
    '"contractDisplayName":"MNQU26","creationTimestamp":"2026-08-19T14:15:48.611387+00:00","type":0,"size":0,'
    '"averagePrice":29398.5}}'
)
LIVE_TRADE = (
    '{"action":0,"data":{"id":3004518356,"accountId":26282486,"contractId":"CON.F.US.MNQ.U26",'
    '"creationTimestamp":"2026-08-19T14:16:01.4061289+00:00","price":29423,"profitAndLoss":-49,"fees":0.36,'
    '"commissions":0.25,"side":0,"size":1,"voided":false,"orderId":3423462488}}'
)

#: One whole entity of each kind, as JSON values, and which of its fields have to be there.
FULL: dict[str, dict[str, Any]] = {
    "GatewayUserAccount": {
        "id": 7, "name": "a", "balance": 1.5, "canTrade": True, "isVisible": False, "simulated": True,
    },
    "GatewayUserOrder": {
        "id": 1, "accountId": 7, "contractId": MNQ, "symbolId": "F.US.MNQ", "creationTimestamp": CREATED,
        "updateTimestamp": "2026-08-19T20:49:25Z", "status": 1, "type": 5, "side": 0, "size": 3, "limitPrice": 1.25,
        "stopPrice": 2, "fillVolume": 1, "filledPrice": 5e-7, "customTag": "t", "trailDistance": -12,
        "trailPrice": 3.5, "parentOrderId": 8, "linkedOrderId": 9,
    },
    "GatewayUserPosition": {
        "id": 2, "accountId": 7, "contractId": MNQ, "contractDisplayName": "MNQU26", "creationTimestamp": CREATED,
        "type": 2, "size": 4, "averagePrice": 29398.5,
    },
    "GatewayUserTrade": {
        "id": 3, "accountId": 7, "contractId": MNQ, "creationTimestamp": CREATED, "price": 29423, "fees": 0.36,
        "profitAndLoss": -49, "commissions": 0.25, "side": 1, "size": 1, "voided": False, "orderId": 1,
    },
}  # fmt: skip
NEEDED = {
    "GatewayUserAccount": {"id"},
    "GatewayUserOrder": {
        "id", "accountId", "contractId", "creationTimestamp", "status", "type", "side", "size",
    },
    "GatewayUserPosition": {"id", "accountId", "contractId", "creationTimestamp", "type", "size"},
    "GatewayUserTrade": {"id", "accountId", "contractId", "creationTimestamp", "price", "side", "size"},
}  # fmt: skip
TARGETS = list(FULL)
FIELDS = [(target, name) for target, fields in FULL.items() for name in fields]


def decoded(target: str, payload: JsonValue) -> UserDecoded:
    return DECODER.invocation(target, [payload])


def only(target: str, payload: JsonValue) -> UserEvent:
    found = decoded(target, payload)
    assert (found.refusals, found.null_entries, found.records) == ([], 0, 1)
    (event,) = found.events
    return event


# -- the forms that are known


def test_a_live_account() -> None:
    assert only("GatewayUserAccount", json.loads(LIVE_ACCOUNT)) == AccountUpdate(
        account_id=26282486,
        action=Action.UPDATE,
        ts_recv=0,
        name="PRAC-V2-1",
        balance=149848.64,
        can_trade=True,
        is_visible=True,
        simulated=True,
    )


def test_a_live_order() -> None:
    assert only("GatewayUserOrder", json.loads(LIVE_ORDER)) == OrderUpdate(
        order_id=3425270858,
        account_id=26282486,
        contract_id=MNQ,
        action=Action.UPDATE,
        status=OrderStatus.REJECTED,
        type=OrderType.MARKET,
        side=Side.SELL,
        size=1,
        created_ts=CREATED_NS,
        updated_ts=CREATED_NS + 2_377_200,
        ts_recv=0,
        symbol_id="F.US.MNQ",
        fill_volume=0,
        custom_tag="tag-1",
    )


def test_a_live_position_that_was_closed() -> None:
    assert only("GatewayUserPosition", json.loads(LIVE_POSITION)) == PositionUpdate(
        position_id=825245547,
        account_id=26282486,
        contract_id=MNQ,
        action=Action.DELETE,
        type=PositionType.UNDEFINED,
        size=0,
        created_ts=parse_stamp("2026-08-19T14:15:48.611387Z"),
        ts_recv=0,
        average_price=29398.5,
        display_name="MNQU26",
    )


def test_a_live_trade() -> None:
    assert only("GatewayUserTrade", json.loads(LIVE_TRADE)) == UserTrade(
        trade_id=3004518356,
        account_id=26282486,
        contract_id=MNQ,
        action=Action.CREATE,
        side=Side.BUY,
        price=29423.0,
        size=1,
        created_ts=parse_stamp("2026-08-19T14:16:01.4061289Z"),
        ts_recv=0,
        order_id=3423462488,
        profit_and_loss=-49.0,
        fees=0.36,
        commissions=0.25,
        voided=False,
    )


def test_every_example_of_the_reference_is_read(shared: Path) -> None:
    section = (shared / "reference" / "GATEWAY.md").read_text().split("### 2.4")[1].split("### 2.5")[0]
    block = re.sub(r"\n ", "", section.split("```json\n")[1].split("```")[0]).strip().splitlines()
    found = [only(target, json.loads(line)) for target, line in zip(TARGETS, block, strict=True)]
    assert [type(event) for event in found] == [AccountUpdate, OrderUpdate, PositionUpdate, UserTrade]


def test_a_documented_order_is_bare_and_says_null() -> None:
    event = only(
        "GatewayUserOrder",
        json.loads(
            '{"id":789,"accountId":123,"contractId":"CON.F.US.EP.U25","symbolId":"F.US.EP",'
            '"creationTimestamp":"2024-07-21T13:45:00Z","updateTimestamp":null,"status":1,"type":1,"side":0,"size":1,'
            '"limitPrice":2100.50,"stopPrice":null,"fillVolume":0,"filledPrice":null,"customTag":"strategy-1"}'
        ),
    )
    assert isinstance(event, OrderUpdate)
    assert (event.action, event.updated_ts, event.stop_price, event.limit_price) == (None, None, None, 2100.5)


@pytest.mark.parametrize("target", TARGETS)
def test_every_field_comes_out_somewhere(target: str) -> None:
    """Each field of the wire is one field of the event: changing it changes that one, and nothing else."""
    usual = attrs.asdict(only(target, FULL[target]))
    changed = set()
    for name, value in FULL[target].items():
        other: Any = (
            not value if isinstance(value, bool) else value + 1 if isinstance(value, (int, float)) else None
        )
        if other is None:
            other = "2026-08-20T00:00:00Z" if name.endswith("Timestamp") else f"{value}x"
        event = attrs.asdict(only(target, {**FULL[target], name: other}))
        (at,) = (key for key in event if event[key] != usual[key])
        changed.add(at)
    assert changed == set(usual) - {"action", "ts_recv"}


@pytest.mark.parametrize("target", TARGETS)
def test_wrapped_bare_listed_and_any_case_are_the_same(target: str) -> None:
    bare = only(target, FULL[target])
    assert bare.action is None
    for action in Action:
        wrapped = only(target, {"data": FULL[target], "action": int(action), "new": [1]})
        assert wrapped == attrs.evolve(bare, action=action)
    assert only(target, {"action": 2, "data": None, **FULL[target]}).action is Action.DELETE
    assert only(target.upper(), FULL[target]) == bare
    listed = decoded(target, [FULL[target], None, {"action": None, "data": FULL[target]}])
    assert (listed.events, listed.null_entries) == ([bare, bare], 1)
    assert DECODER.invocation(target, [FULL[target], "what comes later"]).events == [bare]


@given(st.data())
@settings(max_examples=60)
def test_null_is_absence_and_what_is_unknown_is_read_over(data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(TARGETS))
    without = data.draw(st.sets(st.sampled_from(sorted(set(FULL[target]) - NEEDED[target]))))
    absent = {name: value for name, value in FULL[target].items() if name not in without}
    extra = data.draw(st.dictionaries(st.text(), JSON, max_size=3))
    unknown = {name: value for name, value in extra.items() if name not in {*FULL[target], "action", "data"}}
    event = only(target, absent)
    assert only(target, {**absent, **dict.fromkeys(without)}) == event
    assert only(target, {**unknown, **absent, **unknown}) == event
    assert sum(value is None for value in attrs.asdict(event).values()) == len(without) + 1  # and the action


@pytest.mark.parametrize(("target", "name"), [each for each in FIELDS if each[1] in NEEDED[each[0]]])
def test_what_is_needed_must_be_there(target: str, name: str) -> None:
    for payload in ({k: v for k, v in FULL[target].items() if k != name}, {**FULL[target], name: None}):
        found = decoded(target, payload)
        (refusal,) = found.refusals
        assert (found.events, refusal.reason, refusal.detail) == ([], Reason.SCHEMA, f"{name}: missing")
        assert (refusal.target, refusal.contract_id, refusal.count) == (target, None, 1)


IDS = ("id", "accountId", "orderId", "parentOrderId", "linkedOrderId")


@pytest.mark.parametrize(("target", "name"), [each for each in FIELDS if each[1] in IDS])
@pytest.mark.parametrize("number", [2**31, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_ids_of_64_bits_are_exact(target: str, name: str, number: int) -> None:
    event = only(target, {**FULL[target], name: number})
    assert number in attrs.asdict(event).values()


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**4000], ids=["above", "below", "long"])
def test_longer_ones_are_refused(number: int) -> None:
    (refusal,) = decoded("GatewayUserTrade", {**FULL["GatewayUserTrade"], "id": number}).refusals
    assert (refusal.reason, refusal.detail) == (Reason.SIZE, "id: beyond 64 bits")


@pytest.mark.parametrize("code", [9, 99, -7, 2**40])
def test_new_codes_are_unknown(code: int) -> None:
    order = only(
        "GatewayUserOrder",
        {
            "action": code,
            "data": {**FULL["GatewayUserOrder"], "status": code, "type": code, "side": code},
        },
    )
    assert isinstance(order, OrderUpdate)
    assert (order.action, order.status, order.type, order.side) == (
        Action.UNKNOWN, OrderStatus.UNKNOWN, OrderType.UNKNOWN, Side.UNKNOWN,
    )  # fmt: skip
    position = only("GatewayUserPosition", {**FULL["GatewayUserPosition"], "type": code})
    assert isinstance(position, PositionUpdate)
    assert position.type is PositionType.UNKNOWN


# -- what is wrong

NUMBERS = ("balance", "limitPrice", "stopPrice", "filledPrice", "trailDistance", "trailPrice", "averagePrice",
           "price", "profitAndLoss", "fees", "commissions")  # fmt: skip
WHOLE = (*IDS, "status", "type", "side", "size", "fillVolume")
TEXTS = ("name", "contractId", "symbolId", "customTag", "contractDisplayName")
STAMPS = ("creationTimestamp", "updateTimestamp")
FLAGS = ("canTrade", "isVisible", "simulated", "voided")
CANARY = "from-the-wire"


def wrong_values(name: str) -> Iterable[tuple[Any, Reason]]:
    """Values that the field must not have, with why."""
    schema = [[CANARY], {CANARY: 1}]
    if name in NUMBERS or name in WHOLE:
        yield from ((value, Reason.SCHEMA) for value in (*schema, True, CANARY, "1"))
    if name in NUMBERS:
        yield from ((value, Reason.PRICE_NOT_FINITE) for value in (float("nan"), float("inf"), float("-inf")))
        yield 10**400, Reason.PRICE_RANGE
    if name in WHOLE:
        yield from ((value, Reason.SIZE) for value in (1.5, 1.0, 2**63, float("nan")))
    if name in ("size", "fillVolume"):
        yield -1, Reason.SIZE
    if name in (*TEXTS, *STAMPS, *FLAGS):
        yield from ((value, Reason.SCHEMA) for value in (*schema, 1, 1.5))
    if name in (*TEXTS, *STAMPS):
        yield True, Reason.SCHEMA
    if name in FLAGS:
        yield CANARY, Reason.SCHEMA
    if name in STAMPS:
        for text in (CANARY, "2026-08-19T20:49:25", "2026-02-30T00:00:00Z", ""):
            yield text, Reason.STAMP_FORM
        yield "0001-01-01T00:00:00Z", Reason.STAMP_RANGE


@pytest.mark.parametrize(("target", "name"), FIELDS)
def test_a_wrong_value_refuses_the_whole_event_and_is_not_repeated(target: str, name: str) -> None:
    cases = list(wrong_values(name))
    assert cases
    for value, reason in cases:
        found = decoded(target, {"action": 1, "data": {**FULL[target], name: value}})
        (refusal,) = found.refusals
        assert (found.events, refusal.reason) == ([], reason), value
        assert refusal.detail.startswith(f"{name}: ")
        assert CANARY not in refusal.detail


@pytest.mark.parametrize(
    ("arguments", "detail"),
    [
        ([], "arguments: none"),
        (["x"], "a string instead of an entity"),
        ([1], "a number instead of an entity"),
        ([False], "a boolean instead of an entity"),
        ([{"action": 1, "data": "x"}], "data: a string instead of an entity"),
        ([{"action": 1, "data": [1]}], "data: a list instead of an entity"),
        ([{"action": "1", "data": {"id": 7}}], "action: a string instead of a whole number"),
        ([{"action": 1, "data": {}}], "id: missing"),
        ([{"action": 1, "data": None}], "id: missing"),
        ([{}], "id: missing"),
        ([[["x"]]], "a list instead of an entity"),
    ],
)
def test_wrong_shapes(arguments: list[JsonValue], detail: str) -> None:
    for target in TARGETS:
        found = DECODER.invocation(target, arguments)
        (refusal,) = found.refusals
        assert (refusal.detail, refusal.reason, found.events) == (detail, Reason.SCHEMA, [])


def test_wrong_ones_do_not_take_their_neighbours_with_them_and_are_summed_up() -> None:
    good = FULL["GatewayUserAccount"]
    found = decoded("GatewayUserAccount", ["x", good, 1, {"id": 1.5}, None, good, {"id": 2.5}])
    assert len(found.events) == 2
    assert [(each.reason, each.count, each.detail) for each in found.refusals] == [
        (Reason.SCHEMA, 2, "a string instead of an entity"),
        (Reason.SIZE, 2, "id: no whole number"),
    ]


def test_null_logout_and_unknown_are_counted() -> None:
    assert decoded("GatewayUserOrder", None) == UserDecoded(records=1, null_entries=1)
    assert DECODER.invocation("gatewaylogout", [{"any": 1}]) == UserDecoded(records=1, logouts=1)
    for target in ("GatewayTrade", "GatewayUserorders", ""):
        assert decoded(target, FULL["GatewayUserTrade"]) == UserDecoded(records=1, unknown_targets=1)
    assert DECODER.bulk(user_event(UserKind.ACCOUNTS, UserAction.UPDATE, {"id": 7})) is None


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([CREATED, MNQ, 0, 1, 2]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "data", "action", "x"]), inner)
    ),
    max_leaves=8,
)


@st.composite
def mangled(draw: st.DrawFn) -> tuple[str, Any]:
    """A payload that is nearly right."""
    target = draw(st.sampled_from(TARGETS))
    fields = dict(FULL[target])
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
        fields[name] = draw(JSON)
    data = draw(st.sampled_from([fields, [fields, None], {"action": draw(JSON), "data": fields}, draw(JSON)]))
    return target, data


@given(st.lists(mangled(), max_size=4))
@settings(max_examples=150)
def test_it_never_raises_and_every_entry_is_in_one_place(payloads: list[tuple[str, Any]]) -> None:
    parts = [decoded(target, payload) for target, payload in payloads]
    for (_, payload), part in zip(payloads, parts, strict=True):
        entries = len(payload) if isinstance(payload, list) else 1
        assert len(part.events) + sum(each.count for each in part.refusals) + part.null_entries == entries
        assert all(event.ts_recv == 0 for event in part.events)
        assert len(set(part.events)) <= len(part.events)  # each can be hashed
    joined = join_user_decoded(parts)
    assert joined.events == [event for part in parts for event in part.events]
    assert joined.records == len(parts)
    assert sum(r.count for r in joined.refusals) == sum(r.count for part in parts for r in part.refusals)
    assert len({(r.target, r.reason) for r in joined.refusals}) == len(joined.refusals)


# -- the simulator's

KINDS = {
    "account": UserKind.ACCOUNTS,
    "order": UserKind.ORDERS,
    "position": UserKind.POSITIONS,
    "trade": UserKind.TRADES,
}


def events_of_a_book(seed: int, count: int = 60) -> list[book_orders.UserEvent]:
    """What a simulated account tells while orders of all types meet a random market."""
    drawn = random.Random(seed)
    book = new_book()
    ticks, now = 100_000, CREATED_NS
    for n in range(count):
        now += drawn.randrange(1, 10**9)
        if drawn.random() < 0.6:
            side = Side(drawn.randrange(2))
            away = TERMS.grid.price(ticks - (20 if side is Side.BUY else -20))
            beyond = TERMS.grid.price(ticks + (20 if side is Side.BUY else -20))
            sign = 1 if side is Side.BUY else -1
            brackets = {
                "stop_loss": book_orders.Bracket(-12 * sign, book_orders.OrderType.STOP),
                "take_profit": book_orders.Bracket(12 * sign, book_orders.OrderType.LIMIT),
            }
            kind = drawn.choice([1, 2, 4])
            prices = {1: {"limit_price": away}, 2: {}, 4: {"stop_price": beyond}}[kind]
            tag = drawn.choice([None, f'tag {n} "é\u2028'])
            try:
                book.place(
                    ticket(
                        kind,
                        side,
                        drawn.randrange(1, 4),
                        tag=tag,
                        **prices,
                        **(brackets if n % 3 == 0 else {}),
                    ),
                    now,
                )
            except book_orders.Refused:
                continue
        else:
            ticks += drawn.randrange(-30, 31)
            book.on_trade(CONTRACT, now, ticks, drawn.randrange(2))
    return book.take_events()


def vary(drawn: random.Random, value: Any) -> str:
    """One JSON value in another form that means the same."""
    if isinstance(value, bool) or not isinstance(value, float):
        return json.dumps(value, ensure_ascii=drawn.random() < 0.5)
    return drawn.choice([repr(value), padded(value, 9), scientific(value) if value else "0.0"])


def varied_record(drawn: random.Random, event: book_orders.UserEvent) -> tuple[str, bool]:
    """The event's record with its fields in any order, nulls there or not, bare or wrapped."""
    fields = entity(event.entity)
    for name in ("creationTimestamp", "updateTimestamp"):
        if name in fields:
            ns = parse_stamp(str(fields[name]))
            fields[name] = stamp(ns, 7, drawn.choice(["+00:00", "Z", "-05:00"]))
    names = [name for name, value in fields.items() if value is not None or drawn.random() < 0.5]
    drawn.shuffle(names)
    if drawn.random() < 0.3:
        fields["somethingNew"] = {"data": 1}
        names.append("somethingNew")
    data = ", ".join(f"{json.dumps(name)}: {vary(drawn, fields[name])}" for name in names)
    is_bare = drawn.random() < 0.3
    payload = f"{{{data}}}" if is_bare else f'{{"data": {{{data}}}, "action": {event.action}}}'
    return f'{{"target":"{KINDS[event.kind].value}","type":1,"arguments":[{payload}]}}\x1e', is_bare


def read(text: str) -> UserEvent:
    (message,) = parse_messages(text)
    assert isinstance(message, Invocation)
    found = DECODER.invocation(message.target, message.arguments)
    assert not found.refusals
    (event,) = found.events
    return event


@pytest.mark.parametrize("seed", range(6))
def test_what_the_simulator_tells_is_read_exactly_in_every_form(seed: int) -> None:
    drawn = random.Random(seed)
    told = events_of_a_book(seed)
    kinds = set()
    for event in told:
        live = read(user_event(KINDS[event.kind], UserAction(event.action), entity(event.entity)))
        check(live, event)
        text, is_bare = varied_record(drawn, event)
        assert read(text) == (attrs.evolve(live, action=None) if is_bare else live)
        kinds.add(event.kind)
    assert kinds == set(KINDS)
    assert len(told) > 50


def check(read_event: UserEvent, told: book_orders.UserEvent) -> None:
    """Hold an event against the values (in ticks and units of money) that it was written from."""
    it = told.entity
    assert read_event.action == told.action
    match read_event, it:
        case AccountUpdate(), book_orders.AccountState():
            assert (read_event.account_id, read_event.balance, read_event.name) == (
                it.id, it.balance / book_orders.MONEY, it.name,
            )  # fmt: skip
        case OrderUpdate(), book_orders.Order():
            assert (read_event.order_id, read_event.created_ts // 100) == (it.id, it.created_ns // 100)
            assert (read_event.status, read_event.type, read_event.side) == (it.status, it.type, it.side)
            assert (read_event.limit_price, read_event.stop_price) == (dollars(it.limit), dollars(it.stop))
            assert (read_event.size, read_event.fill_volume, read_event.custom_tag) == (
                it.size,
                it.filled,
                it.tag,
            )
            assert (read_event.parent_order_id, read_event.linked_order_id) == (it.parent_id, it.linked_id)
            assert read_event.filled_price == dollars(it.fill_price)
        case PositionUpdate(), book_orders.Position():
            signed = {PositionType.LONG: 1, PositionType.SHORT: -1, PositionType.UNDEFINED: 0}[
                read_event.type
            ]
            assert signed * read_event.size == it.quantity
            assert read_event.average_price == it.average
        case UserTrade(), book_orders.Fill():
            profit = None if it.profit is None else it.profit / book_orders.MONEY
            assert (read_event.trade_id, read_event.profit_and_loss, read_event.order_id) == (
                it.id,
                profit,
                it.order_id,
            )
            assert (read_event.price, read_event.size, read_event.side) == (
                dollars(it.price),
                it.size,
                it.side,
            )
        case _:
            pytest.fail(f"{it} was read as {read_event}")


def dollars(ticks: int | None) -> float | None:
    return None if ticks is None else TERMS.grid.price(ticks)
