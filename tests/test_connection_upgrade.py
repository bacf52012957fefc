"""URLs, headers and refusals around the WebSocket upgrade, as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_projectx._errors import ConfigError, ConnectError, again
from trio_projectx.connection.upgrade import (
    ANSWER_LIMIT,
    Target,
    UpgradeRefused,
    check_headers,
    parse_target,
    read_refusal,
)


def test_a_target_hides_its_query() -> None:
    target = parse_target("wss://hub.test/hubs/market?access_token=secret")
    assert target == Target("hub.test", 443, True, "/hubs/market?access_token=secret")
    assert "secret" not in repr(target)


@given(st.text(max_size=40))
@example("ws://[")
@example("ws://h:x/")
@example("ws://h/\n")
@example("ws://h]/")
def test_any_text_is_a_target_or_a_config_error(url: str) -> None:
    for text in (url, "ws://" + url):
        try:
            target = parse_target(text)
        except ConfigError:
            continue
        assert target.resource.startswith("/")
        assert 0 < target.port < 65536


@pytest.mark.parametrize("value", [b"x", b"Bearer a.b-c_d", b"a\tb", b"\xff"])
def test_headers_pass_as_a_list(value: bytes) -> None:
    assert check_headers(((b"X-Y", value),)) == [(b"X-Y", value)]


@pytest.mark.parametrize("value", [b"", b" x", b"x ", b"a\nb", b"a\rb", b"a\0b", b"\x7f"])
def test_a_value_that_http_cannot_carry_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(ConfigError, match="value of the header X-Y"):
        check_headers([(b"X-Y", value)])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (b"", None),
        (b"Retry-After: 0\r\n", 0.0),
        (b"retry-after:  120 \r\n", 120.0),
        (b"Retry-After: -1\r\n", None),
        (b"Retry-After: 1.5\r\n", None),
        (b"Retry-After: " + b"9" * 400 + b"\r\n", None),
        (b"Retry-After: soon\r\n", None),
        (b"Retry-After: Wed, 21 Oct 2026 07:28:30 GMT\r\nDate: Wed, 21 Oct 2026 07:28:00 GMT\r\n", 30.0),
        (b"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\nDate: Wed, 21 Oct 2026 07:28:30 GMT\r\n", 0.0),
        (b"Retry-After: Wed, 21 Oct 2026 07:28:30 GMT\r\n", None),
        (b"Retry-After: Wed, 21 Oct 2026 07:28:30 -0000\r\nDate: Wed, 21 Oct 2026 07:28:00 GMT\r\n", None),
    ],
)
def test_retry_after(headers: bytes, seconds: float | None) -> None:
    refused = read_refusal(b"HTTP/1.1 429 Slow\r\n" + headers + b"Content-Length: 0\r\n\r\n", "h:1")
    assert refused is not None
    assert (refused.status, refused.retry_after) == (429, seconds)


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (b"HTTP/1.1 401 No\r\nContent-Length: 5\r\n\r\nno", 401, "no"),
        (b"HTTP/1.0 403 No\r\n\r\nuntil the end", 403, "until the end"),
        (
            b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
            500,
            "abcdef",
        ),
        (b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz", 500, "abc"),
        (b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, ""),
        (b"HTTP/1.1 302 Away\r\nLocation: x\r\nContent-Length: 0\r\n\r\n", 302, ""),
    ],
)
def test_a_refusal_is_read_whole_or_cut(answer: bytes, status: int, text: str) -> None:
    refused = read_refusal(answer, "h:1")
    assert refused is not None
    assert (refused.status, refused.text) == (status, text)
    assert str(refused) == f"h:1 refused the WebSocket with HTTP {status}" + (f": {text}" if text else "")
    assert isinstance(refused, ConnectError)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 401 No\r\n", b"SSH-2.0\r\n\r\n", b"\xff" * 100])
def test_what_has_no_head_is_no_refusal(answer: bytes) -> None:
    assert read_refusal(answer, "h:1") is None


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_head_are_printable_and_capped(body: bytes) -> None:
    refused = read_refusal(b"HTTP/1.1 500 No\r\n\r\n" + body * 20, "h:1")
    assert refused is not None
    assert len(refused.text) <= 500
    assert (refused.text + str(refused)).isprintable()


def test_a_token_in_the_body_is_redacted() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.sIgNaTuRe"
    refused = read_refusal(b"HTTP/1.1 401 No\r\n\r\nbad token " + token.encode(), "h:1")
    assert refused is not None
    assert token not in repr(refused)


def test_a_long_answer_is_read() -> None:
    refused = read_refusal(b"HTTP/1.1 500 No\r\n\r\n" + b"x" * ANSWER_LIMIT, "h:1")
    assert refused is not None
    assert refused.status == 500


@pytest.mark.parametrize(("status", "is_auth"), [(401, True), (403, True), (404, False), (429, False)])
def test_a_refused_token_is_told_apart(status: int, is_auth: bool) -> None:
    refused = UpgradeRefused("no", status, 3.0, "text")
    copy = again(refused)
    assert isinstance(copy, UpgradeRefused)
    assert (copy.is_auth, copy.status, copy.retry_after, copy.text, str(copy)) == (
        is_auth,
        status,
        3.0,
        "text",
        "no",
    )
