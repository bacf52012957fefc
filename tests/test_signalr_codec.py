"""The codec by properties: what is written can be read, what is read can be written, and nothing else comes
out of bad text than ProtocolError."""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import (
    UNSET,
    Ack,
    CancelInvocation,
    Close,
    Completion,
    Invocation,
    LocalProtocolError,
    Message,
    Ping,
    Sequence,
    StreamInvocation,
    StreamItem,
    parse_messages,
    parse_record,
    write_message,
)
from trio_projectx.signalr.codec import is_heavy

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**18, max_value=10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
JSON = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ARGUMENTS = st.lists(JSON, max_size=3)
HEADERS = st.dictionaries(TEXT, TEXT, max_size=2)
NAMES = st.lists(TEXT, max_size=2)
COUNT = st.integers(min_value=0, max_value=2**63 - 1)
INVOCATIONS = st.builds(
    Invocation,
    target=NAME,
    arguments=ARGUMENTS,
    invocation_id=st.none() | NAME,
    stream_ids=NAMES,
    headers=HEADERS,
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    INVOCATIONS,
    st.builds(
        StreamInvocation,
        invocation_id=NAME,
        target=NAME,
        arguments=ARGUMENTS,
        stream_ids=NAMES,
        headers=HEADERS,
    ),
    st.builds(StreamItem, invocation_id=NAME, item=JSON, headers=HEADERS),
    st.builds(Completion, invocation_id=NAME, result=JSON | st.just(UNSET), headers=HEADERS),
    st.builds(Completion, invocation_id=NAME, error=TEXT, headers=HEADERS),
    st.builds(CancelInvocation, invocation_id=NAME, headers=HEADERS),
    st.just(Ping()),
    st.builds(Close, error=st.none() | TEXT, allow_reconnect=st.booleans()),
    st.builds(Ack, COUNT),
    st.builds(Sequence, COUNT),
)


@given(st.lists(MESSAGES, max_size=4))
@settings(max_examples=150)
def test_written_text_is_read_back(messages: list[Message]) -> None:
    text = "".join(map(write_message, messages))
    assert text.count("\x1e") == len(messages)
    read = parse_messages(text)
    assert read == messages
    assert repr(read) == repr(messages)  # 1, 1.0 and True are equal, but not the same number
    assert parse_messages(text.encode()) == messages


@given(MESSAGES)
def test_an_independent_reader_agrees(message: Message) -> None:
    record = json.loads(write_message(message)[:-1])
    assert record["type"] in range(1, 10)
    if isinstance(message, Invocation | StreamInvocation):
        assert repr(record["arguments"]) == repr(message.arguments)


def outcome(text: str | bytes) -> list[Message] | ProtocolError:
    try:
        return parse_messages(text)
    except ProtocolError as exc:
        return exc


def only_protocol_errors(text: str | bytes) -> None:
    result = outcome(text)
    if isinstance(result, ProtocolError):
        assert not isinstance(result, LocalProtocolError)
        assert str(result).isascii()
        assert str(result).isprintable()
        assert len(str(result)) < 400
    else:
        for message in result:  # what was accepted can be said again, so it can be stored and sent on
            assert parse_messages(write_message(message)) == [message]


@given(st.text() | st.text('{}[]",:\x1e\\u0123456789.eE+- truefalsn\ud800\udc00\ufeff'))
@settings(max_examples=300)
def test_arbitrary_text(text: str) -> None:
    only_protocol_errors(text)
    only_protocol_errors(text + "\x1e")


@given(st.binary(max_size=60))
def test_arbitrary_bytes(data: bytes) -> None:
    only_protocol_errors(data + b"\x1e")


@given(MESSAGES, st.data())
@settings(max_examples=300)
def test_mutated_records(message: Message, data: st.DataObject) -> None:
    text = write_message(message)
    at = data.draw(st.integers(0, len(text) - 1))
    cut = data.draw(st.integers(0, 4))
    pieces = ["null", "1.0", "true", '"type":1,', "[", "\x1e", "\\ud800"]
    new = data.draw(st.text(max_size=3) | st.sampled_from(pieces))
    only_protocol_errors(text[:at] + new + text[at + cut :])


DEEP_LIST = "[" * 100_000 + "]" * 100_000
DEEP_OBJECT = '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(f'{{"type":2,"invocationId":"1","item":{DEEP_LIST}}}', id="nested lists"),
        pytest.param(f'{{"type":6,"x":{DEEP_OBJECT}}}', id="nested objects in an unknown field"),
        pytest.param("[" * 100_000, id="never closed"),
        pytest.param('{"type":99,"x":' + "[" * 100_000, id="never closed, unknown type"),
        pytest.param('{"type":2,"invocationId":"1","item":' + "1" * 1_000_000 + "}", id="a million digits"),
        pytest.param('{"type":2,"invocationId":"1","item":1e999999999}', id="beyond a float"),
        pytest.param('{"type":' + "9" * 1_000_000 + "}", id="a type of a million digits"),
        pytest.param("x" * 1_000_000, id="a million letters"),
        pytest.param('{"type":2,"invocationId":"1","item":"\\udc00\\ud800"}', id="surrogates the wrong way"),
        pytest.param('{"type":2,"invocationId":"1","item":"\ud800"}', id="surrogate raw"),
        pytest.param('{"type":2,"invocationId":"1","item":NaN}', id="NaN"),
        pytest.param('\ufeff{"type":6}', id="byte order mark"),
        pytest.param('{"type":6}{"type":6}', id="two objects"),
        pytest.param('{"Type":6}', id="names are case-sensitive"),
        pytest.param('{"type":99}x', id="text after an unknown type"),
        pytest.param('{"type":99.0}', id="unknown type that is no whole number"),
        pytest.param('{"type":1,"target":"t","arguments":null}', id="null arguments"),
        pytest.param('{"type":1,"target":"t"}', id="no arguments"),
        pytest.param('{"type":1,"target":"t","arguments":[],"streamIds":[1]}', id="stream id that is no str"),
        pytest.param('{"type":1,"target":"t","arguments":[],"headers":{"a":1}}', id="header that is no str"),
        pytest.param('{"type":2,"invocationId":"","item":1}', id="empty id of an item"),
        pytest.param('{"type":3,"invocationId":""}', id="empty id of a completion"),
        pytest.param('{"type":3,"invocationId":"1","error":"e","result":null}', id="error with null result"),
        pytest.param('{"type":4,"target":"t","arguments":[]}', id="stream without id"),
        pytest.param('{"type":5}', id="cancel without id"),
        pytest.param('{"type":7,"allowReconnect":1}', id="allowReconnect that is no bool"),
        pytest.param('{"type":7,"allowReconnect":null}', id="null allowReconnect"),
        pytest.param('{"type":8,"sequenceId":-1}', id="negative sequence id"),
        pytest.param('{"type":9,"sequenceId":null}', id="null sequence id"),
    ],
)
def test_refused(record: str) -> None:
    with pytest.raises(ProtocolError):
        parse_record(record)
    with pytest.raises(ProtocolError):
        parse_messages('{"type":6}\x1e' + record + "\x1e")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"type":3,"invocationId":"1","error":null}', Completion(invocation_id="1")),
        ('{"type":3,"invocationId":"1","error":null,"result":1}', Completion(invocation_id="1", result=1)),
        ('{"type":3,"invocationId":"1","error":""}', Completion(invocation_id="1", error="")),
        ('{"type":7,"error":null}', Close()),
        ('{"type":5,"invocationId":"x"}', CancelInvocation(invocation_id="x")),
        (
            '{"type":4,"invocationId":"x","target":"t","arguments":[]}',
            StreamInvocation(invocation_id="x", target="t", arguments=[]),
        ),
        (
            '{"type":2,"invocationId":"1","item":"\\ud83d\\ude00"}',
            StreamItem(invocation_id="1", item="\U0001f600"),
        ),
    ],
)
def test_accepted(record: str, message: Message) -> None:
    assert parse_record(record) == message


def test_numbers_are_exact() -> None:
    item = "[5000.25,5000.50,21150.25,0.1,123456789012345678901234567890,-9223372036854775809,1e22,0]"
    (message,) = parse_messages('{"type":2,"invocationId":"1","item":' + item + "}\x1e")
    assert isinstance(message, StreamItem)
    assert repr(message.item) == (
        "[5000.25, 5000.5, 21150.25, 0.1, 123456789012345678901234567890, -9223372036854775809, 1e+22, 0]"
    )


def test_a_string_of_a_megabyte() -> None:
    message = StreamItem(invocation_id="1", item="\x1e\u20ac" * 500_000)
    assert parse_messages(write_message(message)) == [message]


def test_unknown_types_are_skipped() -> None:
    assert parse_messages('{"type":6}\x1e{"type":99,"a":[1]}\x1e{"type":7}\x1e') == [Ping(), Close()]
    assert parse_record('{"type":123456789012345678901234567890}') is None
    assert parse_record('{"type":0,"target":5}') is None


def test_no_text_is_no_record_and_an_unfinished_one_is_an_error() -> None:
    assert parse_messages("") == []
    for text in ("x", '{"type":6}', '{"type":6}\x1e{'):
        with pytest.raises(ProtocolError, match="inside a record"):
            parse_messages(text)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        [-float("inf")],
        {"a": [float("nan")]},
        "\ud800",
        {"\udc00": 1},
        {1: 2},
        b"bytes",
        bytearray(b"x"),
        {1, 2},
        datetime.datetime(2026, 1, 1),
        decimal.Decimal("1.5"),
        object(),
        UNSET,
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_say_is_not_sent(value: Any) -> None:
    for message in (
        Invocation(target="T", arguments=[value]),
        StreamInvocation(invocation_id="1", target="T", arguments=[1, value]),
        StreamItem(invocation_id="1", item=value),
        Completion(invocation_id="1", result=[value]),
    ):
        with pytest.raises(LocalProtocolError, match="cannot be sent"):
            write_message(message)


def test_what_nests_without_end_is_not_sent() -> None:
    deep: list[Any] = []
    for _ in range(200_000):  # from Python 3.12 on C code has a limit of its own, of thousands
        deep = [deep]
    endless: list[Any] = []
    endless.append(endless)
    for value in (deep, endless):
        with pytest.raises(LocalProtocolError, match="nested too deep"):
            write_message(StreamItem(invocation_id="1", item=value))


@pytest.mark.parametrize(
    "message",
    [
        Invocation(target="", arguments=[]),
        Invocation(target="T", arguments=[], invocation_id=""),
        StreamInvocation(invocation_id="", target="T", arguments=[]),
        StreamItem(invocation_id="", item=1),
        Completion(invocation_id="1", result=0, error="e"),
        Completion(invocation_id="1", result=None, error=""),
        CancelInvocation(invocation_id=""),
        Ack(-1),
        Sequence(True),
        Sequence(1.0),  # type: ignore[arg-type]
        Close(error=5),  # type: ignore[arg-type]
        Close(allow_reconnect=1),  # type: ignore[arg-type]
        Invocation(target=5, arguments=[]),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_we_would_refuse_is_not_sent(message: Message) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        write_message(message)


def test_errors_name_the_field_and_show_no_secret() -> None:
    with pytest.raises(ProtocolError, match=r"\$\.arguments"):
        parse_record('{"type":1,"target":"t","arguments":{}}')
    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    for record in (secret, '{"type":"' + secret + '"}', '{"type":1,"target":"t","headers":"' + secret + '"}'):
        with pytest.raises(ProtocolError) as caught:
            parse_record(record)
        assert secret not in str(caught.value) + repr(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(("mark", "weight"), [("{", 200), ("[", 64), (",", 60)])
def test_what_is_too_heavy_is_told_by_what_it_would_come_to(mark: str, weight: int) -> None:
    most = (16 << 20) // weight
    assert not is_heavy(mark * most)
    assert is_heavy(mark * (most + 1))
    assert is_heavy(mark * most + "{[,")
