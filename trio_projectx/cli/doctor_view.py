"""What ``trio-projectx doctor`` prints: a line for each check as it is made, and then the ledger as a table."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trio_projectx.cli.findings import Finding, Findings, Verdict
from trio_projectx.flow.ledger import Ledger

_COLOURS: Final = {
    Verdict.OK: "green",
    Verdict.WARN: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.SKIP: "dim",
}
_OTHERS: Final = (
    "others: from before the stream was opened, late, outside, duplicates, failed; "
    "of a contract: given to its streams, and duplicates (--json has each)"
)


class DoctorView:
    """Prints on a console; what is no terminal gets the same without colours."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, finding: Finding) -> None:
        """Print a line."""
        colour = _COLOURS[finding.verdict]
        took = "" if finding.seconds is None else f" ({finding.seconds * 1000:.1f} ms)"
        name = f"{finding.check:<28}"
        self._line(
            f"[{colour}]{finding.verdict.value:<5}[/] {escape(name)} {escape(finding.sentence)}{escape(took)}"
        )

    def conclude(self, findings: Findings) -> None:
        """Print the ledger, if there is one, and what it all comes to."""
        if findings.counted is not None:
            for table in _tables(findings.counted.ledger):
                self._console.print(table)
        counts = {verdict: sum(each.verdict is verdict for each in findings.all) for verdict in Verdict}
        said = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count)
        verdict = Verdict.OK if findings.is_well else Verdict.FAIL
        self._line(
            f"[{_COLOURS[verdict]}]{'all is well' if findings.is_well else 'something is wrong'}[/]: {said}"
        )

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def _tables(ledger: Ledger) -> list[Table]:
    return [table for table in (_trades(ledger), _items(ledger)) if table.row_count]


def _trades(ledger: Ledger) -> Table:
    """Return the rows in trades: what stands right of `accounted` adds up to it."""
    columns = ("received", "accounted", "in bars", "forming", "rejected", "in flight", "others")
    table = _table("ledger, in trades", *columns)
    for row in ledger.rows:
        shown = (row.in_bars, row.forming, row.rejected, row.in_flight)
        others = row.accounted - sum(shown)
        _add(table, row.name, row.balanced, row.received, row.accounted, *shown, others)
    for contract in ledger.contracts:
        known = (contract.rejected, contract.in_flight)
        others = contract.accounted - sum(known)
        _add(
            table,
            contract.name,
            contract.balanced,
            contract.received,
            contract.accounted,
            "",
            "",
            *known,
            others,
        )
    table.caption = _OTHERS
    return table


def _items(ledger: Ledger) -> Table:
    table = _table("ledger, in items", "offered", "delivered", "conflated", "dropped", "queued")
    streams = [(stream.name, stream) for stream in ledger.streams]
    streams += [(f"{stream.name} (closed)", stream) for stream in ledger.closed]
    for name, row in streams:
        counts = (row.offered, row.delivered, row.conflated, row.dropped, row.queued)
        _add(table, name, row.balanced, *counts)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("of", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("balanced")
    return table


def _add(table: Table, name: str, balanced: bool, *numbers: int | str) -> None:
    cells = [each if isinstance(each, str) else f"{each:,}" for each in numbers]
    table.add_row(escape(name), *cells, "yes" if balanced else "NO")
