"""Stateful reconnect: two sides and a link that loses what is under way, at any moment."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import (
    Ack,
    CancelInvocation,
    Close,
    Completion,
    Invocation,
    LocalProtocolError,
    Message,
    Ping,
    Sequence,
    StatefulBuffer,
    StreamInvocation,
    StreamItem,
    is_counted,
    parse_messages,
    write_message,
)

EVENT = Invocation(target="T", arguments=[])


def send(side: StatefulBuffer, message: Message = EVENT) -> str:
    text = write_message(message)
    side.sending(message, text)
    return text


@pytest.mark.parametrize(
    ("message", "counted"),
    [
        (EVENT, True),
        (StreamItem(invocation_id="1", item=1), True),
        (Completion(invocation_id="1"), True),
        (StreamInvocation(invocation_id="1", target="T", arguments=[]), True),
        (CancelInvocation(invocation_id="1"), True),
        (Ping(), False),
        (Close(), False),
        (Ack(1), False),
        (Sequence(1), False),
    ],
)
def test_which_records_are_counted(message: Message, counted: bool) -> None:
    assert is_counted(message) is counted
    side = StatefulBuffer()
    send(side, message)
    assert len(side.replay()) == counted


def test_nothing_sent_means_sequence_1() -> None:
    assert StatefulBuffer().reconnected() == Sequence(1)


def test_sequence_is_the_first_record_to_come_again() -> None:
    """Five sent, none acknowledged: 1 on the wire of a real server; all acknowledged: the next id."""
    side = StatefulBuffer()
    texts = [send(side, StreamItem(invocation_id="1", item=n)) for n in range(5)]
    assert side.reconnected() == Sequence(1)
    assert side.replay() == texts
    side.received(Sequence(1))
    side.received(Ack(3))
    assert side.reconnected() == Sequence(4)
    assert side.replay() == texts[3:]
    side.received(Sequence(1))
    side.received(Ack(5))
    assert side.reconnected() == Sequence(6)
    assert side.replay() == []


def test_acks_say_the_highest_processed_id_once() -> None:
    side = StatefulBuffer()
    assert side.ack() is None
    assert [side.received(EVENT) for _ in range(3)] == [True] * 3
    side.received(Ping())
    assert side.ack() == Ack(3)
    assert side.ack() is None


def test_an_ack_is_said_again_on_a_new_transport() -> None:
    side = StatefulBuffer()
    side.received(EVENT)
    assert side.ack() == Ack(1)
    side.reconnected()
    assert side.ack() == Ack(1)


def test_what_comes_again_is_not_processed_again() -> None:
    side = StatefulBuffer()
    for _ in range(3):
        side.received(EVENT)
    side.reconnected()
    assert side.received(Sequence(2)) is False
    assert [side.received(EVENT) for _ in range(4)] == [False, False, True, True]
    assert side.last_processed == 5


def test_everything_before_the_sequence_is_ignored() -> None:
    side = StatefulBuffer()
    send(side)
    side.reconnected()
    assert [side.received(message) for message in (EVENT, Ping(), Ack(1), EVENT)] == [False] * 4
    assert side.kept_bytes > 0
    side.received(Sequence(1))
    assert side.received(EVENT) is True
    assert side.last_processed == 1


@pytest.mark.parametrize("sequence_id", [3, 4, 10**30])
def test_a_sequence_that_skips_a_record_is_fatal(sequence_id: int) -> None:
    side = StatefulBuffer()
    side.received(EVENT)
    side.reconnected()
    with pytest.raises(ProtocolError, match="lost"):
        side.received(Sequence(sequence_id))
    assert side.received(EVENT) is False


@pytest.mark.parametrize(("reconnects", "sequence_id"), [(False, 1), (False, 2), (True, 0)])
def test_a_sequence_out_of_place_is_fatal(reconnects: bool, sequence_id: int) -> None:
    """It would make new records count as old ones: they would be dropped and nobody would know."""
    side = StatefulBuffer()
    side.received(EVENT)
    if reconnects:
        side.reconnected()
    with pytest.raises(ProtocolError, match="no reconnect"):
        side.received(Sequence(sequence_id))
    assert side.received(EVENT) is not reconnects


def test_an_ack_of_what_was_never_sent_is_fatal() -> None:
    side = StatefulBuffer()
    send(side)
    with pytest.raises(ProtocolError, match="never sent"):
        side.received(Ack(2))
    assert len(side.replay()) == 1


def test_an_old_ack_releases_nothing() -> None:
    side = StatefulBuffer()
    texts = [send(side) for _ in range(3)]
    for sequence_id in (2, 1, 0, 2):
        side.received(Ack(sequence_id))
        assert side.replay() == texts[2:]


def test_the_buffer_is_bounded_and_an_ack_makes_room() -> None:
    record = StreamItem(invocation_id="1", item="\u20ac" * 10)
    size = len(write_message(record).encode())
    side = StatefulBuffer(buffer_bytes=3 * size)
    for _ in range(3):
        assert side.can_send
        send(side, record)
    assert not side.can_send
    assert side.kept_bytes == 3 * size
    with pytest.raises(LocalProtocolError, match="wait for an Ack"):
        send(side, record)
    assert len(side.replay()) == 3
    send(side, Ping())
    side.received(Ack(1))
    assert side.can_send
    assert side.kept_bytes == 2 * size
    side.received(Ack(3))
    assert side.kept_bytes == 0


class _End:
    """One side with its application: what it sent, what it was given, and what is under way to it."""

    def __init__(self) -> None:
        self.buffer = StatefulBuffer(buffer_bytes=600)
        self.sent: list[int] = []
        self.given: list[int] = []
        self.inbox: deque[str] = deque()


class LossyLink(RuleBasedStateMachine):
    """Whatever is lost and replayed, each side is given what the other sent: all of it, once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = (_End(), _End())
        self.linked = True

    def transmit(self, sender: int, text: str) -> None:
        if self.linked:
            self.ends[1 - sender].inbox.append(text)

    @rule(sender=st.integers(0, 1), size=st.integers(0, 40))
    def send(self, sender: int, size: int) -> None:
        end = self.ends[sender]
        if not end.buffer.can_send:
            return
        message = StreamItem(invocation_id="x" * (size + 1), item=len(end.sent))
        text = write_message(message)
        end.buffer.sending(message, text)
        end.sent.append(len(end.sent))
        self.transmit(sender, text)

    @rule(sender=st.integers(0, 1))
    def ping(self, sender: int) -> None:
        self.transmit(sender, write_message(Ping()))

    @rule(receiver=st.integers(0, 1), count=st.integers(1, 5))
    def deliver(self, receiver: int, count: int) -> None:
        end = self.ends[receiver]
        for _ in range(min(count, len(end.inbox))):
            (message,) = parse_messages(end.inbox.popleft())
            if end.buffer.received(message) and isinstance(message, StreamItem):
                assert isinstance(message.item, int)
                end.given.append(message.item)

    @precondition(lambda self: self.linked)
    @rule(receiver=st.integers(0, 1))
    def acknowledge(self, receiver: int) -> None:
        if (ack := self.ends[receiver].buffer.ack()) is not None:
            self.transmit(receiver, write_message(ack))

    @rule()
    def cut(self) -> None:
        self.linked = False
        for end in self.ends:
            end.inbox.clear()

    @rule()
    def relink(self) -> None:
        self.cut()
        self.linked = True
        for sender, end in enumerate(self.ends):
            self.transmit(sender, write_message(end.buffer.reconnected()))
            for text in end.buffer.replay():
                self.transmit(sender, text)

    @invariant()
    def nothing_is_given_twice_or_out_of_order(self) -> None:
        for end, other in (self.ends, self.ends[::-1]):
            assert end.given == other.sent[: len(end.given)]

    def teardown(self) -> None:
        self.relink()
        for _ in range(3):
            for side in (0, 1):
                self.deliver(side, 10_000)
                self.acknowledge(side)
        for end, other in (self.ends, self.ends[::-1]):
            assert end.given == other.sent
            assert end.buffer.kept_bytes == 0


TestLossyLink = LossyLink.TestCase
TestLossyLink.settings = settings(max_examples=80, stateful_step_count=40)


@given(st.lists(st.integers(0, 12), max_size=12))
def test_kept_bytes_is_the_size_of_what_is_kept(acks: list[int]) -> None:
    side = StatefulBuffer()
    for number in range(6):
        send(side, StreamItem(invocation_id="1", item="\u20ac" * number))
    for ack in acks:
        try:
            side.received(Ack(ack))
        except ProtocolError:
            assert ack > 6
        assert side.kept_bytes == sum(len(text.encode()) for text in side.replay())
