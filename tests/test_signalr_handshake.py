from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import (
    HandshakeRequest,
    HandshakeResponse,
    LocalProtocolError,
    parse_handshake_request,
    parse_handshake_response,
    write_handshake_request,
    write_handshake_response,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.builds(HandshakeRequest, TEXT, st.integers(-(2**31), 2**31)))
def test_request_both_ways(request_: HandshakeRequest) -> None:
    text = write_handshake_request(request_)
    assert text.index("\x1e") == len(text) - 1
    assert parse_handshake_request(text[:-1]) == request_


@given(st.builds(HandshakeResponse, st.none() | TEXT, st.none() | st.integers(0, 99)))
def test_response_both_ways(response: HandshakeResponse) -> None:
    text = write_handshake_response(response)
    assert text.index("\x1e") == len(text) - 1
    assert parse_handshake_response(text[:-1]) == response


def test_the_exact_texts() -> None:
    assert write_handshake_request(HandshakeRequest()) == '{"protocol":"json","version":1}\x1e'
    assert write_handshake_response(HandshakeResponse()) == "{}\x1e"
    assert write_handshake_response(HandshakeResponse("no")) == '{"error":"no"}\x1e'
    assert write_handshake_response(HandshakeResponse(minor_version=0)) == '{"minorVersion":0}\x1e'


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[]",
        '"x"',
        "1",
        "{",
        "{}x",
        '{"error":5}',
        '{"minorVersion":"1"}',
        "[" * 100_000,
        '{"error":"\ud800"}',
    ],
    ids=lambda record: record[:20].encode("unicode_escape").decode(),
)
def test_responses_refused(record: str) -> None:
    with pytest.raises(ProtocolError, match="handshake response"):
        parse_handshake_response(record)


@pytest.mark.parametrize("record", ['{"type":6}', '{"type":null}', '{"type":"foo","error":"e"}'])
def test_a_hub_record_is_no_response(record: str) -> None:
    with pytest.raises(ProtocolError, match="Expected a handshake response"):
        parse_handshake_response(record)


@pytest.mark.parametrize(
    "record",
    [
        '{"protocol":1,"version":1}',
        '{"protocol":"json","version":"1"}',
        '{"protocol":"json","version":1.0}',
        "null",
    ],
)
def test_requests_refused(record: str) -> None:
    with pytest.raises(ProtocolError, match="handshake request"):
        parse_handshake_request(record)


@given(st.text())
def test_arbitrary_text(text: str) -> None:
    for parse in (parse_handshake_request, parse_handshake_response):
        with contextlib.suppress(ProtocolError):
            parse(text)


def test_what_is_not_unicode_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError):
        write_handshake_request(HandshakeRequest("\ud800", 1))
    with pytest.raises(LocalProtocolError):
        write_handshake_response(HandshakeResponse("\ud800"))
