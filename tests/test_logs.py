"""Logging: fields, JSON lines, repetition that is counted, redaction of whole records, and no texts in hot code."""

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
        text = path.read_text()
        for node in ast.walk(ast.parse(text if "_log." in text else "")):
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
        names = {keyword.arg for keyword in extra.keywords}
        assert names.isdisjoint({"ts", "level", "logger", "message", "exception"}), f"{where}: hidden in JSON"


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
        if (
            isinstance(node.op, ast.Mod)
            and isinstance(node.left, ast.Constant)
            and isinstance(node.left.value, str)
        ):
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


# -- what becomes of records


@attrs.define
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    """Every record that gets past our logger's filters, from DEBUG on."""
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(handler)
    root.setLevel(level)


def shown(lines: list[logging.LogRecord], name: str = "trio_projectx") -> list[str]:
    return [record.getMessage() for record in lines if record.name == name]


def test_repeats_are_counted_and_told_by_one_line(lines: list[logging.LogRecord]) -> None:
    clock = Clock()
    with limited_repeats(clock) as repeats:
        for n in range(25):
            OURS.warning("a repeat: %d", n, extra=fields("test"))
            OURS.warning("another")
            OURS.debug("a detail: %d", n)
        assert shown(lines).count("another") == REPEATS
        assert sum(text.startswith("a repeat") for text in shown(lines)) == REPEATS
        assert sum(text.startswith("a detail") for text in shown(lines)) == 25
        lines.clear()
        clock.now = 60
        OURS.warning("a repeat: %d", 25)
        assert shown(lines) == ["repeated 15 times more in the last 60 s: a repeat: 24", "a repeat: 25"]
        (first, _) = lines
        assert (first.levelno, vars(first)["event"], vars(first)["count"]) == (
            logging.WARNING,
            "repeated",
            15,
        )
        lines.clear()
        repeats.flush()
        assert shown(lines) == ["repeated 15 times more in the last 60 s: another"]
        repeats.flush()
        for n in range(11):
            OURS.warning("a repeat: %d", n)
        lines.clear()
    assert shown(lines) == ["repeated 2 times more in the last 0 s: a repeat: 10"]
    for _ in range(2 * REPEATS):
        OURS.warning("after the block")
    assert shown(lines).count("after the block") == 2 * REPEATS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 30.0, 61.0])), max_size=80))
def test_no_record_is_lost_uncounted(records: list[tuple[str, float]]) -> None:
    clock, found, logger = Clock(), list[logging.LogRecord](), logging.Logger("by itself")
    repeats = RepeatFilter(3, 60, clock)
    logger.addFilter(repeats)
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    told = 0

    def tell(key: tuple[str, int, str], now: float) -> None:
        nonlocal told
        window = repeats._windows.pop(key)
        told += max(0, window.number() - 1 - 3)

    repeats._tell = tell  # type: ignore[method-assign]
    for template, wait in records:
        clock.now += wait
        logger.warning(template)
    repeats.flush(is_end=True)
    assert len(found) + told == len(records)
    assert repeats._windows == {}


def test_templates_of_others_are_not_remembered_without_end(lines: list[logging.LogRecord]) -> None:
    with limited_repeats(Clock()) as repeats:
        for n in range(2000):
            logging.getLogger("httpx2").info(f"made anew {n}")
            assert len(repeats._windows) <= 500
    assert len(shown(lines, "httpx2")) == 2000


def test_blocks_that_overlap_are_no_harm(lines: list[logging.LogRecord]) -> None:
    before = list(OURS.filters)
    outer, inner = limited_repeats(Clock()), limited_repeats(Clock())
    outer.__enter__()
    with inner:
        outer.__exit__(None, None, None)
        for _ in range(REPEATS + 5):
            OURS.warning("x")
    assert shown(lines) == [*["x"] * REPEATS, "repeated 5 times more in the last 0 s: x"]
    assert OURS.filters == before


def formatted(record: logging.LogRecord) -> dict[str, object]:
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def raised(text: str) -> ValueError:
    """Return an exception that has been raised."""
    with pytest.raises(ValueError, match=r".") as info:
        raise ValueError(text)
    return info.value


def test_json_lines_carry_the_fields(lines: list[logging.LogRecord]) -> None:
    install_redaction()
    extra = fields("market_stalled", hub="market", contract="C", timeframe=None, silent_s=30.5)
    assert "timeframe" not in extra
    OURS.warning(
        'no data of "%s"\nfor %g s', "C", 30.5, extra=extra | {"message_kind": object, "level": "no"}
    )
    found = formatted(lines[-1])
    assert str(found.pop("ts")).endswith("+00:00")
    assert str(found.pop("message_kind")) == "<class 'object'>"
    assert found == {
        "level": "WARNING",
        "logger": "trio_projectx",
        "message": 'no data of "C"\\nfor 30.5 s',
        "event": "market_stalled",
        "hub": "market",
        "contract": "C",
        "silent_s": 30.5,
    }
    OURS.error("it failed", extra=fields("test"), exc_info=raised("why"))
    assert str(formatted(lines[-1])["exception"]).endswith("ValueError: why")


def test_a_record_is_redacted_as_a_whole(lines: list[logging.LogRecord]) -> None:
    install_redaction()
    exc = raised(f"Authorization: Bearer {JWT}")
    OURS.error(
        "it failed", extra=fields("test", contract=f"access_token={JWT}"), stack_info=True, exc_info=exc
    )
    OURS.error("it failed", exc_info=exc)
    for record in lines:
        text = (
            logging.Formatter("%(message)s").format(record)
            + JsonFormatter().format(record)
            + repr(vars(record))
        )
        assert JWT not in text
        assert JWT.split(".")[1] not in text
        assert "ValueError: Authorization: Bearer [redacted]" in text
    OURS.error("it failed", exc_info=raised("nothing secret"))
    assert lines[-1].exc_info is not None  # for handlers that look at exceptions themselves


def test_what_is_logged_is_one_printable_line(lines: list[logging.LogRecord]) -> None:
    install_redaction()
    OURS.warning("the server said: %s", "a\r\nWARNING all is well\x1b[31m\u202e é 漢", extra={"said": "b\nc"})
    (record,) = lines
    assert record.getMessage() == "the server said: a\\r\\nWARNING all is well\\x1b[31m\\u202e é 漢"
    assert vars(record)["said"] == "b\\nc"
    OURS.warning("%s", "x" * 10_000)
    assert len(lines[-1].getMessage()) == 4000


@given(st.text(max_size=60), st.integers(4, 50))
def test_printable_is_what_it_says(text: str, limit: int) -> None:
    found = printable(text, limit)
    assert found.isprintable()
    assert len(found) <= limit
    assert found == text or not text.isprintable() or len(text) > limit


@pytest.mark.parametrize("name", ["trio_projectx", *FOREIGN_LOGGERS])
def test_each_logger_has_both_filters_once_while_a_gateway_is_open(name: str) -> None:
    logger = logging.getLogger(name)
    with limited_repeats():
        install_redaction()
        kinds = [type(each).__name__ for each in logger.filters]
        assert kinds.count("RepeatFilter") == kinds.count("RedactingFilter") == 1
        assert kinds.index("RepeatFilter") < kinds.index("RedactingFilter")  # it goes by templates


async def test_what_stamina_logs_passes_the_filters(
    autojump_clock: MockClock, lines: list[logging.LogRecord]
) -> None:
    install_redaction()
    with limited_repeats():
        async for attempt in stamina.retry_context(ValueError, attempts=2, timeout=None, wait_jitter=0):
            with attempt:
                if attempt.num == 1:
                    raise ValueError(f"token={JWT}")
    (record,) = [each for each in lines if each.name == "stamina"]
    assert JWT not in repr(vars(record))
    assert formatted(record)["stamina.retry_num"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("close_record", hub="market", error="bye\r\nERROR forged\x1b[2J \u2028 end"),
        Fault("subscribe_refused", hub="market", error="no\nERROR forged\x1b[2J"),
    ],
    ids=lambda fault: fault.name,
)
async def test_no_text_of_the_servers_writes_a_line_of_its_own(
    autojump_clock: MockClock, lines: list[logging.LogRecord], fault: Fault
) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logging.getLogger().addHandler(handler)
    try:
        async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
            if fault.name != "close_record":
                sim.inject(fault)
            try:
                async with gateway.open_bars("MNQ", "1s") as bars:
                    sim.inject(fault)
                    with trio.move_on_after(20):
                        async for _ in bars:
                            pass
            except px.TrioProjectXError as exc:
                OURS.error("it ended: %s", exc)
    finally:
        logging.getLogger().removeHandler(handler)
    printed = out.getvalue().splitlines()
    assert any("forged" in line for line in printed)
    assert not any(line.startswith("ERROR forged") for line in printed)
    assert all(line.isprintable() for line in printed if "Traceback" not in line)
    ours = [record for record in lines if record.name == "trio_projectx"]
    assert all(vars(record).get("event") for record in ours if not record.msg.startswith("it ended"))
