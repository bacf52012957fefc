"""What must hold of a random life at each look, of a stream that is left, and at the end (see `model`)."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from typing import Any, Final

import pyarrow.compute as pc
import trio
from beheld_bars import judge_bars
from handled import Handlers
from judge import Received, Unsound, judge
from lived import Reading, Run
from rich.console import Console
from tapped import wrong_of

import trio_projectx as px
from trio_projectx.cli.doctor_view import _tables
from trio_projectx.market import OrderBook
from trio_projectx.market.depth import DepthRow

_NS: Final = 10**9
#: They end streams, and are meant to.
_END_STREAMS: Final = ("subscribe_never", "subscriptions_lost", "completion_twice")
#: Doctor's tables are drawn at each twentieth look: that is dear.
_DOCTOR_EVERY: Final = 20


def look(run: Run, handlers: Handlers) -> None:
    """Look at all counts."""
    run.counts["looks"] += 1
    statistics = run.gateway.statistics()
    _look_at_ledger(run, statistics)
    _look_at_hubs(run, statistics)
    for row in statistics.streams:
        if not row.balanced or row.queued < 0:
            run.blame(f"{row}")
    names = Counter(row.name for row in statistics.streams)
    if names != (rows := Counter(row.name for row in statistics.ledger.streams)):
        run.blame(f"streams {names} and rows {rows}")
    if statistics.tasks.failed:
        run.blame(f"{statistics.tasks}")
    for reading in run.readings:
        if reading.is_open:
            _look_at_stream(run, reading)
    handlers.look()


def _look_at_ledger(run: Run, statistics: px.GatewayStatistics) -> None:
    for row in statistics.ledger.broken:
        run.blame(f"the ledger: {row}")
    if statistics.market.ledger.rows != statistics.ledger.rows:
        run.blame("two ledgers differ in their rows")
    rows = {row.contract_id: row for row in statistics.ledger.contracts}
    for each in statistics.market.contracts:
        row = rows[each.contract_id]
        counts = (each.received, each.rejected.total, each.duplicates)
        if counts != (row.received, row.rejected, row.duplicates):
            run.blame(f"{each} and {row}")
    if run.counts["looks"] % _DOCTOR_EVERY == 0:
        out = io.StringIO()
        for table in _tables(statistics.ledger):
            Console(file=out, width=300).print(table)
        if " NO" in out.getvalue():
            run.blame("doctor says NO")


def _look_at_hubs(run: Run, statistics: px.GatewayStatistics) -> None:
    health, hubs = run.gateway.health(), statistics.hubs
    repr(health)  # it tells everything there is, and can be told
    for hub, other in ((hubs.market, health.market), (hubs.user, health.user)):
        if (hub.state, hub.outages, hub.subscriptions) != (other.state, other.outages, other.subscriptions):
            run.blame(f"statistics and health differ: {hub} {other}")
        if not 0 <= other.score <= 100 or not other.reason:
            run.blame(f"{other}")


def _look_at_stream(run: Run, reading: Reading) -> None:
    counts = reading.lasting.statistics()
    got = sum(not isinstance(item, px.Dropped) for item in reading.got)
    # Who was given one and has not run since has not noted it.
    if not counts.delivered - reading.plan.readers <= got <= counts.delivered:
        run.blame(f"{got} items came: {counts}")
    mark = reading.lasting.unread_mark()
    told = reading.told + (mark.count if mark else 0)
    if told > counts.dropped and counts.policy not in (px.Overflow.ERROR, px.Overflow.BLOCK):
        # Fewer it may be: a mark may be in the hands of its reader.
        run.blame(f"{reading.told} told and {mark} waits: {counts}")
    log = run.tap.of(reading.lasting)
    if counts.offered != len(log):
        run.blame(f"{len(log)} were offered: {counts}")
    room = counts.capacity + len(log.lead) + (len(set(reading.plan.frames)) if log.looks else 0)
    if reading.plan.capacity is not None and max(counts.queued, counts.high_water) > room:
        run.blame(f"above its bound: {counts}")


def judge_stream(run: Run, reading: Reading) -> None:
    """Hold what a reader got, who has left now, against what its stream was offered, and against the truth."""
    plan, log = reading.plan, run.tap.of(reading.lasting)
    counts = reading.lasting.statistics()
    run.counts["streams"] += 1
    run.counts["items"] += len(reading.got)
    told = reading.told + (reading.mark.count if reading.mark else 0)
    if plan.drops and told != counts.dropped:
        run.blame(f"{plan}: told {told}: {counts}")
    if plan.readers == 1:
        # Under pressure quotes and books hold the newest state alone, whatever the policy.
        is_loose = bool(run.plan.pressure) and plan.kind in ("quotes", "book")
        if found := wrong_of(log, reading.got, is_whole=reading.is_whole, is_loose=is_loose):
            run.blame(f"{plan}: {found}")
        if reading.is_whole and reading.mark is not None:
            run.blame(f"{plan}: all was read, and there is {reading.mark}")
    if reading.error is not None:
        _judge_error(run, reading, reading.error)
    if plan.kind == "trades" and plan.options["events"] and run.plan.is_honest and run.plan.is_ordered:
        _judge_trades(run, reading, log.puts)
    if plan.kind == "bars":
        judge_bars(run, reading, is_end=False)
    if plan.kind == "depth" and plan.readers == 1 and run.is_stopping.is_set() and reading.is_whole:
        _judge_depth(run, reading)


def _judge_error(run: Run, reading: Reading, error: BaseException) -> None:
    plan = reading.plan
    if isinstance(error, px.SlowConsumer) and plan.policy is px.Overflow.ERROR:
        if plan.is_prompt and (plan.capacity or 10_000) >= 10_000:
            run.blame(f"{plan}: {error!r}")
    elif isinstance(error, px.SubscriptionError) and any(f.row.name in _END_STREAMS for f in run.struck):
        run.notes["SubscriptionError of a stream"] += 1
    else:
        run.blame(f"{plan}: {error!r}")


def _judge_trades(run: Run, reading: Reading, puts: list[Any]) -> None:
    """All that was offered is the truth, but for the gaps; at the end up to its last trade."""
    received = Received()
    for item in puts:
        received.take(item)
    truth = run.sim.truth(reading.contract_id)
    if received.gaps and received.gaps[0][0] == 0:
        # Nothing had come before the first gap: what it is about begins with it.
        truth = truth.filter(pc.greater_equal(truth["ts_event"], received.gaps[0][1]))
    try:
        judge(received, truth)
    except Unsound as exc:
        run.blame(f"{reading.plan}: {exc}")
        return
    run.counts["trades held against the truth"] += len(received)
    if not (run.is_stopping.is_set() and reading.error is None and len(received)):
        return
    last = max(item.ts_event for item in puts if isinstance(item, px.Trade))
    behind = [ts for ts in truth["ts_event"].to_pylist() if ts > last]
    lost = [ts for ts in behind if not any(start <= ts <= end for _, start, end in received.gaps)]
    if lost:
        run.blame(f"{reading.plan}: the last {len(lost)} trades never came, and no gap was told")


def _judge_depth(run: Run, reading: Reading) -> None:
    """The book that a stream's changes make is the gateway's."""
    pipeline = run.gateway._streams.market.known(reading.contract_id)
    assert pipeline is not None
    flow = pipeline.depth
    if flow._speaker is None or flow._lines[flow._speaker].last is None:
        return
    since = _since_snapshot(reading.got)
    if not since:
        return
    true, mine = flow._lines[flow._speaker].book, OrderBook()
    for each in since:
        for change in each.changes:
            ticks = None if change.price is None else round(change.price * pipeline.grid.per_unit)
            mine.apply(DepthRow(change.kind, change.ts_event, ticks, change.size))
    run.counts["books"] += 1
    if (list(mine.bids()), list(mine.asks())) != (list(true.bids()), list(true.asks())):
        run.blame(f"{reading.plan}: the book that its changes make is another")


def _since_snapshot(got: list[Any]) -> list[px.Depth]:
    """Return the last snapshot and what came behind it; nothing if something is missing there."""
    since: list[px.Depth] = []
    for item in got:
        if isinstance(item, (px.Dropped, px.Gap)):
            since = []
        elif item.is_snapshot:
            since = [item]
        elif since:
            since.append(item)
    return since


def judge_end(run: Run) -> None:
    """Hold the streams that are still open against the truth, when everything has settled."""
    for reading in run.readings:
        if reading.is_open and reading.plan.kind == "bars":
            judge_bars(run, reading, is_end=True)
    for contract in run.of_trades:
        _judge_recent(run, contract)
        _judge_coverage(run, contract)


def _judge_recent(run: Run, contract: str) -> None:
    limits, table = run.gateway._parts.streams.limits, run.gateway.recent_trades(contract)
    stamps = table["ts_event"].to_pylist()
    if len(stamps) > limits.recent_trades:
        run.blame(f"{len(stamps)} recent trades")
    if stamps and max(stamps) - min(stamps) > limits.recent_trades_s * _NS:
        run.blame("recent trades are too old")
    if not run.plan.is_honest:
        return
    ours, true = (
        Counter(zip(*(each[name].to_pylist() for name in ("ts_event", "price", "volume")), strict=True))
        for each in (table, run.sim.truth(contract))
    )
    if extra := ours - true:
        run.blame(f"recent trades that never were: {list(extra)[:2]}")
    if run.plan.is_ordered and stamps != sorted(stamps):
        run.blame("recent trades are not in order")


def _judge_coverage(run: Run, contract: str) -> None:
    """What is known of a contract's time is all of it, each piece once."""
    report = run.gateway.coverage(contract)
    holes = [(hole.start, hole.end) for hole in report.missing]
    spans = sorted([*report.live, *report.history, *report.unknown, *holes])
    if any(end != start for (_, end), (start, _) in itertools.pairwise(spans)):
        run.blame(f"coverage is no partition: {report}")
    if spans and (spans[0][0], spans[-1][1]) != (report.start, report.end):
        run.blame(f"coverage has not all of its time: {report}")


def judge_over(run: Run) -> None:
    """When all streams are left, none is left over."""
    statistics = run.gateway.statistics()
    if statistics.hubs.market.subscriptions:
        run.blame("subscriptions are left")
    if len(statistics.streams) > 1:  # ours, of events
        run.blame(f"streams are left: {statistics.streams}")


def judge_told(run: Run) -> None:
    """No ledger broke, and before a stream lost anything it was told that it fills; call it when all was told."""
    run.counts["events"] += len(run.events)
    for event in run.events:
        if isinstance(event, px.LedgerBroken):
            run.blame(f"told: {event}")
    filled = {(e.stream, e.capacity, e.policy) for e in run.events if isinstance(e, px.StreamFilling)}
    for reading in run.readings:
        plan, counts = reading.plan, reading.final
        if counts is None or plan.kind == "events" or plan.capacity is None:
            continue  # never opened; told in itself; or of a capacity that follows what comes
        if plan.policy is px.Overflow.CONFLATE or not counts.dropped:
            continue
        if (
            counts.name,
            counts.capacity,
            plan.policy,
        ) not in filled:  # under pressure it may be CONFLATE by now
            run.blame(f"{plan}: {counts}, and it was never told that it fills")


async def judge_left(run: Run, left_at: float) -> None:
    """Look at what is there behind the gateway."""
    if (took := trio.current_time() - left_at) > 1.0:
        run.blame(f"leaving the gateway took {took:.2f} s")
    await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(60)
    if crashes := run.sim.statistics().crashes:
        run.blame(f"the simulator crashed {crashes} times")
