from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import FrameProtocol

from trio_projectx.simulator.faults.frames import (
    BINARY,
    close_frame,
    fragments,
    read_frame,
    records_in,
    text_frame,
    write_frame,
)


def heard(data: bytes) -> list[object]:
    """What a client reads (wsproto, which is not ours)."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    return list(client.events())


@given(st.text(max_size=300) | st.sampled_from(["x" * 125, "x" * 126, "x" * 65535, "x" * 65536]))
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    data = write_frame(text.encode())
    assert data == FrameProtocol(client=False, extensions=[]).send_data(text, fin=True)
    frame = read_frame(data)
    assert frame is not None
    assert (frame.opcode, frame.payload.decode(), frame.is_last) == (1, text, True)
    for wrong in (data[:-1], data + b"x", data[:1]):
        assert read_frame(wrong) is None or not text


@given(st.binary(min_size=1, max_size=200), st.integers(1, 50))
def test_fragments_are_one_message(payload: bytes, size: int) -> None:
    payload = payload.hex().encode()
    events = heard(b"".join(fragments(payload, size, write_frame(b"p", 9))))
    texts = [event for event in events if isinstance(event, TextMessage)]
    assert "".join(text.data for text in texts) == payload.decode()
    assert texts[-1].message_finished
    assert sum(isinstance(event, Ping) for event in events) == (len(payload) > size)


def test_others() -> None:
    assert heard(write_frame(b"a\xff", BINARY)) == [BytesMessage(data=b"a\xff")]
    assert heard(close_frame(1008, "Bye")) == [CloseConnection(code=1008, reason="Bye")]
    (closed,) = heard(close_frame(1001, "\u00e9" * 200))
    assert isinstance(closed, CloseConnection)
    assert closed.reason == "\u00e9" * 60
    assert read_frame(write_frame(b"abc", mask=b"1234")) is None
    assert read_frame(b"HTTP/1.1 101 Switching Protocols\r\n\r\n") is None
    assert records_in(read_frame(text_frame("a", "", "b")).payload) == ["a", "", "b"]  # type: ignore[union-attr]


def test_a_masked_frame_is_masked() -> None:
    server = Connection(ConnectionType.SERVER)
    server.receive_data(write_frame(b"hello", mask=b"\x01\x02\x03\x04"))
    assert list(server.events()) == [TextMessage(data="hello")]


@pytest.mark.parametrize(("rsv", "opcode"), [(4, 1), (2, 1), (1, 1), (0, 3), (0, 11)])
def test_what_no_server_may_send(rsv: int, opcode: int) -> None:
    assert all(isinstance(event, CloseConnection) for event in heard(write_frame(b"x", opcode, rsv=rsv)))
