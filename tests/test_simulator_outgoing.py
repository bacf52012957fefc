"""Records that the hub writes, read by the client's side; and the JSON of .NET."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.signalr import Completion, Invocation, StreamItem, parse_messages
from trio_projectx.simulator.json_text import compact, depth, string
from trio_projectx.simulator.outgoing import completed, event, failed, streamed

names = st.text(min_size=1)


@given(names, st.text())
def test_the_client_side_reads_what_is_written(name: str, text: str) -> None:
    shown = string(text)
    written = (
        completed(name, shown)
        + completed(name, None)
        + failed(name, text)
        + streamed(name, shown)
        + event(name, (shown, "1"))
        + event(name, (), name)
    )
    assert written.count("\x1e") == 6
    assert parse_messages(written) == [
        Completion(invocation_id=name, result=text),
        Completion(invocation_id=name),
        Completion(invocation_id=name, error=text),
        StreamItem(invocation_id=name, item=text),
        Invocation(target=name, arguments=[text, 1]),
        Invocation(target=name, arguments=[], invocation_id=name),
    ]


@given(st.text())
def test_a_string_reads_back_and_has_no_separator(text: str) -> None:
    assert json.loads(string(text)) == text
    assert "\x1e" not in string(text)


def test_the_escapes_are_those_of_dotnet() -> None:
    # Each seen on the wire: UnsafeRelaxedJsonEscaping.
    assert string("\u00e9<>&'+\"/\x1e\x7f\U0001f600\u2028\x85\xa0\n\ufeff\\ ") == (
        '"\u00e9<>&\'+\\"/\\u001E\\u007F\\uD83D\\uDE00\\u2028\\u0085\\u00A0\\n\\uFEFF\\\\ "'
    )
    assert string(None) == "null"


def test_compact_keeps_numbers_and_drops_white_space() -> None:
    raw = ' { "a" : [ 1.50 , 1e3 , -0.0,12345678901234567890, true ,null], "a":"\\u0041 \\/ b" } '
    assert compact(raw) == '{"a":[1.50,1e3,-0.0,12345678901234567890,true,null],"a":"A / b"}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def nested(value: object) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(nested, inner), default=0)


@given(json_values)
def test_compact_changes_no_value_and_depth_counts(value: object) -> None:
    assert json.loads(compact(json.dumps(value, indent=1))) == value
    assert compact(compact(json.dumps(value))) == compact(json.dumps(value))
    assert depth(json.dumps(value)) == nested(value)
