"""One connection kept alive: what ends it, when it is tried again, and what is final."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio
from hub_tools import MNQ, ORDERS, OTHER, TRADES, Bench, Link, Service, jwt, open_bench, running
from scripted import Json, Request, Wire, record, trade
from trio.testing import MockClock

from trio_projectx import (
    AuthError,
    ConnectError,
    ConnectionLost,
    Credentials,
    Endpoint,
    HubState,
    Limits,
    Reconnect,
    SubscriptionError,
    Timeouts,
)
from trio_projectx.connection.network import TlsError

End = Callable[[Link], Awaitable[None]]
Upgrade = Callable[[Wire, Request], Awaitable[bool]]


def answering(*statuses: int, retry_after: str | None = None, body: bytes = b"") -> Upgrade:
    """Answer upgrades with ``statuses``, and accept from then on."""
    left = list(statuses)

    async def at_upgrade(wire: Wire, request: Request) -> bool:
        if not left:
            return False
        headers = () if retry_after is None else (("Retry-After", retry_after),)
        await wire.reply(left.pop(0), body, *headers)
        return True

    return at_upgrade


def always(status: int, body: bytes = b"") -> Upgrade:
    async def at_upgrade(wire: Wire, request: Request) -> bool:
        await wire.reply(status, body)
        return True

    return at_upgrade


def closing(code: int) -> End:
    async def end(link: Link) -> None:
        with trio.move_on_after(
            0.01
        ):  # trio_websocket's server waits for ever where the client has left first
            await link.hub.ws.aclose(code, "bye")

    return end


def sending(*records: str) -> End:
    async def end(link: Link) -> None:
        await link.send(*records)

    return end


def raw(data: bytes) -> End:
    async def end(link: Link) -> None:
        await link.hub.stream.send_all(data)

    return end


async def reset(link: Link) -> None:
    link.reset()
    await trio.lowlevel.checkpoint()


async def fin(link: Link) -> None:
    await link.hub.stream.aclose()


async def half_a_frame(link: Link) -> None:
    await link.hub.stream.send_all(b"\x81\x7e\x01\x00" + trade(9.0).encode()[:40])
    await trio.sleep(0.01)
    link.reset()


# What is tried again


ENDS: dict[str, End] = {
    "reset": reset,
    "FIN": fin,
    "half a frame, then a reset": half_a_frame,
    **{
        f"close {code}": closing(code)
        for code in (1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 3000, 4000)
    },
    "a Close record": sending(record(type=7, allowReconnect=True)),
    "a Close record with a text": sending(record(type=7, allowReconnect=True, error="bye")),
    "no WebSocket frame": raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "a reserved opcode": raw(b"\x8b\x00"),
    "a masked frame": raw(b"\x81\x81aaaab"),
    "an RSV bit": raw(b"\xc1\x01a"),
    "text that is not UTF-8": raw(b"\x81\x02\xff\xfe"),
    "a claim of 2^62 bytes": raw(b"\x81\x7f\x40\x00\x00\x00\x00\x00\x00\x00"),
    "61 unreadable records": sending("x\x1e" * 61),
    "a record that is too long": sending(record(type=1, target="x" * 5000, arguments=[])),
    "a logout": sending(record(type=1, target="GatewayLogout", arguments=[])),
    "a policy violation": closing(1008),
}


@pytest.mark.parametrize("how", ENDS)
async def test_it_is_back_after(autojump_clock: MockClock, how: str) -> None:
    service = Service()
    changes = {} if how != "a record that is too long" else {"limits": Limits(record_bytes=1000)}
    async with running(service, **changes) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        await ENDS[how](service.links[0])
        await trio.sleep(0.5)
        assert bench.hub.state is HubState.LIVE
        assert service.links[1].held == {("ContractTrades", MNQ)}
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE", "RECONNECTING", "LIVE"]
        assert len(service.attempts) == 2
        assert bench.sink.lost == []
        assert bench.sink.prices() == []
        assert bench.network.logins == 1 + (how in ("a logout", "a policy violation"))


@pytest.mark.parametrize("status", [301, 400, 408, 409, 429, 500, 502, 503, 504, 200])
async def test_a_refused_upgrade_is_tried_again(autojump_clock: MockClock, status: int) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        service.at_upgrade = answering(*[status] * 4)
        service.links[0].reset()
        await trio.sleep(60)
        assert bench.hub.state is HubState.LIVE
        assert len(service.attempts) == 6
        assert bench.network.logins == 1


async def test_a_service_that_hangs_is_given_up_in_time_and_tried_again(autojump_clock: MockClock) -> None:
    service = Service()
    hangs = 0

    async def hang(wire: Wire, request: Request) -> bool:
        nonlocal hangs
        hangs += 1
        if hangs == 1:
            await trio.sleep_forever()
        elif hangs == 2:  # in the handshake
            await (await wire.accept()).text()
            await trio.sleep_forever()
        return False

    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        service.at_upgrade = hang
        service.links[0].reset()
        await trio.sleep(10 + 15 + 1)
        assert bench.hub.state is HubState.LIVE
        first, second, third, fourth = service.attempts
        assert second - first < 0.1
        # What it took to find out counts as the wait: a slow service is not tried less often than a quick one.
        assert third - second == pytest.approx(10)
        assert fourth - third == pytest.approx(15)


async def test_an_answer_to_the_handshake_that_is_none_is_tried_again(autojump_clock: MockClock) -> None:
    """Rows 39 and 57: a flipped bit is not for ever, an error that the hub told is."""
    service = Service()
    answers = ["<html>\x1e", '{"type":6}\x1e', "}{\x1e"]

    async def garbage(wire: Wire, request: Request) -> bool:
        if not answers:
            return False
        hub = await wire.accept()
        await hub.text()
        await hub.send(answers.pop())
        await hub.until_gone()
        return True

    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        service.at_upgrade = garbage
        service.links[0].reset()
        await trio.sleep(30)
        assert bench.hub.state is HubState.LIVE
        assert len(service.attempts) == 5


# What is final


async def refuse_handshake(wire: Wire, request: Request) -> bool:
    hub = await wire.accept()
    await hub.text()
    await hub.send('{"error":"no\\u001b[2J"}\x1e')
    await hub.until_gone()
    return True


FATAL: dict[str, tuple[Upgrade, str, int]] = {
    "403": (always(403, b"not\x1b[2J"), r"forbids this user \(HTTP 403\): not\\x1b\[2J", 1),
    "404": (always(404), "no hub at this address", 1),
    "401, also with a fresh token": (always(401), "also a fresh one", 2),
    "an error to the handshake": (refuse_handshake, r"refused the handshake: .*no\\x1b\[2J", 1),
}


@pytest.mark.parametrize("how", FATAL)
async def test_it_is_over_for_good_with(autojump_clock: MockClock, how: str) -> None:
    at_upgrade, says, attempts = FATAL[how]
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        service.at_upgrade = at_upgrade
        service.links[0].reset()
        await trio.sleep(3600)
        assert len(service.attempts) == 1 + attempts, "no storm"
        assert bench.hub.state is HubState.CLOSED
        assert [state for _, state in bench.told.states()][2:] == ["RECONNECTING", "CLOSED"]
        (error,) = bench.sink.lost
        assert type(error) is ConnectionLost
        with pytest.raises(ConnectionLost, match=says):
            raise error
        assert str(error).isprintable()
        assert bench.hub.machine.reason == str(error)


@pytest.mark.parametrize("how", FATAL)
async def test_at_the_first_connection_it_is_the_error_itself(autojump_clock: MockClock, how: str) -> None:
    at_upgrade, says, attempts = FATAL[how]
    service = Service()
    service.at_upgrade = at_upgrade
    async with running(service) as bench:
        with pytest.raises((AuthError, ConnectError), match=says):
            await bench.hub.subscribe(TRADES)
        assert len(service.attempts) == attempts
        assert bench.hub.state is HubState.IDLE


@pytest.mark.parametrize("how", ["503", "hang", "refused", "hung up", "hung up in the handshake"])
async def test_a_first_connection_that_fails_is_told_in_time(autojump_clock: MockClock, how: str) -> None:
    """Row 24: within ten seconds, typed, and not tried again unless ``at_start``."""
    service = Service()

    async def at_upgrade(wire: Wire, request: Request) -> bool:
        if how == "503":
            await wire.reply(503)
        elif how == "hang":
            await trio.sleep_forever()
        elif how == "hung up in the handshake":
            await (await wire.accept()).text()
        return True

    async def refuse() -> None:
        await trio.sleep(1)
        raise ConnectionRefusedError(111, "refused")

    service.at_upgrade = at_upgrade
    async with running(service) as bench:
        await bench.sites[0].tokens.token()
        if how == "refused":
            bench.network.connecting = refuse
        with pytest.raises(ConnectError):
            await bench.hub.subscribe(TRADES)
        assert trio.current_time() <= 10.001
        assert bench.connects == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "no reason given"),
        ({"error": "shut\ndown"}, r"shut\\ndown"),
        ({"allowReconnect": False}, "no reason given"),
    ],
)
async def test_a_close_record_that_does_not_allow_to_come_back(
    autojump_clock: MockClock, fields: dict[str, Json], says: str
) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await service.links[0].close(**fields)
        await trio.sleep(3600)
        assert len(service.attempts) == 1
        (error,) = bench.sink.lost
        with pytest.raises(ConnectionLost, match=f"asked not to come back: {says}"):
            raise error


async def test_a_certificate_that_is_wrong_is_final(autojump_clock: MockClock) -> None:
    async def refuse() -> None:
        raise TlsError("the certificate of hub.test is not valid")

    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        bench.network.connecting = refuse
        service.links[0].reset()
        await trio.sleep(3600)
        (error,) = bench.sink.lost
        assert "certificate" in str(error)
        assert bench.connects == 2


async def test_who_opens_a_stream_after_it_was_over_tries_anew(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await service.links[0].close()
        await trio.sleep(100)
        assert bench.hub.state is HubState.CLOSED
        assert len(bench.sink.lost) == 1
        await bench.hub.subscribe(OTHER)
        assert [state for _, state in bench.told.states()][-3:] == ["CLOSED", "CONNECTING", "LIVE"]
        # The first stream's user has not left yet; it is harmless.
        assert {subject for _, subject in service.links[1].held} >= {OTHER.subject}
        bench.hub.release(TRADES)
        await trio.sleep(1)
        assert service.links[1].held == {("ContractTrades", OTHER.subject)}


# Once more with a fresh login (rows 9, 45)


async def logout(link: Link) -> None:
    await link.send(record(type=1, target="GatewayLogout", arguments=[]))


@pytest.mark.parametrize("end", [closing(1008), logout])
@pytest.mark.parametrize("life_s", [0.1, 4.0, 20.0])
async def test_twice_in_a_row_it_is_final(autojump_clock: MockClock, end: End, life_s: float) -> None:
    service = Service()

    async def at_open(link: Link) -> None:
        await trio.sleep(life_s)
        await end(link)

    service.at_open = at_open
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(3600)
        assert len(service.attempts) == 2
        assert bench.network.logins == 2
        assert service.links[0].bearer != service.links[1].bearer
        (error,) = bench.sink.lost
        assert "also with a fresh login" in str(error)
        assert bench.hub.state is HubState.CLOSED


@pytest.mark.parametrize("end", [closing(1008), logout])
async def test_now_and_then_it_is_not(autojump_clock: MockClock, end: End) -> None:
    service = Service()

    async def at_open(link: Link) -> None:
        await trio.sleep(100)
        await end(link)

    service.at_open = at_open
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(1000)
        assert len(service.links) == 10
        assert bench.network.logins == 10
        assert bench.sink.lost == []


async def test_a_token_that_was_given_cannot_be_renewed(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service, credentials=Credentials.from_token("given.token")) as bench:
        await bench.hub.subscribe(TRADES)
        await closing(1008)(service.links[0])
        await trio.sleep(3600)
        (error,) = bench.sink.lost
        assert "cannot be renewed" in str(error)
        assert len(service.attempts) == 1


async def test_other_ends_between_do_not_count_as_twice_in_a_row(autojump_clock: MockClock) -> None:
    """A reset follows the fresh login; the connection after it lives: all is well again."""
    service = Service()
    ends: list[End] = [closing(1008), reset]

    async def at_open(link: Link) -> None:
        await trio.sleep(1)
        if ends:
            await ends.pop(0)(link)
        else:
            await trio.sleep(100)
            await closing(1008)(link)

    service.at_open = at_open
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(150)
        assert bench.sink.lost == []
        assert len(service.links) == 4


# When


async def test_the_first_attempt_is_at_once_and_the_later_ones_are_not(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        service.at_upgrade = always(503)
        service.links[0].reset()
        await trio.sleep(1800)
        waits = [after - before for before, after in pairwise(service.attempts[1:])]
        assert service.attempts[1] == pytest.approx(100, abs=0.01)
        assert max(waits) <= 30.001
        assert sum(waits) / len(waits) > 5
        service.at_upgrade = None
        down_until = trio.current_time()
        await bench.hub.live()
        assert trio.current_time() - down_until <= 30.001


@pytest.mark.parametrize(
    ("outage_s", "seed"),
    [*((8.0, seed) for seed in range(5)), *((90.0, seed) for seed in range(3)), (3600.0, 1)],
)
async def test_it_is_back_soon_after_the_service_is(
    autojump_clock: MockClock, outage_s: float, seed: int
) -> None:
    """Rows 20 and 21: at most as long after it as the outage was, or the cap."""
    service = Service()
    async with running(service, seed=seed) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        service.at_upgrade = always(503)
        service.links[0].reset()
        await trio.sleep(outage_s)
        service.at_upgrade = None
        await bench.hub.live()
        assert trio.current_time() - 100 - outage_s <= min(8.0 if outage_s == 8 else 30.0, 30.0)


@pytest.mark.parametrize(
    ("asked", "waited"), [("20", 20.0), ("0", 0.0), ("86400", 600.0), ("soon", 0.0), (None, 0.0)]
)
@pytest.mark.parametrize("status", [429, 503])
async def test_it_waits_as_it_is_told(
    autojump_clock: MockClock, asked: str | None, waited: float, status: int
) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        service.at_upgrade = answering(status, retry_after=asked)
        service.links[0].reset()
        await trio.sleep(waited + 2)
        assert bench.hub.state is HubState.LIVE
        _, refused, taken = service.attempts
        assert waited <= taken - refused <= waited + 1


async def test_after_a_life_that_was_long_enough_the_outage_is_a_new_one(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        for turn in range(20):
            await trio.sleep(31)
            service.up[0].reset()
            await trio.sleep(0.1)
            assert len(service.links) == turn + 2
            assert bench.hub.is_live


# The breaker and the bucket


def most_in(times: list[float], window_s: float) -> int:
    """The most of ``times`` in any window of that length."""
    return max(sum(start <= each <= start + window_s for each in times) for start in times)


def check_rate(times: list[float], burst: int = 5, per_s: float = 1.0) -> None:
    for window_s in (0.5, 1.0, 10.0, 60.0, 600.0):
        assert most_in(times, window_s) <= burst + window_s * per_s + 1e-6


async def close_at_once(link: Link) -> None:
    await link.close(allowReconnect=True, error="your protocol error")


async def test_a_service_that_closes_each_connection_at_once_for_ever(autojump_clock: MockClock) -> None:
    """Row 12. Each handshake succeeds, so that no back-off on failures would ever see it."""
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        service.at_open = close_at_once
        service.links[0].reset()
        await trio.sleep(20_000)
        check_rate(service.attempts)
        assert len(service.attempts) < 20_000 / 150
        waits = [after - before for before, after in pairwise(service.attempts)]
        assert max(waits) <= 300 + 30
        service.at_open = None
        await bench.hub.live()
        assert trio.current_time() - 20_000 <= 330
        await trio.sleep(60)
        assert bench.hub.state is HubState.LIVE


STORMS: dict[str, tuple[Upgrade | None, End | None]] = {
    "closes at once": (None, close_at_once),
    "resets at once": (None, reset),
    "refuses": (always(503), None),
    "asks to come back at once": (answering(*[429] * 10_000, retry_after="0"), None),
}


@pytest.mark.parametrize("storm", STORMS)
async def test_whatever_the_service_does_connects_are_within_the_bucket(
    autojump_clock: MockClock, storm: str
) -> None:
    service = Service()
    async with running(
        service, reconnect=Reconnect(at_start=True, base_s=0.001, cap_s=0.01, young_deaths=10_000)
    ) as bench:
        service.at_upgrade, service.at_open = STORMS[storm]
        for hub, wanted in ((bench.hub, TRADES), (bench.user, ORDERS)):
            with trio.move_on_after(0.01):
                await hub.subscribe(wanted)
        await trio.sleep(100)
        check_rate(service.attempts)
        # The back-off alone would let hundreds of them through each second: the bucket is what is measured.
        assert len(service.attempts) >= 95


async def test_twenty_flaps_in_fourteen_seconds(autojump_clock: MockClock) -> None:
    """Row 22."""
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(60)
        for _ in range(20):
            for link in service.up:
                link.reset()
            await trio.sleep(0.7)
        await trio.sleep(60)
        assert bench.hub.state is HubState.LIVE
        check_rate(service.attempts)


async def test_a_user_who_tries_in_a_loop_is_within_the_bucket_too(autojump_clock: MockClock) -> None:
    service = Service()
    service.at_upgrade = always(403)
    async with running(service) as bench:
        while trio.current_time() < 100:
            with pytest.raises(AuthError):
                await bench.hub.subscribe(TRADES)
        check_rate(service.attempts)
        assert len(service.attempts) >= 100


# Given up, where that was asked for


@pytest.mark.parametrize("most", [1, 3, 10])
async def test_so_many_attempts(autojump_clock: MockClock, most: int) -> None:
    service = Service()
    async with running(service, reconnect=Reconnect(max_attempts=most)) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        service.at_upgrade = always(503)
        service.links[0].reset()
        await trio.sleep(3600)
        assert len(service.attempts) == 1 + most
        (error,) = bench.sink.lost
        assert f"given up after {most} attempts" in str(error)
        assert "HTTP 503" in str(error)
        assert bench.hub.state is HubState.CLOSED


@pytest.mark.parametrize("most_s", [1.0, 60.0])
@pytest.mark.parametrize("hangs", [True, False])
async def test_so_many_seconds(autojump_clock: MockClock, most_s: float, hangs: bool) -> None:
    service = Service()

    async def hang(wire: Wire, request: Request) -> bool:
        await trio.sleep_forever()
        return True

    async with running(service, reconnect=Reconnect(max_s=most_s), timeouts=Timeouts(connect_s=0.9)) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        service.at_upgrade = hang if hangs else always(503)
        service.links[0].reset()
        await trio.sleep(most_s + 1)
        (error,) = bench.sink.lost
        assert f"given up after {most_s:g} s" in str(error)
        (closed_at,) = [at for at, state in bench.told.states() if state == "CLOSED"]
        assert closed_at - 100 <= most_s + 0.9 + 0.001  # an attempt that is under way is not cut short
        assert closed_at - 100 >= most_s


async def test_a_hub_that_never_answers_at_the_start_is_given_up_too(autojump_clock: MockClock) -> None:
    service = Service()
    service.at_upgrade = always(503)
    async with running(service, reconnect=Reconnect(at_start=True, max_attempts=3)) as bench:
        with pytest.raises(ConnectionLost, match="given up after 3 attempts"):
            await bench.hub.subscribe(TRADES)
        assert len(service.attempts) == 3


# What happens in between (rows 7, 8, 10, 31, 36)


async def test_a_reset_between_subscription_and_completion(autojump_clock: MockClock) -> None:
    """It is asked for again, once; nothing is held twice."""
    service = Service()
    service.delay_s = 1
    async with running(service) as bench:

        async def cut() -> None:
            await trio.sleep(0.5)
            service.links[0].reset()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut)
            await bench.hub.subscribe(TRADES)
        assert [len(link.calls) for link in service.links] == [1, 1]
        assert service.links[1].held == {("ContractTrades", MNQ)}
        assert [what for what, _, _ in bench.sink.noted] == ["join", "leave", "join", "acknowledged"]


async def test_a_reset_while_a_token_is_refreshed(autojump_clock: MockClock) -> None:
    """Row 8: the old session goes on, or a new one; never none."""
    service = Service()

    async def slow(wire: Wire, request: Request) -> None:
        await trio.sleep(5 if wire.network.logins else 0)
        await wire.network.log_in(wire, request)

    async with running(service, rest=slow) as bench, trio.open_nursery() as nursery:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        nursery.start_soon(bench.sites[0].tokens.refresh)
        await trio.sleep(1)
        service.links[0].reset()
        await trio.sleep(1)
        assert bench.hub.state is HubState.LIVE
        assert (
            service.links[1].bearer == service.links[0].bearer
        )  # the old token serves until there is another
        bench.hub.look()
        await trio.sleep(10)
        assert bench.hub.state is HubState.LIVE
        bench.hub.look()
        await trio.sleep(10)
        assert service.up[0].bearer != service.links[0].bearer
        assert len(service.up) == 1


GRANT = (
    b'{"negotiateVersion":1,"connectionId":"public","connectionToken":"%s","availableTransports":'
    b'[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]}'
)


def negotiating() -> tuple[list[str], Callable[[Wire, Request], Awaitable[None]]]:
    given: list[str] = []

    async def rest(wire: Wire, request: Request) -> None:
        if not request.path.endswith("/negotiate"):
            await wire.network.log_in(wire, request)
            return
        given.append(f"id{len(given)}")
        await wire.reply(200, GRANT % given[-1].encode())

    return given, rest


async def test_each_attempt_negotiates_anew(autojump_clock: MockClock) -> None:
    """Row 31: an id serves once; one that the hub does not know is no reason to stop."""
    service = Service()
    given, rest = negotiating()
    async with running(service, rest=rest, negotiate=True) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        service.at_upgrade = answering(404, 503, 404)
        service.links[0].reset()
        await trio.sleep(30)
        assert bench.hub.state is HubState.LIVE
        used = [request.target.partition("id=")[2] for request in bench.network.upgrades]
        assert used == given == [f"id{n}" for n in range(5)]


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_negotiation_that_fails_is_tried_again(autojump_clock: MockClock, status: int) -> None:
    service = Service()
    _, grants = negotiating()
    fails = 0

    async def rest(wire: Wire, request: Request) -> None:
        nonlocal fails
        if fails and request.path.endswith("/negotiate"):
            fails -= 1
            await wire.reply(status, b"", ("Retry-After", "20"))
        else:
            await grants(wire, request)

    async with running(service, rest=rest, negotiate=True) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        fails = 1
        service.links[0].reset()
        await trio.sleep(25)
        assert bench.hub.state is HubState.LIVE
        assert service.attempts[1] - 100 >= 20


async def test_a_redirect_is_followed_each_time_within_the_origin(autojump_clock: MockClock) -> None:
    service = Service()
    targets: list[str] = []

    async def rest(wire: Wire, request: Request) -> None:
        if not request.path.endswith("/negotiate"):
            await wire.network.log_in(wire, request)
            return
        targets.append(request.path)
        if request.path == "/hubs/market/negotiate":
            await wire.reply(200, b'{"url":"http://hub.test/eu/market","accessToken":"other.token"}')
        else:
            await wire.reply(200, GRANT % b"x")

    async with running(service, rest=rest, negotiate=True) as bench:
        await bench.hub.subscribe(TRADES)
        service.links[0].reset()
        await trio.sleep(5)
        assert targets == ["/hubs/market/negotiate", "/eu/market/negotiate"] * 2
        assert [link.bearer for link in service.links] == ["other.token"] * 2


async def test_a_redirect_elsewhere_gets_no_token_and_is_tried_again(autojump_clock: MockClock) -> None:
    service = Service()
    _, grants = negotiating()
    is_evil = False

    async def rest(wire: Wire, request: Request) -> None:
        if is_evil and request.path.endswith("/negotiate"):
            await wire.reply(200, b'{"url":"http://evil.test/hubs/market"}')
        else:
            await grants(wire, request)

    async with running(service, rest=rest, negotiate=True) as bench:
        await bench.hub.subscribe(TRADES)
        is_evil = True
        service.links[0].reset()
        await trio.sleep(60)
        assert bench.hub.state is HubState.RECONNECTING
        assert "evil.test" not in {host for host, _, _ in bench.network.asked}
        is_evil = False
        await trio.sleep(31)
        assert bench.hub.state is HubState.LIVE


# Endpoints


TWO = (
    Endpoint("http://rest.test", "http://hub.test/hubs/market", "http://hub.test/hubs/user"),
    Endpoint("http://rest2.test", "http://hub2.test/hubs/market", "http://hub2.test/hubs/user"),
)


def down(bench: Bench, *hosts: str) -> None:
    """Refuse connections to ``hosts``, and cut those that stand."""

    async def connecting() -> None:
        await trio.lowlevel.checkpoint()
        if bench.network.asked[-1][0] in hosts:
            raise ConnectionRefusedError(111, "refused")

    bench.network.connecting = connecting


def hosts(bench: Bench) -> list[str]:
    return [host for host, _, _ in bench.network.asked if host.startswith("hub")]


async def test_after_some_failures_the_next_endpoint_is_used_with_a_token_of_its_own(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    async with running(service, endpoints=TWO) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        down(bench, "hub.test")
        service.links[0].reset()
        await trio.sleep(30)
        assert bench.hub.state is HubState.LIVE
        # The connection that was lost had lived: it is no failure of its endpoint.
        assert hosts(bench) == ["hub.test"] * 4 + ["hub2.test"]
        assert bench.hub.lines[0].site_no == 1
        first, second = service.links
        assert first.bearer != second.bearer
        assert [site.tokens.generation for site in bench.sites] == [1, 1]


async def test_the_first_endpoint_is_tried_again_and_used_where_it_is_back(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service, endpoints=TWO, reconnect=Reconnect(return_s=100)) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        down(bench, "hub.test")
        service.links[0].reset()
        await trio.sleep(30)
        assert bench.hub.lines[0].site_no == 1
        down(bench)
        await trio.sleep(130)
        assert [line.site_no for line in bench.hub.lines] == [0]
        assert len(service.up) == 1
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE", "RECONNECTING", "LIVE"]
        assert service.most_up() == 2  # the new one before the old one goes


async def test_while_the_first_endpoint_stays_down_the_second_is_not_disturbed(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    async with running(service, endpoints=TWO, reconnect=Reconnect(return_s=100)) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        down(bench, "hub.test")
        service.links[0].reset()
        await trio.sleep(1200)
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE", "RECONNECTING", "LIVE"]
        assert bench.hub.lines[0].site_no == 1
        assert len(hosts(bench)) < 1200 / 5


async def test_with_both_down_each_is_tried_in_turn(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service, endpoints=TWO, reconnect=Reconnect(failover_after=2)) as bench:
        await bench.hub.subscribe(TRADES)
        down(bench, "hub.test", "hub2.test")
        service.links[0].reset()
        await trio.sleep(300)
        tried = hosts(bench)[1:]
        assert {"hub.test", "hub2.test"} == set(tried)
        assert abs(tried.count("hub.test") - tried.count("hub2.test")) <= 3
        down(bench)
        await trio.sleep(31)
        assert bench.hub.state is HubState.LIVE


async def test_at_the_start_each_endpoint_has_one_attempt(autojump_clock: MockClock) -> None:
    for broken, is_had in ((("hub.test",), True), (("hub.test", "hub2.test"), False)):
        service = Service()
        async with running(service, endpoints=TWO) as bench:
            down(bench, *broken)
            if is_had:
                await bench.hub.subscribe(TRADES)
                assert bench.hub.lines[0].site_no == 1
            else:
                with pytest.raises(ConnectError):
                    await bench.hub.subscribe(TRADES)
            assert hosts(bench) == ["hub.test", "hub2.test"]
            assert trio.current_time() < 60


# A line of its own


async def test_what_is_stopped_is_left_at_once_and_closed_in_time(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        (line,) = bench.hub.lines
        line.stop("enough")
        line.stop("enough")
        assert (line.is_live, line.is_over) == (False, True)
        assert bench.sink.noted[-1] == ("leave", 1, TRADES)
        assert bench.sink.causes == ["enough"]
        await trio.sleep(6)
        assert service.up == []
        assert service.targets == ["SubscribeContractTrades"]  # nothing more was said
        assert len(service.attempts) == 1


async def test_what_is_given_up_is_connected_anew(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(100)
        bench.hub.lines[0].fail(ConnectionLost("market hub: it seems dead"))
        await trio.sleep(1)
        assert bench.hub.state is HubState.LIVE
        assert bench.sink.causes == ["market hub: it seems dead"]
        assert len(service.up) == 1


@pytest.mark.parametrize("at_s", [0.0, 0.5, 1.0, 1.5, 2.5, 3.5])
async def test_left_at_any_time_it_is_gone_in_time(autojump_clock: MockClock, at_s: float) -> None:
    """While connecting, in the handshake, subscribing, live, waiting for the next attempt; row 102."""
    service = Service()
    service.delay_s = 1

    async def slow(wire: Wire, request: Request) -> bool:
        await trio.sleep(1)
        if at_s < 3:
            return False
        await wire.reply(503)
        return True

    service.at_upgrade = slow
    async with running(service, reconnect=Reconnect(at_start=True)) as bench:
        with trio.move_on_after(at_s):
            await bench.hub.subscribe(TRADES)
            await trio.sleep_forever()
        left_at = trio.current_time()
    assert trio.current_time() - left_at <= 1


async def test_subscriptions_of_a_hub_that_answers_none_after_a_reconnect_are_kept(
    autojump_clock: MockClock,
) -> None:
    """It took them before, so that it is not they who are at fault: the connection is given up, no stream breaks."""
    service = Service()
    async with open_bench(service) as bench:
        await service.publish()
        await trio.sleep(100)
        service.ignore.add(MNQ)
        service.links[0].reset()
        await trio.sleep(100)
        assert bench.error is None
        assert bench.hub.state is HubState.RECONNECTING
        assert "no subscription was acknowledged" in bench.hub.machine.reason
        service.ignore.clear()
        await trio.sleep(60)
        await service.publish()
        await trio.sleep(3)
        assert bench.rows == service.rows
        assert len(bench.gaps) == 1


async def test_what_a_hub_does_not_answer_is_refused_where_it_answers_others(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await bench.hub.subscribe(OTHER)
        service.ignore.add(OTHER.subject)
        service.links[0].reset()
        await trio.sleep(21)  # 15 for the answer, and 5 in which the hub shows that it lives
        ((wanted, error),) = bench.sink.refused
        assert wanted == OTHER
        assert isinstance(error, SubscriptionError)
        assert bench.hub.state is HubState.LIVE
        assert len(service.links) == 2


async def test_no_error_shows_a_token(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """The service says it back in every place that it can."""
    service = Service()
    tokens: list[str] = []

    async def leak(wire: Wire, request: Request) -> bool:
        tokens.append(request.bearer or "")
        await wire.reply(503, f"bad token {request.bearer} at {request.target}".encode())
        return True

    async with running(service) as bench:
        bench.network.token = lambda number: jwt(number, 3600)
        await bench.hub.subscribe(TRADES)
        bearer = service.links[0].bearer
        assert bearer is not None
        service.refuse[MNQ] = f"bad token {bearer}"
        service.at_upgrade = leak
        await service.links[0].close(allowReconnect=True, error=f"bad token {bearer}")
        await trio.sleep(60)
        service.at_upgrade = None
        await trio.sleep(60)
        texts = [str(each) for each in (*bench.told.events, *bench.sink.refused, *bench.sink.causes)]
        texts += [record.getMessage() for record in caplog.records]
        assert tokens
        for part in {part for token in (bearer, *tokens) for part in token.split(".")}:
            assert not any(part in text for text in texts)
