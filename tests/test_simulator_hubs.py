"""What a hub answers before there is a WebSocket; each answer seen from a real ASP.NET Core 9.0.7."""

from __future__ import annotations

import json

import pytest
from simulator_tools import virtual_wall

from trio_projectx.simulator import Simulator, open_simulator

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
NO_ID = (400, "Connection ID required")
NO_SUCH = (404, "No Connection with that ID")
TOO_OLD = "The client requested version '-1', but the server does not support this version."
NON_INTEGER = "The client requested a non-integer protocol version."


async def ask(sim: Simulator, method: str, path: str, headers: str | None = None) -> tuple[str, str]:
    """Return the status line and the body."""
    if headers is None:
        headers = f"Authorization: Bearer {sim.mint_token()}\r\n"
    async with await sim.connect("h", 1, tls=False) as stream:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{headers}\r\n"
        await stream.send_all(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await stream.receive_some()
    head_text, _, body = answer.decode().partition("\r\n\r\n")
    return head_text.partition("\r\n")[0], body


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("", {"negotiateVersion": 0}),
        ("?negotiateVersion=0", {"negotiateVersion": 0}),
        ("?negotiateVersion=7", {"negotiateVersion": 1}),
        (
            "?negotiateVersion=-1",
            {"error": "The client requested version '-1', but the server does not support this version."},
        ),
        ("?negotiateVersion=x", {"error": NON_INTEGER}),
        ("?negotiateVersion=", {"error": NON_INTEGER}),
        ("?negotiateVersion=1.5", {"error": NON_INTEGER}),
        ("?negotiateVersion=99999999999", {"error": NON_INTEGER}),
        (
            "?negotiateVersion=1&useStatefulReconnect=True",
            {"useStatefulReconnect": True, "negotiateVersion": 1},
        ),
        ("?useStatefulReconnect=true", {"useStatefulReconnect": True, "negotiateVersion": 0}),
        ("?negotiateVersion=1&useStatefulReconnect=x", {"negotiateVersion": 1}),
    ],
)
async def test_negotiate(query: str, answer: dict, autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        status, body = await ask(sim, "POST", f"/hubs/market/negotiate{query}")
        assert status == "HTTP/1.1 200 OK"
        found = json.loads(body)
        assert {name: found[name] for name in answer} == answer
        assert ("connectionToken" in found) == (answer.get("negotiateVersion") == 1)
        assert ("useStatefulReconnect" in found) == ("useStatefulReconnect" in answer)


@pytest.mark.parametrize(
    ("method", "path", "more", "answer"),
    [
        ("GET", "/hubs/market", "", NO_ID),
        ("POST", "/hubs/market", UPGRADE, NO_ID),
        ("DELETE", "/hubs/market", "", NO_ID),
        ("GET", "/hubs/market?id=x", "", NO_SUCH),
        ("GET", "/hubs/market?id=x", UPGRADE, NO_SUCH),
        ("POST", "/hubs/market?id=x", "", NO_SUCH),
        ("GET", "/hubs/market", UPGRADE.replace("13", "12"), NO_ID),
        ("GET", "/hubs/market", UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "abc"), NO_ID),
        ("PUT", "/hubs/market", "", (405, "")),
        ("GET", "/hubs/market/negotiate", "", (405, "")),
        ("GET", "/hubs/nosuch", UPGRADE, (404, "")),
        ("POST", "/hubs/nosuch/negotiate", "", (404, "")),
        ("POST", "/hubs/market/other", "", (404, "")),
    ],
)
async def test_what_is_no_connection(
    method: str, path: str, more: str, answer: tuple, autojump_clock: object
) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        headers = f"Authorization: Bearer {sim.mint_token()}\r\n{more}"
        status, body = await ask(sim, method, path, headers)
        assert (int(status.split()[1]), body) == answer
        assert status.split(maxsplit=2)[2] in (
            "Bad Request",
            "Not Found",
            "Method Not Allowed",
        )


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ("Authorization: Bearer {}\r\n", "", 200),
        ("authorization: bearer {}\r\n", "", 200),
        ("", "?access_token={}", 200),
        ("", "?Access_Token={}", 200),
        ("Authorization: Basic x\r\n", "?access_token={}", 200),
        ("Authorization: Bearer \r\n", "?access_token={}", 200),
        ("Authorization: Bearer nope\r\n", "?access_token={}", 401),
        ("", "?access_token=", 401),
        ("", "", 401),
    ],
)
async def test_where_the_token_may_be(headers: str, query: str, status: int, autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        token = sim.mint_token()
        path = f"/hubs/market/negotiate{query.format(token)}"
        line, _ = await ask(sim, "POST", path, headers.format(token))
        assert int(line.split()[1]) == status


async def test_a_token_that_has_expired_lets_nobody_in(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        headers = f"Authorization: Bearer {sim.mint_token(-1)}\r\n{UPGRADE}"
        assert (await ask(sim, "GET", "/hubs/user", headers))[0] == "HTTP/1.1 401 Unauthorized"
