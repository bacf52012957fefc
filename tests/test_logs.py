"""Logging: fields, JSON lines, repetition that is counted, redaction of whole records, and hot code that formats nothing."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import stamina
import trio
from fault_tools import config_for, open_sim
from hypothesis import given
from hypothesis import strategies as st
from test_redact import JWT
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx._logs import REPEATS, JsonFormatter, RepeatFilter, fields, limited_repeats
from trio_projectx._redact import FOREIGN_LOGGERS, install_redaction, printable
from trio_projectx.simulator import Fault

ROOT = Path(px.__file__).parent
OURS = logging.getLogger("trio_projectx")
#: Where a record passes, or a trade, or a bar; whatever is called for each of them is in these.
HOT = (
    "signalr/_wire.py", "signalr/records.py", "signalr/connection.py", "signalr/codec.py",
    "market/decode.py", "market/validate.py", "market/lines.py", "market/quotes.py", "market/band.py",
    "market/ahead.py", "market/stamps.py", "market/exact.py", "market/grid.py", "market/batch.py",
    "bars/builder.py", "bars/accumulator.py", "bars/rungs.py", "bars/ladder.py", "bars/columns.py",
    "bars/chunk.py", "bars/freeze.py", "bars/gate.py", "bars/standing.py", "bars/undo.py",
    "flow/pipeline.py", "flow/contract.py", "flow/outlets.py", "flow/stream.py", "flow/buffers.py", "flow/quotes.py",
    "connection/epoch.py", "connection/liveness.py",
)  # fmt: skip


# -- our calls, as they are written


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"))):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_every_record_has_a_constant_template_and_an_event() -> None:
    found = list(calls())
    assert len(found) > 40
    for where, call in found:
        is_log = isinstance(call.func, ast.Attribute) and call.func.attr == "log"
        template, *rest = call.args[1:] if is_log else call.args
        assert isinstance(template, ast.Constant), where
        assert template.value != "%s", f"{where}: repetition is limited by template"
        for each in rest:
            made = [node for node in ast.walk(each) if isinstance(node, ast.JoinedStr)]
            assert made == [], f"{where}: formatted although nobody may want it"
        extra = {keyword.arg: keyword.value for keyword in call.keywords}.get("extra")
        assert isinstance(extra, ast.Call), f"{where}: without fields"
        assert isinstance(extra.args[0], ast.Constant), where


class Formatting(ast.NodeVisitor):
    """Finds texts that are made where nothing is raised, returned as a reason, or said of something that failed."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._inside: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._inside.append(node.name)
        self.generic_visit(node)
        self._inside.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)  # type: ignore[arg-type]

    def visit_Raise(self, node: ast.Raise) -> None:
        """What is raised is the end of something."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.found.append(self._inside[-1] if self._inside else "")

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            self.found.append(self._inside[-1])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            self.found.append(self._inside[-1])
        self.generic_visit(node)


#: Functions of hot modules that make a text where something is wrong, or where something begins or ends.
COLD = {
    "signalr/connection.py": {"_read_handshake"},
    "signalr/codec.py": {"unreadable"},
    "market/decode.py": {"_exact_trades"},
    "market/validate.py": {"_said", "_show"},
    "market/quotes.py": {"_number", "_price", "_stamp", "_volume", "merge"},
    "market/stamps.py": {"_not_a_stamp", "format_stamp"},
    "market/exact.py": {"_missing", "_wrong", "exact_quote", "exact_trade", "number", "path", "whole"},
    "bars/standing.py": {"fail"},
    "flow/pipeline.py": {"contract"},
    "flow/contract.py": {"__init__"},
    "flow/outlets.py": {"_watch_lateness"},
    "flow/stream.py": {"_overflow"},
    "connection/epoch.py": {"_fail", "_handle", "_refused", "_write", "fail_calls"},
    "connection/liveness.py": {"probe"},
}


@pytest.mark.parametrize("name", HOT)
def test_hot_modules_make_no_texts(name: str) -> None:
    visitor = Formatting()
    visitor.visit(ast.parse((ROOT / name).read_text()))
    assert set(visitor.found) == COLD.get(name, set())
