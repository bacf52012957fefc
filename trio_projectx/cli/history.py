"""``trio-projectx history``: bars of the past into a table, a file and the cache; and what the cache covers."""

# pyarrow's stubs leave the type parameters of arrays and files open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Final

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import trio

import trio_projectx as px
from trio_projectx.cli.history_view import CoverageView, HistoryView, Row, new_console
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.history.history import nanoseconds
from trio_projectx.history.inventory import Holding, holdings

_DAY_NS: Final = 86_400_000_000_000
_REFRESH_S: Final = 0.2
#: The exit code of ``--coverage`` where something is missing: for scripts.
INCOMPLETE: Final = 3


@attrs.frozen(slots=True, kw_only=True)
class HistoryCommand:
    """What the command line asked for."""

    contract: str | None
    timeframes: tuple[str, ...]
    start: str | None
    end: str | None
    count: int | None
    days: float | None
    cache: Path | None
    continuous: bool
    out: Path | None
    url: str | None
    live: bool | None
    coverage: bool

    def __attrs_post_init__(self) -> None:
        if self.coverage and self.cache is None:
            raise px.ConfigError("--coverage tells of a cache: name its folder with --cache")
        if self.coverage and (self.count is not None or self.out is not None or self.continuous):
            raise px.ConfigError("--coverage takes no --count, --out or --continuous: it asks nothing")
        if self.days is not None and not 0 < self.days <= 36_500:
            raise px.ConfigError(f"--days must be above 0, and 36500 at most, not {self.days:g}")
        if not self.coverage and self.contract is None:
            raise px.ConfigError('which contract? "MNQ", "ES", or a full id')
        if not self.coverage:
            for frame in self.timeframes:
                px.Timeframe(frame)
        if self.out is not None:
            _check_out(self.out)
        given = sum(each is not None for each in (self.start, self.days, self.count))
        if given > 1 or (not self.coverage and given == 0):
            raise px.ConfigError("how much? give one of --start, --days and --count")

    def window(self, now_ns: int) -> tuple[int | None, int | None]:
        """Return start and end as int64 ns, None where they are open."""
        end = None if self.end is None else _instant(self.end, "--end")
        if self.days is not None:
            return (now_ns if end is None else end) - round(self.days * _DAY_NS), end
        return None if self.start is None else _instant(self.start, "--start"), end

    def config(self) -> px.GatewayConfig:
        """Return where to ask: a simulator, or the service with the credentials of the environment."""
        config = px.GatewayConfig.from_env() if self.url is None else px.GatewayConfig.simulated(self.url)
        history = attrs.evolve(config.history, cache=self.cache, live=self.live)
        return attrs.evolve(config, history=history)


async def run_history(command: HistoryCommand) -> int:
    """Run the command and return the exit code."""
    if command.coverage:
        return await _show_coverage(command)
    console, config = new_console(), command.config()
    start, end = command.window(config.wall_clock())
    frames = command.timeframes or ("1m",)
    tables: dict[str, pa.Table] = {}
    async with px.open_gateway(config) as gateway:
        view = HistoryView(console, command.contract or "", frames, (start, end), config.wall_clock)
        async with open_background_tasks() as tasks:
            if console.is_terminal:
                tasks.start_soon(_refresh, view)
            with view:
                for frame in frames:
                    tables[frame] = await _fetched(gateway, command, frame, (start, end), view)
            tasks.cancel("all has come")
    if command.out is not None:
        await trio.to_thread.run_sync(_write, command.out, tables)
    view.summary(tables, command.out)
    return 0


async def _fetched(
    gateway: px.Gateway,
    command: HistoryCommand,
    frame: str,
    window: tuple[int | None, int | None],
    view: HistoryView,
) -> pa.Table:
    view.begin(frame)
    table = await gateway.history(
        command.contract or "",
        frame,
        start=window[0],
        end=window[1],
        count=command.count,
        continuous=command.continuous,
        tell=view.progress,
    )
    view.done(frame, table)
    return table


async def _refresh(view: HistoryView) -> None:
    while True:
        view.refresh()
        await trio.sleep(_REFRESH_S)


def _check_out(path: Path) -> None:
    """Refuse before anything is asked what a file cannot be put in the place of: a folder, /dev/null."""
    if not path.parent.is_dir():
        raise px.ConfigError(f"--out: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise px.ConfigError(f"--out: {path} is there, and is no file")


def _write(path: Path, tables: dict[str, pa.Table]) -> None:
    """Write all rows as one file, each with its timeframe; what is there before it is whole stays."""
    parts = [
        table.add_column(
            0, pa.field("timeframe", pa.string()), pa.array([frame] * table.num_rows, pa.string())
        )
        for frame, table in tables.items()
    ]
    whole = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
    path = path.resolve()  # what a link leads to is replaced, and not the link
    temporary = path.with_name(path.name + ".tmp")
    try:
        pq.write_table(whole, temporary, compression="zstd", write_page_checksum=True)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


async def _show_coverage(command: HistoryCommand) -> int:
    assert command.cache is not None
    root, wanted = command.cache, command.contract
    found = await trio.to_thread.run_sync(lambda: list(holdings(root)))
    start, end = command.window(px.GatewayConfig.simulated("http://127.0.0.1:1").wall_clock())
    rows = [Row.of(each, start, end) for each in found if _is_meant(each, wanted, command.timeframes)]
    CoverageView(new_console()).show(rows, root)
    return INCOMPLETE if not rows or any(row.missing for row in rows) else 0


def _is_meant(holding: Holding, contract: str | None, units: tuple[str, ...]) -> bool:
    if units and holding.unit not in units:
        return False
    if contract is None or holding.contract_id == contract:
        return True
    # "ES" is every expiry of EP: no service is asked which one is active.
    known = None if contract.startswith("CON.") else px.market.find_product(contract).code
    return holding.contract_id.split(".")[3] == known


def _instant(text: str, option: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise px.ConfigError(
            f'{option} must be a date or a time such as 2026-08-19 or "2026-08-19T13:30Z", not {text!r:.40}'
        ) from None
    return nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC), option)
