"""The joining stream: what wsproto makes of its output is what it makes of the wire, only cheaper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from trio_projectx.connection.joining import HOLD_LIMIT, JOIN_LIMIT, READ_SIZE, FrameJoiner, JoiningStream
from trio_projectx.connection.upgrade import ANSWER_LIMIT

Token = tuple[object, ...]
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def frame(
    payload: bytes, first: int = 0x81, field: int | None = None, mask: bool = False, claim: int | None = None
) -> bytes:
    """Write a frame; ``field`` forces a length field of so many bytes, ``claim`` any length."""
    size = len(payload) if claim is None else claim
    if field is None:
        field = 0 if size < 126 else 2 if size < 1 << 16 else 8
    code = size if field == 0 else 126 if field == 2 else 127
    head = bytes((first, code | (0x80 if mask else 0))) + (size.to_bytes(field, "big") if field else b"")
    return head + (b"mask" if mask else b"") + payload


class Reader:
    """wsproto as trio-websocket uses it; neighbouring whole texts count as one."""

    def __init__(self) -> None:
        self.wsproto = Connection(ConnectionType.CLIENT)
        self.tokens: list[Token] = []
        self.partial: list[str | bytes] = []
        self.failed = False

    def feed(self, data: bytes) -> None:
        if self.wsproto.state is ConnectionState.OPEN:
            self.wsproto.receive_data(data)
            for event in self.wsproto.events():
                self.take(event)

    def take(self, event: object) -> None:
        match event:
            case TextMessage() | BytesMessage():
                data = event.data if isinstance(event.data, str) else bytes(event.data)
                self.partial.append(data)
                if event.message_finished:
                    self.finish(type(data)())
            case Ping() | Pong():
                self.tokens.append((type(event).__name__, bytes(event.payload)))
            case CloseConnection():
                remote = self.wsproto.state is ConnectionState.REMOTE_CLOSING
                # The text of a failure tells a position in wsproto's own pieces; its code is what matters.
                self.tokens.append(("close", remote, int(event.code), event.reason if remote else None))
                self.failed = True
            case _:
                raise AssertionError(event)

    def finish(self, whole: str | bytes) -> None:
        for part in self.partial:
            whole += part  # type: ignore[operator]  # all parts of a message are of one kind
        self.partial = []
        if isinstance(whole, str) and self.tokens and self.tokens[-1][0] == "text":
            whole = str(self.tokens.pop()[1]) + whole
        self.tokens.append(("text" if isinstance(whole, str) else "binary", whole))

    def result(self) -> list[Token]:
        # A message that never ends is never delivered; how much of it was seen before a failure is chance.
        if not self.failed and self.partial:
            self.tokens.append(("cut off here",))
            self.finish(type(self.partial[0])())
        return self.tokens


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def both_ways(reads: Sequence[bytes], joiner: FrameJoiner) -> tuple[list[Token], list[Token]]:
    alone, joined = Reader(), Reader()
    for read in reads:
        alone.feed(read)
        joined.feed(joiner.feed(read))
        assert len(joiner._held) <= joiner._hold_limit + 10
    joined.feed(joiner.end())
    return alone.result(), joined.result()


texts = st.one_of(
    st.text(max_size=20).map(str.encode),
    st.sampled_from(
        [b"", b'{"type":6}\x1e', b"x" * 125, b"y" * 126, b"z" * 300, "é".encode() * 90, "€😀".encode()]
    ),
)
pieces = st.sampled_from(
    [b"\xc3", b"\xa9", b"\xf0\x9f", b"\x98\x80", b"\xed\xa0\x80", b"\xff", b"\xc0\xaf", b"a\xe2\x82"]
)
whole_texts = texts.map(frame)
texts_with_breaches = st.one_of(whole_texts, whole_texts, pieces.map(frame))
controls = st.one_of(
    st.builds(frame, st.binary(max_size=10), st.sampled_from([0x89, 0x8A])),
    st.sampled_from([frame(b"p" * 125, 0x89)]),
)
fragmented = st.builds(
    lambda first, parts, between: b"".join(
        (
            frame(parts[0], first),
            *(between + frame(part, 0x00) for part in parts[1:-1]),
            between + frame(parts[-1], 0x80),
        )
    ),
    st.sampled_from([0x01, 0x02]),
    st.lists(st.one_of(texts, pieces), min_size=2, max_size=4),
    st.one_of(st.just(b""), controls),
)
large = st.builds(
    lambda n, first: frame(b"L" * n, first),
    st.sampled_from([700, 1500, 66000]),
    st.sampled_from([0x81, 0x82]),
)
closes = st.sampled_from(
    [
        frame(p, 0x88)
        for p in (
            b"",
            b"\x03",
            b"\x03\xe8",
            b"\x03\xe9bye",
            b"\x03\xee",
            b"\x07\xd0",
            b"\x03\xe8\xff",
            b"\x00\x01",
        )
    ]
)
anything = st.builds(
    frame,
    st.one_of(texts, pieces),
    st.one_of(
        st.integers(0, 255),
        st.sampled_from([0x81, 0x80, 0x00, 0x01, 0x02, 0x82, 0xC1, 0xA1, 0x91, 0x83, 0x8B, 0x09, 0x08]),
    ),
    field=st.sampled_from([2, 8]),
    mask=st.booleans(),
)
claims = st.builds(
    frame,
    texts,
    st.sampled_from([0x81, 0x82, 0x89]),
    field=st.just(8),
    claim=st.sampled_from([1 << 62, 1 << 63, 70_000, 65_535, 5]),
)
legal = st.one_of(
    whole_texts, whole_texts, whole_texts, controls, fragmented, large, st.just(frame(b"b", 0x82))
)
wire = st.builds(
    lambda good, rest: b"".join((*good, *rest)),
    st.lists(st.one_of(legal, legal, texts_with_breaches), max_size=12),
    st.lists(st.one_of(legal, texts_with_breaches, closes, anything, claims), max_size=4),
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    wire,
    st.lists(st.integers(0, 1 << 20), max_size=30),
    st.sampled_from([0, 1, 200, 1000, JOIN_LIMIT]),
    st.sampled_from([0, 50, 1000, HOLD_LIMIT]),
)
@example(frame(b"a\xc3") + frame(b"\xa9b") + frame(b"c"), [], JOIN_LIMIT, HOLD_LIMIT)
@example(frame(b"a") + frame(b"\xa9") + frame(b"c"), [], JOIN_LIMIT, HOLD_LIMIT)
@example(frame(b"\xc3") + frame(b"") + frame(b"\xa9"), [], JOIN_LIMIT, HOLD_LIMIT)
@example(frame(b"a" * 66_000) + frame(b"b") + frame(b"c"), [10, 66_005], JOIN_LIMIT, HOLD_LIMIT)
def test_wsproto_sees_the_same_with_and_without(
    data: bytes, places: list[int], join_limit: int, hold_limit: int
) -> None:
    alone, joined = both_ways(cut(data, places), FrameJoiner(join_limit, hold_limit, claim_limit=1 << 63))
    assert joined == alone


@settings(max_examples=100, deadline=None)
@given(wire, st.sampled_from([50, HOLD_LIMIT]))
def test_byte_by_byte_too(data: bytes, hold_limit: int) -> None:
    data = data[:4000]
    alone, joined = both_ways(
        [data[i : i + 1] for i in range(len(data))], FrameJoiner(hold_limit=hold_limit, claim_limit=1 << 63)
    )
    assert joined == alone


@given(st.lists(texts, min_size=2, max_size=50))
def test_whole_texts_of_one_read_leave_as_one_frame(payloads: list[bytes]) -> None:
    joiner = FrameJoiner()
    assert joiner.feed(b"".join(map(frame, payloads))) == frame(b"".join(payloads))
    assert (joiner.frames_in, joiner.frames_out) == (len(payloads), 1)


def test_a_bad_text_neither_spoils_its_neighbours_nor_is_healed_by_them() -> None:
    joiner = FrameJoiner()
    out = joiner.feed(frame(b"one ") + frame(b"two") + frame(b"\xc3") + frame(b"\xa9"))
    assert out == frame(b"one two") + frame(b"\xc3") + frame(b"\xa9")
    reader = Reader()
    reader.feed(out)
    assert reader.tokens == [("text", "one two"), ("close", False, 1007, None)]


def test_a_joined_text_has_the_length_field_it_needs() -> None:
    for size in (62, 63, 32_767, 32_768, 60_000):
        assert FrameJoiner().feed(frame(b"x" * size) + frame(b"y" * size)) == frame(b"x" * size + b"y" * size)


def test_text_that_is_not_ascii_is_joined_too() -> None:
    assert FrameJoiner().feed(frame("é".encode()) + frame("€".encode())) == frame("é€".encode())


UNCHANGED = {
    "ping": frame(b"p", 0x89),
    "pong": frame(b"p", 0x8A),
    "close": frame(b"\x03\xe8", 0x88),
    "binary": frame(b"b", 0x82),
    "fragments": frame(b"a", 0x01) + frame(b"p", 0x89) + frame(b"b", 0x00) + frame(b"c", 0x80),
    "reserved bit": frame(b"a", 0xC1),
    "reserved opcode": frame(b"a", 0x83),
    "masked": frame(b"a", mask=True),
    "not minimal (2)": frame(b"a", field=2),
    "not minimal (8)": frame(b"a" * 300, field=8),
    "claims 2**63": frame(b"a", field=8, claim=1 << 63),
    "fragmented ping": frame(b"a", 0x09),
    "long ping": frame(b"a" * 126, 0x89),
    "continuation of nothing": frame(b"a", 0x80),
    "text within fragments": frame(b"a", 0x01) + frame(b"b"),
}


@pytest.mark.parametrize("data", UNCHANGED.values(), ids=UNCHANGED.keys())
def test_everything_else_passes_unchanged_between_joined_texts(data: bytes) -> None:
    before = frame(b"a") + frame(b"b")
    assert FrameJoiner().feed(before + data) == frame(b"ab") + data
    whole = before + data + before
    joiner = FrameJoiner()
    out = joiner.feed(whole)
    assert out in (frame(b"ab") + data + frame(b"ab"), frame(b"ab") + data + before)
    assert joiner.end() == b""


@pytest.mark.parametrize("name", ["ping", "pong", "binary", "fragments"])
def test_joining_goes_on_after_what_is_legal(name: str) -> None:
    texts_ = frame(b"a") + frame(b"b")
    assert FrameJoiner().feed(UNCHANGED[name] + texts_) == UNCHANGED[name] + frame(b"ab")


def test_a_frame_too_long_to_hold_streams_through_and_joining_goes_on() -> None:
    joiner, size = FrameJoiner(), 3 * READ_SIZE
    data = frame(b"L" * size) + frame(b"a") + frame(b"b")
    reads = [data[i : i + READ_SIZE] for i in range(0, len(data), READ_SIZE)]
    outs = [joiner.feed(read) for read in reads]
    assert all(outs), "each part goes up as it comes"
    assert b"".join(outs) == frame(b"L" * size) + frame(b"ab")
    assert (joiner.frames_in, joiner.frames_out) == (3, 2)


def test_a_slow_drip_costs_each_byte_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look = FrameJoiner._pass_one

    def counted(self: FrameJoiner, data: bytes, pos: int, out: list[bytes]) -> int:
        nonlocal looks
        looks += 1
        return look(self, data, pos, out)

    monkeypatch.setattr(FrameJoiner, "_pass_one", counted)
    joiner = FrameJoiner()
    data = frame(b"d" * 60_000)
    assert b"".join(joiner.feed(data[i : i + 1]) for i in range(len(data))) == data
    assert looks < 10, "one look per part of the header and one at the whole, not one per byte"


def test_no_joined_text_is_longer_than_the_limit() -> None:
    joiner = FrameJoiner(join_limit=1000)
    out = joiner.feed(frame(b"x" * 400) * 5 + frame(b"y" * 1200) + frame(b"z"))
    assert out == frame(b"x" * 800) * 2 + frame(b"x" * 400) + frame(b"y" * 1200) + frame(b"z")


# The stream


class Reads(trio.abc.ReceiveStream):
    """Gives one of ``reads`` for each read of the socket, then the end of file."""

    def __init__(self, reads: Sequence[bytes]) -> None:
        self.left = list(reads)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.left.pop(0) if self.left else b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def stream_over(
    reads: Sequence[bytes],
    on_early_end: Callable[[], None] | None = None,
    deaf: Callable[[], bool] | None = None,
) -> JoiningStream:
    below = trio.StapledStream(trio.testing.MemorySendStream(), Reads(reads))
    return JoiningStream(below, on_early_end=on_early_end, deaf=deaf)


async def drain(stream: JoiningStream, max_bytes: int | None = None) -> list[bytes]:
    got: list[bytes] = []
    while data := await stream.receive_some(max_bytes):
        got.append(data)
    return got


async def test_the_head_passes_unchanged_and_frames_behind_it_are_joined() -> None:
    data = HEAD + frame(b"a") + frame(b"b")
    stream = stream_over([data, frame(b"c") + frame(b"d")])
    assert await drain(stream) == [HEAD + frame(b"ab"), frame(b"cd")]
    assert (stream.upgraded, stream.bytes_in, stream.frames_in, stream.frames_out) == (
        True,
        len(HEAD) + 12,
        4,
        2,
    )
    assert stream.error is None
    assert await stream.receive_some() == b""


async def test_a_head_in_single_bytes_is_found() -> None:
    data = HEAD + frame(b"a")
    assert b"".join(await drain(stream_over([data[i : i + 1] for i in range(len(data))]))) == data


async def test_at_most_as_much_as_asked_for_is_returned() -> None:
    got = await drain(stream_over([HEAD + frame(b"a" * 50) + frame(b"b" * 50)]), max_bytes=7)
    assert max(map(len, got)) == 7
    assert b"".join(got) == HEAD + frame(b"a" * 50 + b"b" * 50)


async def test_a_frame_cut_by_the_end_goes_up_as_it_is() -> None:
    half = frame(b"abcdef")[:4]
    stream = stream_over([HEAD + frame(b"x") + half])
    assert await drain(stream) == [HEAD + frame(b"x"), half]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\n\n" + frame(b"a") + frame(b"b"),
    ],
)
async def test_another_answer_than_101_passes_raw_and_is_kept(answer: bytes) -> None:
    ends: list[bool] = []
    stream = stream_over([answer[:20], answer[20:]], on_early_end=lambda: ends.append(True))
    assert b"".join(await drain(stream)) == answer
    assert (stream.upgraded, bytes(stream.answer), ends) == (False, answer, [True])


async def test_an_endless_refusal_ends() -> None:
    ends: list[bool] = []
    reads = [b"HTTP/1.1 500 Oops\r\n\r\n", *([b"x" * READ_SIZE] * 50)]
    stream = stream_over(reads, on_early_end=lambda: ends.append(True))
    got = b"".join(await drain(stream))
    assert len(got) == len(stream.answer) <= ANSWER_LIMIT + READ_SIZE
    assert ends == [True]


@pytest.mark.parametrize(
    "reads",
    [
        [b"SSH-2.0-OpenSSH_9.9\r\n"],
        [b"\x15\x03\x01\x00\x02\x02\x0a"],
        [b"HTTP/1.1 101 S\r\nX: " + b"y" * READ_SIZE] * 3,
    ],
    ids=["ssh", "tls alert", "endless head"],
)
async def test_what_is_no_http_head_ends_at_once(reads: list[bytes]) -> None:
    ends: list[bool] = []
    stream = stream_over([*reads, frame(b"never read")], on_early_end=lambda: ends.append(True))
    assert await drain(stream) == []
    assert (stream.upgraded, ends) == (False, [True])


async def test_the_end_before_the_answer_is_told() -> None:
    ends: list[bool] = []
    stream = stream_over([b"HTTP/1.1 101 Swi"], on_early_end=lambda: ends.append(True))
    assert await drain(stream) == []
    assert ends == [True]


async def test_the_end_after_the_answer_is_not_early() -> None:
    ends: list[bool] = []
    assert await drain(stream_over([HEAD], on_early_end=lambda: ends.append(True))) == [HEAD]
    assert ends == []


async def test_a_break_is_told_and_raised() -> None:
    ends: list[bool] = []
    send, receive = trio.testing.memory_stream_one_way_pair()
    stream = JoiningStream(trio.StapledStream(send, receive), on_early_end=lambda: ends.append(True))
    await receive.aclose()
    with pytest.raises(trio.ClosedResourceError) as caught:
        await stream.receive_some()
    assert (stream.error, ends) == (caught.value, [True])
    assert await stream.receive_some() == b""


async def test_deaf_reads_as_ended() -> None:
    deaf = False
    stream = stream_over([HEAD, frame(b"a"), frame(b"b")], deaf=lambda: deaf)
    assert await stream.receive_some() == HEAD
    assert await stream.receive_some() == frame(b"a")
    deaf = True
    assert await stream.receive_some() == b""
    assert stream.bytes_in == len(HEAD) + 3


async def test_a_cancelled_read_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    near, far = trio.testing.memory_stream_pair()
    stream = JoiningStream(near)
    data = HEAD + frame(b"abc") + frame(b"def")
    got = b""
    for i in range(len(data)):
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.receive_some()
        assert scope.cancelled_caught
        await far.send_all(data[i : i + 1])
        with trio.move_on_after(1):
            got += await stream.receive_some()
    assert got == data


async def test_a_send_cancelled_half_way_closes_the_stream() -> None:
    near, far = trio.testing.lockstep_stream_pair()
    stream = JoiningStream(near)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"half a frame")
            await far.receive_some(4)
            scope.cancel()
    assert scope.cancelled_caught
    with pytest.raises(trio.ClosedResourceError):
        await near.receive_some(1)
    assert isinstance(stream.error, trio.BrokenResourceError)
    assert await stream.receive_some() == b""


async def test_a_send_cancelled_before_it_began_closes_nothing() -> None:
    near, far = trio.testing.memory_stream_pair()
    stream = JoiningStream(near)
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.send_all(b"x")
    await stream.send_all(b"y")
    assert await far.receive_some() == b"y"
    assert (stream.error, stream.bytes_out) == (None, 1)


async def test_a_send_that_breaks_closes_the_stream_and_ends_the_opening() -> None:
    ends: list[bool] = []
    near, far = trio.testing.memory_stream_pair()
    stream = JoiningStream(near, on_early_end=lambda: ends.append(True))
    await far.aclose()
    with pytest.raises(trio.BrokenResourceError) as caught:
        await stream.send_all(b"x")
    assert (stream.error, ends) == (caught.value, [True])
    with pytest.raises(trio.ClosedResourceError):
        await near.receive_some()


async def test_it_is_a_stream_like_any_other() -> None:
    async def make() -> tuple[JoiningStream, trio.abc.Stream]:
        near, far = trio.testing.memory_stream_pair()
        await far.send_all(HEAD)
        stream = JoiningStream(near)
        assert await stream.receive_some() == HEAD
        return stream, far

    stream, far = await make()
    await stream.wait_send_all_might_not_block()
    await stream.send_all(b"abc")
    assert await far.receive_some() == b"abc"
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")


def test_a_claim_of_a_length_that_is_never_taken_in_ends_it_at_once() -> None:
    """FAULTS.md row 61: what came before goes on, and nothing of it or behind it does."""
    good = b"\x81\x02hi"
    joiner = FrameJoiner()
    assert joiner.feed(good + b"\x81\x7f" + (1 << 62).to_bytes(8, "big") + b"xx") == good
    assert joiner.claimed == 1 << 62
    assert FrameJoiner().feed(b"\x81\x7f" + (1 << 20).to_bytes(8, "big")) != b""


WITHIN: list[tuple[str, list[tuple[bytes, bool]]]] = [
    ("nothing yet", [(b"", False)]),
    ("whole frames", [(frame(b"a") + frame(b"b"), False)]),
    ("the first byte of a head", [(frame(b"a")[:1], True), (frame(b"a")[1:], False)]),
    ("half a frame", [(frame(b"abcd")[:4], True), (frame(b"abcd")[4:], False)]),
    (
        "a frame that is too long to hold",
        [(frame(b"x" * 100_000)[:70_000], True), (frame(b"x" * 100_000)[70_000:], False)],
    ),
    ("whole fragments", [(frame(b"a", 0x01), True), (frame(b"b", 0x00), True), (frame(b"c", 0x80), False)]),
    (
        "a ping among fragments",
        [(frame(b"a", 0x01), True), (frame(b"p", 0x89), True), (frame(b"c", 0x80), False)],
    ),
    ("a ping", [(frame(b"p", 0x89), False)]),
    ("a frame and the beginning of the next", [(frame(b"a") + frame(b"b")[:2], True)]),
]


@pytest.mark.parametrize(("name", "steps"), WITHIN, ids=[name for name, _ in WITHIN])
def test_whether_a_message_has_begun_and_is_not_whole(name: str, steps: list[tuple[bytes, bool]]) -> None:
    joiner = FrameJoiner()
    assert not joiner.is_within_message
    for data, within in steps:
        joiner.feed(data)
        assert joiner.is_within_message is within


@given(st.lists(st.binary(max_size=300), max_size=6), st.data())
def test_within_a_message_it_is_between_the_ends_of_whole_ones(
    payloads: list[bytes], data: st.DataObject
) -> None:
    wire = b"".join(frame(payload) for payload in payloads)
    ends = {0}
    for payload in payloads:
        ends.add(max(ends) + len(frame(payload)))
    cut = data.draw(st.integers(0, len(wire)))
    joiner = FrameJoiner()
    joiner.feed(wire[:cut])
    assert joiner.is_within_message is (cut not in ends)
