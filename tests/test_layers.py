"""The layers of docs/design.md: imports only point up the list, and I/O stays at the edge."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import trio_projectx

ROOT = Path(trio_projectx.__file__).parent

#: From the top: a module may import only from layers above its own, and from its own.
LAYERS = [
    "_redact",
    "_logs",
    "_errors",
    "_timeframe",
    "_items",
    "_validators",
    "_memory",
    "_handler_events",
    "_flow_events",
    "_events",
    "_user_events",
    "_credentials",
    "_options",
    "_config",
    "signalr",
    "market",
    "bars",
    "pressure",
    "flow",
    "connection",
    "journal",
    "history",
    "streams",
    "handlers",
    "market_data",
    "record_callbacks",
    "callbacks",
    "machine",
    "composition",
    "gateway_statistics",
    "gateway",
    "instruments",
    "telemetry",
    "opening",
    "replaying",
    "replay",
    "simulator",
    "testing",
    "cli",
]
PURE = ("signalr", "market", "bars")
NOT_PURE = {
    "trio",
    "socket",
    "ssl",
    "time",
    "asyncio",
    "threading",
    "trio_websocket",
    "httpx2",
    "h11",
    "os",
    "random",
}
ONLY_IMPORTER = {
    "opentelemetry": {"telemetry.py"},
    "trio_websocket": {"connection/transport.py", "simulator/"},
    "httpx2": {"connection/rest.py"},
    "httpcore2": {"connection/rest.py"},
    "h11": {"connection/upgrade.py", "simulator/"},
}

FILES = sorted(ROOT.rglob("*.py"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module name that is imported anywhere in the file, also inside functions."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.append(node.module)
    return tuple(found)


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 300


def test_imports_point_up() -> None:
    for path in FILES:
        layer = layer_of(path)
        if layer in ("__init__", "__main__"):
            continue
        assert layer in LAYERS, f"{layer} has no place in the layers of docs/design.md"
        for name in imports(path):
            if name == "trio_projectx":
                assert layer in ("testing", "cli"), f"{path} imports the whole package"
            elif name.startswith("trio_projectx."):
                target = name.split(".")[1]
                assert LAYERS.index(target) <= LAYERS.index(layer), (
                    f"{path} imports {name}, which is below it"
                )


def test_io_stays_at_the_edge() -> None:
    for path in FILES:
        names = {name.split(".")[0] for name in imports(path)}
        relative = path.relative_to(ROOT).as_posix()
        if layer_of(path) in PURE:
            assert not names & NOT_PURE, relative
        for library, places in ONLY_IMPORTER.items():
            if library in names:
                assert any(relative.startswith(place) for place in places), f"{relative} imports {library}"


def test_modules_stay_small() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path
