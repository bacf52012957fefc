"""The codec cases of tests/data/signalr_cases.json, each a fact about the protocol."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from trio_projectx import signalr
from trio_projectx._errors import ProtocolError

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "signalr_cases.json").read_text(encoding="utf-8")
)["cases"]


def of(level: str, op: str | None = None) -> list[Any]:
    chosen = [case for case in CASES if case["level"] == level and op in (None, case.get("op"))]
    assert chosen
    return [pytest.param(case, id=case["name"]) for case in chosen]


def build(described: dict[str, Any]) -> signalr.Message:
    """Make the message that a case describes with the spec's field names."""
    fields = dict(described)
    kind: Any = getattr(signalr, fields.pop("kind"))
    return kind(
        **{re.sub("[A-Z]", lambda m: "_" + m[0].lower(), name): value for name, value in fields.items()}
    )


def is_error(case: dict[str, Any]) -> bool:
    """Whether the case's outcome is an error; where the official clients differ, `recommended` decides."""
    if "either" in case["expect"]:
        if "recommended" not in case:
            raise AssertionError("a case with two outcomes must recommend one")
        return case["recommended"].startswith("reject")
    return "error" in case["expect"]


def given(case: dict[str, Any]) -> str | bytes:
    return base64.b64decode(case["input_b64"]) if "input_b64" in case else case["input"]


def test_the_file_is_whole() -> None:
    by_level = {level: len(of(level)) for level in {case["level"] for case in CASES}}
    assert by_level == {
        "message": 71,
        "write": 28,
        "handshake": 12,
        "handshake_server": 6,
        "session": 29,
        "server": 31,
    }


@pytest.mark.parametrize("case", of("message"))
def test_message(case: dict[str, Any]) -> None:
    if is_error(case):
        with pytest.raises(ProtocolError) as caught:
            signalr.parse_messages(given(case))
        assert str(caught.value).isascii()
        assert str(caught.value).isprintable()
    else:
        assert signalr.parse_messages(given(case)) == [build(each) for each in case["expect"]["messages"]]


@pytest.mark.parametrize("case", [case for case in of("message") if "input" in case.values[0]])
def test_message_through_a_connection(case: dict[str, Any]) -> None:
    """The same outcome as an event: what the codec refuses ends the connection, what it skips is ignored."""
    connection = signalr.HubConnection()
    connection.start()
    connection.receive_text("{}\x1e" + case["input"])
    events: list[object] = []
    while (event := connection.next_event()) is not signalr.NEED_DATA:
        events.append(event)
    assert isinstance(events.pop(0), signalr.Handshaken)
    if is_error(case):
        assert isinstance(events[-1], signalr.ConnectionFailed)
        assert connection.state is signalr.ConnectionState.CLOSED
    else:
        unknown = signalr.Ignored(signalr.Why.UNKNOWN_TYPE)
        assert events.count(unknown) == case["expect"]["ignored"]
        assert len(events) == case["expect"]["ignored"] + len(case["expect"]["messages"])


@pytest.mark.parametrize("case", of("write"))
def test_write(case: dict[str, Any]) -> None:
    message = build(case["message"])
    text = signalr.write_message(message)
    assert text.endswith(case["expect"]["ends_with"])
    assert text.count("\x1e") == 1
    assert json.loads(text[:-1]) == case["expect"]["json"]
    assert signalr.parse_messages(text) == [message]


@pytest.mark.parametrize("case", of("handshake", "handshake_response"))
def test_handshake_response(case: dict[str, Any]) -> None:
    records = signalr.RecordBuffer()
    records.feed(case["input"])
    record = records.next_record()
    assert record is not None
    if is_error(case):
        with pytest.raises(ProtocolError):
            signalr.parse_handshake_response(record)
        return
    response = signalr.parse_handshake_response(record)
    if "either" not in case["expect"]:
        assert len(case["input"]) - len(record) - 1 == case["expect"]["left"]
        assert response.error == case["expect"]["error_field"]
    else:
        assert response.error is None


@pytest.mark.parametrize("case", of("handshake", "handshake_request_write"))
def test_handshake_request_written(case: dict[str, Any]) -> None:
    request = signalr.HandshakeRequest(case["protocol"], case["version"])
    assert signalr.write_handshake_request(request) == case["expect"]["text"]
    assert signalr.HubConnection().start(case["version"]) == case["expect"]["text"]


@pytest.mark.parametrize("case", of("handshake_server"))
def test_handshake_request_read(case: dict[str, Any]) -> None:
    record = case["input"].removesuffix("\x1e")
    if is_error(case):
        with pytest.raises(ProtocolError):
            signalr.parse_handshake_request(record)
    else:
        assert signalr.parse_handshake_request(record) == signalr.HandshakeRequest(
            case["expect"]["protocol"], case["expect"]["version"]
        )
