"""Keeps a hub's lines: as many as there should be, on which endpoint, and one for another when that is due.

Nothing here waits. `Keeper.look` is called by the hub's supervisor and returns when it wants to be called again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Generic, Protocol

from trio_projectx._errors import ConnectionLost, SubscriptionError, TrioProjectXError
from trio_projectx.connection.cells import Cell
from trio_projectx.connection.line import Line, LineTools, Owner
from trio_projectx.connection.shards import Shard, place, unhealthy
from trio_projectx.connection.successions import LOOK_S, Succession, look_for_doubt
from trio_projectx.connection.wants import Want
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.flow.subscriptions import D, Subscription

#: How often health and load are compared where there are several lines.
_REBALANCE_S: Final = 5.0
_DOUBT: Final = "a connection may have fallen silent before there was another beside it"


class KeeperOwner(Owner, Protocol):
    """The hub."""

    def replaced(self, cause: str, *, overlapped: bool) -> None:
        """A line took the place of another."""
        ...

    def not_replaced(self, cause: str, error: TrioProjectXError, retry_in_s: float) -> None:
        """It could not; the old one stays."""
        ...

    def lost(self, error: TrioProjectXError) -> None:
        """No line is left, and none can be had."""
        ...


class Keeper(Generic[D]):
    """The lines of one hub."""

    def __init__(self, tools: LineTools[D], owner: KeeperOwner, tasks: BackgroundTasks) -> None:
        self._tools = tools
        self._owner = owner
        self._tasks = tasks
        self._options = tools.config.reconnect
        self._shards: list[Shard[D]] = []
        self._successions: list[Succession[D]] = []
        self._moves: list[tuple[Subscription, Shard[D], Shard[D]]] = []
        self._compare_at = math.inf
        self._not_before: dict[Line[D], float] = {}

    @property
    def has_begun(self) -> bool:
        """Whether there are lines."""
        return bool(self._shards)

    @property
    def shards(self) -> list[Shard[D]]:
        """The groups of subscriptions."""
        return self._shards

    @property
    def lines(self) -> list[Line[D]]:
        """All lines, those that are to replace others included."""
        lines = [line for shard in self._shards for line in shard.lines]
        return lines + [each.new for each in self._successions]

    @property
    def is_live(self) -> bool:
        """Whether there is a live line; what no line brings is another question."""
        return any(shard.is_live for shard in self._shards)

    def brings(self, wanted: Subscription) -> bool:
        """Whether a line is subscribed to it, acknowledged."""
        return self.cell_of(wanted) is not None

    def cell_of(self, wanted: Subscription) -> Cell | None:
        """Return the cell of a line that is subscribed to it, acknowledged."""
        brought = (line.cells.get(wanted) for line in self.lines if line.cells and line.brings(wanted))
        return next(brought, None)

    # -- what the hub asks

    def begin(self, wants: Iterable[Want]) -> None:
        """Make the first line; its first failure ends it, unless ``reconnect.at_start``."""
        self._add_shard(once=not self._options.at_start)
        for want in wants:
            self.declare(want.wanted)

    def declare(self, wanted: Subscription) -> None:
        """Have it on a line."""
        shard = place(self._shards, wanted, self._options) or self._add_shard(once=False)
        shard.wishes.add(wanted)
        for line in self._lines_of(shard):
            line.retry(wanted)  # it may have been refused to somebody who has just left
            line.poke()

    def ask_again(self, wanted: Subscription) -> None:
        """Nobody brings it. Who was refused it beside another that did asks once more, if nobody else is going to."""
        lines = [line for line in self.lines if wanted in line.wishes and not line.is_over]
        if all(line.refuses(wanted) for line in lines):
            for line in lines:
                line.retry(wanted)

    def withdraw(self, wanted: Subscription) -> None:
        """Have it on no line."""
        self._moves = [move for move in self._moves if move[0] != wanted]
        for shard in self._shards:
            if wanted in shard.wishes:
                shard.wishes.discard(wanted)
                self._poke(shard)

    def fail(self, subject: str, error: ConnectionLost) -> None:
        """The connections that should bring ``subject`` are dead, though they look alive."""
        for shard in self._shards:
            if subject in shard.subjects:
                for line in shard.lines:
                    line.fail(error)

    def replace_doubtful(self, cause: str) -> None:
        """Replace every line, the new one first: the old ones may be dead. Where no trade shows that both live, there
        is a gap.
        """  # noqa: D205
        for shard in self._shards:
            for line in shard.lines:
                self._succeed(shard, line, cause, in_doubt=True)

    def prove(self, until: float) -> None:
        """Ask every line for a proof that nothing sent before ``until`` (trio's clock) is still on its way."""
        for line in self.lines:
            if line.epoch is not None:
                line.epoch.liveness.prove(until)

    # -- lines

    def _lines_of(self, shard: Shard[D]) -> list[Line[D]]:
        """Return the lines of a group, and those that are to replace them."""
        return shard.lines + [each.new for each in self._successions if each.shard is shard]

    def _poke(self, shard: Shard[D]) -> None:
        """The wishes of a group have changed."""
        for line in self._lines_of(shard):
            line.poke()

    def _add_shard(self, *, once: bool) -> Shard[D]:
        shard: Shard[D] = Shard()
        self._shards.append(shard)
        shard.lines.append(self._start(shard, once=once))
        if len(self._shards) > 1:
            self._compare_at = min(self._compare_at, self._tools.now() + _REBALANCE_S)
        return shard

    def _start(
        self, shard: Shard[D], *, once: bool = False, site: int | None = None, after: Line[D] | None = None
    ) -> Line[D]:
        line = Line(self._tools, self._owner, shard.wishes, once=once, site=site, after=after)
        self._tasks.start_soon(line.run, name=f"{self._tools.name} line")
        return line

    def look(self, now: float) -> float:
        """Do what is due; return when something will be (trio's clock)."""
        self._look_at_successions(now)
        if not self._look_at_ends(now):
            return math.inf
        self._look_at_moves(now)
        nearest = now + LOOK_S if self._successions or self._moves else math.inf
        for shard in self._shards:
            nearest = min(nearest, self._look_at_redundancy(shard, now))
            for line in list(shard.lines):
                nearest = min(nearest, self._look_at_age(shard, line, now))
        return min(nearest, self._compare(now))

    def _look_at_ends(self, now: float) -> bool:
        """A line that is over for good leaves its place to nobody, or takes the hub with it: False."""
        for shard in self._shards:
            for line in [line for line in shard.lines if line.fatal is not None]:
                shard.lines.remove(line)
                self._not_before.pop(line, None)
                assert line.fatal is not None
                if not (shard.lines or self._can_do_without(shard)):
                    self._lose(line.fatal)
                    return False
                wait = self._options.breaker_s
                shard.no_second_before = now + wait
                self._owner.not_replaced("a second connection", line.fatal, wait)
        return True

    def _can_do_without(self, shard: Shard[D]) -> bool:
        """Give what a group without a line carried to another one; False if there is none that could."""
        rest = [each for each in self._shards if each is not shard]
        well = [each for each in rest if each.is_live]
        if not well and (shard.wishes or not rest):
            return False
        self._shards.remove(shard)
        moving = {wanted for wanted, source, target in self._moves if target is shard and source in rest}
        self._moves = [move for move in self._moves if shard not in move[1:]]
        if well:
            target = min(well, key=lambda each: len(each.subjects))
            target.wishes |= shard.wishes - moving
            self._poke(target)
        if not self._shards[1:]:
            self._compare_at = math.inf
        return True

    def _lose(self, error: TrioProjectXError) -> None:
        for line in self.lines:
            line.stop(str(error))
        self._shards.clear()
        self._successions.clear()
        self._moves.clear()
        self._not_before.clear()
        self._compare_at = math.inf
        self._owner.lost(error)

    # -- one line for another

    def _succeed(
        self,
        shard: Shard[D],
        old: Line[D],
        cause: str,
        site: int | None = None,
        *,
        in_doubt: bool = False,
    ) -> None:
        if not old.is_live or any(each.old is old for each in self._successions):
            return
        number = old.site_no if site is None else site
        self._successions.append(Succession(shard, old, self._start(shard, site=number), cause, in_doubt))

    def _look_at_successions(self, now: float) -> None:
        for each in list(self._successions):
            if each.is_level(self._tools.sink, now, self._tools.config.timeouts, self._is_safe):
                self._finish(each, overlapped=not each.is_torn)
            elif each.is_outrun:
                self._successions.remove(each)
                each.new.stop("the other connection is made anew")
            elif not each.old.is_live and not each.new.is_over:
                self._finish(each, overlapped=False)
            elif each.has_failed and now >= each.old.token_ends_at:
                self._break_then_make(each)
            elif each.is_refused:
                self._give_up(each, now)

    def _finish(self, each: Succession[D], *, overlapped: bool) -> None:
        self._successions.remove(each)
        self._not_before.pop(each.old, None)
        each.finish(f"replaced by another connection: {each.cause}")
        self._owner.replaced(each.cause, overlapped=overlapped)

    def _break_then_make(self, each: Succession[D]) -> None:
        """The old one's token ends, and the service wants no second connection beside it."""
        each.new.stop(each.cause)
        each.new = self._start(each.shard, site=each.new.site_no, after=each.old)
        self._finish(each, overlapped=False)

    def _give_up(self, each: Succession[D], now: float) -> None:
        """The service does not want the second connection: the old one stays, for as long as its token lives."""
        self._successions.remove(each)
        error = each.new.fatal or SubscriptionError(
            "the service refused a subscription to a second connection"
        )
        each.new.stop("not wanted")
        wait = max(0.0, min(self._tools.config.refresh.retry_cap_s, each.old.token_ends_at - now))
        self._not_before[each.old] = now + wait
        self._owner.not_replaced(each.cause, error, wait)

    def _look_at_age(self, shard: Shard[D], line: Line[D], now: float) -> float:
        """Begin what is due: a newer token, an age, the preferred endpoint; return when something will be."""
        if not line.is_live or line.live_since is None or any(each.old is line for each in self._successions):
            return math.inf
        held_until = self._not_before.get(line, -math.inf)
        if now < held_until:
            return held_until
        if line.has_old_token:
            self._succeed(shard, line, "a newer token")
            return now + LOOK_S
        home, age = math.inf, math.inf
        if line.site_no != 0:
            home = line.live_since + self._options.return_s
        if self._options.max_connection_age_s is not None:
            age = line.live_since + self._options.max_connection_age_s * line.spread
        if now >= home:
            self._succeed(shard, line, "the preferred endpoint may be back", site=0)
        elif now >= age:
            self._succeed(shard, line, "the age of the connection")
        else:
            return min(home, age)
        return now + LOOK_S

    def _look_at_redundancy(self, shard: Shard[D], now: float) -> float:
        """Add the second line, once the first is live: a failure at the start is one failure, not two."""
        if not self._options.redundant or not shard.is_live:
            return math.inf
        if len(shard.lines) > 1:
            return min(self._settle_quiet(line, now) for line in shard.lines)
        if now < shard.no_second_before:
            return shard.no_second_before
        shard.lines.append(self._start(shard))
        return math.inf

    def _is_safe(self, line: Line[D], cell: Cell) -> bool:
        """Whether nothing can be missing from before a line's acknowledgement: who brought the same lived beyond it."""
        sink, overlap_s = self._tools.sink, self._tools.config.timeouts.overlap_s
        others = [
            each
            for each in self.lines
            if each is not line
            and each.epoch is not None
            and each.is_on(cell.wanted)
            and sink.is_level(each.epoch.number, cell.wanted)
        ]
        return not others or any(each.has_lived(cell.acked_at, overlap_s) for each in others)

    def _is_read_late(self, wanted: Subscription) -> bool:
        """Whether what shows that all are level may lie unread, where a stream holds it back (``BLOCK``)."""
        slack_s = self._tools.config.timeouts.overlap_s
        bringing = [line.epoch for line in self.lines if line.epoch is not None and line.is_on(wanted)]
        return any(epoch.liveness.is_read_late(slack_s) for epoch in bringing)

    def _settle_quiet(self, line: Line[D], now: float) -> float:
        """Take a line for level that has been there for long enough, though no trade has shown it."""
        if not line.is_live or line.cells is None or line.epoch is None:
            return math.inf
        nearest, number, sink = math.inf, line.epoch.number, self._tools.sink
        for cell in line.cells.on():
            if not sink.is_level(number, cell.wanted):
                due = cell.acked_at + self._tools.config.timeouts.overlap_s
                if now >= due:
                    self._settle(number, line, cell, now)
                nearest = min(nearest, max(due, now + LOOK_S))
        return nearest

    def _settle(self, number: int, line: Line[D], cell: Cell, now: float) -> None:
        """Take a line for level, if nothing is missing then; if that is in doubt, there is a gap."""
        sink = self._tools.sink
        if not self._is_read_late(cell.wanted) and self._is_safe(line, cell):
            doubts = look_for_doubt(sink, number, cell, now, self._tools.config.timeouts)
            if doubts is not None:
                sink.settle(number, cell.wanted, _DOUBT if doubts else "")

    # -- contracts from one line to another

    def _compare(self, now: float) -> float:
        if now < self._compare_at or len(self._shards) < 2:
            return self._compare_at
        self._compare_at = now + _REBALANCE_S
        pair = unhealthy(self._shards, now)
        if pair is not None and not self._moves:
            source, target = pair
            # One contract at a time; but what has no connection at all is to have one at once.
            subjects = {min(source.subjects, key=str)} if source.is_live else source.subjects
            for wanted in [each for each in source.wishes if each.subject in subjects]:
                target.wishes.add(wanted)
                self._moves.append((wanted, source, target))
            self._poke(target)
        return now + LOOK_S if self._moves else self._compare_at

    def _look_at_moves(self, now: float) -> None:
        for move in list(self._moves):
            wanted, source, target = move
            gives = source
            if any(line.refuses(wanted) for line in target.lines) and source.is_live:
                gives = target  # it stays where it is
            elif not self._has_moved(wanted, target, now) and source.is_live:
                continue
            self._moves.remove(move)
            gives.wishes.discard(wanted)
            self._poke(gives)

    def _has_moved(self, wanted: Subscription, target: Shard[D], now: float) -> bool:
        for line in target.lines:
            cell = None if line.cells is None else line.cells.get(wanted)
            if cell is None or line.epoch is None or not line.brings(wanted):
                return False
            if not self._tools.sink.is_level(line.epoch.number, wanted):
                if now - cell.acked_at >= self._tools.config.timeouts.overlap_s:
                    self._settle(line.epoch.number, line, cell, now)
                return False
        return True
