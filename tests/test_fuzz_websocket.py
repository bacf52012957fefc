"""Whatever bytes a hub's WebSocket brings, only errors of ours come out of the transport, and it ends."""

from __future__ import annotations

import base64
import hashlib

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import TrioProjectXError
from trio_projectx.connection.transport import open_transport
from trio_projectx.simulator import breakable_pair
from trio_projectx.simulator.faults.frames import write_frame
from trio_projectx.simulator.streams import BreakableStream

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PAYLOADS = st.binary(max_size=130) | st.text(max_size=40).map(str.encode) | st.just(b'{"type":6}\x1e')


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame that may be one, or bytes that are none, or a header that claims what does not come."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=40))
    if kind == 1:
        return bytes((0x81, 127)) + draw(st.integers(0, 2**64 - 1)).to_bytes(8, "big")
    opcode = draw(st.sampled_from([0, 1, 1, 1, 2, 8, 9, 10]) | st.integers(0, 15))
    fin, rsv = draw(st.booleans()), draw(st.sampled_from([0, 0, 0, 1, 4, 7]))
    frame = write_frame(draw(PAYLOADS), opcode, fin=fin, rsv=rsv)
    return frame[: draw(st.integers(0, len(frame)))] if kind == 2 else frame


HEADS = st.sampled_from(["good", "good", "good", "wrong key", "no key", "200", "noise"])


def answer(request: bytes, head: str, noise: bytes) -> bytes:
    """Return the answer to an upgrade."""
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())  # noqa: S324  what RFC 6455 says
    lines = [b"HTTP/1.1 101 Switching", b"Upgrade: websocket", b"Connection: Upgrade"]
    match head:
        case "noise":
            return noise
        case "200":
            return b"HTTP/1.1 200 OK\r\n" + noise + b"\r\n\r\n"
        case "no key":
            pass
        case "wrong key":
            lines.append(b"Sec-WebSocket-Accept: " + base64.b64encode(noise))
        case _:
            lines.append(b"Sec-WebSocket-Accept: " + accept)
    return b"\r\n".join([*lines, b"", b""])


async def serve(stream: BreakableStream, head: str, said: list[bytes], end: str) -> None:
    """Answer the upgrade, say something, and end."""
    try:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some()
            await stream.send_all(answer(request, head, b"".join(said)))
            for piece in said:
                await stream.send_all(piece)
            await trio.sleep(0.1)
            if end == "reset":
                stream.reset()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client has hung up


async def talk(head: str, said: list[bytes], end: str) -> None:
    """Read until the end; anything but texts and errors of ours comes out of here."""
    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
            ours, theirs = breakable_pair()
            nursery.start_soon(serve, theirs, head, said, end)
            return ours

        before = trio.lowlevel.current_statistics().tasks_living
        try:
            async with open_transport(
                "ws://h/x",
                connect=connect,
                headers=[],
                connect_s=3,
                send_s=3,
                close_s=1,
                max_message_bytes=1000,
            ) as transport:
                while True:
                    assert isinstance(await transport.receive(), str)
        except TrioProjectXError:
            pass
        assert trio.current_time() <= 10
        assert trio.lowlevel.current_statistics().tasks_living <= before + 1


async def heard(said: list[bytes]) -> str:
    """Return the first text of a good connection."""
    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
            ours, theirs = breakable_pair()
            nursery.start_soon(serve, theirs, "good", said, "close")
            return ours

        async with open_transport(
            "ws://h/x", connect=connect, headers=[], connect_s=3, send_s=3, close_s=1, max_message_bytes=1000
        ) as transport:
            text = await transport.receive()
        nursery.cancel_scope.cancel()
    return text


def test_a_good_frame_is_heard() -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)
    assert trio.run(heard, [write_frame(b"hello")], clock=clock) == "hello"


@given(HEADS, st.lists(frames(), max_size=5), st.sampled_from(["close", "reset"]))
@settings(max_examples=50)
def test_whatever_comes_only_errors_of_ours_come_out(head: str, said: list[bytes], end: str) -> None:
    trio.run(talk, head, said, end, clock=trio.testing.MockClock(autojump_threshold=0))
