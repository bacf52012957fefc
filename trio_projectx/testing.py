"""For tests of your own strategies: a simulator, a gateway on it, and markets made of your own trades.

A pytest plugin; a ``conftest.py`` that says ``pytest_plugins = ["trio_projectx.testing"]`` has its fixtures. It
needs pytest and pytest-trio, and is the only module here that imports them. Nothing of it opens a socket.

Time is virtual: an hour of market takes as long as the code under test. pytest-trio takes a test's clock from the
arguments of the test function alone, so the test itself has to ask for ``autojump_clock``; the fixtures refuse to
run without, because everything would go on in real time.
"""

# pyarrow's stubs speak of numpy's types, and numpy is not installed; mypy checks these lines.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

import attrs
import pyarrow as pa
import pytest
import pytest_trio  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
import trio
import trio.testing

from trio_projectx._config import GatewayConfig
from trio_projectx._errors import ConfigError
from trio_projectx._events import Side
from trio_projectx.gateway import Gateway
from trio_projectx.market.stamps import parse_stamp
from trio_projectx.opening import open_gateway
from trio_projectx.simulator import Simulator, open_simulator

__all__ = [
    "CONTRACT",
    "START",
    "PlayTrades",
    "Stage",
    "gateway",
    "play",
    "scripted_market",
    "simulated_config",
    "simulator",
    "trades_table",
    "virtual_wall_clock",
]

#: Where virtual time begins: a Wednesday in the middle of the US session.
START: Final = "2026-08-19T18:30:00Z"
#: What `play` and `scripted_market` play trades as.
CONTRACT: Final = "CON.F.US.MNQ.U26"

Row: TypeAlias = Sequence[object]
"""(time, price, volume) or (time, price, volume, side); see `trades_table`."""


def virtual_wall_clock(start: str | int = START) -> Callable[[], int]:
    """Return a wall clock (int64 ns) that is at ``start`` when it is first asked and then follows trio's clock.

    ``start`` is ISO 8601 with a zone, or ns. Give it to `open_simulator` and to `GatewayConfig` alike.
    """
    start_ns = _nanoseconds(start)
    origin: list[float] = []

    def now() -> int:
        if not origin:
            origin.append(trio.current_time())
        return start_ns + round((trio.current_time() - origin[0]) * 1e9)

    return now


def trades_table(rows: Iterable[Row]) -> pa.Table:
    """Return trades as a table that `open_simulator`, `play` and `trio_projectx.bars.aggregate` take.

    A row is (time, price, volume), or with a fourth element the aggressor's side: a `Side`, or None for unknown.
    Time is int64 ns, or ISO 8601 with a zone. Rows stay in their order; nothing is checked that a test may want
    to be wrong (prices off the grid, a volume of 0, stamps that go back).

    :raises ConfigError: for a row that is not of this form, with its number (from 0).
    """
    checked = [_checked(number, row) for number, row in enumerate(rows)]
    return pa.table(
        {
            "ts_event": pa.array([row[0] for row in checked], pa.int64()),
            "price": pa.array([row[1] for row in checked], pa.float64()),
            "volume": pa.array([row[2] for row in checked], pa.int64()),
            "side": pa.array([row[3] for row in checked], pa.int8()),
        }
    )


def _checked(number: int, row: Row) -> tuple[int, float, int, int]:
    at, price, volume, side = (*row, None, None, None, None)[:4]
    if not (len(row) in (3, 4) and isinstance(at, (int, str)) and isinstance(price, (int, float))):
        raise ConfigError(
            f"row {number} is not (time, price, volume) or (time, price, volume, side): {row!r:.80}"
        )
    if not isinstance(volume, int) or not (side is None or isinstance(side, int)):
        raise ConfigError(f"row {number}: volume is a whole number, side a Side or None: {row!r:.80}")
    return _nanoseconds(at), float(price), volume, int(Side.UNKNOWN) if side is None else int(side)


def _nanoseconds(time: str | int) -> int:
    return parse_stamp(time) if isinstance(time, str) else time


def simulated_config(simulator: Simulator, wall_clock: Callable[[], int] | None = None) -> GatewayConfig:
    """Return the configuration of a gateway on ``simulator``, over streams in memory."""
    clock = virtual_wall_clock(simulator.market_now_ns()) if wall_clock is None else wall_clock
    config = GatewayConfig.simulated(simulator.url)
    return attrs.evolve(config, connect=simulator.connect, wall_clock=clock)


@attrs.frozen(slots=True)
class Stage:
    """A market of your own trades, and a gateway that is connected to it."""

    simulator: Simulator
    gateway: Gateway
    contract_id: str


@asynccontextmanager
async def play(
    trades: pa.Table | Iterable[Row],
    *,
    contract: str = CONTRACT,
    speed: float = 1.0,
    start: str | int = START,
) -> AsyncGenerator[Stage]:
    """Open a simulator in memory that plays ``trades`` as ``contract``, and a gateway on it.

    It begins with the first stream of the contract's trades or bars, at ``speed`` times the pace of the stamps; 0 is
    as fast as they are taken. Works in real time too. Leaving the block ends everything.

    :raises ConfigError: if the trades cannot be sent.
    """
    table = trades if isinstance(trades, pa.Table) else trades_table(trades)
    clock = virtual_wall_clock(start)
    async with open_simulator(
        port=None, replay=table, contract=contract, speed=speed, wall_clock=clock
    ) as simulator:
        async with open_gateway(simulated_config(simulator, clock)) as gateway:
            yield Stage(simulator, gateway, contract)


class PlayTrades(Protocol):
    """What the fixture `scripted_market` is."""

    def __call__(self, trades: pa.Table | Iterable[Row], contract: str = CONTRACT) -> str:
        """Let ``trades`` be the market of ``contract`` from its first stream on; return the contract's id."""
        ...


# -- the plugin

_F = TypeVar("_F", bound=Callable[..., object])


def _trio_fixture(function: _F) -> _F:
    # pytest-trio has no types.
    return cast("_F", pytest_trio.trio_fixture(function))  # pyright: ignore[reportUnknownMemberType]


def pytest_configure(config: pytest.Config) -> None:
    """Make the two marks known."""
    config.addinivalue_line(
        "markers", "simulator(**options): options of open_simulator for the fixture `simulator`"
    )
    config.addinivalue_line("markers", "gateway(**fields): fields of GatewayConfig for the fixture `gateway`")


def _options(request: pytest.FixtureRequest, mark: str) -> dict[str, Any]:
    node: pytest.Item = request.node
    found = node.get_closest_marker(mark)
    return dict(found.kwargs) if found is not None else {}


def _check_clock() -> None:
    if not isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock):
        pytest.fail(
            "this fixture runs in virtual time: let the test itself take `autojump_clock` as an argument "
            "(pytest-trio looks for the clock there, not in fixtures)",
            pytrace=False,
        )


@_trio_fixture
async def simulator(request: pytest.FixtureRequest) -> AsyncGenerator[Simulator]:
    """A simulator in memory, in virtual time, from seed 0; ``@pytest.mark.simulator(seed=7)`` and so on change it."""
    _check_clock()
    options: dict[str, Any] = {"port": None, "wall_clock": virtual_wall_clock()}
    options |= _options(request, "simulator")
    async with open_simulator(**options) as running:
        yield running


@_trio_fixture
async def gateway(request: pytest.FixtureRequest, simulator: Simulator) -> AsyncGenerator[Gateway]:
    """A gateway on `simulator`; ``@pytest.mark.gateway(limits=Limits(...))`` and so on change its configuration."""
    config = attrs.evolve(simulated_config(simulator), **_options(request, "gateway"))
    async with open_gateway(config) as opened:
        yield opened


@pytest.fixture
def scripted_market(simulator: Simulator) -> PlayTrades:
    """A function: call it with trades of your own, and they are a contract's market (see `PlayTrades`)."""

    def script(trades: pa.Table | Iterable[Row], contract: str = CONTRACT) -> str:
        simulator.play(trades if isinstance(trades, pa.Table) else trades_table(trades), contract)
        return contract

    return script
