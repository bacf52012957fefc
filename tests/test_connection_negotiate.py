from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import ConfigError, ConnectError, Credentials, GatewayConfig
from trio_projectx.connection.negotiate import (
    Negotiated,
    Redirected,
    check_redirect,
    is_loopback,
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
    assert websocket_url(url).lower().startswith("wss://h")  # the case of a host is free
    assert negotiate_url(url).lower().startswith(("https://h", "wss://h"))


ALLOWED = (
    "https://rtc2.example.com",
    "https://h:8443",
    "http://rtc3.example.com",
    "http://127.0.0.1:9",
    "http://[::1]:9",
)


@pytest.mark.parametrize(
    ("here", "there", "says"),
    [
        ("https://h/x", "https://rtc2.example.com/y", None),
        ("https://h/x", "https://rtc2.example.com:443/y?a=b", None),
        ("https://h/x", "wss://RTC2.example.com/y", None),
        ("https://h/x", "https://h:8443/x", None),
        ("https://h/x", "https://h/other", None),  # its own origin needs no list
        ("https://h/x", "https://rtc2.example.com:444/y", "another origin"),
        ("https://h/x", "https://rtc2.example.com.evil/y", "another origin"),
        ("https://h/x", "https://evil/rtc2.example.com", "another origin"),
        ("https://h/x", "https://me@rtc2.example.com/", "another origin"),
        ("https://h/x", "http://rtc2.example.com/y", "another origin"),  # another scheme, another origin
        ("https://h/x", "http://rtc3.example.com/y", r"in clear \(rtc3.example.com\)"),
        ("https://h/x", "ws://rtc3.example.com/y", "in clear"),
        ("https://h/x", "http://127.0.0.1:9/y", None),  # clear text that does not leave the machine
        ("https://h/x", "http://[::1]:9/y", None),
        ("https://h/x", "http://127.0.0.1:8/y", "another origin"),
        ("http://127.0.0.1/x", "http://rtc3.example.com/y", "in clear"),
        ("http://localhost/x", "https://rtc2.example.com/y", None),
        ("http://hub.test/x", "http://rtc3.example.com/y", None),  # in clear before, and allowed
        ("http://hub.test/x", "https://rtc2.example.com/y", None),
    ],
)
def test_an_allowed_origin_may_have_the_token_too(here: str, there: str, says: str | None) -> None:
    if says is None:
        assert check_redirect(here, there, ALLOWED) == there
        return
    with pytest.raises(ConnectError, match=says):
        check_redirect(here, there, ALLOWED)


@given(
    st.sampled_from(["https://", "http://", "wss://", ""]),
    st.sampled_from(
        ["h", "rtc2.example.com", "evil", "127.0.0.1", "h@evil", "rtc2.example.com@evil", "[::1]", "H"]
    ),
    st.sampled_from(["", ":443", ":80", ":9", ":x", ":99999"]),
    st.text(max_size=10),
)
def test_a_redirect_from_tls_leads_to_tls_or_to_this_machine(
    scheme: str, host: str, port: str, path: str
) -> None:
    try:
        there = check_redirect("https://h/x", f"{scheme}{host}{port}/{path}", ALLOWED)
    except ConnectError:
        return
    parts = urlsplit(there)
    assert parts.hostname in ("h", "rtc2.example.com", "127.0.0.1", "::1")
    assert parts.scheme in ("https", "wss") or (is_loopback(parts.hostname) and parts.port == 9)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.evil", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "origin",
    [
        "https://h/path",
        "https://h:99999",
        "https://h:x",
        "https://[::1",
        "https://me@h",
        "https://h?a",
        "wss://h",
        "h",
        "",
        5,
    ],
)
def test_what_is_no_origin_is_refused_where_it_is_given(origin: str) -> None:
    with pytest.raises(ConfigError, match="redirect_origins"):
        GatewayConfig(Credentials.from_token("t"), redirect_origins=(origin,))
    assert GatewayConfig(Credentials.from_token("t"), redirect_origins=ALLOWED).redirect_origins == ALLOWED


@pytest.mark.parametrize("token", ["a b", "a\\r\\nb", "\u00fc"])
def test_a_redirects_token_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(ConnectError, match="token holds a character"):
        parse_negotiation(f'{{"url":"https://h/x","accessToken":"{token}"}}'.encode())
