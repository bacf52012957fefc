"""The HTTP front: over real sockets with an ordinary client, and in memory with no client's manners at all."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator

import httpx2
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_tools import START_NS, until, upgrade_head, virtual_wall

from trio_projectx.simulator import Simulator, open_simulator

KEY = {"userName": "simulator", "apiKey": "simulator-key"}


@pytest.fixture
async def sim() -> AsyncGenerator[Simulator]:
    async with open_simulator(wall_clock=lambda: START_NS) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: Simulator) -> AsyncGenerator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=sim.url) as client:
        yield client


def bearer(sim: Simulator, ttl_s: float = 60) -> dict[str, str]:
    return {"Authorization": f"Bearer {sim.mint_token(ttl_s)}"}


async def test_logging_in_gives_a_token_that_opens_the_rest(sim: Simulator, http: httpx2.AsyncClient) -> None:
    answer = await http.post("/api/Auth/loginKey", json=KEY)
    assert answer.status_code == 200
    body = answer.json()
    assert {name: body[name] for name in ("success", "errorCode", "errorMessage")} == {
        "success": True, "errorCode": 0, "errorMessage": None,
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {body['token']}"}
    renewed = (await http.post("/api/Auth/validate", headers=headers)).json()["newToken"]
    assert renewed != body["token"]
    for token in (body["token"], renewed):  # the old one stays good
        answer = await http.post("/api/Auth/validate", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("login", "code"), [({**KEY, "apiKey": "wrong"}, 3), ({**KEY, "userName": "nobody"}, 1)]
)
async def test_a_bad_login_is_a_success_of_http_only(
    http: httpx2.AsyncClient, login: dict, code: int
) -> None:
    answer = await http.post("/api/Auth/loginKey", json=login)
    assert answer.status_code == 200
    assert answer.json() == {"token": None, "success": False, "errorCode": code, "errorMessage": None}


async def test_a_logged_out_token_is_refused(sim: Simulator, http: httpx2.AsyncClient) -> None:
    headers = bearer(sim)
    assert (await http.post("/api/Auth/logout", headers=headers)).json()["success"] is True
    assert (await http.post("/api/Auth/validate", headers=headers)).status_code == 401


async def test_ping(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/api/Status/ping")
    assert (answer.status_code, answer.text) == (200, "pong")


STATUSES = [
    ("GET", "/", 404), ("GET", "/api", 404), ("POST", "/api/No/such", 404), ("GET", "/hubs/none", 404),
    ("POST", "/hubs/market/else", 404), ("GET", "/control/none", 404), ("GET", "/api/Auth/loginKey", 405),
    ("POST", "/api/Status/ping", 405), ("PUT", "/api/Contract/search", 405), ("GET", "/control/stop", 405),
    ("POST", "/api/Auth/validate", 401), ("POST", "/api/Contract/search", 401), ("GET", "/hubs/market", 401),
    ("POST", "/hubs/user/negotiate", 401), ("POST", "/api/Auth/loginKey", 400),
    ("POST", "/api/auth/LOGINKEY/", 400), ("HEAD", "/api/Status/ping", 405),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), STATUSES)
async def test_statuses_without_a_token(
    http: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await http.request(method, path)).status_code == status


@pytest.mark.parametrize(
    "authorization", ["Bearer x.y.z", "Bearer", "Basic abc", "", "Bearer \u00fc", "Bearer a b"]
)
async def test_a_bad_header_is_a_401(http: httpx2.AsyncClient, authorization: str) -> None:
    headers = {"Authorization": authorization.encode("latin-1")}
    for path in ("/api/Auth/validate", "/hubs/market/negotiate"):
        assert (await http.post(path, headers=headers)).status_code == 401


async def test_an_expired_token_is_a_401(sim: Simulator, http: httpx2.AsyncClient) -> None:
    for path in ("/api/Auth/validate", "/hubs/market/negotiate"):
        assert (await http.post(path, headers=bearer(sim, -1))).status_code == 401


async def test_where_a_token_may_stand(sim: Simulator, http: httpx2.AsyncClient) -> None:
    token = sim.mint_token()
    assert (await http.post(f"/hubs/market/negotiate?access_token={token}")).status_code == 200
    assert (await http.post(f"/api/Auth/validate?access_token={token}")).status_code == 401
    # A bad header is not rescued by a good query.
    answer = await http.post(
        f"/hubs/market/negotiate?access_token={token}", headers={"Authorization": "Bearer x"}
    )
    assert answer.status_code == 401


BAD_BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff",
    b'{"userName":1,"apiKey":"k"}',
    b'{"userName":"u"}',
    b"[" * 20_000,
]


@pytest.mark.parametrize("body", BAD_BODIES)
async def test_a_body_that_does_not_fit_is_a_400_with_problem_details(
    http: httpx2.AsyncClient, body: bytes
) -> None:
    answer = await http.post("/api/Auth/loginKey", content=body)
    assert answer.status_code == 400
    assert answer.json()["status"] == 400
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_a_body_too_long_is_refused(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/api/Auth/loginKey", content=b"x" * 70_000)
    assert answer.status_code == 413
    assert (await http.get("/api/Status/ping")).text == "pong"


async def test_contract_search_is_as_fuzzy_as_the_real_one(sim: Simulator, http: httpx2.AsyncClient) -> None:
    async def search(text: str, **more: object) -> list[str]:
        body = {"searchText": text, "live": False, **more}
        answer = (await http.post("/api/Contract/search", json=body, headers=bearer(sim))).json()
        assert answer["success"] is True
        return [contract["id"].split(".")[3] for contract in answer["contracts"]]

    assert {"EP", "MES", "FVA", "JY6", "MX6", "TYA"} <= set(await search("ES"))
    assert await search("mnq") == ["MNQ"]
    assert await search("no such thing") == []
    assert await search("ES", live=True) == []  # practice credentials have no live tier: an empty success
    assert len(await search("")) == 20


async def test_a_contract_has_the_documented_fields(sim: Simulator, http: httpx2.AsyncClient) -> None:
    async def by_id(contract_id: str) -> dict:
        answer = await http.post(
            "/api/Contract/searchById", json={"contractId": contract_id}, headers=bearer(sim)
        )
        assert answer.status_code == 200
        return answer.json()

    found = await by_id("CON.F.US.EP.U26")
    assert found["contract"] == {
        "id": "CON.F.US.EP.U26", "name": "ESU6", "description": "E-mini S&P 500: September 2026", "tickSize": 0.25,
        "tickValue": 12.5, "activeContract": True, "symbolId": "F.US.EP",
    }  # fmt: skip
    assert (await by_id("CON.F.US.EP.U25"))["contract"]["activeContract"] is False
    for unknown in ("CON.F.US.XXX.U26", "../../etc", "CON.F.US.ES.U26", "x" * 5000):
        assert await by_id(unknown) == {
            "contract": None,
            "success": False,
            "errorCode": 1,
            "errorMessage": None,
        }


async def test_available_lists_one_contract_of_each_product(sim: Simulator, http: httpx2.AsyncClient) -> None:
    answer = await http.post("/api/Contract/available", json={"live": False}, headers=bearer(sim))
    ids = [contract["id"] for contract in answer.json()["contracts"]]
    assert len(ids) == len({name.split(".")[3] for name in ids}) == 52
    assert "CON.F.US.MNQ.U26" in ids


async def test_negotiate(sim: Simulator, http: httpx2.AsyncClient) -> None:
    async def negotiate(query: str) -> dict:
        answer = await http.post(f"/hubs/market/negotiate{query}", headers=bearer(sim))
        assert answer.status_code == 200
        return answer.json()

    first = await negotiate("?negotiateVersion=1")
    assert set(first) == {"negotiateVersion", "connectionId", "connectionToken", "availableTransports"}
    assert first["connectionId"] != first["connectionToken"]
    assert first["availableTransports"] == [
        {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}
    ]
    assert (await negotiate("?negotiateVersion=2"))["negotiateVersion"] == 1
    assert "connectionToken" not in await negotiate("")
    assert "error" in await negotiate("?negotiateVersion=-1")
    assert "error" in await negotiate("?negotiateVersion=x")
    assert (await http.get("/hubs/market/negotiate", headers=bearer(sim))).status_code == 405


UPGRADE = {
    "Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "query", "status"),
    [
        ({}, "", 101), ({}, "?id=unknown", 404), ({"Upgrade": "h2c"}, "", 400), ({"Connection": "close"}, "", 400),
        ({"Sec-WebSocket-Version": "8"}, "", 400), ({"Sec-WebSocket-Key": "short"}, "", 400),
        ({"Sec-WebSocket-Protocol": "signalr", "Sec-WebSocket-Extensions": "permessage-deflate"}, "", 101),
        ({"Host": "xn--\u00fc.invalid"}, "", 101),
    ],
)  # fmt: skip
async def test_the_upgrade(sim: Simulator, changed: dict[str, str], query: str, status: int) -> None:
    headers = {"Host": "x", **UPGRADE, **bearer(sim), **changed}
    head = f"GET /hubs/market{query} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers.items()
    )
    async with await sim.connect("h", 1, tls=False) as stream:
        await stream.send_all(head.encode("latin-1") + b"\r\n")
        answer = bytes(await stream.receive_some())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"sec-websocket-protocol" not in answer.lower()
    assert b"sec-websocket-extensions" not in answer.lower()
    if status == 101:
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer  # of RFC 6455, section 1.3


async def test_a_negotiated_id_is_good_once(sim: Simulator, http: httpx2.AsyncClient) -> None:
    answer = await http.post("/hubs/market/negotiate?negotiateVersion=1", headers=bearer(sim))
    ids = answer.json()

    async def upgrade(connection_id: str) -> bytes:
        stream = await sim.connect("h", 1, tls=False)
        headers = {"Host": "x", **UPGRADE, **bearer(sim)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        await stream.send_all(f"GET /hubs/market?id={connection_id} HTTP/1.1\r\n{lines}\r\n".encode())
        status = bytes(await stream.receive_some())[9:12]
        opened.append(stream)
        return status

    opened: list[trio.abc.Stream] = []
    assert await upgrade(ids["connectionId"]) == b"404"  # the public id opens nothing
    assert await upgrade(ids["connectionToken"]) == b"101"
    assert await upgrade(ids["connectionToken"]) == b"409"
    await opened[1].aclose()
    await until(lambda: not sim.statistics().hub_connections_open, within_s=2)
    assert await upgrade(ids["connectionToken"]) == b"404"
    for stream in opened:
        await stream.aclose()


async def test_a_negotiated_id_does_not_wait_for_ever(autojump_clock: object) -> None:
    async with (
        open_simulator(port=None, wall_clock=virtual_wall) as sim,
        await sim.connect("h", 1, tls=False) as stream,
    ):
        lines = "".join(f"{name}: {value}\r\n" for name, value in bearer(sim, 9999).items())
        await stream.send_all(
            b"POST /hubs/user/negotiate?negotiateVersion=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
            + f"{lines}\r\n".encode()
        )
        secret = json.loads(bytes(await stream.receive_some()).partition(b"\r\n\r\n")[2])["connectionToken"]
        await trio.sleep(16)
        lines += "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
        await stream.send_all(f"GET /hubs/user?id={secret} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 404")


async def test_ids_that_wait_are_bounded_and_the_oldest_goes(
    sim: Simulator, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_projectx.simulator.hubs._NEGOTIATED_MAX", 2)
    given_out = []
    for _ in range(3):
        answer = await http.post("/hubs/market/negotiate?negotiateVersion=1", headers=bearer(sim))
        given_out.append(answer.json()["connectionToken"])
    for ticket, status in zip(given_out, (b"404", b"101", b"101"), strict=True):
        async with await sim.connect("h", 1, tls=False) as stream:
            head = upgrade_head(sim.mint_token()).replace(
                b"/hubs/market ", f"/hubs/market?id={ticket} ".encode()
            )
            await stream.send_all(head)
            assert bytes(await stream.receive_some())[9:12] == status


async def test_a_connection_is_kept_alive_and_pipelined_requests_are_answered_in_order(
    sim: Simulator,
) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", sim.port) as stream:
        one = b"GET /api/Status/ping HTTP/1.1\r\nHost: x\r\n\r\n"
        two = b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n"
        await stream.send_all(one + two + one)
        answer = b""
        while answer.count(b"pong") < 2:
            answer += await stream.receive_some()
        statuses = re.findall(rb"HTTP/1.1 (\d+)", answer)
        assert statuses == [b"200", b"404", b"200"]
    assert sim.statistics().accepted == 1


async def test_one_that_says_close_is_closed(sim: Simulator) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", sim.port) as stream:
        await stream.send_all(b"GET /api/Status/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := await stream.receive_some():
            answer += data
        assert answer.endswith(b"pong")


async def test_one_that_waits_to_be_told_is_told_to_go_on(sim: Simulator) -> None:
    body = json.dumps(KEY).encode()
    head = f"POST /api/Auth/loginKey HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    async with await trio.open_tcp_stream("127.0.0.1", sim.port) as stream:
        await stream.send_all(head.encode())
        assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 100")
        await stream.send_all(body)
        assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_stays_silent_or_half_way_is_let_go(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        for begun in (
            b"",
            b"GET /api",
            b"POST /api/Auth/loginKey HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
        ):
            async with await sim.connect("h", 1, tls=False) as stream:
                await stream.send_all(begun)
                with trio.fail_after(61):
                    assert await stream.receive_some() == b""


async def test_a_client_that_does_not_read_its_answer_is_let_go(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with await sim.connect("h", 1, tls=False) as stream:
            request = b"GET /api/Status/ping HTTP/1.1\r\nHost: x\r\n\r\n"
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await stream.send_all(request)
        assert trio.current_time() < 30


def test_nothing_is_printed_of_a_request_that_breaks_a_route(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    async def main() -> None:
        async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
            monkeypatch.setattr("trio_projectx.simulator.rest_contracts.available", broken)
            async with await sim.connect("h", 1, tls=False) as stream:
                token = sim.mint_token()
                request = (
                    f"POST /api/Contract/available HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                    'Content-Length: 14\r\n\r\n{"live":false}'
                )
                await stream.send_all(request.encode())
                assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 500")
                assert token not in caplog.text
                assert "a bug" in caplog.text

    trio.run(main)


requests = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda method, path, headers, body: b"%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s" % (method, path, headers, body),
        st.sampled_from([b"GET", b"POST", b"PRI", b"OPTIONS", b"G\xff"]),
        st.sampled_from([
            b"/", b"/hubs/market", b"/hubs/market/negotiate?negotiateVersion=%ff", b"/control/state", b"//[", b"*",
            b"/control/hz?v=nan", b"/control/token?ttl=1e999", b"/control/send?target=%00", b"/\xff", b"?&&==",
            b"/api/Auth/loginKey", b"http://[::1", b"/hubs/" + b"a" * 3000,
        ]),
        st.sampled_from([
            b"", b"Content-Length: 5\r\n", b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n",
            b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"Authorization: Bearer \xff\xfe\r\n", b": x\r\n",
            b"Content-Length: 5\r\nContent-Length: 6\r\n", b"X: " + b"y" * 70_000 + b"\r\n",
            b"Expect: 100-continue\r\n",
        ]),
        st.binary(max_size=20),
    ),
)  # fmt: skip


@given(st.lists(requests, max_size=4), st.booleans())
@settings(max_examples=100)
def test_no_garbage_at_the_front_crashes_it(parts: list[bytes], half_close: bool) -> None:
    async def main() -> None:
        async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
            async with await sim.connect("h", 1, tls=False) as stream, trio.open_nursery() as nursery:

                async def read() -> None:
                    try:
                        while await stream.receive_some():
                            pass
                    except trio.BrokenResourceError:
                        pass

                nursery.start_soon(read)
                try:
                    for part in parts:
                        await stream.send_all(part)
                    if half_close:
                        await stream.send_eof()  # type: ignore[attr-defined]
                except trio.BrokenResourceError:
                    pass
                await trio.sleep(0.1)
                nursery.cancel_scope.cancel()
            async with await sim.connect("h", 1, tls=False) as stream:
                await stream.send_all(b"GET /api/Status/ping HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"pong" in await stream.receive_some()
            assert sim.statistics().crashes == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
