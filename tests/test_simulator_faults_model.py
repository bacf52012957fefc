"""Faults as values: what they may be, what is refused and how, and that names, code and documentation are one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trio_projectx as px
from trio_projectx.simulator.faults import HOSTILE_KINDS, PARAMETERS, SPECS, Fault, Level, parse_fault
from trio_projectx.simulator.faults.answers import ANSWERS, KINDS, PATHS
from trio_projectx.simulator.faults.calls import CALLS
from trio_projectx.simulator.faults.catalogue import PHASES
from trio_projectx.simulator.faults.filters import FILTERS
from trio_projectx.simulator.faults.hostile import HOSTILE
from trio_projectx.simulator.faults.inserts import INSERTS
from trio_projectx.simulator.faults.requests import _BODIES, REQUESTS
from trio_projectx.simulator.faults.wire import WIRE, WIRE_SENDS

DOCS = Path(__file__).resolve().parent.parent / "docs" / "faults.md"


def test_every_name_has_code_and_all_code_a_name() -> None:
    tables: dict[Level, set[str]] = {
        Level.WIRE: {*WIRE, *WIRE_SENDS},
        Level.INSERT: {*INSERTS},
        Level.REQUEST: {*REQUESTS},
        Level.ANSWER: {*ANSWERS},
        Level.CALL: {*CALLS} - {"hang"},
        Level.ACCEPT: {"refuse"},
    }
    for level, names in tables.items():
        assert names == {name for name, spec in SPECS.items() if spec.level is level}, level
    assert {*FILTERS} == {name for name, spec in SPECS.items() if spec.level in (Level.FILTER, Level.RECORD)}
    assert "hang" in CALLS
    assert {*HOSTILE} == {*HOSTILE_KINDS}
    assert {*_BODIES} == {*SPECS["http_body"].kinds}
    assert {*KINDS} == {*SPECS["history_bars"].kinds}
    assert {*PATHS} == {*ANSWERS}


def test_every_parameter_is_taken_by_a_fault_and_is_known() -> None:
    taken = {param for spec in SPECS.values() for param in spec.params}
    assert taken == {*PARAMETERS}
    assert all(("kind" in spec.params) is bool(spec.kinds) for spec in SPECS.values())
    assert all(set(spec.phases) <= set(PHASES) for spec in SPECS.values())


@pytest.mark.skipif(not DOCS.is_file(), reason="the documentation is not beside the tests")
def test_the_documented_table_is_the_codes_own() -> None:
    text = DOCS.read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert [row[0] for row in rows if row[0] in SPECS] == list(SPECS)
    by_name = {row[0]: row for row in rows}
    for name, spec in SPECS.items():
        _, does, phases, params = by_name[name]
        assert does == spec.summary, name
        assert phases == (", ".join(spec.phases) if spec.phases != PHASES else "any"), name
        assert re.findall(r"`(\w+)`", params) == list(spec.params), name
    fields = re.findall(r"^\| `(\w+)` \|", text.split("## Fields")[1].split("##")[0], re.MULTILINE)
    assert fields == [field.name for field in attrs.fields(Fault)]
    kinds = re.findall(r"`(\w+)`", text.split("## Kinds of `hostile`")[1].split("##")[0].split("\n\n", 1)[1])
    assert kinds == list(HOSTILE_KINDS)
    of_bars = text.split("## Kinds of `history_bars`")[1].split("##")[0]
    rows_of_bars = re.findall(r"^\| (`.*?`) \|", of_bars, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows_of_bars)) == list(SPECS["history_bars"].kinds)


@pytest.mark.parametrize("name", SPECS)
def test_each_can_be_made_by_its_name_alone_and_comes_back_from_json(name: str) -> None:
    options: dict[str, Any] = {"phase": "stream"} if name == "hang" else {}
    fault = Fault(name, **options)
    assert parse_fault(msgspec.json.encode(fault)) == fault
    assert fault.chosen_kind in (*SPECS[name].kinds, "")
    assert fault.phases
    assert parse_fault(
        msgspec.json.encode({"name": name, **options, "count": 0 if name != "refuse" else 3})
    ).count in (0, 3)


# what is wrong, what the sentence says
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "tcp_rest"}, "there is no fault 'tcp_rest'; did you mean tcp_reset"),
    ({"name": ""}, "there is no fault ''"),
    ({"name": "tcp_reset", "hub": "markt"}, "hub must be .*did you mean market"),
    ({"name": "tcp_reset", "phase": "handshke"}, "the phase of tcp_reset must be .*did you mean handshake"),
    ({"name": "ws_close", "phase": "upgrade"}, "the phase of ws_close must be handshake, subscribe, stream"),
    ({"name": "mute_data", "hub": "rest"}, "mute_data is of hubs"),
    ({"name": "http_status", "hub": "market", "phase": "rest"}, "hub market has no phase rest"),
    ({"name": "http_status", "hub": "rest", "phase": "upgrade"}, "hub rest has no phase upgrade"),
    ({"name": "hang"}, "hang needs a phase"),
    ({"name": "hang", "phase": "connect", "hub": "market"}, "nobody knows its hub yet"),
    ({"name": "refuse", "hub": "market"}, "nobody knows its hub yet"),
    ({"name": "refuse", "count": 0}, "lock out the control routes"),
    ({"name": "hang", "phase": "connect", "count": 0}, "lock out the control routes"),
    ({"name": "tcp_reset", "code": 1000}, "tcp_reset takes no code; its own parameters: none"),
    ({"name": "ws_close", "error": "x"}, "ws_close takes no error; its own parameters: code, reason"),
    ({"name": "ws_close", "code": 999}, "code must be a whole number from 1000 to 4999, not 999"),
    ({"name": "hostile", "kind": "price_negativ"}, "kind must be .*did you mean price_negative"),
    ({"name": "tcp_reset", "kind": "x"}, "kind must be"),
    ({"name": "token_expiry", "policy": "shout"}, "policy must be close, logout, silence"),
    ({"name": "tcp_reset", "direction": "up"}, "direction must be out, in"),
    ({"name": "tcp_reset", "connection": "the first"}, 'connection must be a connection id, "next"'),
    ({"name": "tcp_reset", "connection": "#0"}, "connection must be"),
    ({"name": "tcp_reset", "count": -1}, "count must be a whole number from 0"),
    ({"name": "tcp_reset", "delay_s": -1}, "delay_s must be seconds from 0"),
    ({"name": "tcp_reset", "after_bytes": -1}, "after_bytes must be a whole number"),
    ({"name": "http_status", "after_bytes": 5}, "nothing is counted before it"),
    ({"name": "subscribe_never", "after_records": 5}, "nothing is counted before it"),
    ({"name": "history_bars", "after_bytes": 5}, "nothing is counted before it"),
    ({"name": "history_bars", "hub": "market"}, "history_bars is of REST"),
    ({"name": "history_bars", "kind": "shufled"}, "kind must be .*did you mean shuffled"),
    ({"name": "http_refused", "error_code": 0}, "error_code must be a whole number from 1"),
    ({"name": "http_refused", "phase": "upgrade"}, "the phase of http_refused must be rest"),
    ({"name": "ws_close", "reason": "x" * 200_000}, "reason must be a text of up to 100000 characters"),
]


@pytest.mark.parametrize(("options", "says"), WRONG)
def test_what_cannot_be_is_refused_with_a_sentence_in_python_and_in_json(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(px.ConfigError, match=says):
        Fault(**options)
    with pytest.raises(px.ConfigError, match=says):
        parse_fault(msgspec.json.encode(options))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "this is not JSON"),
        ("{", "this is not JSON"),
        (b"\xff", "this is not JSON"),
        ("[" * 5000, "this is not JSON"),
        ("7", "no JSON object, but int"),
        ("[]", "no JSON object, but list"),
        ("{}", "missing required field `name`"),
        ('{"name":7}', r"Expected `str`, got `int` - at `\$.name`"),
        ('{"name":"ws_close","code":"1000"}', r"Expected `int`, got `str` - at `\$.code`"),
        ('{"name":"ws_close","cod":1000}', "there is no field 'cod'; did you mean code"),
        ('{"name":"delay","latency_s":1e999}', ""),
        ('{"name":"close_record","allow_reconnect":1}', "Expected `bool`"),
    ],
)
def test_what_is_no_fault_in_json_is_told(text: str | bytes, says: str) -> None:
    with pytest.raises(px.ConfigError, match=says or "."):
        parse_fault(text)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_a_fault_or_a_config_error(text: str | bytes) -> None:
    with pytest.raises(px.ConfigError):
        parse_fault(text)


names = st.sampled_from(sorted(SPECS))
fields = st.sampled_from([field.name for field in attrs.fields(Fault)])
values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.integers(), max_size=2)
)


@given(names, st.dictionaries(fields, values, max_size=4))
def test_any_values_make_a_fault_or_a_config_error(name: str, options: dict[str, object]) -> None:
    try:
        fault = Fault(**{"name": name, **options})  # type: ignore[arg-type]
    except px.ConfigError:
        return
    assert fault.name in SPECS
    assert fault.level in Level
