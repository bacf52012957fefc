"""What is declared: users, positions, refusals."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_projectx import SubscriptionError
from trio_projectx.connection.wants import Want, Wants
from trio_projectx.flow.subscriptions import Kind, Subscription

TRADES = Subscription(Kind.TRADES, "CON.F.US.MNQ.U26")
QUOTES = Subscription(Kind.QUOTES, "CON.F.US.MNQ.U26")
OTHER = Subscription(Kind.TRADES, "CON.F.US.EP.U26")
ORDERS = Subscription(Kind.ORDERS, 7)
ACCOUNTS = Subscription(Kind.ACCOUNTS)


@pytest.mark.parametrize(
    ("wanted", "calls", "arguments", "contract_id", "text"),
    [
        (TRADES, "ContractTrades", (TRADES.subject,), TRADES.subject, "ContractTrades of CON.F.US.MNQ.U26"),
        (QUOTES, "ContractQuotes", (QUOTES.subject,), QUOTES.subject, "ContractQuotes of CON.F.US.MNQ.U26"),
        (ORDERS, "Orders", (7,), "", "Orders of 7"),
        (Subscription(Kind.USER_TRADES, 7), "Trades", (7,), "", "Trades of 7"),
        (ACCOUNTS, "Accounts", (), "", "Accounts"),
    ],
)
def test_what_a_subscription_is_called(
    wanted: Subscription, calls: str, arguments: tuple[object, ...], contract_id: str, text: str
) -> None:
    assert (wanted.subscribe, wanted.unsubscribe) == (f"Subscribe{calls}", f"Unsubscribe{calls}")
    assert (wanted.arguments, wanted.contract_id, str(wanted)) == (arguments, contract_id, text)


@given(st.lists(st.tuples(st.sampled_from([TRADES, QUOTES, OTHER, ORDERS]), st.booleans())))
def test_users_are_counted(steps: list[tuple[Subscription, bool]]) -> None:
    wants = Wants()
    users: dict[Subscription, int] = {}
    for wanted, comes in steps:
        before = users.get(wanted, 0)
        if comes:
            assert wants.add(wanted) is wants.get(wanted)
            users[wanted] = before + 1
        elif before:
            assert wants.remove(wanted) is (before == 1)
            users[wanted] = before - 1
    left = {wanted: count for wanted, count in users.items() if count}
    assert {want.wanted: want.users for want in wants.all()} == left
    assert len(wants) == len(left)
    assert wants.needs("CON.F.US.MNQ.U26") is bool(left.keys() & {TRADES, QUOTES})
    assert wants.get(ACCOUNTS) is None


def test_one_who_comes_back_after_the_last_begins_anew() -> None:
    wants = Wants()
    first = wants.add(TRADES)
    first.acknowledged(5)
    wants.remove(TRADES)
    again = wants.add(TRADES)
    assert again is not first
    assert (again.position, again.is_established, again.error) == (None, False, None)


async def test_all_who_wait_get_the_position(autojump_clock: MockClock) -> None:
    want = Want(TRADES)
    got: list[int] = []

    async def wait() -> None:
        got.append(await want.wait())

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(wait)
        await trio.sleep(1)
        want.acknowledged(0)  # a position of 0 is one
    assert got == [0] * 4
    assert want.is_established
    assert await want.wait() == 0


async def test_all_who_wait_get_the_refusal_each_its_own(autojump_clock: MockClock) -> None:
    want = Want(TRADES)
    errors: list[SubscriptionError] = []

    async def wait() -> None:
        with pytest.raises(SubscriptionError, match="no") as raised:
            await want.wait()
        errors.append(raised.value)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(wait)
        await trio.sleep(1)
        want.failed(SubscriptionError("no", 3, "text"))
    assert len({id(each) for each in errors}) == 4
    assert {(each.code, each.text) for each in errors} == {(3, "text")}
    assert (want.is_established, want.position) == (False, None)


async def test_what_was_refused_before_the_call_is_not_its_matter(autojump_clock: MockClock) -> None:
    want = Want(TRADES)
    want.failed(SubscriptionError("no"))

    async def acknowledge() -> None:
        await trio.sleep(3)
        want.acknowledged(9)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(acknowledge)
        assert await want.wait() == 9
    assert want.error is None


async def test_a_subscription_that_an_outage_took_is_waited_for(autojump_clock: MockClock) -> None:
    want = Want(TRADES)
    want.acknowledged(3)
    want.absent()
    assert want.is_established  # its absence is an outage

    async def back() -> None:
        await trio.sleep(60)
        want.acknowledged(8)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(back)
        assert await want.wait() == 8
    assert trio.current_time() == pytest.approx(60)
