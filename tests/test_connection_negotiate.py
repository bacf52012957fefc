from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import ConnectError
from trio_projectx.connection.negotiate import (
    Negotiated,
    Redirected,
    check_redirect,
    negotiate_url,
    parse_negotiation,
    websocket_url,
)

TRANSPORTS = [{"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}]


def body(**fields: object) -> bytes:
    return json.dumps({"availableTransports": TRANSPORTS, **fields}).encode()


def test_version_1_uses_the_connection_token() -> None:
    got = parse_negotiation(body(negotiateVersion=1, connectionId="public", connectionToken="a+/="))
    assert got == Negotiated("a+/=", "public")
    assert "a+/=" not in repr(got)


def test_version_0_uses_the_connection_id() -> None:
    assert parse_negotiation(body(connectionId="only")) == Negotiated("only", "only")


def test_redirect() -> None:
    assert parse_negotiation(b'{"url":"https://h/x","accessToken":"t"}') == Redirected("https://h/x", "t")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b'{"error":"Not today.\\n"}', r"Not today\.\\n"),
        (body(negotiateVersion=1, connectionId="a"), "names no connection"),
        (b'{"negotiateVersion":1,"connectionToken":"t","availableTransports":[]}', "no WebSocket"),
        (b'{"ProtocolVersion":"1.4","ConnectionToken":"x"}', "old ASP.NET"),
        (b"<html>", "not a SignalR hub"),
        (b"", "not a SignalR hub"),
        (b'{"negotiateVersion":"1"}', "not a SignalR hub"),
        (b"[" * 100_000, "not a SignalR hub"),
        (b"\xff\xfe", "not a SignalR hub"),
    ],
)
def test_any_other_answer_is_a_failed_connect_with_a_sentence(answer: bytes, says: str) -> None:
    with pytest.raises(ConnectError, match=says):
        parse_negotiation(answer)


@given(st.binary(max_size=200))
def test_whatever_comes_only_typed_errors_come_out(answer: bytes) -> None:
    try:
        parse_negotiation(answer)
    except ConnectError:
        pass


@pytest.mark.parametrize(
    ("hub", "expected"),
    [
        ("https://h/hubs/market", "https://h/hubs/market/negotiate?negotiateVersion=1"),
        ("https://h/hubs/market/", "https://h/hubs/market/negotiate?negotiateVersion=1"),
        ("https://h:8443/x?tenant=a%20b&e=", "https://h:8443/x/negotiate?tenant=a%20b&e=&negotiateVersion=1"),
        ("https://h/x?t=%ff+%2B;u", "https://h/x/negotiate?t=%ff+%2B;u&negotiateVersion=1"),
        ("https://h/x?negotiateVersion=1&a=b", "https://h/x/negotiate?negotiateVersion=1&a=b"),
    ],
)
def test_negotiate_url_keeps_the_hubs_own_query(hub: str, expected: str) -> None:
    assert negotiate_url(hub) == expected


def test_websocket_url_encodes_what_it_adds() -> None:
    assert websocket_url("https://h/x") == "wss://h/x"
    assert websocket_url("http://h/x?a=1", connection_token="+/=&") == "ws://h/x?a=1&id=%2B%2F%3D%26"
    assert websocket_url("https://h/x", access_token="t") == "wss://h/x?access_token=t"


@pytest.mark.parametrize(
    ("there", "allowed"),
    [
        ("https://h/other", True),
        ("https://h:443/other", True),
        ("wss://h/other", True),
        ("http://h/other", False),
        ("https://evil/hubs/market", False),
        ("https://h:444/", False),
        ("https://h.evil/", False),
        ("//evil/x", False),
        ("/relative", False),
        ("https://H:443/other", True),
        ("ftp://h:443/", False),
        ("https://user@h/", False),
        ("https://h@evil/", False),
        ("http://h:443/", False),
    ],
)
def test_a_token_goes_to_no_other_origin(there: str, allowed: bool) -> None:
    if allowed:
        assert check_redirect("https://h/hubs/market", there) == there
    else:
        with pytest.raises(ConnectError, match="another origin"):
            check_redirect("https://h/hubs/market", there)


@pytest.mark.parametrize(
    "there",
    ["https://h:99999/", "https://h:x/", "https://[::1/", "https://h/a b", "https://h/\n", "https://h/ü"],
)
def test_a_redirect_that_is_no_url(there: str) -> None:
    with pytest.raises(ConnectError, match="no URL") as raised:
        check_redirect("https://h/hubs/market", there)
    assert there not in str(raised.value)


@given(st.text(max_size=80), st.sampled_from(["", "https://", "https://h", "https://h:"]))
def test_a_redirect_leads_to_the_same_origin_or_is_a_typed_error(there: str, before: str) -> None:
    try:
        url = check_redirect("https://h/hubs/market", before + there)
    except ConnectError:
        return
    assert websocket_url(url).startswith("wss://h")
    assert negotiate_url(url).lower().startswith(("https://h", "wss://h"))


@pytest.mark.parametrize("token", ["a b", "a\\r\\nb", "\u00fc"])
def test_a_redirects_token_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(ConnectError, match="token holds a character"):
        parse_negotiation(f'{{"url":"https://h/x","accessToken":"{token}"}}'.encode())
