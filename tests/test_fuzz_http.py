"""Whatever bytes a REST service answers with, only errors of ours come out, or what the call promises."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import ProtocolError, TrioProjectXError
from trio_projectx.connection.answers import check_size
from trio_projectx.connection.rest import BarsQuestion, RestClient
from trio_projectx.simulator import breakable_pair
from trio_projectx.simulator.streams import BreakableStream

Call = Callable[[RestClient], Awaitable[object]]

QUESTION = BarsQuestion("CON.F.US.MNQ.U26", 2, 1, 1_787_164_200 * 10**9, 1_787_164_800 * 10**9, 10)
CALLS: dict[str, Call] = {
    "login": lambda rest: rest.login("user", "key"),
    "validate": lambda rest: rest.validate("a.b.c"),
    "logout": lambda rest: rest.logout("a.b.c"),
    "bars": lambda rest: rest.bars(QUESTION, "a.b.c"),
    "post": lambda rest: rest.post("http://h/hubs/market/negotiate", b"", {}, 5.0),
}
STATUS = st.sampled_from(
    [
        "200 OK",
        "200",
        "101 Switching Protocols",
        "100 Continue",
        "204 No Content",
        "307 Go",
        "401 No",
        "403 No",
        "429 Slow",
        "500 X",
        "503 Later",
        "999 Odd",
        "20 X",
        "2000 X",
        "-1 X",
        "abc",
        "",
    ]
) | st.text("0123456789 xK\r\n\x00", max_size=8)
NAMES = st.sampled_from(
    ["Content-Length", "Transfer-Encoding", "Content-Encoding", "Connection", "Retry-After", "Content-Type"]
) | st.text("aA-:\x00 é", max_size=6)
VALUES = st.sampled_from(
    [
        "0",
        "5",
        "99",
        "-1",
        "+5",
        "1e3",
        "²",
        "5, 5",
        "5, 6",
        "9" * 30,
        "9" * 5000,
        "chunked",
        "gzip, chunked",
        "identity",
        "gzip",
        "br",
        "close",
        "upgrade",
        "nan",
        "inf",
        "1.5",
        "application/json",
        "text/html; charset=x",
    ]
) | st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUE = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
BAR = st.fixed_dictionaries(
    {}, optional={name: VALUE | st.just("2026-08-19T18:30:00Z") for name in ("t", "o", "h", "l", "c", "v")}
)
ENVELOPE = st.fixed_dictionaries(
    {"success": st.booleans() | VALUE},
    optional={
        "errorCode": st.integers(-1, 12) | VALUE,
        "errorMessage": VALUE,
        "token": VALUE,
        "newToken": VALUE,
        "bars": st.lists(BAR | VALUE, max_size=3) | VALUE,
        "contracts": VALUE,
    },
)
BODY = st.binary(max_size=60) | ENVELOPE.map(lambda value: json.dumps(value).encode())


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Bytes that look like an answer, more or less."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.binary(max_size=200))
    body = draw(BODY)
    headers = [*draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))]
    kind = draw(st.sampled_from(["length", "chunked", "none"]))
    if kind == "length":
        headers.append(("Content-Length", str(len(body))))
    elif kind == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    head = (
        f"HTTP/1.1 {draw(STATUS)}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
    )
    answer = head.encode() + body
    return answer[: draw(st.integers(0, len(answer)))] if draw(st.integers(0, 3)) == 0 else answer


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """One or two answers, cut somewhere."""
    data = b"".join(draw(st.lists(answers(), min_size=1, max_size=2)))
    cut = draw(st.integers(0, len(data)))
    return [data[:cut], data[cut:]]


async def serve(stream: BreakableStream, said: list[bytes], end: str) -> None:
    """Wait for a request, answer with ``said``, and end."""
    async with stream:
        await stream.receive_some()
        for piece in said:
            await stream.send_all(piece)
            await trio.sleep(0.1)
        if end == "reset":
            stream.reset()
        elif end == "hang":
            await trio.sleep_forever()


async def ask(call: str, said: list[bytes], end: str) -> object:
    """Ask once, and return the answer, or an error of ours; anything else comes out of here."""
    found: object = None
    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
            ours, theirs = breakable_pair()
            nursery.start_soon(guarded, theirs)
            return ours

        async def guarded(stream: BreakableStream) -> None:
            try:
                await serve(stream, said, end)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client has hung up

        async with RestClient("http://h", connect=connect, deadline_s=5.0, body_limit=10_000) as rest:
            try:
                found = await CALLS[call](rest)
            except TrioProjectXError as exc:
                found = exc
        assert trio.current_time() <= 5.1
        nursery.cancel_scope.cancel()
    return found


@given(st.sampled_from(sorted(CALLS)), pieces(), st.sampled_from(["close", "reset", "hang"]))
@settings(max_examples=60)
def test_whatever_is_answered_only_errors_of_ours_come_out(call: str, said: list[bytes], end: str) -> None:
    trio.run(ask, call, said, end, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("length", ["²", "9" * 5000, "9" * 19, "-1", "5, 6"])
@pytest.mark.parametrize("call", sorted(CALLS))
def test_lengths_that_are_none(call: str, length: str) -> None:
    said: Any = [f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode(), b"{}"]
    trio.run(ask, call, said, "close", clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_good_answer_is_taken() -> None:
    body = b'{"success":true,"errorCode":0,"token":"a.b.c"}'
    said = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]
    clock = trio.testing.MockClock(autojump_threshold=0)
    assert trio.run(ask, "login", said, "hang", clock=clock) == "a.b.c"


def test_an_answer_of_more_objects_than_any_has_is_refused() -> None:
    def bars(count: int) -> bytes:
        one = b'{"t":"2026-08-19T18:00:00+00:00","o":1.25,"h":1.25,"l":1.25,"c":1.25,"v":1}'
        return b'{"success":true,"errorCode":0,"bars":[' + b",".join([one] * count) + b"]}"

    check_size("bars", bars(20_000))
    with pytest.raises(ProtocolError, match="more objects"):
        check_size("bars", bars(30_000))
