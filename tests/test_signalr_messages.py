"""The messages are values: frozen, comparable, made from whatever sequence is at hand."""

from __future__ import annotations

from types import ModuleType

import attrs
import pytest

from trio_projectx import signalr
from trio_projectx.signalr import (
    UNSET,
    Ack,
    CancelInvocation,
    Close,
    Completion,
    Invocation,
    Message,
    Ping,
    Sequence,
    StreamInvocation,
    StreamItem,
)

EACH: list[Message] = [
    Invocation(target="T", arguments=[1]),
    StreamItem(invocation_id="1", item=None),
    Completion(invocation_id="1", result=42),
    StreamInvocation(invocation_id="1", target="T", arguments=[]),
    CancelInvocation(invocation_id="1"),
    Ping(),
    Close(error=None, allow_reconnect=True),
    Ack(sequence_id=1),
    Sequence(sequence_id=1),
]


@pytest.mark.parametrize("message", EACH, ids=lambda message: type(message).__name__)
def test_frozen(message: Message) -> None:
    name = next((field.name for field in attrs.fields(type(message))), "anything")
    with pytest.raises(AttributeError):
        setattr(message, name, "x")
    assert attrs.evolve(message) == message


def test_a_list_and_a_tuple_make_equal_messages() -> None:
    assert Invocation(target="T", arguments=(1, 2)) == Invocation(target="T", arguments=[1, 2])
    assert Invocation(target="T", arguments=(1, 2)).arguments == [1, 2]


def test_the_callers_list_is_copied() -> None:
    arguments: list[signalr.JsonValue] = [1]
    names = ["u"]
    headers = {"a": "b"}
    message = Invocation(target="T", arguments=arguments, stream_ids=names, headers=headers)
    arguments.append(2)
    names.append("v")
    headers.clear()
    assert message == Invocation(target="T", arguments=[1], stream_ids=["u"], headers={"a": "b"})


def test_absent_and_null_results_differ() -> None:
    assert Completion(invocation_id="1").result is UNSET
    assert Completion(invocation_id="1") != Completion(invocation_id="1", result=None)


def test_defaults() -> None:
    assert Close() == Close(error=None, allow_reconnect=False)
    message = Invocation(target="T", arguments=[])
    assert (message.invocation_id, message.stream_ids, message.headers) == (None, [], {})


def test_exports_are_the_public_names() -> None:
    modules = {name for name in vars(signalr) if isinstance(getattr(signalr, name), ModuleType)}
    public = {name for name in vars(signalr) if not name.startswith("_")} - modules - {"annotations"}
    assert set(signalr.__all__) == public
    assert len(signalr.__all__) == len(public)
