"""What the README prints is what works: its example, its two commands, its claims about what is refused."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import pytest
import trio

import trio_projectx as px
from trio_projectx.simulator import open_simulator

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text() if (ROOT / "README.md").is_file() else ""

pytestmark = pytest.mark.skipif(not README, reason="the README is not beside the tests")


class Enough(Exception):
    pass


async def test_the_example_runs_as_it_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    lines: list[tuple[object, ...]] = []

    def show(*args: object) -> None:
        lines.append(args)
        if len(lines) == 3:
            raise Enough

    async with open_simulator(speed=2000) as sim:
        for name, value in {
            "USERNAME": "simulator",
            "API_KEY": "simulator-key",
            "REST_URL": sim.rest_url,
            "MARKET_HUB_URL": sim.market_url,
            "USER_HUB_URL": sim.user_url,
        }.items():
            monkeypatch.setenv(f"PROJECTX_{name}", value)
        namespace: dict[str, object] = {}
        exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102
        monkeypatch.setattr(builtins, "print", show)
        with trio.fail_after(30), pytest.raises(Enough):
            await namespace["main"]()  # type: ignore[operator]
    assert {line[0] for line in lines} <= {"1m", "5m"}


def test_ci_calls_the_commands_that_are_printed() -> None:
    commands = re.findall(r"^\$ (.*)$", README, re.MULTILINE)
    assert len(commands) == 2
    script = (ROOT / ".ci" / "run").read_text()
    for command in commands:
        assert command in script.splitlines()


def test_every_session_that_is_named_is_there() -> None:
    there = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    listed = README.split("`nox -l` lists the rest:")[1].split(".")[0]
    named = set(re.findall(r"`(\w+)`", listed)) | set(re.findall(r"nox -s (\w+)", README))
    assert {"tests", "demo", "interop", "bench"} <= named <= there


@pytest.mark.parametrize("timeframe", ["1s", "1M"])
def test_what_is_said_to_be_offered_is_offered(timeframe: str) -> None:
    assert f"`{timeframe}`" in README
    for anchor in (px.Anchor.utc(), px.Anchor.session(px.Sessions.for_product("MNQ"))):
        assert anchor.edges(px.Timeframe(timeframe)).interval(0)
