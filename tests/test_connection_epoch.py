"""One connection of a hub, from the first byte to the end, against scripted hubs over real WebSockets."""

from __future__ import annotations

import logging
import traceback
from contextlib import suppress

import pytest
import trio
from epoch_tools import Bench, hub_that, nothing, running, status
from scripted import (
    API_KEY,
    HANDSHAKE,
    MNQ,
    PING,
    Hub,
    Network,
    Request,
    Script,
    Wire,
    completion,
    config_for,
    open_network,
    open_service,
    record,
    token_no,
    trade,
    virtual_wall,
)
from trio.testing import MockClock

from trio_projectx import (
    AuthError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    Credentials,
    Limits,
    ProtocolError,
    SubscriptionError,
    Timeouts,
    TrioProjectXError,
)
from trio_projectx.connection.endings import HandshakeRefused, HubClosed, LoggedOut, NoSuchHub, Silent
from trio_projectx.connection.transport import TransportClosed, UpgradeRefused
from trio_projectx.simulator.streams import BreakableStream

# Connecting


async def test_the_token_goes_into_the_header_and_nowhere_else(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing)) as bench:
        await bench.live()
    (upgrade,) = bench.network.upgrades
    assert upgrade.target == "/hubs/market"
    assert upgrade.bearer == token_no(1)
    assert bench.network.asked == [("rest.test", 80, False), ("hub.test", 80, False)]


async def test_the_token_goes_into_the_query_where_that_was_asked_for(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing), token_transport="query") as bench:
        await bench.live()
    (upgrade,) = bench.network.upgrades
    assert upgrade.target == f"/hubs/market?access_token={token_no(1)}"
    assert upgrade.bearer is None


async def test_a_401_costs_exactly_one_fresh_login(autojump_clock: MockClock) -> None:
    async def picky(wire: Wire, request: Request) -> None:
        if request.bearer == token_no(1):
            await wire.reply(401)
        else:
            await hub_that(nothing)(wire, request)

    async with running(picky) as bench:
        await bench.live()
    assert [upgrade.bearer for upgrade in bench.network.upgrades] == [token_no(1), token_no(2)]
    assert bench.network.logins == 2


async def test_a_second_401_is_an_auth_error(autojump_clock: MockClock) -> None:
    async with running(status(401)) as bench:
        error = await bench.failure()
    assert type(error) is AuthError
    assert "HTTP 401), also a fresh one" in str(error)
    assert len(bench.network.upgrades) == bench.network.logins == 2


async def test_a_given_token_is_not_renewed(autojump_clock: MockClock) -> None:
    async with running(status(401), credentials=Credentials.from_token("given.token")) as bench:
        error = await bench.failure()
    assert type(error) is AuthError
    assert "cannot be renewed" in str(error)
    assert (len(bench.network.upgrades), bench.network.logins) == (1, 0)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (403, AuthError, r"forbids this user \(HTTP 403\): not you"),
        (404, NoSuchHub, "no hub at this address .HTTP 404.; check the hub's URL"),
        (500, UpgradeRefused, "HTTP 500: not you"),
        (302, UpgradeRefused, "HTTP 302"),
        (200, UpgradeRefused, "HTTP 200"),
    ],
)
async def test_other_refusals_are_told_and_not_tried_again(
    autojump_clock: MockClock, code: int, kind: type[TrioProjectXError], says: str
) -> None:
    async with running(status(code, b"not you")) as bench:
        error = await bench.failure()
    assert type(error) is kind
    with pytest.raises(kind, match=says):
        raise error
    assert len(bench.network.upgrades) == bench.network.logins == 1
    assert error.__cause__ is not error


async def test_an_address_where_nobody_answers_is_given_up_in_time(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing)) as bench:
        await bench.service.tokens.token()
        bench.network.connecting = trio.sleep_forever
        error = await bench.failure()
        assert type(error) is ConnectTimeout
        assert trio.current_time() == pytest.approx(10)


async def test_an_upgrade_that_is_never_answered_is_given_up_in_time(autojump_clock: MockClock) -> None:
    async def hang(wire: Wire, request: Request) -> None:
        await trio.sleep_forever()

    async with running(hang, timeouts=Timeouts(connect_s=3)) as bench:
        error = await bench.failure()
        assert type(error) is ConnectTimeout
        assert trio.current_time() == pytest.approx(3)


async def test_a_door_that_fails_is_a_connect_error(autojump_clock: MockClock) -> None:
    async def refuse() -> None:
        raise ConnectionRefusedError(111, "refused")

    async with running(hub_that(nothing)) as bench:
        await bench.service.tokens.token()
        bench.network.connecting = refuse
        error = await bench.failure()
    assert type(error) is ConnectError
    assert isinstance(error.__cause__, OSError)


# The handshake


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ('{"error":"go\\naway"}\x1e', HandshakeRefused, r"refused the handshake: .*go\\naway"),
        # What is no answer at all may be better the next time: not final, as a refusal is.
        ("<html>\x1e", ProtocolError, "handshake was not answered"),
        ('{"type":6}\x1e', ProtocolError, "a hub record came"),
        ("[]\x1e", ProtocolError, "handshake was not answered"),
        ("\x1e", ProtocolError, "handshake was not answered"),
        ("x" * 2000, ConnectError, "longer than the limit"),
    ],
)
async def test_a_handshake_that_fails(
    autojump_clock: MockClock, answer: str, kind: type[Exception], says: str
) -> None:
    script = hub_that(nothing, answer)
    async with running(script, limits=Limits(record_bytes=1000)) as bench:
        # What is longer than the limit ends the WebSocket with 1009 before the hub protocol sees it.
        error = await bench.failure()
    assert type(error) is kind
    with pytest.raises(kind, match=says if len(answer) < 1000 else "1009"):
        raise error


@pytest.mark.parametrize("answer", ["", "{", "{}"])
async def test_a_handshake_that_is_never_answered(autojump_clock: MockClock, answer: str) -> None:
    async def play(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        assert await hub.text() == HANDSHAKE
        await hub.send(answer)
        await trio.sleep_forever()

    async with running(play) as bench:
        error = await bench.failure()
        assert type(error) is ConnectTimeout
        assert trio.current_time() == pytest.approx(15)
    assert "handshake within 15 s" in str(error)


async def test_a_hub_that_hangs_up_in_the_handshake(autojump_clock: MockClock) -> None:
    async def play(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.text()
        await hub.stream.aclose()

    async with running(play) as bench:
        error = await bench.failure()
    assert type(error) is ConnectError
    assert "ended before it was ready" in str(error)


async def test_a_handshake_in_pieces_with_trades_behind_it(autojump_clock: MockClock) -> None:
    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        assert await hub.text() == HANDSHAKE
        await hub.send("{")
        await trio.sleep(1)
        await hub.send("}\x1e" + trade(1.0) + trade(2.0) + trade(3.0)[:50])
        await hub.send(trade(3.0)[50:] + trade(4.0))
        await hub.until_gone()

    async with running(script) as bench:
        await bench.live()
        await trio.sleep(1)
        assert bench.prices() == [1.0, 2.0, 3.0, 4.0]


async def test_a_close_behind_the_handshake_is_a_loss_behind_the_trades(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing, "{}\x1e" + trade(1.0) + record(type=7, error="full"))) as bench:
        error = await bench.failure()
        assert isinstance(error, ConnectionLost)
        assert bench.prices() == [1.0]


# Negotiation


GRANT = (
    b'{"negotiateVersion":1,"connectionId":"public","connectionToken":"a+/=&id=","availableTransports":'
    b'[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]}'
)


def negotiating(*answers: tuple[int, bytes]) -> Script:
    """REST that logs in, and answers negotiate requests with ``answers``, the last of them for ever."""
    left = list(answers)

    async def script(wire: Wire, request: Request) -> None:
        if not request.path.endswith("/negotiate"):
            await wire.network.log_in(wire, request)
            return
        code, body = left.pop(0) if len(left) > 1 else left[0]
        await wire.reply(code, body)

    return script


def paths(network: Network) -> list[str]:
    return [request.target for request in network.requests if "Auth" not in request.target]


async def test_negotiation_is_asked_for_an_id_and_the_id_is_encoded(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing), negotiating((200, GRANT)), negotiate=True) as bench:
        await bench.live()
    negotiate, upgrade = bench.network.requests[1:]
    assert (negotiate.method, negotiate.target) == ("POST", "/hubs/market/negotiate?negotiateVersion=1")
    assert (negotiate.body, negotiate.bearer) == (b"", token_no(1))
    assert upgrade.target == "/hubs/market?id=a%2B%2F%3D%26id%3D"
    assert upgrade.bearer == token_no(1)


async def test_a_401_at_negotiate_costs_exactly_one_fresh_login(autojump_clock: MockClock) -> None:
    rest = negotiating((401, b""), (200, GRANT))
    async with running(hub_that(nothing), rest, negotiate=True) as bench:
        await bench.live()
    assert bench.network.upgrades[0].bearer == token_no(2)
    assert bench.network.logins == 2


async def test_a_second_401_at_negotiate_is_an_auth_error(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing), negotiating((401, b"")), negotiate=True) as bench:
        error = await bench.failure()
    assert type(error) is AuthError
    assert bench.network.upgrades == []
    assert len(paths(bench.network)) == bench.network.logins == 2


async def test_a_redirect_leads_on_with_its_own_token(autojump_clock: MockClock) -> None:
    answers = [(200, b'{"url":"http://hub.test/eu/market?x=1","accessToken":"other.token"}'), (200, GRANT)]
    async with running(hub_that(nothing), negotiating(*answers), negotiate=True) as bench:
        await bench.live()
    assert paths(bench.network) == [
        "/hubs/market/negotiate?negotiateVersion=1",
        "/eu/market/negotiate?x=1&negotiateVersion=1",
        "/eu/market?x=1&id=a%2B%2F%3D%26id%3D",
    ]
    assert [r.bearer for r in bench.network.requests[1:]] == [token_no(1), "other.token", "other.token"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://evil.test/x",
        "https://hub.test/x",
        "http://hub.test:8080/x",
        "http://me@hub.test/x",
        "http://[x/",
        "/x",
    ],
)
async def test_a_redirect_to_another_origin_is_not_followed(
    autojump_clock: MockClock, elsewhere: str
) -> None:
    answer = f'{{"url":"{elsewhere}"}}'.encode()
    async with running(hub_that(nothing), negotiating((200, answer)), negotiate=True) as bench:
        error = await bench.failure()
    assert type(error) is ConnectError
    assert {host for host, _, _ in bench.network.asked} == {"rest.test", "hub.test"}
    assert len(paths(bench.network)) == 1


async def test_redirects_in_a_circle_end(autojump_clock: MockClock) -> None:
    answer = b'{"url":"http://hub.test/again"}'
    async with running(hub_that(nothing), negotiating((200, answer)), negotiate=True) as bench:
        error = await bench.failure()
    assert type(error) is ConnectError
    assert "circle" in str(error)
    assert len(paths(bench.network)) == 101


# Alive, silent, blocked


async def test_the_first_record_is_a_ping_and_another_follows_each_silence_of_ours(
    autojump_clock: MockClock,
) -> None:
    pings: list[float] = []

    async def play(hub: Hub) -> None:
        while True:
            got = await hub.record()
            await hub.send(PING)
            if got["type"] == 6:
                pings.append(trio.current_time())

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(20)
        call = bench.epoch.invoke("SubscribeContractTrades", MNQ)
        await trio.sleep(36)
        assert not call.done.is_set()
    assert pings == pytest.approx([0, 15, 35, 50])


async def test_a_silent_server_is_lost_after_server_s_and_not_before(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await trio.sleep(7)
        await hub.send(trade())
        await trio.sleep_forever()

    async with running(hub_that(play)) as bench:
        epoch = await bench.live()
        call = epoch.invoke("SubscribeContractTrades", MNQ)
        await trio.sleep(36.9)
        assert epoch.live
        error = await bench.failure()
        # Told at once: the closing of a dead connection takes seconds, and nobody waits for it.
        assert trio.current_time() == pytest.approx(37)
        epoch.fail_calls()
        assert type(call.error) is ConnectionLost
        assert type(error) is Silent
        assert "no record for 30 s" in str(error)
        with pytest.raises(ConnectionLost, match="not connected"):
            epoch.invoke("SubscribeContractTrades", MNQ)
        await bench.returned.wait()
        assert trio.current_time() <= 37 + 1 + 5


async def test_a_ping_now_and_then_keeps_a_hub_alive(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        for _ in range(20):
            await trio.sleep(29)
            await hub.send(PING)

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(20 * 29)
        assert bench.epoch.live


async def test_pongs_are_no_sign_of_life(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing)) as bench:
        await bench.live()
        await trio.sleep(1)
        assert bench.epoch.liveness.round_trip_s == pytest.approx(
            0
        )  # this server answers each WebSocket ping
        await bench.failure()
        assert trio.current_time() == pytest.approx(30)


async def test_what_a_full_pipeline_takes_is_not_the_servers_silence(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await hub.send(trade(1.0))
        for _ in range(40):
            await trio.sleep(10)
            await hub.send(PING)

    async with running(hub_that(play)) as bench:
        bench.sink.gate = trio.Event()
        await bench.live()
        await trio.sleep(200)
        assert bench.epoch.live
        bench.sink.gate.set()
        await trio.sleep(100)
        assert bench.epoch.live


async def test_a_record_at_the_last_instant_is_delivered(autojump_clock: MockClock) -> None:
    """However the deadline and the record race, what was received is not thrown away."""

    async def play(hub: Hub) -> None:
        await trio.sleep(30)
        await hub.send(trade(1.0))

    for _ in range(10):
        async with running(hub_that(play)) as bench:
            bench.sink.gate = trio.Event()
            await bench.live()
            await trio.sleep(31)
            bench.sink.gate.set()
            await trio.sleep(1)
            assert (bench.prices() == [1.0]) is bench.epoch.live


# How it ends


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "the hub closed the connection, and asked not to come back: no reason given"),
        ({"error": "shut\ndown"}, r"and asked not to come back: shut\\ndown"),
        ({"allowReconnect": True}, "the hub closed the connection: no reason given"),
        ({"allowReconnect": True, "error": "later"}, "the hub closed the connection: later"),
    ],
)
async def test_a_close_record(autojump_clock: MockClock, fields: dict[str, bool | str], says: str) -> None:
    async def play(hub: Hub) -> None:
        await hub.send(trade(1.0), record(type=7, **fields), trade(2.0))

    async with running(hub_that(play)) as bench:
        error = await bench.failure()
        await bench.returned.wait()
        assert bench.prices() == [1.0]  # nothing that comes behind it
    assert type(error) is HubClosed
    assert error.allow_reconnect is fields.get("allowReconnect", False)
    assert error.text == {None: "", "later": "later"}.get(fields.get("error"), r"shut\ndown")  # type: ignore[call-overload]
    with pytest.raises(ConnectionLost, match=says):
        raise error
    assert trio.current_time() < 1


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 4000])
async def test_a_websocket_close(autojump_clock: MockClock, code: int) -> None:
    async def play(hub: Hub) -> None:
        await hub.send(trade(1.0))
        await hub.ws.aclose(code, "bye \x1b[31m")

    async with running(hub_that(play)) as bench:
        error = await bench.failure()
        assert bench.prices() == [1.0]
    assert type(error) is ConnectionLost
    assert isinstance(error.__cause__, TransportClosed)
    assert error.__cause__.code == code
    assert f"connection lost: the WebSocket has ended: {code}" in str(error)
    assert "\x1b" not in str(error)


@pytest.mark.parametrize("how", ["reset", "fin", "half a frame, then reset"])
async def test_a_connection_that_breaks(autojump_clock: MockClock, how: str) -> None:
    async def play(hub: Hub) -> None:
        await hub.send(trade(1.0))
        await trio.sleep(1)
        if how.startswith("half"):
            payload = trade(2.0).encode()
            await hub.stream.send_all(b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload[:40])
            await trio.sleep(1)
        if how == "fin":
            await hub.stream.aclose()
        else:
            hub.stream.reset()

    async with running(hub_that(play)) as bench:
        epoch = await bench.live()
        call = epoch.invoke("SubscribeContractTrades", MNQ)
        error = await bench.failure()
        assert bench.prices() == [1.0]
        with pytest.raises(ConnectionLost):
            await call.wait(1)
    assert type(error) is ConnectionLost
    assert trio.current_time() < 3


async def test_a_close_that_waits_unread_counts_although_our_own_sending_fails_first(
    autojump_clock: MockClock,
) -> None:
    """The writer meets the end of the connection at once, the reader only after what came before."""

    async def play(hub: Hub) -> None:
        await hub.send(trade(1.0))
        await trio.sleep(1)
        await hub.send(trade(2.0))
        await hub.send(record(type=7, error="maintenance"))
        await hub.stream.aclose()

    async with running(hub_that(play)) as bench:
        bench.sink.gate = trio.Event()
        epoch = await bench.live()
        await trio.sleep(20)  # the keep-alive ping fails meanwhile
        assert not epoch.live
        with pytest.raises(ConnectionLost):
            epoch.invoke("SubscribeContractTrades", MNQ)
        bench.sink.gate.set()
        error = await bench.failure()
        assert bench.prices() == [1.0, 2.0]
    assert "asked not to come back: maintenance" in str(error)


async def test_a_server_that_stops_reading_is_lost_after_send_s(autojump_clock: MockClock) -> None:
    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        while True:  # it reads no more: its queue is full after two messages, then the stream
            await trio.sleep(10)
            await hub.send(PING)

    async with running(script, capacity=2048) as bench:
        epoch = await bench.live()
        for _ in range(100):
            epoch.invoke("SubscribeContractTrades", MNQ)
        error = await bench.failure()
        assert isinstance(error, ConnectionLost)
        assert trio.current_time() == pytest.approx(10, abs=1)


async def test_leaving_says_goodbye(autojump_clock: MockClock) -> None:
    seen: list[list[dict[str, object]]] = []

    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        seen.append(hub.seen)  # type: ignore[arg-type]
        await hub.until_gone()

    async with running(script) as bench:
        await bench.live()
        await trio.sleep(1)
    assert [got["type"] for got in seen[0]] == [6, 7]
    assert trio.current_time() == pytest.approx(1)


async def test_leaving_a_peer_that_does_not_read_is_bounded(autojump_clock: MockClock) -> None:
    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        await trio.sleep_forever()

    async with running(script, capacity=256) as bench:
        epoch = await bench.live()
        for _ in range(40):
            epoch.invoke("SubscribeContractTrades", MNQ)
        await trio.sleep(1)
    assert trio.current_time() <= 1 + 1


# What is not as it should be


NOISE = {
    "unknown target": record(type=1, target="Surprise", arguments=[]),
    "unknown type": record(type=99, x=1),
    "completion for nobody": completion("77"),
    "stream item for nobody": record(type=2, invocationId="77", item=1),
    "ack": record(type=8, sequenceId=1),
    "depth": record(type=1, target="GatewayDepth", arguments=[MNQ, []]),
    "headers": record(type=6, headers={"a": "b"}),
    "trade of another shape": record(type=1, target="GatewayTrade", arguments=[1, 2, 3]),
    "null trade": record(type=1, target="GatewayTrade", arguments=[MNQ, [None]]),
    "text for a price": trade(price="20000.25"),  # type: ignore[arg-type]
    "a megabyte of name": record(type=1, target="x" * (1 << 20), arguments=["y" * (1 << 20)]),
}
MALFORMED = {
    "NaN": trade().replace("20000.25", "NaN"),
    "not JSON": "}{\x1e",
    "empty": "\x1e",
    "null": "null\x1e",
    "a number": "42\x1e",
    "a list": "[]\x1e",
    "type as text": '{"type":"1"}\x1e',
    "no type": "{}\x1e",
    "no target": '{"type":1,"arguments":[]}\x1e',
    "arguments null": '{"type":1,"target":"GatewayTrade","arguments":null}\x1e',
    "result and error": '{"type":3,"invocationId":"1","result":1,"error":"e"}\x1e',
    "nested": "[" * 100_000 + "\x1e",
    "a lone surrogate": '{"type":1,"target":"\\ud800","arguments":[]}\x1e',
}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("noise", NOISE)
async def test_noise_changes_nothing(autojump_clock: MockClock, noise: str, together: bool) -> None:
    async def play(hub: Hub) -> None:
        parts = [trade(1.0), NOISE[noise], trade(2.0)]
        for text in ["".join(parts)] if together else parts:
            await hub.send(text)

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(1)
        assert bench.prices() == [1.0, 2.0]
        assert bench.epoch.live
        assert bench.epoch.counts.malformed == 0


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_cannot_be_read_is_counted_and_left_out(
    autojump_clock: MockClock, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(hub: Hub) -> None:
        await hub.send(trade(1.0), MALFORMED[name], trade(2.0))

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(1)
        assert bench.prices() == [1.0, 2.0]
        assert bench.epoch.live
        assert bench.epoch.counts.malformed == 1
    assert sum("could not be read" in r.getMessage() for r in caplog.records) == 1


async def test_malformed_records_are_logged_once_a_minute(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(hub: Hub) -> None:
        for _ in range(12):
            await hub.send("x\x1e" * 4)
            await trio.sleep(10)

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(119)
        assert bench.epoch.counts.malformed == 48
    assert sum("could not be read" in r.getMessage() for r in caplog.records) == 2


async def test_as_many_malformed_records_as_allowed_are_borne(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        for _ in range(5):
            await hub.send("x\x1e" * 60)
            await trio.sleep(61)
            await hub.send(PING)

    async with running(hub_that(play), timeouts=Timeouts(server_s=120)) as bench:
        await bench.live()
        await trio.sleep(300)
        assert bench.epoch.live


async def test_more_of_them_within_any_minute_are_a_loss(autojump_clock: MockClock) -> None:
    """The minute slides: 40 at its end and 40 at the next one's beginning are 80 in ten seconds."""

    async def play(hub: Hub) -> None:
        await hub.send("x\x1e")
        await trio.sleep(29)
        await hub.send(PING)
        await trio.sleep(26)
        await hub.send("x\x1e" * 40)
        await trio.sleep(10)
        await hub.send(trade(1.0), "x\x1e" * 40, trade(2.0))

    async with running(hub_that(play)) as bench:
        error = await bench.failure()
        assert trio.current_time() == pytest.approx(65)
        assert bench.prices() == [1.0]
    assert "more than 60 unreadable records in a minute" in str(error)


async def test_a_record_longer_than_the_limit_is_a_loss(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        for _ in range(5):  # of several messages, none of them too long
            await hub.send(trade(1.0)[:-1] + " " * 400)

    async with running(hub_that(play), limits=Limits(record_bytes=1000)) as bench:
        error = await bench.failure()
    assert "a record is longer than the limit of 1000" in str(error)


async def test_a_message_longer_than_the_limit_is_a_loss(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await hub.send(record(type=1, target="x" * 5000, arguments=[]))

    async with running(hub_that(play), limits=Limits(record_bytes=1000)) as bench:
        error = await bench.failure()
    assert isinstance(error, ConnectionLost)
    assert "1009" in str(error)


async def test_a_binary_message_is_read_as_text(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await hub.ws.send_message(trade(1.0).encode())
        await hub.send(trade(2.0))

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(1)
        assert bench.prices() == [1.0, 2.0]


async def test_a_binary_message_that_is_no_text_is_a_loss(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await hub.ws.send_message(b"\xff\xfe")

    async with running(hub_that(play)) as bench:
        error = await bench.failure()
    assert type(error) is ConnectionLost
    assert "not UTF-8" in str(error)


async def test_many_records_in_a_frame_and_one_over_many_frames(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await hub.send(*(trade(float(price)) for price in range(1, 646)))
        for character in trade(646.0):
            await hub.send(character)

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(1)
        assert bench.prices() == [float(price) for price in range(1, 647)]


async def test_what_came_together_goes_on_together_with_the_time_of_its_text(
    autojump_clock: MockClock,
) -> None:
    """A completion among a burst of trades makes no thousand batches of them."""

    async def play(hub: Hub) -> None:
        await trio.sleep(3)
        await hub.send(trade(1.0), completion("9"), *(trade(float(price)) for price in range(2, 500)))

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(4)
        ((decoded, ts_recv),) = bench.got
        assert len(decoded.trades[MNQ]) == decoded.records == 499
        assert ts_recv == virtual_wall() - 10**9


# What it tells, and what it is told


async def test_it_tells_when_it_is_live_and_when_it_is_over(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await trio.sleep(1)
        await hub.send(record(type=7))

    async with running(hub_that(play)) as bench:
        epoch = bench.epoch
        assert (epoch.live, epoch.error, bench.changes) == (False, None, [])
        await bench.live()
        assert bench.changes == [True]
        await bench.failure()
        assert bench.changes == [True, False]
    async with running(status(500)) as bench:
        await bench.failure()
        assert bench.changes == [False]


async def test_what_it_delivers_carries_its_number(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await hub.send(trade(1.0), trade(2.0))
        await hub.send(completion("9"), trade(3.0))

    async with running(hub_that(play, "{}\x1e" + trade(0.5))) as bench:
        await bench.live()
        await trio.sleep(1)
        assert {line for _, _, line in bench.sink.got} == {bench.epoch.number} == {7}
        counts = bench.epoch.counts
        assert (counts.records, counts.ignored, counts.malformed) == (4, 1, 0)
        assert counts.bulk_texts < counts.texts <= 2  # the answer to the handshake counts for none


@pytest.mark.parametrize("alone", [True, False])
async def test_a_logout_ends_it_behind_the_trades(autojump_clock: MockClock, alone: bool) -> None:
    """What stands behind the logout in the same text is passed on, too: it was sent."""

    async def play(hub: Hub) -> None:
        parts = [trade(1.0), record(type=1, target="GatewayLogout", arguments=["bye"]), trade(2.0)]
        for text in parts if alone else ["".join(parts)]:
            await hub.send(text)
            await trio.sleep(1)

    async with running(hub_that(play)) as bench:
        error = await bench.failure()
        await bench.returned.wait()
        assert bench.prices() == ([1.0] if alone else [1.0, 2.0])
    assert type(error) is LoggedOut
    assert "logged out" in str(error)


async def test_it_can_be_given_up_for_a_reason_that_only_others_see(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing)) as bench:
        epoch = await bench.live()
        call = epoch.invoke("SubscribeContractTrades", MNQ)
        first = ConnectionLost("market hub: stalled")
        epoch.fail(first)
        epoch.fail(ConnectionLost("another"))
        assert await bench.failure() is first
        await bench.returned.wait()
        with pytest.raises(ConnectionLost, match="stalled"):
            await call.wait(1)
        epoch.fail(ConnectionLost("too late"))
        assert epoch.error is first
        assert trio.current_time() < 1


async def test_given_up_before_it_is_live_it_says_why(autojump_clock: MockClock) -> None:
    async def hang(wire: Wire, request: Request) -> None:
        await trio.sleep_forever()

    async with running(hang) as bench:
        await trio.sleep(1)
        why = Silent("market hub: the machine slept for 60 s")
        bench.epoch.fail(why)
        assert await bench.failure() is why
        assert bench.epoch.settled.is_set()
    assert trio.current_time() == pytest.approx(1)


async def test_left_it_ends_without_an_error(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing)) as bench:
        epoch = await bench.live()
        call = epoch.invoke("SubscribeContractTrades", MNQ)
        epoch.stop()
        await bench.returned.wait()
        assert (epoch.error, epoch.live, epoch.over.is_set()) == (None, False, True)
        with pytest.raises(ConnectionLost, match="the connection was left"):
            await call.wait(1)


async def test_an_answer_calls_who_wanted_to_be_called(autojump_clock: MockClock) -> None:
    rung: list[float] = []

    async def play(hub: Hub) -> None:
        call_id, _, _ = await hub.call()
        await trio.sleep(2)
        await hub.send(completion(call_id))

    async with running(hub_that(play)) as bench:
        epoch = await bench.live()
        for _ in range(2):
            epoch.invoke("Method", then=lambda: rung.append(trio.current_time()))
        await trio.sleep(5)
        assert rung == pytest.approx([2])
        epoch.stop()
        await bench.returned.wait()
        assert rung == pytest.approx([2, 5])  # also of what will never be answered


async def test_where_an_answer_stood_among_the_data(autojump_clock: MockClock) -> None:
    """Trades of the same text that stand before the answer are not later than it; the next text's are."""

    async def play(hub: Hub) -> None:
        ids = [(await hub.call())[0] for _ in range(3)]
        await hub.send(completion(ids[0]))
        await hub.send(trade(1.0))
        await hub.send(trade(2.0), completion(ids[1]), trade(3.0))
        await hub.send(completion(ids[2]))

    async with running(hub_that(play)) as bench:
        epoch = await bench.live()
        calls = [epoch.invoke("Method") for _ in range(3)]
        await trio.sleep(1)
        assert [call.position for call in calls] == [0, len(bench.got), len(bench.got)]


async def test_the_token_that_it_was_opened_with_is_known(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing)) as bench:
        assert bench.epoch.token_generation < bench.service.tokens.generation + 1
        await bench.live()
        assert bench.epoch.token_generation == bench.service.tokens.generation == 1
        bench.service.tokens.renew(token_no(1))
        await bench.service.tokens.token()
        assert (bench.epoch.token_generation, bench.service.tokens.generation) == (1, 2)
        assert bench.epoch.live


# Calls


async def test_calls_get_their_own_answers_in_any_order(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        calls = [await hub.call() for _ in range(3)]
        (a, *_), (b, *_), (c, *_) = calls
        assert [arguments for _, _, arguments in calls] == [["x"], ["y"], ["z"]]
        await hub.send(
            completion(c), completion(a, error="no\nsuch"), record(type=3, invocationId=b, result=[1])
        )
        await hub.send(completion(a))

    async with running(hub_that(play)) as bench:
        epoch = await bench.live()
        x, y, z = (epoch.invoke("Method", argument) for argument in "xyz")
        assert await z.wait(10) is None
        assert await y.wait(10) == [1]
        with pytest.raises(SubscriptionError, match=r"refused Method: no\\nsuch"):
            await x.wait(10)
        assert epoch.live


async def test_a_call_that_wants_a_result_is_answered_once_with_an_error(autojump_clock: MockClock) -> None:
    answers: list[dict[str, object]] = []

    async def play(hub: Hub) -> None:
        calls = [record(type=1, invocationId=i, target="Confirm", arguments=[]) for i in ("s1", "s2")]
        await hub.send(*calls, trade(1.0))
        while True:
            got = await hub.record()
            if got["type"] == 3:
                answers.append(dict(got))

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(1)
        assert bench.prices() == [1.0]
    error = "Client didn't provide a result."
    assert answers == [{"type": 3, "invocationId": i, "error": error} for i in ("s1", "s2")]


async def test_a_writer_that_is_hopelessly_behind_refuses(autojump_clock: MockClock) -> None:
    async with running(hub_that(nothing)) as bench:
        epoch = await bench.live()
        with pytest.raises(ConnectionLost, match="4096 records wait"):
            for _ in range(5000):
                epoch.invoke("Method")


# Secrets


@pytest.mark.parametrize("transport", ["header", "query"])
@pytest.mark.parametrize("negotiate", [True, False])
@pytest.mark.parametrize("code", [200, 401, 403, 500, 101])
async def test_no_secret_is_in_any_text(
    autojump_clock: MockClock, transport: str, negotiate: bool, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def leak(hub: Hub) -> None:
        """Say everything that the client said, back to it."""
        await hub.send("nonsense Bearer " + token_no(1) + "\x1e")
        await hub.send(
            record(type=7, error=f"bad token: Bearer {token_no(1)} at /?access_token={token_no(1)}&id=a+")
        )

    async def script(wire: Wire, request: Request) -> None:
        if code == 101:
            await hub_that(leak)(wire, request)
        else:
            await wire.reply(code, f"{request.target} {request.headers}".encode())

    changes = {"token_transport": transport, "negotiate": negotiate}
    async with running(script, negotiating((200, GRANT)), **changes) as bench:
        error = await bench.failure()
        everything = [
            repr(bench.epoch),
            repr(bench.service.address),
            repr(bench.service.tokens),
            repr(bench.service),
        ]
    everything += ["".join(traceback.format_exception(error)), repr(error), str(error.args)]
    everything += [f"{r.getMessage()} {r.args} {r.exc_text}" for r in caplog.records]
    text = "\n".join(everything)
    for secret in (API_KEY, *token_no(1).split("."), *token_no(2).split("."), "a+/=", "a%2B%2F"):
        assert secret not in text


# Sweeps


class CancelAt(trio.abc.Instrument):
    """Cancels a scope before the ``n``th step of any task from now on; counts them all."""

    def __init__(self, scope: trio.CancelScope, n: int | None) -> None:
        self.scope = scope
        self.n = n
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self.n:
            self.scope.cancel()


async def live_and_die(cancel_at: int | None) -> int:
    """Run an epoch from negotiating to the hub's Close; return how many steps all tasks took together."""

    async def play(hub: Hub) -> None:
        call_id, _, _ = await hub.call()
        await hub.send(completion(call_id), trade(1.0))
        await trio.sleep(1)
        await hub.send(record(type=7))

    async with open_network(hub_that(play), negotiating((200, GRANT))) as network:
        async with open_service(config_for(network, negotiate=True)) as service:
            bench = Bench(network, service)
            scope = trio.CancelScope()
            instrument = CancelAt(scope, cancel_at)

            async def victim() -> None:
                with scope:
                    await bench.run()

            trio.lowlevel.add_instrument(instrument)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(victim)
                await bench.epoch.settled.wait()
                if bench.epoch.live:
                    with suppress(ConnectionLost):  # of a call that the cancellation struck
                        await bench.epoch.invoke("SubscribeContractTrades", MNQ).wait(5)
            trio.lowlevel.remove_instrument(instrument)
            epoch = bench.epoch
            assert (epoch.over.is_set(), epoch.settled.is_set(), epoch.live) == (True, True, False)
            assert scope.cancelled_caught or "the hub closed" in str(epoch.error)
            with pytest.raises(ConnectionLost):
                epoch.invoke("SubscribeContractTrades", MNQ)
            assert network.open_streams() == 0
    return instrument.steps


async def test_cancelled_at_any_step_it_leaves_nothing(autojump_clock: MockClock) -> None:
    steps = await live_and_die(None)
    assert steps > 100
    for step in range(1, steps):
        await live_and_die(step)


class CutOff(trio.abc.Stream):
    """The far end of a connection that is reset after so many bytes to the client."""

    def __init__(self, stream: BreakableStream, left: int) -> None:
        self.stream = stream
        self.left = left
        self.sent = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        part = bytes(data)[: self.left]
        await self.stream.send_all(part)
        self.left -= len(part)
        self.sent += len(part)
        if not self.left:
            await trio.sleep(0.01)
            self.stream.reset()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self.stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_reset_after_any_byte_of_the_server_it_ends_with_a_typed_error(
    autojump_clock: MockClock,
) -> None:
    async def run(left: int) -> int:
        streams: list[CutOff] = []

        async def script(wire: Wire, request: Request) -> None:
            streams.append(CutOff(wire.stream, left))
            wire.stream = streams[0]  # type: ignore[assignment]
            await hub_that(play)(wire, request)

        async def play(hub: Hub) -> None:
            await hub.send(trade(1.0))
            await hub.send(record(type=7))

        async with running(script) as bench:
            error = await bench.failure()
            await bench.returned.wait()
            assert type(error) in (ConnectError, ConnectionLost, HubClosed)
            assert type(error) is not ConnectError or not bench.got
            assert (type(error) is HubClosed) <= (bench.prices() == [1.0])
            assert bench.prices() in ([], [1.0])
            assert trio.current_time() < 1000
        return streams[0].sent

    for left in range(1, await run(10_000), 3):
        await run(left)
