"""Fixtures of the interop tests: they need what `nox -s interop` sets up, and skip without it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from kit import Kit
from known import KNOWN
from official import OfficialClient, open_official
from servers import Server, open_server

KIT = os.environ.get("TRIO_PROJECTX_INTEROP")
HERE = Path(__file__).resolve().parent
KINDS = ("simulator", "aspnet")

Meet = Callable[..., AbstractAsyncContextManager[tuple[Server, OfficialClient]]]
Serve = Callable[..., AbstractAsyncContextManager[Server]]


class SkippedModule(pytest.Module):
    """A module that is skipped as one: in one line, and not in one for each of its tests."""

    def collect(self) -> NoReturn:
        pytest.skip("it needs node packages: nox -s interop", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return SkippedModule.from_parent(parent, path=module_path) if KIT is None else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE and item.name in KNOWN:
            item.add_marker(pytest.mark.xfail(strict=True, reason=KNOWN[item.name]))


@pytest.fixture(scope="session")
def kit() -> Kit:
    """What was set up; without it there is nothing to test against."""
    assert KIT is not None
    found = Kit.load(Path(KIT))
    if found.no_client:
        pytest.skip(f"no official client: {found.no_client}")
    return found


@pytest.fixture
def aspnet(kit: Kit) -> Serve:
    """Start real ASP.NET Core hubs: ``async with aspnet(...) as server``."""
    if kit.no_hub:
        pytest.skip(f"no ASP.NET Core hub: {kit.no_hub}")
    return lambda **options: open_server("aspnet", kit, **options)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, kit: Kit) -> str:
    """The kind of server; every test with it runs once against each."""
    name: str = request.param
    if name == "aspnet" and kit.no_hub:
        pytest.skip(f"no ASP.NET Core hub: {kit.no_hub}")
    return name


@pytest.fixture
def meet(kind: str, kit: Kit) -> Meet:
    """Start a server and an official client: ``async with meet(...) as (server, client)``."""

    @asynccontextmanager
    async def start(**options: object) -> AsyncGenerator[tuple[Server, OfficialClient]]:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(open_official(kit))
            server = await stack.enter_async_context(open_server(kind, kit, **options))
            yield server, client

    return start
