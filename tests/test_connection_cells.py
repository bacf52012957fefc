"""The cells of one epoch against a model: the last wish wins, one call at a time, whatever is answered when."""

from __future__ import annotations

import math
import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Gathered

from trio_projectx import ConnectionLost, SubscriptionError, TrioProjectXError
from trio_projectx.connection.calls import Call, PendingCalls
from trio_projectx.connection.cells import Cell, Cells, CellState
from trio_projectx.connection.endings import Silent
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.signalr import CallCompleted, CallFailed, JsonValue

SUBSCRIPTIONS = [Subscription(Kind.TRADES, f"CON.F.US.{name}.U26") for name in ("MNQ", "EP", "GCE")]
A, B, C = SUBSCRIPTIONS
S = 15.0


@attrs.define
class Lively:
    is_held_back: bool = False
    proof_wanted: float | None = None
    lives: bool = True
    record_at: float = 0.0

    def prove(self, until: float) -> None:
        self.proof_wanted = until

    def heard_since(self, at: float) -> bool:
        return self.lives


@attrs.define(eq=False)
class Sent:
    """A call on its way."""

    call_id: str
    wanted: Subscription
    is_subscribe: bool


class FakeEpoch:
    """What cells need of an epoch; the calls are real, and the test answers them."""

    def __init__(self) -> None:
        self.name = "market hub"
        self.number = 3
        self.liveness = Lively()
        self.calls = PendingCalls()
        self.sent: list[Sent] = []
        self.log: list[str] = []
        self.failed: TrioProjectXError | None = None
        self.is_gone = False

    def invoke(self, target: str, *arguments: JsonValue, then: object = None) -> Call:
        if self.is_gone:
            raise ConnectionLost("gone")
        call_id = str(len(self.log))
        self.log.append(target)
        (wanted,) = [each for each in SUBSCRIPTIONS if each.arguments == arguments]
        self.sent.append(Sent(call_id, wanted, target == wanted.subscribe))
        assert self.sent[-1].is_subscribe or target == wanted.unsubscribe
        return self.calls.add(call_id, target, then)  # type: ignore[arg-type]

    def fail(self, error: TrioProjectXError) -> None:
        self.failed = self.failed or error


@attrs.define(eq=False)
class Bench:
    """Cells, and a server that holds subscriptions as the calls say that it has handled."""

    epoch: FakeEpoch = attrs.Factory(FakeEpoch)
    sink: Gathered = attrs.Factory(Gathered)
    wishes: set[Subscription] = attrs.Factory(set)
    established: set[Subscription] = attrs.Factory(set)
    acks: list[Subscription] = attrs.Factory(list)
    refusals: list[tuple[Subscription, SubscriptionError]] = attrs.Factory(list)
    server: set[Subscription] = attrs.Factory(set)
    rung: bool = False
    now: float = 0.0
    cells: Cells[object] = attrs.field(init=False)  # type: ignore[type-var]

    def __attrs_post_init__(self) -> None:
        self.cells = Cells(self.epoch, self.sink, self.wishes, self, subscribe_s=S, ring=self.ring)  # type: ignore[arg-type]

    def ring(self) -> None:
        self.rung = True

    def acknowledged(self, cell: Cell) -> None:
        self.acks.append(cell.wanted)

    def refused(self, cell: Cell, error: SubscriptionError) -> None:
        self.refusals.append((cell.wanted, error))

    def is_established(self, wanted: Subscription) -> bool:
        return wanted in self.established

    def act(self) -> float:
        self.rung = False
        return self.cells.act(self.now)

    def wish(self, *wanted: Subscription) -> float:
        self.wishes.clear()
        self.wishes.update(wanted)
        return self.act()

    def answer(self, sent: Sent, error: str | None = None) -> None:
        self.epoch.sent.remove(sent)
        self.epoch.liveness.record_at = self.now
        if error is not None:
            self.epoch.calls.settle(CallFailed(sent.call_id, error))
            return
        (self.server.add if sent.is_subscribe else self.server.discard)(sent.wanted)
        self.epoch.calls.settle(CallCompleted(sent.call_id, None), 40)

    def answer_all(self) -> None:
        while self.epoch.sent:
            self.answer(self.epoch.sent[0])
            self.act()

    def state(self, wanted: Subscription) -> CellState | None:
        cell = self.cells.get(wanted)
        return None if cell is None else cell.state

    def check(self) -> None:
        for wanted in SUBSCRIPTIONS:
            under_way = [each for each in self.epoch.sent if each.wanted == wanted]
            assert len(under_way) <= 1, "one call at a time for each subscription"
            notes = [what for what, _, each in self.sink.noted if each == wanted]
            for before, what in zip(["leave", *notes], notes, strict=False):
                assert (
                    what
                    in {"leave": ["join"], "join": ["acknowledged", "leave"], "acknowledged": ["leave"]}[
                        before
                    ]
                )
            joined = bool(notes) and notes[-1] != "leave"
            assert joined is (self.state(wanted) in (CellState.SUBSCRIBING, CellState.ON))
        assert {cell.wanted for cell in self.cells.on()} == {w for w in SUBSCRIPTIONS if self.cells.is_on(w)}


# The model


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32), st.floats(0, 1), st.floats(0.02, 1))
def test_of_a_thousand_wishes_the_last_one_wins(seed: int, answers: float, acts: float) -> None:
    """Wishes and answers in any order; a line acts now and then, when its bell was rung."""
    chance, bench = random.Random(seed), Bench()
    for step in range(1000):
        wanted = chance.choice(SUBSCRIPTIONS)
        (bench.wishes.add if chance.random() < 0.5 else bench.wishes.discard)(wanted)
        bench.ring()
        if bench.epoch.sent and chance.random() < answers:
            bench.answer(chance.choice(bench.epoch.sent))
        if bench.rung and chance.random() < acts:
            bench.act()
        if step % 10 == 0:
            bench.check()
    bench.act()
    while bench.epoch.sent:
        bench.answer(chance.choice(bench.epoch.sent))
        assert bench.rung
        bench.act()
        bench.check()
    assert bench.server == bench.wishes == {cell.wanted for cell in bench.cells.on()}
    assert bench.cells.is_settled
    assert {
        each for each in SUBSCRIPTIONS if bench.state(each) is not None
    } == bench.wishes  # nothing is kept
    assert math.isinf(bench.act())
    assert not bench.epoch.sent


ACTIONS = st.one_of(
    st.tuples(st.just("wish"), st.sampled_from(SUBSCRIPTIONS)),
    st.tuples(st.just("drop"), st.sampled_from(SUBSCRIPTIONS)),
    st.tuples(st.just("retry"), st.sampled_from(SUBSCRIPTIONS)),
    st.tuples(st.sampled_from(["answer", "refuse"]), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, 7.5, S])),
    st.tuples(st.just("hold back"), st.booleans()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_with_refusals_and_answers_that_never_come(steps: list[tuple[str, object]]) -> None:
    bench, refused = Bench(), set[Subscription]()
    for what, which in steps:
        match what, which:
            case "wish", Subscription():
                bench.wishes.add(which)
            case "drop", Subscription():
                bench.wishes.discard(which)
            case "retry", Subscription():
                bench.cells.retry(which)
            case "answer" | "refuse", int() if which < len(bench.epoch.sent):
                bench.answer(bench.epoch.sent[which], "no" if what == "refuse" else None)
            case "wait", float():
                # Whoever waits does so until what is due: an answer that is overdue may come afterwards still.
                bench.now += which
                late = [s for s in bench.epoch.sent if bench.now >= _due(bench, s.wanted)]
                if not bench.epoch.liveness.is_held_back:
                    bench.epoch.sent = [each for each in bench.epoch.sent if each not in late]
            case "hold back", bool():
                bench.epoch.liveness.is_held_back = which
            case _:
                continue
        due = bench.act()
        assert due > bench.now
        bench.check()
    refused = {each for each in bench.wishes if bench.state(each) is CellState.REFUSED}
    bench.answer_all()
    assert {cell.wanted for cell in bench.cells.on()} == bench.wishes - refused
    assert bench.cells.is_settled
    for wanted, error in bench.refusals:
        assert isinstance(error, SubscriptionError)
        assert ("the hub refused" in str(error)) is (error.text is not None)
        assert wanted in SUBSCRIPTIONS
    assert bench.epoch.failed is None
    # Once more, now that everybody answers: what was refused is had.
    for wanted in refused:
        bench.cells.retry(wanted)
    bench.act()
    bench.answer_all()
    assert {cell.wanted for cell in bench.cells.on()} == bench.wishes
    assert all(cell.error is None for cell in bench.cells.on())
    bench.wish()
    bench.answer_all()
    assert bench.cells.on() == []
    assert not any(bench.state(each) for each in SUBSCRIPTIONS)


def _due(bench: Bench, wanted: Subscription) -> float:
    cell = bench.cells.get(wanted)
    return math.inf if cell is None else cell.due


# Step by step


def test_from_wish_to_acknowledgement_and_back() -> None:
    bench = Bench()
    assert bench.cells.is_settled  # nothing is wished
    assert bench.wish(A) == S
    assert not bench.cells.is_settled
    assert (bench.state(A), bench.cells.is_on(A)) == (CellState.SUBSCRIBING, False)
    assert bench.sink.noted == [("join", 3, A)]  # before it is asked for
    bench.now = 2.0
    bench.answer(bench.epoch.sent[0])
    assert bench.rung
    assert math.isinf(bench.act())
    cell = bench.cells.get(A)
    assert cell is not None
    assert (cell.position, cell.acked_at, bench.acks) == (40, 2.0, [A])
    assert bench.cells.is_on(A)
    bench.wish()
    assert bench.sink.causes == ["nobody needs it"]
    assert bench.state(A) is CellState.UNSUBSCRIBING
    bench.answer_all()
    assert bench.state(A) is None
    assert bench.epoch.log == ["SubscribeContractTrades", "UnsubscribeContractTrades"]


def test_a_storm_of_wishes_costs_two_calls() -> None:
    bench = Bench()
    bench.wish(A)
    for _ in range(500):
        bench.wish()
        bench.wish(A)
    bench.wish()
    bench.answer_all()
    assert len(bench.epoch.log) == 2
    assert bench.server == set()


def test_a_refusal_is_reported_once_and_not_asked_again() -> None:
    bench = Bench()
    bench.wish(A, B)
    bench.answer(next(each for each in bench.epoch.sent if each.wanted == A), "not for you")
    bench.answer_all()
    for _ in range(5):
        assert math.isinf(bench.act())
    ((wanted, error),) = bench.refusals
    assert (wanted, error.text) == (A, "not for you")
    assert bench.sink.causes == [f"the hub refused {A}"]
    assert bench.cells.is_settled
    assert not bench.cells.is_on(A)
    assert bench.cells.is_on(B)
    assert len(bench.epoch.log) == 2
    bench.cells.retry(B)  # only what was refused
    bench.cells.retry(C)
    assert not bench.rung
    bench.cells.retry(A)
    assert bench.rung
    bench.act()
    bench.answer_all()
    assert bench.cells.is_on(A)
    cell = bench.cells.get(A)
    assert cell is not None
    assert cell.error is None


def test_an_unsubscription_that_is_refused_or_unanswered_is_one() -> None:
    for is_answered in (True, False):
        bench = Bench()
        bench.wish(A)
        bench.answer_all()
        bench.wish()
        if is_answered:
            bench.answer(bench.epoch.sent[0], "no")
        else:
            bench.now += S
        bench.act()
        assert bench.state(A) is None
        assert bench.refusals == []


def test_wished_again_while_it_is_unsubscribed_it_is_asked_for_after_the_answer() -> None:
    bench = Bench()
    bench.wish(A)
    bench.answer_all()
    bench.wish()
    bench.wish(A)
    assert len(bench.epoch.sent) == 1
    bench.answer_all()
    assert bench.epoch.log == [
        "SubscribeContractTrades",
        "UnsubscribeContractTrades",
        "SubscribeContractTrades",
    ]
    assert bench.server == {A}
    assert [what for what, _, _ in bench.sink.noted] == [
        "join",
        "acknowledged",
        "leave",
        "join",
        "acknowledged",
    ]


def test_what_is_not_answered_in_time_is_refused_and_ended_when_nobody_wants_it() -> None:
    """The hub may have it after all: whoever leaves it alone would be sent data for ever."""
    bench = Bench()
    bench.wish(A, B)
    bench.answer(next(each for each in bench.epoch.sent if each.wanted == B))
    bench.now = S - 0.01
    assert bench.act() == S
    assert bench.refusals == []
    bench.now = S
    assert math.isinf(bench.act())
    ((wanted, error),) = bench.refusals
    assert (wanted, error.text) == (A, None)
    assert "did not acknowledge SubscribeContractTrades within 15 s" in str(error)
    bench.answer(bench.epoch.sent[0])  # late: the server has it
    bench.act()
    assert not bench.cells.is_on(A)
    bench.wish(B)
    assert bench.state(A) is CellState.UNSUBSCRIBING
    bench.answer_all()
    assert bench.server == {B}
    assert bench.state(A) is None


def test_what_our_own_back_pressure_holds_back_is_not_overdue() -> None:
    bench = Bench()
    bench.wish(A)
    bench.epoch.liveness.is_held_back = True
    for now in range(15, 60):
        bench.now = float(now)
        due = bench.act()
        assert bench.now < due <= bench.now + 1
    bench.epoch.liveness.is_held_back = False
    bench.answer_all()
    assert bench.cells.is_on(A)
    assert bench.refusals == []


@pytest.mark.parametrize("established", [{A}, {A, B}, {A, B, C}])
def test_a_hub_that_answers_nothing_of_what_it_took_before_is_no_hub(established: set[Subscription]) -> None:
    """Then the connection is given up; no stream that was open breaks for it."""
    bench = Bench(established=established)
    bench.wish(*established)
    bench.now = S
    bench.act()
    assert isinstance(bench.epoch.failed, Silent)
    assert "no subscription was acknowledged" in str(bench.epoch.failed)
    assert bench.refusals == []


def test_where_the_hub_has_answered_anything_one_alone_is_refused() -> None:
    bench = Bench(established={A, B})
    bench.wish(A, B)
    bench.answer(bench.epoch.sent[0], "no")
    bench.now = S
    assert bench.act() == S + 5
    assert len(bench.refusals) == 1
    assert bench.epoch.liveness.proof_wanted == S
    bench.now = S + 5
    bench.act()
    assert bench.epoch.failed is None
    assert len(bench.refusals) == 2


def test_a_connection_that_dies_between_two_answers_breaks_no_stream() -> None:
    """Half-open in the middle of subscribing again: nobody is to blame but the connection."""
    bench = Bench(established={A, B})
    bench.wish(A, B)
    bench.answer(bench.epoch.sent[0])
    bench.epoch.liveness.lives = False
    for now in (S, S + 4.9):
        bench.now = now
        bench.act()
        assert (bench.epoch.failed, bench.refusals) == (None, [])
    bench.now = S + 5
    bench.act()
    assert isinstance(bench.epoch.failed, Silent)
    assert "was not answered, nor a ping" in str(bench.epoch.failed)
    assert bench.refusals == []


def test_the_end_of_the_epoch_leaves_what_is_on_or_asked_for() -> None:
    bench = Bench()
    bench.wish(A, B, C)
    for wanted, error in ((A, None), (B, "no")):
        bench.answer(next(each for each in bench.epoch.sent if each.wanted == wanted), error)
    bench.act()
    bench.sink.noted.clear()
    bench.sink.causes.clear()
    bench.epoch.calls.fail_all(ConnectionLost("reset"))
    bench.cells.leave("reset")
    bench.cells.leave("again")
    assert sorted(bench.sink.noted, key=str) == sorted([("leave", 3, A), ("leave", 3, C)], key=str)
    assert bench.sink.causes == ["reset", "reset"]
    assert [wanted for wanted, _ in bench.refusals] == [B]


@pytest.mark.parametrize("answered", [True, False])
def test_a_call_that_the_end_of_the_connection_failed_is_no_refusal(answered: bool) -> None:
    bench = Bench(established={A})
    bench.wish(A, B)
    if answered:
        bench.answer(bench.epoch.sent[0])
    bench.epoch.is_gone = True
    bench.epoch.calls.fail_all(ConnectionLost("reset"))
    bench.act()
    assert bench.refusals == []
    bench.wish(A, B, C)  # its epoch cannot be spoken to
    assert bench.refusals == []
    bench.cells.leave("reset")
    assert bench.cells.on() == []
    for wanted in SUBSCRIPTIONS:
        notes = [what for what, _, each in bench.sink.noted if each == wanted]
        assert notes.count("join") == notes.count("leave")
