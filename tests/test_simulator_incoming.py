"""How the simulator reads a client's records; whole conversations are in test_simulator_calls.py."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import ProtocolError
from trio_projectx.signalr import (
    Ack,
    CancelInvocation,
    Close,
    Completion,
    Invocation,
    Ping,
    Sequence,
    StreamInvocation,
    StreamItem,
    write_message,
)
from trio_projectx.simulator.incoming import (
    Answer,
    Call,
    Item,
    handshake_version,
    read_handshake,
    read_record,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
GOOD = [
    (Invocation(target="T", arguments=[1, "a"], invocation_id="i"), Call("T", ("1", '"a"'), "i")),
    (Invocation(target="T", arguments=[]), Call("T", (), None)),
    (Invocation(target="T", arguments=[], stream_ids=["u"]), Call("T", (), None, ("u",))),
    (StreamInvocation(target="T", arguments=[], invocation_id="i"), Call("T", (), "i", (), True)),
    (StreamItem(invocation_id="u", item=None), Item("u", "null")),
    (Completion(invocation_id="u"), Answer("u", None, None)),
    (Completion(invocation_id="u", result=None), Answer("u", "null", None)),
    (Completion(invocation_id="u", error="e"), Answer("u", None, "e")),
    (CancelInvocation(invocation_id="i"), CancelInvocation(invocation_id="i")),
    (Ping(), Ping()),
    (Close(error="e", allow_reconnect=True), Close()),
    (Ack(5), Ack(5)),
    (Sequence(5), Sequence(5)),
]


@pytest.mark.parametrize(("message", "read"), GOOD, ids=lambda value: type(value).__name__)
def test_what_the_client_side_writes_is_read(message, read) -> None:  # type: ignore[no-untyped-def]
    assert read_record(write_message(message)[:-1]) == read


@given(st.lists(json_values, max_size=4), st.text(), st.text(min_size=1))
def test_arguments_come_as_they_were_written(values: list, target: str, call_id: str) -> None:
    call = read_record(
        json.dumps({"type": 1, "invocationId": call_id, "target": target, "arguments": values})
    )
    assert isinstance(call, Call)
    assert (call.target, call.invocation_id) == (target, call_id)
    assert [json.loads(text) for text in call.arguments] == values


@given(st.text(max_size=50) | json_values.map(json.dumps))
def test_anything_else_is_a_protocol_error_or_unknown(text: str) -> None:
    try:
        read_record(text)
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "record",
    [
        '{"type":6,"x":' + "[" * 100_000,
        '{"type":6,"x":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"type":6,"x":' + "[" * 64 + "]" * 64 + "}",
        '{"type":6,"x":"\\ud800"}',
        '{"type":6,"x":1' + "0" * 5000 + ',"y":"\\ud800"}',
        "[" * 50_000,
    ],
)
def test_what_dotnet_refuses_inside_of_values(record: str) -> None:
    with pytest.raises(ProtocolError):
        read_record(record)


def test_what_dotnet_takes_inside_of_values() -> None:
    assert read_record('{"type":6,"x":' + "[" * 63 + "]" * 63 + "}") == Ping()
    assert read_record('{"type":6,"x":"\\ud83d\\ude00"}') == Ping()
    assert read_record('{"type":6,"x":1' + "0" * 5000 + ',"y":"\\u0041"}') == Ping()
    assert read_record('{"type":6}{"type":7}') == Ping()
    assert read_record('{"type":77}') is None


def test_handshakes() -> None:
    assert read_handshake('{"protocol":"json","version":2,"x":1}') is None
    assert handshake_version('{"protocol":"json","version":2,"x":1} behind') == 2
    assert read_handshake('{"protocol":"json","version":3}') == (
        "The server does not support version 3 of the 'json' protocol."
    )
    assert read_handshake("[]") == "An unexpected error occurred during connection handshake."
