"""Trades that a service sends again, once or more often, to one connection of two or to both: no silent double."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from fault_tools import CONTRACT, Seen, counted, open_sim, oracle, row, truth_rows, watch
from test_market_validate import at, shown, validator
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_projectx as px
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.stream import Feed, make_pipe
from trio_projectx.flow.trades_outlet import TradesOutlet
from trio_projectx.market import PriceGrid, Validator, WireTrade
from trio_projectx.simulator import Fault, Simulator

TWO = px.Reconnect(redundant=True, connect_burst=20)


# -- one connection after another


def test_a_trade_may_be_sent_again_more_than_once() -> None:
    it = validator()
    it.join(1)
    had = [at(k) for k in range(10)]
    it.validate(had, 0, 1)
    it.leave(1, 0)
    it.expect_replay()
    it.join(2)
    assert it.validate([each for each in had[:-1] for _ in range(3)], 0, 2) is None
    assert it.rejected.replayed == 27
    # Of the youngest stamp another may have been missed: it counts, and lies in the gap.
    assert shown(it.validate([had[-1], had[-1], at(10)], 0, 2)) == [(9, 20_000), (10, 20_000)]


def test_what_is_sent_again_twice_as_a_whole_is_known_until_the_acknowledgement() -> None:
    it = validator()
    it.join(1)
    had = [at(k) for k in range(10)]
    it.validate(had, 0, 1)
    it.leave(1, 0)
    it.expect_replay()
    it.join(2, float("inf"))
    missed = [at(10), at(11)]
    assert shown(it.validate([*had, *missed], 0, 2)) == [(10, 20_000), (11, 20_000)]
    it.begin(2, 12)
    assert shown(it.validate([*had[:-1], at(13)], 0, 2)) == [(13, 20_000)]
    assert it.rejected.replayed == 19
    assert shown(it.validate([at(3)], 0, 2)) == [(3, 20_000)], "it is over: a trade like any other"


def test_what_is_older_than_all_that_is_remembered_is_no_new_trade() -> None:
    it = validator()
    it.join(1)
    had = [at(k) for k in range(3000)]
    for k in range(0, 3000, 100):
        it.validate(had[k : k + 100], 0, 1)
    it.leave(1, 0)
    it.expect_replay()
    it.join(2)
    assert it.validate(had, 0, 2) is None
    assert it.rejected.replayed == 3000


def test_nor_does_a_line_that_joins_bring_more_than_there_were() -> None:
    it = validator()
    it.join(1)
    had = [at(k) for k in range(10)]
    it.validate(had, 0, 1)
    it.join(2)
    assert it.validate([each for each in had[:-1] for _ in range(3)], 0, 2) is None
    assert (it.duplicates, it.waiting, it.differing()) == (27, 0, None)


# -- two connections that differ


def level_pair() -> Validator:
    it = validator()
    it.join(1)
    it.join(2)
    it.settle(2, 0)
    for line in (1, 2):
        it.validate([at(0)], 0, line)
    return it


def test_a_trade_that_only_one_line_brings_twice_is_told_when_the_other_is_past_it() -> None:
    it = level_pair()
    it.validate([at(1), at(1), at(2)], 0, 1)
    it.validate([at(1), at(2), at(50)], 0, 2)
    assert it.differing() is None, "it may come yet"
    it.validate([at(200)], 0, 2)
    found = it.differing()
    assert found is not None
    assert found[0] == 1
    assert it.differing() is None, "told once"
    assert it.validate([at(1)], 0, 2) is None, "late, and a duplicate all the same"


@pytest.mark.parametrize("leaves", [1, 2])
def test_so_it_is_when_the_other_goes(leaves: int) -> None:
    it = level_pair()
    other = 3 - leaves
    it.validate([at(1), at(1), at(2)], 0, other)
    it.validate([at(1), at(2)], 0, leaves)
    it.leave(leaves, 0)
    found = it.differing()
    assert found is not None
    assert found[0] == 1


def test_what_one_line_has_lost_is_in_no_doubt() -> None:
    it = level_pair()
    it.validate([at(1), at(2)], 0, 1)
    it.validate([at(2), at(300)], 0, 2)
    it.leave(2, 0)
    assert it.differing() is None


def test_a_line_that_takes_over_with_more_than_there_was_is_in_doubt() -> None:
    it = validator()
    it.join(1)
    it.validate([at(1)], 0, 1)
    it.join(2)
    it.validate([at(5), at(5), at(6)], 0, 2)
    it.validate([at(5), at(6)], 0, 1)
    assert shown(it.leave(1, 0)) == [(5, 20_000)]
    assert it.differing() is not None


def test_to_a_line_that_takes_over_what_the_other_brought_meanwhile_may_be_sent_twice() -> None:
    it = validator()
    it.join(1)
    it.validate([at(1)], 0, 1)
    it.join(2)
    it.validate([at(5), at(6)], 0, 1)
    assert it.leave(1, 0) is None
    assert shown(it.validate([at(5), at(5), at(6), at(7)], 0, 2)) == [(7, 20_000)]


# -- a whole gateway


def check_doubts(seen: Seen, sim: Simulator) -> Counter[tuple[int, float, int, int]]:
    """Nothing is lost or doubled but within a gap that was told, and bars that say whole are; return the doubles."""
    truth = [each for each in truth_rows(sim.truth()) if each[0] <= seen.rows[-1][0]]
    truth = truth[truth.index(seen.rows[0]) :]
    doubled, lost = counted(seen.rows) - counted(truth), counted(truth) - counted(seen.rows)
    for found in (*doubled, *lost):
        assert any(gap.start <= found[0] <= gap.end for gap in seen.gaps), found
    known = set(oracle(truth_rows(sim.truth())))
    for bar in seen.whole_bars:
        is_told = any(gap.start < bar.end and bar.start <= gap.end for gap in seen.gaps)
        assert is_told or row(bar) in known, bar
    assert seen.statistics is not None
    assert seen.statistics.market.ledger.balanced
    return doubled


@pytest.mark.parametrize("resets", [1, 2])
@pytest.mark.parametrize("seed", range(3))
async def test_sent_again_to_one_of_two_connections_or_both(
    autojump_clock: MockClock, seed: int, resets: int
) -> None:
    async with open_sim(seed=seed) as sim, trio.open_nursery() as nursery:
        seen = Seen()

        async def run() -> None:
            await watch(sim, 20, seen, reconnect=TWO)

        nursery.start_soon(run)
        await trio.sleep(2)
        for n in (200, 30, 4):
            handle = sim.inject(Fault("trades_replayed", hub="market", n=n, count=2))
            await trio.sleep(2.6)
            for _ in range(resets):
                sim.inject(Fault("tcp_reset", hub="market"))
            await trio.sleep(1.4)
            assert handle.struck
            assert seen.gateway is not None
            await seen.gateway.refresh_token()
    check_doubts(seen, sim)
    assert len(seen.rows) > 300


async def test_doubled_on_one_of_two_connections_there_is_a_gap(autojump_clock: MockClock) -> None:
    async with open_sim() as sim, trio.open_nursery() as nursery:
        seen = Seen()

        async def run() -> None:
            await watch(sim, 12, seen, reconnect=TWO)

        nursery.start_soon(run)
        await trio.sleep(5)
        sim.inject(Fault("trades_duplicated", hub="market", n=2))
    assert check_doubts(seen, sim)
    (gap,) = seen.gaps
    assert "more than another" in gap.cause
    assert seen.statistics is not None
    (contract,) = seen.statistics.market.contracts
    assert (contract.contract_id, contract.gaps) == (CONTRACT, 1)


async def test_while_a_doubt_waits_for_the_contract_task_every_trade_is_accounted_for() -> None:
    contract = ContractPipeline(CONTRACT, PriceGrid.from_tick_size("0.25"), px.Limits(batches_in_flight=1))
    feed: Feed[px.Trade | px.Gap] = Feed(
        make_pipe("trades", 9, px.Overflow.ERROR, stamp=lambda t: 0, key=lambda t: 0)
    )
    contract.attach(TradesOutlet(contract.grid, feed))

    def balanced() -> bool:
        return contract.counts.row(CONTRACT).balanced

    async def judge(line: int, *trades: WireTrade) -> None:
        contract.counts.received += len(trades)
        contract.counts.waiting_raw += len(trades)
        await contract.judge(list(trades), 0, 1, line, now=0.0)

    async with trio.open_nursery() as nursery:
        for line in (1, 2):
            contract.join(line)
        nursery.start_soon(contract.run)
        for line in (1, 2):
            await contract.acknowledged(line, 0.0)
            await judge(line, at(1))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:  # nobody takes what is posted
        await judge(1, at(2), at(2))
        await wait_all_tasks_blocked()
        nursery.start_soon(judge, 2, at(2), at(300_000_000))
        await wait_all_tasks_blocked()
        assert contract.inbox.statistics().queued > 1, "the doubt waits"
        assert balanced()
        nursery.cancel_scope.cancel()
    assert balanced()
