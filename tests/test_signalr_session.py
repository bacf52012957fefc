"""The session beyond what the conformance cases script; the clock is a number that the test moves."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_projectx.signalr import (
    NO_RESULT,
    Action,
    CallCompleted,
    Called,
    CallFailed,
    Close,
    Closed,
    CloseTransport,
    Completion,
    HubSession,
    Invocation,
    LocalProtocolError,
    Malformed,
    Message,
    OpenTransport,
    Ping,
    Reconnected,
    Reconnecting,
    RetryContext,
    SendText,
    SessionState,
    Started,
    StartFailed,
    StreamEnded,
    StreamItem,
    StreamItemReceived,
    parse_messages,
    write_message,
)

HANDSHAKE = '{"protocol":"json","version":1}\x1e'
PING = '{"type":6}\x1e'


def up(now: float = 0.0, **options: Any) -> HubSession:
    session = HubSession(**options)
    assert session.start() == [OpenTransport(1)]
    assert session.transport_opened(1, now) == [SendText(1, HANDSHAKE)]
    assert session.text_received(1, "{}\x1e", now) == [SendText(1, PING), Started()]
    return session


def reconnected(session: HubSession, epoch: int, now: float) -> list[Action]:
    assert session.transport_opened(epoch, now) == [SendText(epoch, HANDSHAKE)]
    return session.text_received(epoch, "{}\x1e", now)


def message(action: Action) -> Message:
    assert isinstance(action, SendText)
    (only,) = parse_messages(action.text)
    return only


def called(session: HubSession, epoch: int = 1, invocation_id: str | None = "s1") -> list[Action]:
    invocation = Invocation(target="Result", arguments=[1], invocation_id=invocation_id)
    return session.text_received(epoch, write_message(invocation), 0.0)


# -- starting


@pytest.mark.parametrize("policy", [None, [0.0, 0.0]])
def test_a_first_connection_that_fails_is_not_retried(policy: list[float] | None) -> None:
    session = HubSession(reconnect=policy)
    session.start()
    assert session.transport_lost(1, "refused", 0.0) == [StartFailed("refused")]
    assert session.state is SessionState.DISCONNECTED
    assert session.next_deadline == math.inf


def test_a_handshake_that_takes_too_long() -> None:
    session = HubSession(handshake_timeout_s=15.0)
    session.start()
    session.transport_opened(1, 100.0)
    assert session.next_deadline == 115.0
    assert session.timer_fired(114.9) == []
    close, failed = session.timer_fired(115.0)
    assert close == CloseTransport(1)
    assert isinstance(failed, StartFailed)
    assert "Handshake timeout" in failed.error


def test_close_instead_of_a_handshake_fails_the_start() -> None:
    session = HubSession(reconnect=[0.0])
    session.start()
    session.transport_opened(1, 0.0)
    close, failed = session.text_received(1, '{"type":7}\x1e', 0.0)
    assert close == CloseTransport(1)
    assert isinstance(failed, StartFailed)


def test_starting_twice_is_refused_and_after_the_end_it_starts_anew() -> None:
    session = up()
    with pytest.raises(LocalProtocolError):
        session.start()
    session.stop(0.0)
    assert session.start() == [OpenTransport(2)]
    assert reconnected(session, 2, 0.0)[-1] == Started()


def test_stop_while_starting() -> None:
    session = HubSession()
    session.start()
    close, failed = session.stop(0.0)
    assert close == CloseTransport(1)
    assert isinstance(failed, StartFailed)
    assert session.transport_opened(1, 0.0) == []
    assert session.statistics().stale == 1


# -- keeping alive


def test_pings_only_when_nothing_was_sent() -> None:
    session = up(now=100.0, server_timeout_s=1e6, keep_alive_s=15.0)
    assert session.next_deadline == 115.0
    session.send_only("T", now=110.0)
    assert session.next_deadline == 125.0
    assert session.timer_fired(124.9) == []
    assert message(session.timer_fired(125.0)[0]) == Ping()
    assert session.next_deadline == 140.0


def test_silence_of_the_server_ends_the_connection_and_any_text_puts_it_off() -> None:
    session = up(now=100.0, server_timeout_s=30.0, keep_alive_s=1e6)
    assert session.next_deadline == 130.0
    session.text_received(1, '{"type"', 120.0)
    assert session.next_deadline == 150.0
    close, closed = session.timer_fired(150.0)
    assert close == CloseTransport(1)
    assert isinstance(closed, Closed)
    assert closed.error is not None
    assert "Server timeout" in closed.error
    assert session.next_deadline == math.inf


# -- reconnecting


def test_delays_attempts_and_the_counter_that_starts_again() -> None:
    session = up(reconnect=[0.0, 2.0, 10.0], keep_alive_s=1e6, server_timeout_s=1e6)
    assert session.transport_lost(1, "gone", 50.0) == [Reconnecting("gone")]
    assert session.state is SessionState.RECONNECTING
    assert session.next_deadline == 50.0
    assert session.timer_fired(50.0) == [OpenTransport(2)]
    assert session.next_deadline == math.inf
    assert session.transport_lost(2, "refused", 51.0) == []
    assert session.next_deadline == 53.0
    assert session.timer_fired(53.0) == [OpenTransport(3)]
    assert reconnected(session, 3, 53.0) == [SendText(3, PING), Reconnected()]
    assert session.transport_lost(3, "again", 60.0) == [Reconnecting("again")]
    assert session.next_deadline == 60.0
    assert session.statistics().reconnects == 1


def test_giving_up_says_what_was_tried() -> None:
    session = up(reconnect=[0.0])
    session.transport_lost(1, "gone", 0.0)
    session.timer_fired(0.0)
    assert session.transport_lost(2, "refused", 1.0) == [
        Closed(None, "no attempt was left after 1; last failure: refused")
    ]
    assert session.state is SessionState.DISCONNECTED


def test_a_policy_is_asked_with_what_happened() -> None:
    asked: list[RetryContext] = []

    def policy(context: RetryContext) -> float | None:
        asked.append(context)
        return 1.0

    session = up(reconnect=policy)
    session.transport_lost(1, "gone", 10.0)
    session.timer_fired(11.0)
    session.transport_lost(2, "refused", 11.5)
    assert asked == [RetryContext(0, 0.0, "gone"), RetryContext(1, 1.5, "refused")]


def test_a_policy_that_raises_closes_once() -> None:
    def policy(_: RetryContext) -> float | None:
        raise ValueError("mine")

    session = up(reconnect=policy)
    assert session.transport_lost(1, "gone", 0.0) == [
        Reconnecting("gone"),
        Closed(None, "the reconnect policy raised ValueError; last failure: gone"),
    ]
    assert session.stop(0.0) == []


def test_a_handshake_timeout_while_reconnecting_is_a_failed_attempt() -> None:
    session = up(reconnect=[0.0, 5.0], handshake_timeout_s=3.0)
    session.transport_lost(1, "gone", 0.0)
    session.timer_fired(0.0)
    session.transport_opened(2, 1.0)
    assert session.timer_fired(4.0) == [CloseTransport(2)]
    assert session.next_deadline == 9.0


@pytest.mark.parametrize("waiting", [True, False])
def test_stop_while_reconnecting_closes_once(waiting: bool) -> None:
    session = up(reconnect=[5.0])
    session.transport_lost(1, "gone", 0.0)
    expected: list[Action] = [Closed(None)]
    if not waiting:
        session.timer_fired(5.0)
        expected.insert(0, CloseTransport(2))
    assert session.stop(6.0) == expected
    assert session.next_deadline == math.inf
    assert session.stop(6.0) == []


@pytest.mark.parametrize(
    ("close", "outcome"),
    [
        (Close(), Closed(None)),
        (Close(error="E"), Closed("E")),
        (Close(allow_reconnect=True), Reconnecting(None)),
        (Close(error="E", allow_reconnect=True), Reconnecting("E")),
    ],
)
def test_close_decides_whether_to_come_back(close: Close, outcome: Action) -> None:
    session = up(reconnect=[1.0])
    assert session.text_received(1, write_message(close), 0.0) == [CloseTransport(1), outcome]


def test_what_an_old_transport_still_says_is_stale() -> None:
    session = up(reconnect=[0.0])
    session.text_received(1, '{"type":7,"allowReconnect":true}\x1e', 0.0)
    assert session.transport_lost(1, "closed by us", 0.0) == []
    session.timer_fired(0.0)
    assert session.transport_lost(1, "closed by us", 0.0) == []
    assert session.text_received(1, "{}\x1e", 0.0) == []
    assert session.transport_opened(1, 0.0) == []
    assert session.statistics().stale == 4
    assert reconnected(session, 2, 0.0)[-1] == Reconnected()


# -- calls


def test_calls_need_a_connection_and_are_not_kept() -> None:
    fresh, down = HubSession(), up(reconnect=[1.0])
    down.transport_lost(1, "gone", 0.0)
    connecting = HubSession()
    connecting.start()
    connecting.transport_opened(1, 0.0)
    for session in (fresh, connecting, down):
        for call in (
            lambda s=session: s.invoke("T", now=0.0),
            lambda s=session: s.stream("T", now=0.0),
            lambda s=session: s.send_only("T", now=0.0),
            lambda s=session: s.cancel("1", now=0.0),
        ):
            with pytest.raises(LocalProtocolError, match=session.state.value):
                call()


def test_results_and_items_come_under_their_ids() -> None:
    session = up()
    call, _ = session.invoke("A", 1, now=0.0)
    stream, _ = session.stream("B", now=0.0)
    text = "".join(
        map(
            write_message,
            [
                StreamItem(invocation_id=stream, item=1),
                Completion(invocation_id=call, result=2),
                Completion(invocation_id=stream),
            ],
        )
    )
    assert session.text_received(1, text, 0.0) == [
        StreamItemReceived(stream, 1),
        CallCompleted(call, 2),
        StreamEnded(stream),
    ]


def test_open_calls_fail_with_the_connection_and_their_ids_are_not_used_again() -> None:
    session = up(reconnect=[0.0])
    first, _ = session.invoke("A", now=0.0)
    assert session.transport_lost(1, "gone", 0.0) == [CallFailed(first, "gone"), Reconnecting("gone")]
    session.timer_fired(0.0)
    reconnected(session, 2, 0.0)
    second, action = session.invoke("A", now=0.0)
    assert second != first
    assert action.epoch == 2


def test_stop_fails_open_calls_after_the_close_record() -> None:
    session = up()
    first, _ = session.invoke("A", now=0.0)
    send, close, failed, closed = session.stop(0.0)
    assert message(send) == Close()
    assert (close, closed) == (CloseTransport(1), Closed(None))
    assert isinstance(failed, CallFailed)
    assert failed.invocation_id == first


def test_malformed_records_can_be_counted_instead() -> None:
    session = up(malformed="count")
    (event,) = session.text_received(1, "[42]\x1e", 0.0)
    assert isinstance(event, Malformed)
    assert session.state is SessionState.CONNECTED


# -- calls of the server


def test_without_a_handler_the_server_gets_an_error_and_plain_calls_are_counted() -> None:
    session = up()
    (answer,) = called(session)
    assert message(answer) == Completion(invocation_id="s1", error=NO_RESULT)
    assert called(session, invocation_id=None) == []
    assert session.statistics().unhandled == 2


def test_handlers_match_ignoring_case_and_can_be_taken_away() -> None:
    session = up()
    session.on("RESULT")
    assert called(session) == [Called(1, Invocation(target="Result", arguments=[1], invocation_id="s1"))]
    session.off("result")
    assert message(called(session, invocation_id="s2")[0]) == Completion(invocation_id="s2", error=NO_RESULT)


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({}, Completion(invocation_id="s1", error=NO_RESULT)),
        ({"result": None}, Completion(invocation_id="s1", result=None)),
        ({"result": [1]}, Completion(invocation_id="s1", result=[1])),
        ({"error": "boom"}, Completion(invocation_id="s1", error="boom")),
        ({"error": ""}, Completion(invocation_id="s1", error="the handler failed")),
        ({"result": 1, "error": "boom"}, Completion(invocation_id="s1", error="boom")),
    ],
)
def test_exactly_one_answer(given: dict[str, Any], answer: Completion) -> None:
    session = up()
    session.on("Result")
    called(session)
    (action,) = session.answer(1, "s1", **given, now=0.0)
    assert message(action) == answer
    with pytest.raises(LocalProtocolError):
        session.answer(1, "s1", **given, now=0.0)


def test_a_result_that_json_cannot_say_is_answered_with_an_error() -> None:
    session = up()
    session.on("Result")
    called(session)
    (action,) = session.answer(1, "s1", math.nan, now=0.0)
    completion = message(action)
    assert isinstance(completion, Completion)
    assert completion.error is not None
    assert "nan" in completion.error


def test_the_answer_to_a_connection_that_is_gone_is_not_given_to_the_next() -> None:
    session = up(reconnect=[0.0])
    session.on("Result")
    called(session)
    session.transport_lost(1, "gone", 0.0)
    assert session.answer(1, "s1", 1, now=0.0) == []
    session.timer_fired(0.0)
    reconnected(session, 2, 0.0)
    called(session, epoch=2)
    assert session.answer(1, "s1", 1, now=0.0) == []
    assert message(session.answer(2, "s1", 2, now=0.0)[0]) == Completion(invocation_id="s1", result=2)


class AnyOrder(RuleBasedStateMachine):
    """Network, clock and user in any order: what is told makes sense, and every call ends exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.session = HubSession(
            reconnect=[0.0, 1.0], server_timeout_s=5.0, keep_alive_s=2.0, handshake_timeout_s=3.0
        )
        self.session.on("Result")
        self.now = 0.0
        self.wanted: int | None = None
        self.epochs = 0
        self.alive = False  # the user's view: started, and not closed yet
        self.reconnecting = False
        self.open_calls: set[str] = set()
        self.all_ids: set[str] = set()
        self.unanswered: set[tuple[int, str]] = set()

    def follow(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case OpenTransport():
                    assert self.wanted is None
                    assert action.epoch == self.epochs + 1
                    self.wanted = self.epochs = action.epoch
                case CloseTransport():
                    assert action.epoch == self.wanted
                    self.wanted = None
                case SendText():
                    assert action.epoch == self.wanted
                case Started():
                    assert not self.alive
                    self.alive = True
                case StartFailed():
                    assert not self.alive
                case Reconnecting():
                    assert self.alive
                    assert not self.reconnecting
                    self.reconnecting = True
                case Reconnected():
                    assert self.reconnecting
                    self.reconnecting = False
                case Closed():
                    assert self.alive
                    self.alive = self.reconnecting = False
                case CallFailed() | CallCompleted():
                    self.open_calls.remove(action.invocation_id)
                case Called(invocation=Invocation(invocation_id=str() as invocation_id)):
                    self.unanswered.add((action.epoch, invocation_id))
                case _:
                    raise AssertionError(action)

    @precondition(lambda self: self.session.state is SessionState.DISCONNECTED)
    @rule()
    def start(self) -> None:
        self.follow(self.session.start())

    @rule()
    def stop(self) -> None:
        self.follow(self.session.stop(self.now))
        assert self.session.state is SessionState.DISCONNECTED

    @rule(back=st.integers(0, 1))
    def opened(self, back: int) -> None:
        self.follow(self.session.transport_opened(self.epochs - back, self.now))

    @rule(back=st.integers(0, 1))
    def lost(self, back: int) -> None:
        epoch = self.epochs - back
        if epoch == self.wanted:
            self.wanted = None
        self.follow(self.session.transport_lost(epoch, "lost", self.now))

    @rule(
        back=st.sampled_from([0, 0, 0, 1]),
        text=st.sampled_from(
            [
                "{}\x1e",
                "{}\x1e",
                '{"error":"no"}\x1e',
                PING,
                '{"type":1,"target":"result","arguments":[],"invocationId":"s1"}\x1e',
                '{"type":7}\x1e' + PING,
                '{"type":7,"allowReconnect":true}\x1e',
                "{",
                "\x1e",
            ]
        ),
    )
    def text(self, back: int, text: str) -> None:
        self.follow(self.session.text_received(self.epochs - back, text, self.now))

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.session.next_deadline) <= end:
            self.now = max(self.now, deadline)
            self.follow(self.session.timer_fired(self.now))
        self.now = end

    @precondition(lambda self: self.session.state is SessionState.CONNECTED)
    @rule()
    def invoke(self) -> None:
        invocation_id, action = self.session.invoke("A", now=self.now)
        assert invocation_id not in self.all_ids
        self.open_calls.add(invocation_id)
        self.all_ids.add(invocation_id)
        self.follow([action])

    @precondition(lambda self: self.open_calls)
    @rule()
    def complete(self) -> None:
        text = write_message(Completion(invocation_id=min(self.open_calls)))
        self.follow(self.session.text_received(self.epochs, text, self.now))

    @precondition(lambda self: self.unanswered)
    @rule()
    def answer(self) -> None:
        epoch, invocation_id = self.unanswered.pop()
        self.follow(self.session.answer(epoch, invocation_id, 1, now=self.now))

    @invariant()
    def the_views_agree(self) -> None:
        state = self.session.state
        assert self.alive == (state in (SessionState.CONNECTED, SessionState.RECONNECTING))
        assert self.reconnecting == (state is SessionState.RECONNECTING)
        assert not self.open_calls or state is SessionState.CONNECTED
        connection = self.session.statistics().connection
        assert len(self.open_calls) == (connection.open_calls if connection else 0)
        if state is SessionState.DISCONNECTED:
            assert self.session.next_deadline == math.inf
            assert self.wanted is None


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40)
