"""Playing what a market hub sent, and what the pipeline was told beside it, in the order of the record."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import attrs
import pyarrow as pa
import trio

from trio_projectx._config import Limits
from trio_projectx._errors import ConnectionLost, ProtocolError
from trio_projectx._events import GatewayEvent, JournalDamaged
from trio_projectx._logs import fields
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.loss import Loss
from trio_projectx.flow.marks import (
    GapMark,
    LineMark,
    LossMark,
    Mark,
    MendMark,
    StateMark,
    WakeMark,
    limits_in_force,
    read_mark,
)
from trio_projectx.flow.mending import mend_again
from trio_projectx.flow.notices import Notice, What
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.quiet import EventClock
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.journal.seal import Damage
from trio_projectx.replaying.ahead import Pace
from trio_projectx.replaying.files import Piece
from trio_projectx.replaying.reader import EpochReader, ReadCounts
from trio_projectx.replaying.stage import RecordedHub, Times

_log: Final = logging.getLogger("trio_projectx")
#: Connections whose reader is kept although nothing is subscribed on them.
_READERS: Final = 64
#: How many connections later nothing comes any more of one that has gone.
_GONE: Final = 1000
_COLUMNS: Final = ("ts_recv", "epoch", "now", "what", "text")
_Key = tuple[int, Subscription]


@attrs.frozen(slots=True)
class Behind:
    """Something the validator is to do behind the reads before it; an `Order`."""

    serial: int
    work: Callable[[], Awaitable[None]]

    async def act(self) -> None:
        """Do it."""
        await self.work()


async def in_contract(
    market: MarketPipeline,
    contract: ContractPipeline,
    work: Callable[[], Awaitable[None]],
    serial: int | None = None,
) -> None:
    """Have a contract's task do something behind everything that was delivered, and wait for it.

    ``serial`` is how many reads the validator has had; None: as many as the market.
    """
    done = trio.Event()
    behind = market.serial if serial is None else serial
    market.act(Behind(behind, lambda: contract.behind(work, done)))
    await done.wait()


class FramePlayer:
    """Plays frames. The numbers of lines are those of the record, moved so that no two recordings share one."""

    def __init__(
        self,
        market: MarketPipeline,
        limits: Limits,
        pace: Pace,
        times: Times,
        tell: Callable[[GatewayEvent], None],
    ) -> None:
        self._market = market
        self._limits = limits
        self._pace = pace
        self._times = times
        self._tell = tell
        self.hub = RecordedHub(self._wished)
        self.counts = ReadCounts()
        self._run = ""
        self._is_torn = False  # marks are missing: the next `StateMark` says what is so
        self._shift = self._highest = 0
        self._readers: dict[int, EpochReader] = {}
        self._lines: dict[_Key, int | None] = {}  # where each was acknowledged
        self._known: set[int] = set()
        self._told: set[_Key] = set()  # those that a pipeline was told of

    async def play(self, pieces: trio.abc.ReceiveChannel[Piece]) -> None:
        """Play all of a record."""
        async for piece in pieces:
            if isinstance(piece, Damage):
                self._damaged(piece)
            else:
                await self._rows(piece)

    async def _rows(self, batch: pa.RecordBatch) -> None:
        columns: list[Iterable[object]] = [batch.column(name).to_pylist() for name in _COLUMNS]
        for ts_recv, epoch, now, what, text in zip(*columns, strict=True):
            assert isinstance(ts_recv, int) and isinstance(epoch, int)  # noqa: PT018  the schema says so
            assert isinstance(now, float) and isinstance(text, str)  # noqa: PT018
            if what == "frame":
                await self._pace.until(now)
                self._times.ts_recv, self._times.now = ts_recv, now
                await self._frame(epoch + self._shift, text, ts_recv, now)
            else:
                await self._mark(text, ts_recv, now)

    async def _frame(self, line: int, text: str, ts_recv: int, now: float) -> None:
        reader = self._readers.get(line)
        if reader is None:
            self._forget_readers()
            reader = self._readers[line] = EpochReader(self._market, self._limits.record_bytes, self.counts)
            self._highest = max(self._highest, line)
        found = reader.read(text)
        if found is None:
            return
        if line not in self._known and (found.trades or found.quotes):
            self._assume(line)
        await self._market.deliver(found, ts_recv, line, now)

    def _forget_readers(self) -> None:
        """Connections come and go; what is kept of them does not grow with the record."""
        if len(self._readers) >= _READERS:
            needed = {line for line, _ in self._lines}
            self._readers = {line: each for line, each in self._readers.items() if line in needed}
            self._known = {line for line in self._known if line in needed or line > self._highest - _GONE}

    def _assume(self, line: int) -> None:
        """A line brings data that the record has not told of: that is in what is missing of it."""
        for wanted in {wanted for _, wanted in self._lines} | {w.wanted for w in self.hub.wants.all()}:
            self._line(What.JOIN, line, wanted, "", self._times.ts_recv, 0)
            self._line(What.ACKNOWLEDGED, line, wanted, "", self._times.ts_recv, 0)
        self._known.add(line)

    # -- marks

    async def _mark(self, text: str, ts_recv: int, now: float) -> None:
        try:
            mark = read_mark(text)
        except ProtocolError as exc:
            self._damaged(Damage("frames", str(exc), 0))
            return
        if isinstance(mark, StateMark):
            self._times.ts_recv, self._times.now = ts_recv, now
            self._state(mark, ts_recv)
            return
        await self._pace.until(now)
        self._times.ts_recv, self._times.now = ts_recv, now
        await self._act(mark)

    async def _act(self, mark: Mark) -> None:
        match mark:
            case LineMark():
                self._line_mark(mark)
            case WakeMark():
                contract = self._market.known(mark.contract_id)
                if contract is not None:
                    clock = EventClock(mark.ts_event, mark.seen_at)
                    wake = contract.wake
                    await in_contract(self._market, contract, lambda: wake(clock, mark.until, -math.inf))
            case GapMark():
                contract = self._market.known(mark.contract_id)
                if contract is not None:
                    end_gap = contract.end_gap
                    await in_contract(self._market, contract, lambda: end_gap(mark.ts_event))
            case MendMark():
                contract = self._market.known(mark.contract_id)
                if contract is not None:
                    await in_contract(self._market, contract, partial(mend_again, contract, mark))
            case LossMark():
                self._lost(mark)
            case StateMark():
                pass

    def _lost(self, mark: LossMark) -> None:
        """The live streams ended here; those of a replay go on, behind a gap."""
        for contract in self._market.contracts:
            loss = Loss(ConnectionLost(mark.reason), contract, (), ())
            self._market.act(Behind(self._market.serial, partial(contract.lose, loss)))

    def _state(self, mark: StateMark, at_ns: int) -> None:
        if mark.run == self._run and not (mark.lost or self._is_torn):
            return
        if self._run:
            why = f"{mark.lost} frames are missing in the record" if mark.lost else "another recording begins"
            self._leave_all("the record is damaged" if self._is_torn else why, at_ns)
        self._is_torn = False
        if dict(mark.limits) != dict(limits_in_force(self._limits)):
            _log.warning(
                "replay: the record was made with other limits; bars may differ from those of then",
                extra=fields("record_of_other_limits"),
            )
        self._run = mark.run
        self._pace.restart()
        for line in mark.lines:
            self._line_mark(line)

    def _leave_all(self, cause: str, at_ns: int) -> None:
        for line, wanted in list(self._lines):
            self._line(What.LEAVE, line, wanted, cause, at_ns, 0)
        self._shift = self._highest
        self._readers.clear()

    def _damaged(self, damage: Damage) -> None:
        """Tell it, and have a gap where rows are missing; the lines go on, as far as anybody knows."""
        at = self._times.ts_recv
        _log.warning(
            "replay: %s: %s; what follows is behind a gap",
            damage.name,
            damage.reason,
            extra=fields("record_damaged", file=damage.name),
        )
        self._tell(JournalDamaged(damage.name, damage.reason, damage.rows_saved, at))
        self._is_torn = True
        before = dict(self._lines)
        for line, wanted in before:
            self._line(What.LEAVE, line, wanted, f"the record is damaged: {damage.reason}", at, 0)
        for (line, wanted), position in before.items():
            self._line(What.JOIN, line, wanted, "", at, 0)
            if position is not None:
                # Nobody subscribed anew, so nothing is sent again: the first trade ends the gap (0: from ever on).
                self._line(What.ACKNOWLEDGED, line, wanted, "", 0, 0)
        self._readers.clear()

    def _line_mark(self, mark: LineMark) -> None:
        try:
            what, wanted = What(mark.what), Subscription(Kind(mark.kind), mark.contract_id)
        except ValueError:
            return  # of a kind that a later version knows
        self._line(what, mark.line + self._shift, wanted, mark.cause, mark.at_ns, mark.ahead)

    def _line(self, what: What, line: int, wanted: Subscription, cause: str, at_ns: int, ahead: int) -> None:
        key = (line, wanted)
        if (what is What.JOIN) == (key in self._lines):
            return  # told before, as where a record begins; or never joined
        position = self._market.serial + ahead
        if what is What.JOIN:
            self._lines[key] = None
            self._known.add(line)
            self._highest = max(self._highest, line)
        elif what is What.ACKNOWLEDGED:
            if self._lines[key] is not None:
                return
            self._lines[key] = position
        elif what is What.LEAVE:
            del self._lines[key]
        self._note(what, key, cause, at_ns)
        if what is What.ACKNOWLEDGED:
            self.hub.acknowledged(wanted, position)

    def _note(self, what: What, key: _Key, cause: str, at_ns: int) -> None:
        line, wanted = key
        contract = self._market.known(wanted.contract_id)
        if contract is None:
            return
        if what is What.LEAVE:
            self._told.discard(key)
        else:
            self._told.add(key)
        serial, now = self._market.serial, self._times.now
        self._market.act(Notice(what, line, contract, wanted.kind, cause, serial, at_ns, now))

    def _wished(self, wanted: Subscription) -> int | None:
        """A stream was opened: tell a new pipeline of the lines there are; return where they were acknowledged."""
        found: int | None = None
        for key, position in self._lines.items():
            if key[1] != wanted:
                continue
            if key not in self._told:
                self._note(What.JOIN, key, "", self._times.ts_recv)
                if position is not None:
                    self._note(What.ACKNOWLEDGED, key, "", self._times.ts_recv)
            found = position if found is None else found
        return None if found is None else self._market.serial
