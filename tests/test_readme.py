"""What README and docs print is what there is: the example, the commands, names, options and their defaults."""

from __future__ import annotations

import builtins
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

import trio_projectx as px
from trio_projectx.simulator import open_simulator

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text() if (ROOT / "README.md").is_file() else ""

pytestmark = pytest.mark.skipif(
    not (README and DOCS.is_dir()), reason="README and docs are not beside the tests"
)


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """Give the cells of the first table below a heading, without the head."""
    text = (DOCS / page).read_text().split(f"\n{heading}\n")[1]
    lines = text[text.index("|---") :].split("\n\n")[0].splitlines()[1:]
    return ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)


class Enough(Exception):
    pass


async def test_the_example_runs_as_it_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code, runs, _ = code.partition("\n\ntrio.run(main)\n")  # here it runs already
    assert runs
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


def public_names() -> set[str]:
    """Return what users get from the package, without modules and aliases of types."""
    return {
        name
        for name, value in vars(px).items()
        if not name.startswith("_")
        and name != "annotations"
        and (isinstance(value, type) or callable(value))
        and not isinstance(value, (types.ModuleType, types.UnionType))
    }


def test_every_public_name_is_in_the_reference() -> None:
    reference = (DOCS / "reference.md").read_text()
    documented = set(re.findall(r"^\.\. auto\w+:: (?:trio_projectx\.)?(\w+)$", reference, re.MULTILINE))
    errors = {name for name in vars(px._errors) if name in public_names()}
    assert documented & errors == set()  # these have a page of their own, by automodule
    assert public_names() - errors == documented & public_names()


def test_every_method_of_a_gateway_that_a_page_names_is_there() -> None:
    pages = [README, *(page.read_text() for page in DOCS.glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"gateway\.([a-z_]+)\(", page)}
    assert {"open_events", "health", "refresh_token", "wait_connected"} <= named
    assert {name for name in named if not hasattr(px.Gateway, name)} == set()


@pytest.mark.parametrize(
    ("heading", "options"),
    [
        ("## Back-off, breaker, bucket: `Reconnect`", px.Reconnect()),
        ("## Waits: `Timeouts`", px.Timeouts()),
    ],
)
def test_options_are_listed_with_their_defaults(heading: str, options: attrs.AttrsInstance) -> None:
    words = {"no end": None, "never": None, "none": None, "`False`": False}
    listed: dict[str, object] = {}
    for names, defaults, _ in rows("connections.md", heading):
        keys = re.findall(r"`(\w+)`", names)
        values = [words[text] if text in words else float(text) for text in defaults.split(", ")]
        listed.update(zip(keys, values * len(keys) if len(values) == 1 else values, strict=False))
    assert listed == attrs.asdict(options)


def test_the_defaults_of_refresh_are_those_in_the_text() -> None:
    text = (DOCS / "connections.md").read_text().split("## Tokens: `Refresh`")[1].split("\n\n")[1]
    named = dict(re.findall(r"`(\w+)` \(([0-9.]+)\)", text))
    assert {name: float(value) for name, value in named.items()} == {
        name: value for name, value in attrs.asdict(px.Refresh()).items() if name != "jitter"
    }
    assert "up to a tenth (`jitter`)" in text
    assert px.Refresh().jitter == 0.1


def test_every_event_is_listed_with_its_fields() -> None:
    listed = [cells[0].strip("`") for cells in rows("connections.md", "## Events")]
    there = [
        f"{kind.__name__}({', '.join(field.name for field in attrs.fields(kind))})"
        for kind in typing.get_args(px.ConnectionEvent)
    ]
    assert sorted(listed) == sorted(there)


def test_every_state_is_listed() -> None:
    listed = [cells[0].strip("`") for cells in rows("connections.md", "## States")]
    assert listed == [state.name for state in px.HubState]
